"""ONNX files in and out: the only module that imports `onnx`."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import NDArray

from qtool import converter_faults, tensors
from qtool.errors import MachineError, ModelError
from qtool.external import bind, external, without_large
from qtool.impostor import looks_like, refuse_other_files
from qtool.inline import light
from qtool.maps import Types, name_of, name_of_dtype, put_back, remember, remembered, take_out
from qtool.signature import Signature, TensorSpec

ONNX_VERSION: str = onnx.__version__
_TWO_GB = 2**31 - 1

# Said once, as an error of ours; without a handler Python would print onnx_ir's words as well.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())


def load(path: Path) -> ir.Model:
    """Read an ONNX model; external weights stay on disk, memory-mapped, as large ones inside do.

    Raises:
        ModelError: not an ONNX model, damaged, or its external data leaves its folder.
        MachineError: the file cannot be opened.
    """
    refuse_other_files(path)
    try:
        if (rest := light(path)) is None:
            proto = onnx.load(str(path), load_external_data=False)
        else:
            proto = onnx.load_from_string(rest)
    except PermissionError as error:
        raise MachineError(f"cannot read {path}", str(error)) from error
    except Exception as error:  # protobuf raises its own kinds
        raise ModelError(f"{path} is not an ONNX model", looks_like(path)) from error
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{path} is not an ONNX model", "it holds no graph: " + looks_like(path))
    _refuse_odd_tensors(proto.graph, path)
    were_sparse = tensors.settle(proto)
    try:
        with warnings.catch_warnings():
            # The runtime refuses what onnx only warns of.
            warnings.filterwarnings("error", "Ignoring unknown external data")
            model = _read(proto)
        model.graph.sort()  # the runtime takes nodes in any order, onnx_ir copies them in theirs
    except Exception as error:
        raise ModelError(f"{path} is not a valid ONNX model", _root(error)) from error
    bind(model, path)
    tensors.remember(model, were_sparse)
    return model


def serialize(model: ir.Model, *, apart: bool = False) -> bytes:
    """The bytes of a model with all weights inside, or, `apart`, but for those in files; the same
    model gives the same bytes.

    Raises:
        ModelError: larger than the 2 GB that one protobuf message can hold.
    """
    try:
        data: bytes = _proto(model, apart=apart).SerializeToString(deterministic=True)
    except ValueError as error:  # protobuf's word for more than 2 GB
        raise ModelError("the model cannot be written as one file", str(error)[:300]) from error
    if len(data) > _TWO_GB:
        raise ModelError(f"the model takes {len(data)} bytes", "one ONNX file holds at most 2 GB")
    return data


def parse(data: bytes) -> ir.Model:
    """The model that `serialize` gave these bytes."""
    return _read(onnx.load_from_string(data))


def digest(model: ir.Model) -> str:
    """SHA-256 of all that makes the model: the graph as serialized, then large weights."""
    rest, large = without_large(model)
    found = hashlib.sha256(serialize(rest))
    for name, tensor in sorted(large.items()):
        found.update(f"\n{name} {tensor.dtype.name} {list(tensor.shape)}\n".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()


def check(data: bytes) -> None:
    """The ONNX checker's verdict on a serialized model, types and shapes included."""
    try:
        proto = onnx.load_from_string(data)
        for value in (*proto.graph.input, *proto.graph.output):
            if value.type.HasField("tensor_type"):
                # The standard lets the rank be unknown, the checker does not.
                value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(proto)
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
    if not {"", "ai.onnx"} & set(model.graph.opset_imports):  # none of the standard is used
        model = model.clone()
        model.graph.opset_imports[""] = wanted
        return model
    old, model = opset(model), model.clone()
    converter_faults.before(model, old)
    # In IR 3 the converter takes every initializer for an input, and fails where one is not.
    unlisted = set(model.graph.initializers) - {value.name for value in model.graph.inputs}
    model.ir_version = max(model.ir_version, 4) if unlisted else model.ir_version
    try:
        raised = onnx.version_converter.convert_version(_proto(model), wanted)
    except Exception as error:
        raise ModelError(
            f"cannot raise opset {opset(model)} to {wanted}", str(error).splitlines()[0]
        ) from error
    made = _read(raised, remembered(model))
    converter_faults.keep_shapes(model, made)
    converter_faults.after(made, old)
    return made


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
    rest, large = without_large(model)
    proto = _proto(rest)
    if proto.ByteSize() > _TWO_GB:
        return model
    try:
        found = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        inferred = _read(found, remembered(model))
    except Exception:  # a wrong annotation in the file: the runtime may still run it
        return model
    graph = inferred.graph
    for before, after in zip(model.graph.outputs, graph.outputs, strict=True):
        after.shape = (
            before.shape
        )  # a promise; inference would name each axis that it does not know
    for value in [v for v in graph.inputs if v.name in large]:
        graph.inputs.remove(value)
        value.const_value = large[value.name or ""]
        graph.register_initializer(value)
    return inferred


