"""Tiny models as ONNX text, random weights, and what tests ask of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir

from qtool import model as models
from qtool.runtime import Session

# Arrays and numpy's scalars. Any, so that a dict of them can be given as ** beside other options.
Array: TypeAlias = Any


def proto(graph: str, *, opset: int = 21, extra: str = "", **constants: Array) -> onnx.ModelProto:
    """The model of `g (inputs) => (outputs) {nodes}`; `constants` become initializers."""
    imports = f'["": {opset}{", " + extra if extra else ""}]'
    text = f"<ir_version: 10, opset_import: {imports}>\n{graph}"
    made: onnx.ModelProto = onnx.parser.parse_model(text)
    for name, values in constants.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    return made


def build(graph: str, *, opset: int = 21, extra: str = "", **constants: Array) -> ir.Model:
    """The same, as an onnx_ir model with types and shapes."""
    made = ir.from_proto(proto(graph, opset=opset, extra=extra, **constants))
    return models.infer_shapes(made)


def save(path: Path, graph: str, *, opset: int = 21, extra: str = "", **constants: Array) -> Path:
    """The same, as a file."""
    made = proto(graph, opset=opset, extra=extra, **constants)
    path.write_bytes(made.SerializeToString())
    return path


def normal(*shape: int, seed: int = 0) -> Array:
    """float32 values of a normal distribution."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weight(*shape: int, seed: int = 1) -> Array:
    """The same, so small that a layer's output is about as large as its input."""
    fan_in = max(1, int(np.prod(shape[1:])))
    return (normal(*shape, seed=seed) / np.float32(np.sqrt(fan_in))).astype(np.float32)


def as_run(data: bytes, folder: Path) -> onnx.ModelProto:
    """The model as the runtime will run it, with its kernels; saved in `folder` on the way."""
    path = folder / "optimized.onnx"
    Session(data, threads=1, optimized=path)
    return onnx.load(path)


def operators(model: ir.Model | onnx.ModelProto) -> list[str]:
    """The operators of the main graph, in order."""
    if isinstance(model, onnx.ModelProto):
        return [node.op_type for node in model.graph.node]
    return [node.op_type for node in model.graph]


def run(model: ir.Model | bytes, **feeds: Array) -> dict[str, Any]:
    """Outputs as onnxruntime computes them from the graph as written."""
    data = model if isinstance(model, bytes) else models.serialize(model)
    return Session(data, threads=1, optimize=False).run(feeds)


WITHIN = {"float16": 2.0**-7, "float64": 1e-12}  # a few last bits, of the largest value


def assert_same_function(before: ir.Model, after: ir.Model, **feeds: Array) -> None:
    """Equal names, order and shapes of outputs, and values to 1e-5 of the largest in float32."""
    expected, found = run(before, **feeds), run(after, **feeds)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        largest = np.abs(value).max(initial=0)
        within = WITHIN.get(value.dtype.name, 1e-5)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=within * largest)
    assert models.signature(after) == models.signature(before)


def sqnr(expected: Array, found: Array) -> float:
    """Signal to quantization noise, in dB."""
    signal = float((expected.astype(np.float64) ** 2).sum())
    noise = float(((expected.astype(np.float64) - found) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if noise else float("inf")
