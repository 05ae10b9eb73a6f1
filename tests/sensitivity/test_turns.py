"""Who meets whom: evenly, never twice, and by what samples hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qtool.data import Dataset, open_dataset
from qtool.sensitivity.turns import FEWEST, first, ranked, turns_of
from qtool.signature import Signature, TensorSpec
from tests.models import Array, normal


def dataset(folder: Path, x: Array) -> Dataset:
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", x)
    return open_dataset(folder / "x.npy", Signature((TensorSpec("x", "float32", (None, 3)),), ()))


@pytest.mark.parametrize(
    ("units", "sources"), [(1, 1), (4, 1), (5, 7), (16, 16), (10, 2), (40, 3), (3, 50), (64, 9)]
)
def test_each_source_meets_as_many_and_none_twice(units: int, sources: int, tmp_path: Path) -> None:
    data = dataset(tmp_path, normal(units, 3))
    turns = turns_of(data, 1, sources, ranked(data, 1))
    met = Counter(source for each in turns.sources for source in each)
    assert all(len(set(each)) == len(each) for each in turns.sources)
    assert set(met) == set(range(sources))
    assert max(met.values()) - min(met.values()) <= 1
    assert turns.runs <= max(2 * units, sources)
    assert min(met.values()) >= min(FEWEST, 2 * units // sources, units) - 1


def test_the_order_of_the_data_means_nothing(tmp_path: Path) -> None:
    x = normal(12, 3)
    one, other = dataset(tmp_path / "a", x), dataset(tmp_path / "b", x[::-1])
    orders = ranked(one, 1), ranked(other, 1)
    assert orders[0].fingerprint == orders[1].fingerprint == one.fingerprint
    assert [11 - unit for unit in orders[1].units] == list(orders[0].units)
    few = [first(data, 1, order, 4) for data, order in zip((one, other), orders, strict=True)]
    for index in range(4):
        np.testing.assert_array_equal(few[0].sample(index)["x"], few[1].sample(index)["x"])
    assert len(few[0]) == 4
