"""Quantize saved ONNX models: smaller and faster without becoming worse."""

__version__ = "0.1.0"
