"""What turns scores into labels and probabilities. `qtool.passes.classical` has left the nodes
nothing to multiply with but 1 and -1, and a few that it leaves alone are written here too.

linear_regressor     transform(s)
linear_classifier    labels[argmax(s)], transform(s)
                     of two classes by one score: labels[s > 0], (1 - t, t) where t is s, or
                     logistic(s) where that is the transform
svm_regressor        of one class: s > 0 ? 1 : -1
svm_classifier       of pairs (0, 1), (0, 2) ... (1, 2) ...: labels[argmax(votes)], each pair's vote
                     for its first class if s > 0, else for its second
                     transform(s), of two classes (-s, s), or (1 - t, t) where it has a transform;
                     with prob_a, prob_b  transform(p): see `coupling`
                     of a row for each class: labels[argmax(s)], transform(s); of two classes the
                     second where max(s) >= 0.5, or max(s) > 0 if a weight is below 0

    transform    NONE, SOFTMAX, LOGISTIC, or SOFTMAX_ZERO, which leaves 0 out; the only score of a
                 regressor the runtime leaves as it is
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx_ir as ir

from qtool.classical import Linear, labels, read
from qtool.ops import reals, text
from qtool.passes.classical.scores import label_table
from qtool.passes.standard.at import At
from qtool.passes.standard.coupling import coupled


def linear_regressor(at: At) -> tuple[ir.Value, ...]:
    """LinearRegressor."""
    found = _scores(at)
    return (_transformed(at, found) if _held(at).bias.size > 1 else at.result(found),)


def linear_classifier(at: At) -> tuple[ir.Value, ...]:
    """LinearClassifier."""
    found, classes = _scores(at), labels(at.node)
    if _held(at).bias.size > 1:
        return _named(at, _best(at, found), classes), _transformed(at, found)
    label = _named(at, _flat(at, at("Greater", found, 0)), classes)
    return label, _both(at, found)


def svm_regressor(at: At) -> tuple[ir.Value, ...]:
    """SVMRegressor."""
    found, one_class = _scores(at), at.node.attributes.get("one_class")
    if one_class is None or not one_class.as_int():
        return (at.result(found),)
    return (at("Where", at("Greater", found, 0), at.constant(1), at.constant(-1)),)


def svm_classifier(at: At) -> tuple[ir.Value, ...]:
    """SVMClassifier."""
    found, classes, given = _scores(at), labels(at.node), at.node.attributes["coefficients"]
    slope = reals(at.node, "prob_a")
    if isinstance(read(at.node), Linear):
        best = _best(at, found)
        if len(classes) == 2 and not slope:
            most, bound = at.over("ReduceMax", found, 1), min(given.as_floats()) >= 0
            second = at("GreaterOrEqual", most, 0.5) if bound else at("Greater", most, 0)
            best = at("Where", _flat(at, second, ir.DataType.BOOL), np.array(1), best)
        return _named(at, best, classes), _transformed(at, found)
    label = _named(at, _voted(at, found, len(classes)), classes)
    if slope:
        return label, _transformed(at, coupled(at, found))
    if len(classes) > 2:
        return label, _transformed(at, found)
    if text(at.node, "post_transform", "NONE") == "NONE":
        return label, at.joined(1, at("Neg", found), found)
    return label, _both(at, found)


def _held(at: At) -> Linear:
    """The rows of weights of a node, or the one of each pair of a machine with a linear kernel."""
    held = read(at.node)
    assert not isinstance(held, str)
    if isinstance(held, Linear):
        return held
    weights = (held.vectors.T @ held.coefficients).astype(np.float32)
    return Linear(weights, held.rho, held.transform)


def _scores(at: At) -> ir.Value:
    """What the node reads times 1 or -1."""
    held = _held(at)
    found, signs = at.matrix(len(held.weights)), held.weights.diagonal()
    if held.weights.shape[1] != len(held.weights):
        found = at("MatMul", found, held.weights)
    elif (signs == -1).all():
        found = at("Neg", found)
    elif (signs != 1).any():
        found = at("Mul", found, signs.copy())
    return at("Add", found, held.bias) if held.bias.any() else found


def _best(at: At, scores: ir.Value) -> ir.Value:
    return at("ArgMax", scores, axis=1, keepdims=0)


def _flat(at: At, column: ir.Value, to: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """(rows, 1) -> (rows,)."""
    return at("Squeeze", at.cast(column, to), np.array([1]))


def _voted(at: At, scores: ir.Value, count: int) -> ir.Value:
    """The first class of most votes; of two it is the first where s > 0."""
    wins = at("Greater", scores, 0)  # no vote for the first class where s is no number
    if count == 2:
        return at("Squeeze", at("Where", wins, np.array(0), np.array(1)), np.array([1]))
    first, second = np.array(list(combinations(range(count), 2))).T
    ones = np.eye(count, dtype=np.float32)
    won = at("Transpose", at.floats(wins))  # (pairs, rows), of which there may be none
    # Constants stand in front: behind, they would be weights.
    votes = at("MatMul", (ones[first] - ones[second]).T.copy(), won)
    votes = at("Add", votes, ones[second].sum(axis=0)[:, None])
    return at("ArgMax", votes, axis=0, keepdims=0)


def _named(at: At, best: ir.Value, classes: tuple[int, ...] | tuple[str, ...]) -> ir.Value:
    """Places of classes -> their labels."""
    if classes == tuple(range(len(classes))):
        return best
    return at("Gather", at.constant(label_table(classes)), best)


def _both(at: At, score: ir.Value) -> ir.Value:
    """Of the second class and what is left to the first; it need not be from 0 to 1."""
    if text(at.node, "post_transform", "NONE") == "LOGISTIC":
        score = at("Sigmoid", score)
    return at.joined(1, at("Sub", at.constant(1), score), score)


def _transformed(at: At, scores: ir.Value) -> ir.Value:
    name = text(at.node, "post_transform", "NONE")
    if name == "NONE":
        return at.result(scores)
    if name == "SOFTMAX":
        return at("Softmax", scores, axis=1)
    return at("Sigmoid", scores) if name == "LOGISTIC" else _softmax_zero(at, scores)


def _softmax_zero(at: At, scores: ir.Value) -> ir.Value:
    """exp(s - max) / sum, of those that are not 0; the others  s exp(-max) / sum."""
    most = at.over("ReduceMax", scores, 1)
    counts, powers = at("Greater", at("Abs", scores), 1e-7), at("Exp", at("Sub", scores, most))
    total = at.over("ReduceSum", at("Where", counts, powers, at.constant(0)), 1)
    rest = at("Mul", scores, at("Exp", at("Neg", most)))
    return at("Div", at("Where", counts, powers, rest), total)