def signature(model: ir.Model) -> Signature:
    """Inputs and outputs; an input with an initializer is a parameter and not listed."""
    graph = model.graph
    inputs = [v for v in graph.inputs if v.name not in graph.initializers]
    types = remembered(model)
    return Signature(
        tuple(_spec(value, types) for value in inputs),
        tuple(_spec(value, types) for value in graph.outputs),
    )


def file_size(path: Path) -> int:
    """Bytes of the model file and of its external data files, each counted once."""
    model = load(path)
    files = {path.resolve()}
    for tensor in external(model):
        files.add((Path(tensor.base_dir) / tensor.location).resolve())
    return sum(f.stat().st_size for f in files)


def read_tensor(data: bytes) -> tuple[str, NDArray[Any]]:
    """The name and values of a TensorProto; bfloat16, float8, int4 in wider types.

    ValueError: no tensor, no numbers, external data, or other values than its shape says.
    """
    try:
        tensor = onnx.TensorProto.FromString(data)
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    except Exception as error:  # protobuf raises its own kinds
        raise ValueError("it is no ONNX tensor (TensorProto)") from error
    if kind in ("UNDEFINED", "STRING") or tensor.HasField("segment"):  # so looks a SequenceProto
        raise ValueError(f"it is no whole tensor of numbers (TensorProto), its type is {kind}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError("its values lie in another file, which is not read")
    dims = tuple(tensor.dims)
    if min(dims, default=0) < 0 or _overfull(dims, len(data)):
        raise ValueError(f"its shape is {dims}, and it has {len(data)} bytes in all")
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise ValueError(f"its values do not fill its shape {dims}") from error
    if array.dtype.isbuiltin != 1:  # of the package ml_dtypes
        array = array.astype(np.int8 if "INT" in kind else np.float32)
    return tensor.name, array


def _read(proto: onnx.ModelProto, types: Types | None = None) -> ir.Model:
    """The model of a file whose inputs and outputs have the types given, or those in the file."""
    found = take_out(proto)
    model = ir.from_proto(proto)
    remember(model, found if types is None else types)
    return model


def _spec(value: ir.Value, types: Types) -> TensorSpec:
    name = value.name or ""
    if name in types:
        return TensorSpec(name, name_of(types[name]), None)
    if value.type is None:
        dtype = "unknown"
    elif not isinstance(value.type, ir.TensorType):
        return TensorSpec(name, name_of(ir.serde.serialize_type(value.type)), None)
    else:
        dtype = name_of_dtype(value.type.dtype)
    dims = [d if isinstance(d, int) else d.value for d in value.shape or ()]
    return TensorSpec(name, dtype, None if value.shape is None else tuple(dims))


def _proto(model: ir.Model, *, apart: bool = False) -> onnx.ModelProto:
    """The model as protobuf, all weights inside, or but for those in files."""
    try:
        if not apart and any(external(model)):
            model = model.clone()
            ir.external_data.load_to_model(model)
        proto = ir.to_proto(model)
    except Exception as error:  # names that are not UTF-8, tensors that are not what they say
        raise ModelError(
            "the model holds what an ONNX file cannot hold", _root(error)[:300]
        ) from error
    put_back(proto, remembered(model))
    told = {tensor.name for tensor in proto.graph.initializer}  # their types, with their values
    kept = [value for value in proto.graph.value_info if value.name not in told]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    return proto


def _refuse_odd_tensors(graph: onnx.GraphProto, path: Path) -> None:
    """Initializers without a size, or larger than the file could hold."""
    size = path.stat().st_size
    for tensor in graph.initializer:
        what = f"initializer {tensor.name!r}"
        if any(dim < 0 for dim in tensor.dims):
            raise ModelError(f"{what} has no size", f"its shape is {tuple(tensor.dims)}")
        outside = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not outside and _overfull(tensor.dims, size):
            raise ModelError(
                f"{what} is cut short",
                f"its shape is {tuple(tensor.dims)}, the whole file has {size} bytes",
            )


def _overfull(dims: Iterable[int], size: int) -> bool:
    """Whether so many bytes cannot hold the values: no type takes less than two bits for one."""
    return math.prod(dims) > 4 * size


def _root(error: BaseException) -> str:
    """The first line of what went wrong first."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return (str(error) or type(error).__name__).splitlines()[0]
