"""How much a model computes, and when one thread does it."""

from __future__ import annotations

import numpy as np
import pytest

from qtool.effort import SMALL, multiplications, suited
from tests.models import build, weight

CONV = (
    "g (float[N,{i},{s},{s}] x) => (float[N,{o},{s},{s}] y) {{ y = Conv<pads=[1,1,1,1]{g}>(x, w) }}"
)


@pytest.mark.parametrize(
    ("channels", "size", "group", "expected"),
    [(8, 4, 1, 16 * 8 * 8 * 9), (8, 4, 8, 16 * 8 * 9), (64, 32, 1, 1024 * 64 * 64 * 9)],
)
def test_of_convolutions(channels: int, size: int, group: int, expected: int) -> None:
    graph = CONV.format(i=channels, o=channels, s=size, g=f", group={group}")
    model = build(graph, w=weight(channels, channels // group, 3, 3))
    assert multiplications(model) == expected
    assert suited(model, 0) == (1 if expected < SMALL else 0)
    assert suited(model, 3) == 3


def test_of_products_at_several_places() -> None:
    graph = "g (float[N,7,16] x) => (float[N,7,4] y) { a = MatMul(x, v) y = MatMul(a, w) }"
    model = build(graph, v=weight(16, 32), w=weight(32, 4))
    assert multiplications(model) == 7 * (16 * 32 + 32 * 4)


def test_a_table_costs_nothing_and_open_shapes_are_not_known() -> None:
    ids = "g (int64[N,5] x) => (float[N,5,8] y) { y = Gather(t, x) }"
    assert multiplications(build(ids, t=np.ones((1000, 8), np.float32))) == 0
    ragged = build("g (float[N,L,16] x) => (float[N,L,4] y) { y = MatMul(x, w) }", w=weight(16, 4))
    assert multiplications(ragged) is None
    assert suited(ragged, 0) == 0
