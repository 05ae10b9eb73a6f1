"""What the operators of `ai.onnx.ml` that multiply hold: linear models and support vector machines.

Their numbers are attributes, float32. As onnxruntime's kernels read them, from which the standard
(ai.onnx.ml 1 to 5) leaves much open:

    coefficients   linear: (classes or targets, features); regressor of vectors: (vectors,)
                   classifier of vectors: (classes - 1, vectors), where vector v of class i has in
                   row j - 1 what it adds to the pair (i, j), and in row j that of (j, i)
    vectors        (vectors, features), those of each class together
    rho            one for each pair of classes: (0, 1), (0, 2) ... (1, 2) ...
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import integers, reals, text

DOMAIN = "ai.onnx.ml"
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """x (rows, features) -> x W + b: `weights` (features, outputs), `bias` (outputs,)."""

    weights: Floats
    bias: Floats
    transform: str

    @property
    def features(self) -> int:
        """Columns of x."""
        return len(self.weights)


@dataclass(frozen=True, eq=False)
class Machine:
    """x (rows, features) -> k(x, V) A + rho: `vectors` (vectors, features), `coefficients`
    (vectors, outputs), an output for each pair of classes, or one for a regression; `counts` are
    the vectors of each class."""

    kernel: str
    gamma: float
    coef0: float
    degree: float
    vectors: Floats
    coefficients: Reals
    rho: Floats
    transform: str
    counts: tuple[int, ...] = ()

    @property
    def features(self) -> int:
        """Columns of x."""
        return int(self.vectors.shape[1])


def read(node: ir.Node) -> Linear | Machine | str:
    """What the node holds, or the reason why it is left as it is."""
    if node.domain != DOMAIN or node.op_type not in _READERS:
        return _LEFT.get(node.op_type, "") if node.domain == DOMAIN else ""
    try:
        found = _READERS[node.op_type](node)
    except (IndexError, ValueError):
        return "its attributes are not as long as each other asks"
    columns = _columns(node)
    if isinstance(found, str):
        return found
    if not all(np.isfinite(each).all() for each in vars(found).values() if _is_number(each)):
        return "its numbers are not all finite"
    if columns in (None, found.features):
        return found
    return f"it asks for {found.features} columns, and what it reads has {columns}"


def _is_number(value: object) -> bool:
    return isinstance(value, (float, np.ndarray))


def _columns(node: ir.Node) -> int | None:
    """How many numbers a row of what the node reads has, where that is known."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    last = shape[-1] if shape is not None and len(shape) in (1, 2) else None
    return last if isinstance(last, int) else None


def left(node: ir.Node) -> str:
    """Why the node is not written as products; empty where that is not known, or it is."""
    found = read(node)
    return found if isinstance(found, str) else _stays(found)


def lowered(node: ir.Node) -> Linear | Machine | None:
    """What will be written as products of the node, if anything."""
    found = read(node)
    return None if isinstance(found, str) or _stays(found) else found


def _stays(found: Linear | Machine) -> str:
    if isinstance(found, Linear):
        return FINISHES if _passes_on(found.weights) else ""
    if found.kernel == "LINEAR" and _passes_on(found.vectors.T @ found.coefficients):
        return FINISHES
    narrow = found.kernel == "RBF" and is_narrow(found)
    return NARROW if narrow else ""


def _passes_on(weights: Floats | Reals) -> bool:
    """Whether all that it multiplies with is 1, or -1: what `qtool.passes.classical` leaves of a
    node that makes more of scores than standard operators do."""
    return bool((np.abs(weights) == np.eye(*weights.shape)).all())


def is_narrow(machine: Machine) -> bool:
    """Whether steps of 8 bits move vectors, |d|, so far that a kernel exp(-gamma |d|^2) notices."""
    largest = np.abs(machine.vectors).max(axis=1).astype(np.float64)
    moved = machine.vectors.shape[1] * (largest / 127) ** 2 / 12  # of a step, the mean square
    return not bool((machine.gamma * moved <= _NOTICED).all())


def needs_double(machine: Machine) -> bool:
    """Whether |x|^2 - 2 x v + |v|^2 in float32 would lose digits of a distance that scores show."""
    squares = (machine.vectors.astype(np.float64) ** 2).sum(axis=1).max(initial=0.0)
    # Each kernel's error is its own; what its row has in common with all others is a common factor.
    weight = np.sqrt((machine.coefficients**2).sum(axis=0).max(initial=0.0))
    return not machine.gamma * squares * weight * float(np.finfo(np.float32).eps) <= _LOST


_NOTICED = 0.1
_LOST = 5e-6


def _floats(node: ir.Node, name: str) -> Floats:
    return np.asarray(reals(node, name), np.float32)


