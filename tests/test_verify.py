"""Outputs whose shape follows from values, as boxes do, may change with rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.errors import ModelError
from qtool.runtime import Session
from qtool.verify import check_written, rounded, same_function
from tests.models import Array, normal, save

FEEDS = {"x": normal(1, 8)}
WHERE: dict[str, Array] = {"all": np.array([-1])}


def saved(path: Path, above: float, by: float = 1.0) -> Path:
    """As many values as are above a number, times another."""
    text = """g (float[N,8] x) => (float[M] y) { k = Greater(x, c) f = Reshape(k, all)
        m = Mul(x, b) v = Reshape(m, all) y = Compress(v, f) }"""
    return save(path, text, c=np.float32(above), b=np.float32(by), **WHERE)


def test_fewer_values_may_be_written(tmp_path: Path) -> None:
    original = Session(saved(tmp_path / "a.onnx", 0.0))
    assert check_written(saved(tmp_path / "b.onnx", 0.3), original, FEEDS)


def test_but_not_if_they_are_nan(tmp_path: Path) -> None:
    original = Session(saved(tmp_path / "a.onnx", 0.0))
    with pytest.raises(ModelError, match="NaN or Inf"):
        check_written(saved(tmp_path / "b.onnx", 0.3, np.nan), original, FEEDS)


def test_preparing_changes_no_shape() -> None:
    with pytest.raises(ModelError, match="the shape of output 'y'"):
        same_function({"y": normal(3)}, {"y": normal(2)}, "preparing the model")


def test_of_a_dequantized_model_it_is_said() -> None:
    (note,) = rounded({"y": normal(3)}, {"y": normal(2)}, certain=True)
    assert "output 'y' has shape (2,), and had (3,)" in note
