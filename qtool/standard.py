"""Which operators of `ai.onnx.ml` standard operators can stand for, and why they cannot for others.

`qtool.passes.standard` writes them, for targets that have no `ai.onnx.ml`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.classical import DOMAIN, FINISHES, NARROW, Linear, Machine, labels, left, read
from qtool.numeric.coupling import sweeps
from qtool.ops import integers, reals, text

MOST = 600  # nodes that one classifier may become
SPAN = 65_536  # numbers from the least to the greatest key of a table


def unwritten(node: ir.Node) -> str:
    """Why the node stays as it is; empty where standard operators take its place."""
    if node.domain != DOMAIN:
        return ""
    if node.op_type in _REASONS:
        return _REASONS[node.op_type](node)
    return _MAPS.get(node.op_type) or left(node) or "no standard operator does the same"


def sweeps_of(node: ir.Node) -> int:
    """How often probabilities of pairs are coupled: as often as was ever needed, and once more."""
    pairs = len(labels(node)) * (len(labels(node)) - 1) // 2
    return 1 + sweeps(*(np.array(reals(node, name)[:pairs]) for name in ("prob_a", "prob_b")))


def nodes_for(classes: int, times: int) -> int:
    """How many nodes that takes, but for a few."""
    return times * (7 + 8 * classes)


def imputed(node: ir.Node) -> tuple[float, ...] | tuple[int, ...]:
    """The values of an Imputer for floats, or for integers."""
    return reals(node, "imputed_value_floats") or integers(node, "imputed_value_int64s")


_TYPE = "the type of what it reads is not known"
_SHAPE = "the shape of what it reads is not known"
_LENGTHS = "its attributes are not as long as each other asks"
_FLOAT, _INT64 = ir.DataType.FLOAT, ir.DataType.INT64
_NUMBERS = {_FLOAT, ir.DataType.DOUBLE, _INT64, ir.DataType.INT32}


def _typed(node: ir.Node, types: set[ir.DataType]) -> str:
    kind = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
    if kind is None:
        return _TYPE
    return "" if kind in types else f"it works on {kind.name.lower()}"


def _per_feature(node: ir.Node, count: int) -> str:
    """A list of one value for each column asks for a table."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if count == 1:
        return ""
    if shape is None:
        return _SHAPE
    return "" if len(shape) in (1, 2) else f"what it reads has {len(shape)} axes"


def _scaler(node: ir.Node) -> str:
    count = len(reals(node, "scale"))
    if not count or len(reals(node, "offset")) != count:
        return _LENGTHS
    return _typed(node, _NUMBERS) or _per_feature(node, count)


def _normalizer(node: ir.Node) -> str:
    norm = text(node, "norm", "MAX")
    return _typed(node, _NUMBERS) if norm in ("MAX", "L1", "L2") else f"its norm is {norm}"


def _imputer(node: ir.Node) -> str:
    values, shape = imputed(node), node.inputs[0].shape if node.inputs[0] is not None else None
    if not values:
        return "it has no values to put in"
    if len(values) > 1 and shape is not None and not isinstance(shape[-1], int):
        return _SHAPE
    wanted = _FLOAT if isinstance(values[0], float) else _INT64
    return _typed(node, {wanted}) or _per_feature(node, len(values))


def _extractor(node: ir.Node) -> str:
    return _SHAPE if node.inputs[0] is None or node.inputs[0].shape is None else ""


def _one_hot(node: ir.Node) -> str:
    categories, zeros = integers(node, "cats_int64s"), node.attributes.get("zeros")
    if not categories:
        return "it tells texts apart"
    if len(set(categories)) < len(categories):
        return "it names a category twice"
    if zeros is not None and not zeros.as_int():
        return "it refuses numbers that are none of its categories"
    return _typed(node, _NUMBERS)


