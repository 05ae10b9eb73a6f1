"""The cases that the `onnx` package brings along, as files that worker processes can take up.

    node                 1,884 models of mostly one operator, made by code, with inputs
    simple               small graphs
    pytorch-operator     what torch once exported, with weights
    pytorch-converted
    light                nine networks of image classification, their weights made by nodes

Each comes as it is, and where it has more inputs than one also with these as initializers: as they
come, the cases of `node` have no weights.

    as-is        every input is fed
    constants    the first float input is fed, and what is no float; the other floats are constants
    fixed        the first float input is fed, and nothing else

A few hundred are stamped with an opset that no released runtime takes, mostly for types that an
operator has gained: they are stamped with the newest that onnxruntime takes.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted", "light")
VARIANTS = ("as-is", "constants", "fixed")
OPSET, IR = 26, 13  # the newest that onnxruntime 1.31 takes
_PROTO = onnx.TensorProto
_FLOATS = {_PROTO.FLOAT, _PROTO.FLOAT16, _PROTO.DOUBLE, _PROTO.BFLOAT16}


@dataclass(frozen=True)
class Case:
    """A model and what it is fed; `operators` are those of its main graph, in order."""

    kind: str
    name: str
    variant: str
    model: bytes
    feeds: dict[str, Any]
    operators: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}/{self.variant}"

    def save(self, path: Path) -> Path:
        path.write_bytes(pickle.dumps(self))
        return path


def load(path: Path) -> Case:
    """The case that `save` wrote: a pickle, to be read where it was written."""
    found = pickle.loads(path.read_bytes())
    assert isinstance(found, Case)
    return found


def cases(
    kinds: Iterable[str] = KINDS, only: str = "*", variants: Iterable[str] = VARIANTS
) -> Iterator[Case]:
    """Every case of these kinds whose name fits the glob, in these variants, in a fixed order."""
    for kind in kinds:
        for name, proto, inputs in _LOADERS[kind](kind):
            if fnmatchcase(name, only):
                _restamp(proto)
                yield from _variants(kind, name, proto, inputs, tuple(variants))


def _variants(
    kind: str, name: str, proto: onnx.ModelProto, inputs: list[Any], wanted: tuple[str, ...]
) -> Iterator[Case]:
    fed = [value for value in proto.graph.input if value.name not in _initialized(proto)]
    feeds = {v.name: _array(array) for v, array in zip(fed, inputs, strict=False)}
    feeds = {name: array for name, array in feeds.items() if array is not None}
    floats = [v.name for v in fed if _dtype(v) in _FLOATS and v.name in feeds]
    arrays = [v.name for v in fed if _dtype(v) and isinstance(feeds.get(v.name), np.ndarray)]
    others = arrays if not floats else [name for name in arrays if name != floats[0]]
    turned = {
        "as-is": [],
        "constants": floats[1:],
        "fixed": others if floats and set(others) != set(floats[1:]) else [],
    }
    operators = tuple(node.op_type for node in proto.graph.node)
    for variant, names in turned.items():
        if variant in wanted and (names or variant == "as-is"):
            model = _with_constants(proto, {name: feeds[name] for name in names})
            left = {key: array for key, array in feeds.items() if key not in names}
            yield Case(kind, name, variant, model.SerializeToString(), left, operators)


def _with_constants(proto: onnx.ModelProto, constants: dict[str, Any]) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for value in [v for v in made.graph.input if v.name in constants]:
        array = constants[value.name]
        if _dtype(value) == _PROTO.STRING:
            tensor = onnx.helper.make_tensor(
                value.name, _PROTO.STRING, array.shape, array.reshape(-1).tolist()
            )
        else:
            tensor = onnx.numpy_helper.from_array(array, value.name)
        made.graph.initializer.append(tensor)
        if made.ir_version >= 4:  # before, every initializer is an input too
            made.graph.input.remove(value)
    return made


def _restamp(proto: onnx.ModelProto) -> None:
    proto.ir_version = min(proto.ir_version, IR)
    for holder in (proto, *proto.functions):
        for opset in holder.opset_import:
            if opset.domain in ("", "ai.onnx"):
                opset.version = min(opset.version, OPSET)


def _initialized(proto: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in proto.graph.initializer}


def _dtype(value: onnx.ValueInfoProto) -> int:
    """The type of a tensor's elements; 0 for a sequence, an optional, a map."""
    return value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0


def _array(value: Any) -> Any:
    """What is fed: strings as numpy's own, the rest as it comes."""
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.astype(np.str_)
    return value


_Found = Iterator[tuple[str, onnx.ModelProto, list[Any]]]


def _made(kind: str) -> _Found:
    """Those that code makes; the code warns of its own overflows."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind=kind)
    for each in sorted(found, key=lambda case: case.name):
        assert each.model is not None and each.data_sets is not None
        yield each.name, each.model, list(each.data_sets[0][0])


def _stored(kind: str) -> _Found:
    for folder in sorted((_data() / kind).iterdir()):
        if (folder / "model.onnx").exists():
            proto = onnx.load(str(folder / "model.onnx"))
            files = sorted(
                folder.glob("test_data_set_0/input_*.pb"),
                key=lambda path: int(path.stem.removeprefix("input_")),
            )
            given = [v for v in proto.graph.input if v.name not in _initialized(proto)]
            if len(given) < len(files):  # there is a file for each initializer too
                given = list(proto.graph.input)
            arrays = {v.name: _read(path, v) for v, path in zip(given, files, strict=False)}
            fed = [v.name for v in proto.graph.input if v.name not in _initialized(proto)]
            yield folder.name, proto, [arrays.get(name) for name in fed]


def _light(kind: str) -> _Found:
    """The nine come without inputs: onnx's own runner feeds them a ramp."""
    for path in sorted((_data() / kind).glob("light_*.onnx")):
        proto = onnx.load(str(path))
        inputs = []
        for value in proto.graph.input:
            if value.name not in _initialized(proto):
                shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
                ramp = np.arange(np.prod(shape), dtype=np.float64) / np.prod(shape)
                inputs.append(ramp.reshape(shape).astype(np.float32))
        yield path.stem, proto, inputs


def _data() -> Path:
    import onnx.backend.test

    return Path(onnx.backend.test.__file__).parent / "data"


def _read(path: Path, value: onnx.ValueInfoProto) -> Any:
    data = path.read_bytes()
    if value.type.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if value.type.HasField("optional_type"):
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))


_LOADERS = {
    "node": _made,
    "simple": _stored,
    "pytorch-operator": _stored,
    "pytorch-converted": _stored,
    "light": _light,
}
