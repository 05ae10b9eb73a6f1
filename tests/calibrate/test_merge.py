"""Shards add up to the bytes of one run, and nothing else does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.calibrate.file import Calibration, load
from qtool.calibrate.merge import merge, missing
from qtool.calibrate.spans import Shard
from qtool.data import open_dataset
from qtool.errors import DataError
from tests.calibrate.made import data, job, measured, saved
from tests.models import normal


def shards(folder: Path, count: int, batch_size: int = 1) -> list[Calibration]:
    used = data(folder, sizes=(8, 12))
    return [
        measured(folder, used, shard=Shard(k, count), batch_size=batch_size)
        for k in range(1, count + 1)
    ]


@pytest.mark.parametrize(("count", "batch_size"), [(2, 1), (8, 1), (3, 4), (20, 1)])
def test_shards_in_any_order_give_the_bytes_of_one_run(
    tmp_path: Path, count: int, batch_size: int
) -> None:
    parts = shards(tmp_path, count, batch_size)
    whole = measured(tmp_path, data(tmp_path), batch_size=batch_size)
    random.Random(0).shuffle(parts)
    some = merge(parts[: count // 2], ["a"] * (count // 2))
    merged = merge([*parts[count // 2 :], some], ["b"] * (count - count // 2 + 1))
    assert merged.complete
    assert saved(merged, tmp_path / "m") == saved(whole, tmp_path / "w")


def test_files_read_back_as_they_were(tmp_path: Path) -> None:
    (part, *_) = shards(tmp_path, 3)
    before = saved(part, tmp_path / "a")
    assert saved(load(tmp_path / "a"), tmp_path / "b") == before


def test_the_order_of_the_data_does_not_matter(tmp_path: Path) -> None:
    x = normal(30, 3, 8, 8)
    for name, order in (("a", np.arange(30)), ("b", np.random.default_rng(1).permutation(30))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", x[order])
    signature = job(tmp_path).signature
    found = [
        saved(measured(tmp_path, open_dataset(tmp_path / n, signature)), tmp_path / f"{n}.calib")
        for n in ("a", "b")
    ]
    assert found[0] == found[1]


def test_a_shard_given_twice_is_noticed(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    with pytest.raises(DataError, match="one and again cover the same samples"):
        merge([one, two, one], ["one", "two", "again"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, "the model as transformed"),
        ({"batch_size": 2}, "batch size: 1, 2"),
        ({"seed": 5}, "seed: None, 5"),
        ({"samples": 7}, "samples: 20, 7"),
        ({"declared": {"inputs": {}}}, "the preprocessing in qtool.toml"),
        ({"versions": {"onnxruntime": "1.0"}}, "the version of"),
    ],
)
def test_parts_of_other_runs_are_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    one, two = shards(tmp_path, 2)
    other = replace(two, run=replace(two.run, **change))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one and two are not parts of one run") as error:
        merge([one, other], ["one", "two"])
    assert said in error.value.why


def test_shards_of_other_tensors_are_refused(tmp_path: Path) -> None:
    one, two = shards(tmp_path, 2)
    fewer = replace(two, histograms=dict(list(two.histograms.items())[1:]))
    with pytest.raises(DataError) as error:
        merge([one, fewer], ["one", "two"])
    assert "the tensors that were measured" in error.value.why


def test_a_part_is_no_calibration_to_quantize_with(tmp_path: Path) -> None:
    parts = shards(tmp_path, 4)
    some = merge([parts[0], parts[2]], ["a", "b"])
    assert missing(some) == "6 to 10, 16 to 20"
    with pytest.raises(DataError, match="is a part of one") as error:
        workflow.build(job(tmp_path), some)
    assert "6 to 10, 16 to 20 of 20" in error.value.why


def test_the_sign_of_zero_does_not_depend_on_the_order(tmp_path: Path) -> None:
    data(tmp_path, samples=2)
    x = np.abs(normal(2, 3, 8, 8))
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 0.0, -0.0
    for number in (0, 1):
        np.save(tmp_path / "calib" / f"{number:03}.npy", x[number])
    one, two = (measured(tmp_path, data(tmp_path), shard=Shard(k, 2)) for k in (1, 2))
    there, back = merge([one, two], ["a", "b"]), merge([two, one], ["b", "a"])
    assert saved(there, tmp_path / "t") == saved(back, tmp_path / "u")
