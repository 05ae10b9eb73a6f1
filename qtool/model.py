"""ONNX files in and out: the only module that imports `onnx`."""

from __future__ import annotations

import hashlib
import stat
import warnings
from pathlib import Path

import onnx
import onnx.checker
import onnx.helper
import onnx.version_converter
import onnx_ir as ir

from qtool.errors import DataError, MachineError, ModelError
from qtool.external import bind, external
from qtool.signature import Signature, TensorSpec

ONNX_VERSION: str = onnx.__version__
_TWO_GB = 2**31 - 1

# first bytes -> what the file is, for those that are often given in place of a model
_MAGIC = {
    b"PK\x03\x04": "a zip archive (a PyTorch .pt file, perhaps)",
    b"version https://git-lfs": "a git-lfs pointer; run  git lfs pull",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x1f\x8b": "a gzip file",
}


def load(path: Path) -> ir.Model:
    """Read an ONNX model; external weights stay on disk, memory-mapped.

    Raises:
        ModelError: not an ONNX model, damaged, or its external data leaves its folder.
        MachineError: the file cannot be opened.
    """
    _refuse_other_files(path)
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except PermissionError as error:
        raise MachineError(f"cannot read {path}", str(error)) from error
    except Exception as error:  # protobuf raises its own kinds
        raise ModelError(f"{path} is not an ONNX model", _looks_like(path)) from error
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{path} is not an ONNX model", "it holds no graph: " + _looks_like(path))
    try:
        with warnings.catch_warnings():
            # The runtime refuses what onnx only warns of.
            warnings.filterwarnings("error", "Ignoring unknown external data")
            model = ir.from_proto(proto)
    except Exception as error:
        raise ModelError(f"{path} is not a valid ONNX model", _root(error)) from error
    bind(model, path)
    return model


def serialize(model: ir.Model) -> bytes:
    """The bytes of a model with all weights inside; the same model gives the same bytes.

    Raises:
        ModelError: larger than the 2 GB that one protobuf message can hold.
    """
    try:
        proto = ir.to_proto(_inlined(model))
        data: bytes = proto.SerializeToString(deterministic=True)
    except Exception as error:
        raise ModelError("the model cannot be written as one file", str(error)[:300]) from error
    if len(data) > _TWO_GB:
        raise ModelError(f"the model takes {len(data)} bytes", "one ONNX file holds at most 2 GB")
    return data


def digest(model: ir.Model) -> str:
    """SHA-256 of the serialized model."""
    return hashlib.sha256(serialize(model)).hexdigest()


def check(data: bytes) -> None:
    """The ONNX checker's verdict on a serialized model, types and shapes included."""
    try:
        onnx.checker.check_model(onnx.load_from_string(data))
    except onnx.checker.ValidationError as error:
        raise ModelError("the model is not valid ONNX", str(error).splitlines()[0]) from error


def opset(model: ir.Model) -> int:
    """The version of the standard operators that the model uses."""
    imports = model.graph.opset_imports
    return imports.get("", imports.get("ai.onnx", 1))


def raise_opset(model: ir.Model, wanted: int) -> ir.Model:
    """The model at opset `wanted` or higher, each operator adapted; unchanged if there already.

    onnx_ir's and onnxscript's converters mark old operators without adapting them; onnx's adapts.

    Raises:
        ModelError: an operator has no adapter.
    """
    if opset(model) >= wanted:
        return model
    proto = ir.to_proto(_inlined(model))
    # The converter follows only tensors that it knows as inputs where the file has IR 3.
    try:
        raised = onnx.version_converter.convert_version(proto, wanted)
    except Exception as error:
        raise ModelError(
            f"cannot raise opset {opset(model)} to {wanted}", str(error).splitlines()[0]
        ) from error
    return ir.from_proto(raised)


def stamp(model: ir.Model) -> None:
    """Give the model the lowest IR version that its opsets allow, and at least 8."""
    # IR 8: initializers need not be inputs, and every runtime of the last years reads it.
    ids = [
        onnx.helper.make_opsetid(domain, version)
        for domain, version in model.graph.opset_imports.items()
    ]
    try:
        least = onnx.helper.find_min_ir_version_for(ids, ignore_unknown=True)
    except ValueError:
        least = 8
    model.ir_version = max(8, least, model.ir_version)


def infer_shapes(model: ir.Model) -> ir.Model:
    """The model with the types and shapes that ONNX inference finds; incomplete is not an error."""
    proto = ir.to_proto(_inlined(model))
    if proto.ByteSize() > _TWO_GB:
        return model
    try:
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    except Exception:  # a wrong annotation in the file: the runtime may still run it
        return model


def signature(model: ir.Model) -> Signature:
    """Inputs and outputs; an input with an initializer is a parameter and not listed."""
    graph = model.graph
    inputs = [v for v in graph.inputs if v.name not in graph.initializers]
    return Signature(tuple(map(_spec, inputs)), tuple(map(_spec, graph.outputs)))


def file_size(path: Path) -> int:
    """Bytes of the model file and of its external data files, each counted once."""
    model = load(path)
    files = {path.resolve()}
    for tensor in external(model):
        files.add((Path(tensor.base_dir) / tensor.location).resolve())
    return sum(f.stat().st_size for f in files)


def _spec(value: ir.Value) -> TensorSpec:
    if value.dtype is None:
        dtype = "unknown"
    elif value.dtype is ir.DataType.STRING:
        dtype = "str"
    else:
        dtype = value.dtype.numpy().name
    if value.shape is None:
        return TensorSpec(value.name or "", dtype, None)
    dims = tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return TensorSpec(value.name or "", dtype, dims)


def _inlined(model: ir.Model) -> ir.Model:
    if not any(external(model)):
        return model
    copy = model.clone()
    ir.external_data.load_to_model(copy)
    return copy


def _refuse_other_files(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ModelError(f"no file {path}") from None
    except OSError as error:
        raise MachineError(f"cannot read {path}", str(error)) from error
    if stat.S_ISDIR(mode):
        raise ModelError(f"{path} is a folder", "the model is one .onnx file")
    if not stat.S_ISREG(mode):
        raise ModelError(f"{path} is not a regular file")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty", "a download or export may have been cut short")


def _root(error: BaseException) -> str:
    """The first line of what went wrong first."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return (str(error) or type(error).__name__).splitlines()[0]


def _looks_like(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(f"cannot read {path}", str(error)) from error
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return f"it looks like {what}"
    if head[4:8] == b"TFL3":
        return "it looks like a TensorFlow Lite model"
    if head[8:10] == b'{"':
        return "it looks like a safetensors file"
    if all(32 <= b < 127 or b in b"\t\r\n" for b in head):
        return "it looks like a text file"
    return "it is damaged, cut short, or of another format"
