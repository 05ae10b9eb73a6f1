"""`qtool tune` where torch is not installed, and what it refuses before torch is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qtool.errors import install_command
from tests.tune.taught import place, tuned

__all__ = ["place"]


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not there, in this process."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)


def test_it_says_what_is_missing_before_any_work(place: Path, without_torch: None) -> None:
    (place / "m.onnx").write_text("no model: it is not opened")
    result = tuned(place, "--scheme", "w4a8")
    assert result.exit_code == 5
    assert "qtool tune needs the package torch" in result.stderr
    assert install_command("tune") in result.stderr
    assert "--layerwise" in result.stderr


def test_layer_by_layer_needs_none(place: Path, without_torch: None) -> None:
    result = tuned(place, "--layerwise", "--scheme", "w2a8")
    assert result.exit_code == 0, result.stderr
    assert "128 samples to measure on; 32 to judge on, by top1" in result.stderr
    assert "(and top1 lost): as asked" in result.stderr
    assert "accurate" in result.stderr
    assert f"Wrote {place / 'out.onnx'}" in result.stdout
    enough = tuned(place, "--layerwise", "--scheme", "w8a8", "--target-drop", "50pp", "-f")
    assert enough.exit_code == 0, enough.stderr
    assert "accurate" not in enough.stderr


def test_layer_by_layer_a_target_may_be_missed(place: Path, without_torch: None) -> None:
    (place / "out.onnx.part").write_text("mine")
    more = ("--preset", "fast", "--target-drop", "1e-9%", "--metric", "sqnr")
    result = tuned(place, "--layerwise", "--scheme", "w2a8", *more)
    assert result.exit_code == 1
    assert "leave out  --layerwise" in result.stderr
    assert (place / "out.onnx").exists()
    assert (place / "out.onnx.part").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--target-drop", "0.5furlongs"), "--target-drop '0.5furlongs' is no budget"),
        (("--target-drop", "1%", "--metric", "top1"), "write --target-drop 1pp"),
        (("--mode", "dynamic"), "the mode is dynamic"),
        (("--scheme", "fp16"), "fp16 has none"),
        (("--epochs", "3"), "--epochs and --layerwise are given"),
        (("--patience", "3", "--learn-from", "float"), "--patience, --learn-from and --layerwise"),
        (("--learning-rate", "0"), "--learning-rate 0"),
        (("--weight-decay", "nan"), "--weight-decay nan"),
        (("--metric", "topp1"), "did you mean"),
        (("--scorer", "no.py:f"), "no.py"),
        (("--epochs", "0"), "--epochs"),
    ],
)
def test_what_means_nothing_is_refused(place: Path, options: tuple[str, ...], words: str) -> None:
    result = tuned(place, "--layerwise", *options)
    assert result.exit_code == 2, result.stderr
    assert words in " ".join(result.stderr.split())
    assert not (place / "out.onnx").exists()


def test_inputs_and_what_is_there_are_not_written_over(place: Path) -> None:
    again = tuned(place, "--layerwise", "-f", output="m.onnx")
    assert again.exit_code == 2
    assert "m.onnx is an input" in again.stderr
    (place / "out.onnx").write_text("mine")
    result = tuned(place, "--layerwise")
    assert result.exit_code == 2
    assert (place / "out.onnx").read_text() == "mine"
    sample = tuned(place, "--layerwise", "-f", output="data/x.npy")
    assert sample.exit_code == 2
    assert "x.npy is an input" in sample.stderr


def test_samples_are_needed_and_more_than_one(place: Path) -> None:
    few = tuned(place, "--layerwise", "--samples", "1")
    assert few.exit_code == 4
    assert "too few samples to learn from some and to judge on others" in few.stderr
