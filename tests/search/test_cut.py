"""The cut against all labels there are, on small random graphs."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from qtool.search.cut import Border, least, time_of


def graph(seed: int) -> tuple[list[tuple[float, float]], list[Border]]:
    """Up to nine nodes, some bound to a label, whose tensors have up to three readers."""
    draw = random.Random(seed)
    count = draw.randint(1, 9)
    nodes = []
    for _ in range(count):
        pair = (draw.uniform(0, 10), draw.uniform(0, 10))
        bound = draw.random()
        nodes.append((math.inf, pair[1]) if bound < 0.1 else (pair[0], math.inf) if bound < 0.2
                     else pair)  # fmt: skip
    borders = []
    for maker in (None, *range(count)):
        later = range(0 if maker is None else maker + 1, count)
        readers = draw.sample(later, min(len(later), draw.randint(0, 3)))
        outside = [None] if draw.random() < 0.2 else []
        times = draw.choice((0.0, draw.uniform(0, 8))), draw.choice((0.0, draw.uniform(0, 8)))
        borders.append(Border(maker, (*readers, *outside), *times))
    return nodes, borders


@pytest.mark.parametrize("seed", range(300))
def test_no_labels_take_less_time(seed: int) -> None:
    nodes, borders = graph(seed)
    found = least(nodes, borders)
    every = itertools.product((False, True), repeat=len(nodes))
    best = min(time_of(labels, nodes, borders) for labels in every)
    assert time_of(found, nodes, borders) == pytest.approx(best, abs=1e-9)


def test_a_conversion_is_paid_once_for_all_readers() -> None:
    # three readers gain 1 each, entering takes 2
    assert least([(0, 1)] * 3, [Border(None, (0, 1, 2), 2.0, 0.0)]) == [True] * 3
    apart = [Border(None, (i,), 2.0, 0.0) for i in range(3)]
    assert least([(0, 1)] * 3, apart) == [False] * 3


def test_a_slow_layer_stays_within_where_leaving_and_coming_back_takes_longer() -> None:
    def chain(slow: float) -> list[bool]:
        nodes = [(1.0, 5.0), (slow, 1.0), (1.0, 5.0)]
        between = [Border(i, (i + 1,), 2.0, 2.0) for i in range(2)]
        return least(nodes, between)

    assert chain(4.0) == [True, True, True]
    assert chain(6.0) == [True, False, True]


def test_of_equal_times_the_fewest_integers() -> None:
    assert least([(1.0, 1.0)] * 4, []) == [False] * 4


def test_a_thousand_layers_take_no_recursion() -> None:
    nodes = [(1.0, 2.0)] * 1000
    assert least(nodes, [Border(i, (i + 1,), 1.0, 1.0) for i in range(999)]) == [True] * 1000
