"""Probabilities of classes from the scores of pairs, by a fixed number of sweeps, unrolled.

    r = clip(sigmoid(-a s - b))    Q, p: see `qtool.numeric.coupling`, where the law stands
    each class t of a sweep        w = p - e_t,  g = w Qp,  p <- p - w g / (g + Q_tt)
    each sweep                     p <- goes on ? swept : p,  goes on = max |Qp - pQp| >= 0.005 / k

A row that has stopped would stop again, so that no mask is carried on. Vectors are columns,
(rows, classes, 1). Of constants none is the second factor of a MatMul: there it would be a weight.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx_ir as ir

from qtool.classical import labels
from qtool.numeric.coupling import LEAST, NEAR
from qtool.ops import reals
from qtool.passes.standard.at import At
from qtool.standard import sweeps_of


def coupled(at: At, scores: ir.Value) -> ir.Value:
    """(rows, pairs) -> (rows, classes)."""
    count = len(labels(at.node))
    q, own = _matrix(at, _chances(at, scores, count * (count - 1) // 2), count)
    each = [at("Gather", own, np.array([t]), axis=1) for t in range(count)]
    p = at.constant(np.full((1, count, 1), 1 / count, np.float32))
    qp = at.over("ReduceMean", q, 2)  # Q p of the first p
    for sweep in range(sweeps_of(at.node)):
        qp = qp if sweep == 0 else at("MatMul", q, p)
        p = at("Where", _goes_on(at, p, qp, count), _swept(at, q, each, p, qp), p)
    return at("Squeeze", p, np.array([2]))


def _chances(at: At, scores: ir.Value, pairs: int) -> ir.Value:
    """1 - logistic(a s + b), (rows, pairs)."""
    slope, shift = (
        -np.array(reals(at.node, name)[:pairs], np.float32) for name in ("prob_a", "prob_b")
    )
    found = at("Sigmoid", at("Add", at("Mul", scores, slope), shift))
    return at("Clip", found, LEAST, 1 - LEAST)


def _matrix(at: At, chances: ir.Value, count: int) -> tuple[ir.Value, ir.Value]:
    """Q, and what lies on its diagonal."""
    pairs = {pair: place for place, pair in enumerate(combinations(range(count), 2))}
    others = at("Sub", at.constant(1), chances)
    # r_ji for each i and all j but i: the chances of those before it, what is left of the others
    lost = np.array(
        [
            [pairs[j, i] if j < i else len(pairs) + pairs[i, j] for j in range(count) if j != i]
            for i in range(count)
        ]
    )
    both = at.joined(1, chances, others)
    own = at.over("ReduceSum", at("Gather", at("Mul", both, both), lost, axis=1), 2)
    beside = at("Unsqueeze", at("Neg", at("Mul", chances, others)), np.array([2]))
    cells = [
        [pairs.get((min(i, j), max(i, j)), len(pairs) + i) for j in range(count)]
        for i in range(count)
    ]
    values = at("Squeeze", at.joined(1, beside, own), np.array([2]))
    return at("Gather", values, np.array(cells), axis=1), own


def _goes_on(at: At, p: ir.Value, qp: ir.Value, count: int) -> ir.Value:
    """A row that is no number stays where it begins, as in the runtime."""
    off = at("Abs", at("Sub", qp, at.over("ReduceSum", at("Mul", p, qp), 1)))
    return at("GreaterOrEqual", at.over("ReduceMax", off, 1), NEAR / count)


def _swept(at: At, q: ir.Value, each: list[ir.Value], p: ir.Value, qp: ir.Value) -> ir.Value:
    for t, unit in enumerate(np.eye(len(each), dtype=np.float32)[:, None, :, None]):
        w = at("Sub", p, unit)
        gain = at.over("ReduceSum", at("Mul", w, qp if t == 0 else at("MatMul", q, p)), 1)
        p = at("Sub", p, at("Mul", w, at("Div", gain, at("Add", gain, each[t]))))
    return p