def labels(node: ir.Node) -> tuple[int, ...] | tuple[str, ...]:
    """The classes of a classifier."""
    attr = node.attributes.get("classlabels_strings")
    names = () if attr is None else tuple(attr.as_strings())
    return names or integers(node, "classlabels_ints") or integers(node, "classlabels_int64s")


def _linear(node: ir.Node, outputs: int) -> Linear | str:
    rows, bias = _floats(node, "coefficients"), _floats(node, "intercepts")
    if not rows.size or not outputs:
        return "it has no coefficients"
    if len(bias) not in (0, outputs):
        raise ValueError
    weights = np.ascontiguousarray(rows.reshape(outputs, -1).T)
    bias = bias if len(bias) else np.zeros(outputs, np.float32)
    return Linear(weights, bias, text(node, "post_transform", "NONE"))


def _linear_regressor(node: ir.Node) -> Linear | str:
    attr = node.attributes.get("targets")
    return _linear(node, 1 if attr is None else attr.as_int())


def _linear_classifier(node: ir.Node) -> Linear | str:
    return _linear(node, len(_floats(node, "intercepts")))  # the runtime counts these


def _machine(
    node: ir.Node, count: int, coefficients: Reals, counts: tuple[int, ...]
) -> Machine | str:
    params = _floats(node, "kernel_params")
    gamma, coef0, degree = map(float, params[:3]) if params.size else (0.0, 0.0, 0.0)
    vectors = _floats(node, "support_vectors").reshape(count, -1)
    rho = _floats(node, "rho")[: coefficients.shape[1]]
    if len(rho) < coefficients.shape[1] or not vectors.size:
        raise ValueError
    kernel, transform = (
        text(node, name, usual)
        for name, usual in (("kernel_type", "LINEAR"), ("post_transform", "NONE"))
    )
    if kernel not in KERNELS or (kernel == "RBF" and gamma <= 0):
        return f"its kernel is {kernel} with gamma = {gamma:g}"
    return Machine(kernel, gamma, coef0, degree, vectors, coefficients, rho, transform, counts)


def _svm_regressor(node: ir.Node) -> Linear | Machine | str:
    attr, rows = node.attributes.get("n_supports"), _floats(node, "coefficients")
    count = 0 if attr is None else attr.as_int()
    if not rows.size:
        return "it has no coefficients"
    if count == 0:  # one row of weights
        return Linear(rows[:, None].copy(), _floats(node, "rho")[:1], "NONE")
    return _machine(node, count, rows.astype(np.float64).reshape(count, 1), ())


def _svm_classifier(node: ir.Node) -> Linear | Machine | str:
    counts, rows, classes = integers(node, "vectors_per_class"), _floats(node, "coefficients"), 0
    classes, count = len(labels(node)), sum(counts)
    if not rows.size or classes < 2:
        return "it has no coefficients, or fewer than two classes"
    if count == 0:  # a row of weights for each class
        weights = np.ascontiguousarray(rows.reshape(classes, -1).T)
        bias = np.full(classes, _floats(node, "rho")[0])
        return Linear(weights, bias, text(node, "post_transform", "NONE"))
    if len(counts) != classes:
        raise ValueError
    return _machine(node, count, _pairs(rows.reshape(classes - 1, count), counts), counts)


def _pairs(rows: Floats, counts: tuple[int, ...]) -> Reals:
    """(classes - 1, vectors) -> (vectors, pairs): what each vector adds to each pair."""
    ends = np.cumsum((0, *counts))
    own = [slice(*each) for each in pairwise(ends)]
    pairs = list(combinations(range(len(counts)), 2))
    found = np.zeros((rows.shape[1], len(pairs)))
    for place, (i, j) in enumerate(pairs):
        found[own[i], place] = rows[j - 1, own[i]]
        found[own[j], place] = rows[i, own[j]]
    return found


_READERS = {
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "SVMClassifier": _svm_classifier,
    "SVMRegressor": _svm_regressor,
}
FINISHES = "it makes labels, votes or probabilities of scores"
NARROW = "its kernel is so narrow that 8 bits would not tell its vectors apart"
_TREES = "trees compare numbers and multiply none"
_PREPARES = "it prepares or renames numbers, and has no weights"
_LEFT = {
    "TreeEnsemble": _TREES,
    "TreeEnsembleClassifier": _TREES,
    "TreeEnsembleRegressor": _TREES,
    "ArrayFeatureExtractor": _PREPARES,
    "Binarizer": _PREPARES,
    "CastMap": _PREPARES,
    "CategoryMapper": _PREPARES,
    "DictVectorizer": _PREPARES,
    "FeatureVectorizer": _PREPARES,
    "Imputer": _PREPARES,
    "LabelEncoder": _PREPARES,
    "Normalizer": _PREPARES,
    "OneHotEncoder": _PREPARES,
    "Scaler": _PREPARES,
    "ZipMap": _PREPARES,
}
