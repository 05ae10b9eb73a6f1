"""The .npz reader: whole sets as streams, sample files, and bombs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import npz, open_dataset
from tests.data.folders import declare, floats, model, refused, save_npz

IMAGE = model(x=("N", 3, 4, 5))


def test_npz_one_sample_a_file(tmp_path: Path) -> None:
    for number in range(3):
        a, b = np.full(2, number, np.float32), np.full((3, 3), -number, np.float32)
        save_npz(tmp_path / f"{number}.npz", a=a, b=b, label=np.array(number * 10))
    data = open_dataset(tmp_path, model(a=("N", 2), b=("N", 3, 3)))
    assert data.names == ("0.npz", "1.npz", "2.npz")
    assert data.sample(2)["b"].tolist() == [[-2] * 3] * 3
    assert data.labels is not None and data.labels.tolist() == [0, 10, 20]


@pytest.mark.parametrize(
    ("compressed", "order"), [(False, "C"), (False, "F"), (True, "C"), (True, "F")]
)
def test_npz_whole_set(tmp_path: Path, compressed: bool, order: Any) -> None:
    arrays = floats(9, 3, 4, 5)
    save_npz(tmp_path / "set.npz", compressed, x=np.asarray(arrays, order=order), y=np.arange(9))
    for path in (tmp_path, tmp_path / "set.npz"):
        data = open_dataset(path, IMAGE)
        assert data.names[7] == "set.npz[7]"
        for index in (3, 8, 0, 0, 7):  # backward too
            np.testing.assert_array_equal(data.sample(index)["x"], arrays[index])
        assert data.labels is not None and data.labels.tolist() == list(range(9))


def test_npz_is_opened_again_after_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(tmp_path / "set.npz", True, x=floats(9, 3, 4, 5))
    data = open_dataset(tmp_path, IMAGE)
    data.sample(1)
    (tmp_path / "set.npz").write_bytes(b"PK other")
    data.sample(2)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(Exception, match=r"cannot read .*set\.npz"):
        data.sample(3)


def test_npz_only_array_needs_no_name(tmp_path: Path) -> None:
    save_npz(tmp_path / "set.npz", images=floats(2, 3, 4, 5), labels=np.arange(2))
    assert len(open_dataset(tmp_path, IMAGE)) == 2


def test_npz_two_arrays_need_a_name(tmp_path: Path) -> None:
    save_npz(tmp_path / "set.npz", images=floats(2, 3, 4, 5), masks=floats(2, 3, 4, 5))
    refused(tmp_path, IMAGE, "images, masks", 'from = "images"', "[data.inputs.x]")
    declare(tmp_path, '[data.inputs.x]\nfrom = "masks"\n')
    assert len(open_dataset(tmp_path, IMAGE)) == 2


def test_npz_key_named_like_a_label_can_be_an_input(tmp_path: Path) -> None:
    save_npz(tmp_path / "set.npz", y=floats(2, 3, 4, 5))
    assert open_dataset(tmp_path, model(y=("N", 3, 4, 5))).labels is None


def test_npz_labels_of_another_length(tmp_path: Path) -> None:
    save_npz(tmp_path / "set.npz", x=floats(2, 3, 4, 5), labels=np.arange(3))
    refused(tmp_path, IMAGE, "set.npz", "2 samples", "3")


def test_npz_file_without_an_array(tmp_path: Path) -> None:
    save_npz(tmp_path / "0.npz", x=floats(3, 4, 5))
    save_npz(tmp_path / "1.npz", z=floats(3, 4, 5))
    refused(tmp_path, IMAGE, "1.npz", 'no array "x", only z')


def test_npz_two_whole_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_npz(tmp_path / f"{name}.npz", x=floats(2, 3, 4, 5))
    refused(tmp_path, IMAGE, "a.npz", "batch of 2")
    declare(tmp_path, '[data]\nsamples = "whole"\n')
    refused(tmp_path, IMAGE, "2 .npz files", "keep one")


def test_npz_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "LIMIT", 1000)
    one = np.zeros((3, 4, 5), np.float64)
    save_npz(tmp_path / "0.npz", True, x=one)  # 480 bytes: below
    assert len(open_dataset(tmp_path, IMAGE)) == 1
    save_npz(tmp_path / "1.npz", True, x=np.zeros((300, 4, 5)))
    refused(tmp_path, IMAGE, "1.npz", "48,128 bytes", "limit of 1,000")


def test_npz_whole_set_may_be_over_the_limit_of_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "LIMIT", 1000)
    save_npz(tmp_path / "set.npz", True, x=np.ones((300, 3, 4, 5), np.float32))
    assert open_dataset(tmp_path, IMAGE).sample(299)["x"].sum() == 60
    save_npz(tmp_path / "set.npz", True, x=np.ones((2, 30, 40, 5), np.float32))
    refused(tmp_path, model(x=("N", 30, 40, 5)), "set.npz", "24,000 bytes")