def keys_of(node: ir.Node) -> tuple[int, ...]:
    """The integers that a LabelEncoder looks up; empty where they are none."""
    tensor = node.attributes.get("keys_tensor")
    if tensor is not None:
        found = tensor.as_tensor()
        return tuple(found.numpy().tolist()) if found.dtype is _INT64 else ()
    if "classes_strings" in node.attributes and node.inputs[0] is not None:
        count = len(node.attributes["classes_strings"].as_strings())
        return tuple(range(count)) if node.inputs[0].dtype is _INT64 else ()
    return integers(node, "keys_int64s")


def values_of(node: ir.Node) -> tuple[NDArray[Any], Any]:
    """Those of a LabelEncoder, and what stands for all others."""
    attributes = node.attributes
    if (tensor := attributes.get("values_tensor")) is not None:
        values, default = tensor.as_tensor().numpy(), attributes.get("default_tensor")
        usual = {"i": -1, "f": -0.0}.get(values.dtype.kind, _UNUSED)
        return values, usual if default is None else default.as_tensor().numpy().reshape(-1)[0]
    for name in ("values_strings", "classes_strings"):
        if name in attributes:
            texts, default = attributes[name].as_strings(), attributes.get("default_string")
            words = np.array(list(texts), object)
            return words, _UNUSED if default is None else default.as_string()
    if "values_floats" in attributes:
        default = attributes.get("default_float")
        rest = -0.0 if default is None else default.as_float()
        return np.array(reals(node, "values_floats"), np.float32), rest
    default = attributes.get("default_int64")
    values = np.array(attributes["values_int64s"].as_ints(), np.int64)
    return values, -1 if default is None else default.as_int()


_UNUSED = "_Unused"


def _encoder(node: ir.Node) -> str:
    keys = keys_of(node)
    if not keys:
        return "it looks up texts, or fractions"
    if len(values_of(node)[0]) != len(keys):
        return _LENGTHS
    if len(set(keys)) < len(keys) or max(keys) - min(keys) >= SPAN:
        return "its keys are doubled, or too far apart for a table"
    return _typed(node, {_INT64})


def _finisher(node: ir.Node, why: Callable[[ir.Node, Linear | Machine], str]) -> str:
    found, reason = read(node), left(node)
    if isinstance(found, str) or reason not in (FINISHES, NARROW, ""):
        return reason
    if found.transform not in TRANSFORMS:
        return f"the runtime's own {found.transform} is not precise enough to match"
    return why(node, found)


# what scores become; PROBIT is an approximation that loses half of its digits near to 1/2
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def _classes(node: ir.Node, found: Linear | Machine) -> str:
    """One row may tell two classes apart; else there is one for each."""
    assert isinstance(found, Linear)
    return "" if len(labels(node)) == max(2, len(found.bias)) else _LENGTHS


def _machine(node: ir.Node, found: Linear | Machine) -> str:
    count = len(labels(node))
    if isinstance(found, Linear) or not reals(node, "prob_a"):
        return ""
    pairs = count * (count - 1) // 2
    if min(len(reals(node, name)) for name in ("prob_a", "prob_b")) < pairs:
        return _LENGTHS
    times = 3 if nodes_for(count, 3) > MOST else sweeps_of(node)
    more = nodes_for(count, times)
    why = f"to couple the probabilities of {count} classes would take {more} operators and more"
    return why if more > MOST else ""


_MAPS = {
    "CastMap": "it reads maps, which no standard operator does",
    "DictVectorizer": "it reads maps, which no standard operator does",
    "ZipMap": "it makes maps, which no standard operator does; export without it (zipmap: False)",
}
_REASONS: dict[str, Callable[[ir.Node], str]] = {
    "ArrayFeatureExtractor": _extractor,
    "Binarizer": lambda node: _typed(node, {_FLOAT}),
    "Imputer": _imputer,
    "LabelEncoder": _encoder,
    "LinearClassifier": partial(_finisher, why=_classes),
    "LinearRegressor": partial(_finisher, why=lambda node, found: ""),
    "Normalizer": _normalizer,
    "OneHotEncoder": _one_hot,
    "SVMClassifier": partial(_finisher, why=_machine),
    "SVMRegressor": partial(_finisher, why=lambda node, found: ""),
    "Scaler": _scaler,
}
