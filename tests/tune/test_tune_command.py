"""`qtool tune`, end to end on a small model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from qtool.cli.app import app
from qtool.compare.judge import compare
from qtool.data import open_dataset
from qtool.model import load, signature
from qtool.runtime import Session
from tests.models import normal, save, weight
from tests.tune.taught import made, place, tuned

pytest.importorskip("torch")
from qtool.tune import journal, learn

__all__ = ["place"]
BRIEF = ("--scheme", "w2a4", "--epochs", "2")


def lost(text: str) -> float:
    """The loss in percentage points or percent, of the line of the result."""
    found = re.search(r"lost (-?[\d.e-]+) ?(?:pp|%) \(95 % interval", text)
    assert found, text
    return float(found[1])


def test_a_plain_file_comes_of_it_that_compare_reads(place: Path) -> None:
    result = tuned(place, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert "128 samples to learn from, by the float model and labels; 32 to judge on, by top1" in (
        result.stderr
    )
    assert "post-training: top1 lost" in result.stderr
    assert "codes: 2 epochs, loss" in result.stderr
    assert re.search(r"\(and top1 lost\): post-training .*: kept", result.stderr)
    assert "on the 32 samples that chose it" in result.stdout
    assert f"Wrote {place / 'out.onnx'}" in result.stdout
    nodes = onnx.load(place / "out.onnx").graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    assert sum(node.op_type == "DequantizeLinear" for node in nodes) >= 6
    assert not (place / "out.onnx.part").exists()
    read = CliRunner().invoke(
        app,
        ["compare", str(place / "m.onnx"), str(place / "out.onnx"), "--data", str(place / "data")],
    )
    assert read.exit_code == 0, read.stderr


@pytest.mark.slow
def test_it_is_nearer_to_the_float_model_than_what_quantize_gives(place: Path) -> None:
    more = ("--epochs", "25", "--learning-rate", "0.01", "--metric", "sqnr")
    result = tuned(place, "--scheme", "w2a8", *more)
    assert result.exit_code == 0, result.stderr
    assert lost(result.stdout) < 0.85 * lost(result.stderr)
    other = place / "other"
    other.mkdir()
    np.save(other / "x.npy", normal(200, 16, seed=77))
    data = open_dataset(other, signature(load(place / "m.onnx")))
    flags = ("--scheme", "w2a8", "--placement", "all", "--data", place / "data")
    arguments = ["quantize", place / "m.onnx", *flags, "-o", place / "post.onnx"]
    assert CliRunner().invoke(app, [str(each) for each in arguments]).exit_code == 0
    post, learned = (
        compare(place / "m.onnx", place / name, data).outputs[0].sqnr_db
        for name in ("post.onnx", "out.onnx")
    )
    assert learned > post


def test_a_target_that_is_met_ends_it_at_once(place: Path) -> None:
    result = tuned(place, "--scheme", "w8a8", "--target-drop", "50pp")
    assert result.exit_code == 0, result.stderr
    assert "at 8 bits there is little to win back" in result.stderr
    assert "inside the target of 50 pp" in result.stdout
    assert "epoch" not in result.stderr


def test_a_target_that_is_missed_is_told_and_the_best_is_written(place: Path) -> None:
    more = (*BRIEF, "--target-drop", "1e-9%", "--metric", "sqnr")
    result = tuned(place, *more)
    assert result.exit_code == 1
    assert "over the target of 1e-09%" in result.stdout
    assert "error: the target of 1e-09% was not met on the 32 samples to judge on" in result.stderr
    assert (place / "out.onnx").exists()
    again = tuned(place, *more, "-f", "--exit-zero", "-q")
    assert again.exit_code == 0
    assert again.stderr.startswith("error: the target")


@pytest.mark.slow
def test_a_target_that_is_met_on_the_way_ends_the_stage(place: Path) -> None:
    more = ("--scheme", "w2a8", "--metric", "sqnr", "--epochs", "25", "--learning-rate", "0.01")
    result = tuned(place, *more, "--target-drop", "11.5%")
    assert result.exit_code == 0, result.output
    assert "inside the target of 11.5%" in result.stdout
    epochs = re.search(r"  codes: (\d+) epoch", result.stderr)
    assert epochs, result.stderr
    assert 1 <= int(epochs[1]) < 25


def interrupted_in(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> list[int]:
    """Interrupts epochs of these numbers, counted over all runs; the numbers that were begun. Each
    epoch that ends is written down."""
    monkeypatch.setattr(journal, "EVERY", 0.0)
    taught, begun = learn.Learner._taught, list[int]()

    def interrupted(self: Any) -> float:
        begun.append(len(begun) + 1)
        if begun[-1] in numbers:
            raise KeyboardInterrupt
        return taught(self)

    monkeypatch.setattr(learn.Learner, "_taught", interrupted)
    return begun


def test_what_was_interrupted_goes_on_to_the_same_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = interrupted_in(monkeypatch, 2, 5)  # within one stage, then within the other
    for _ in range(2):
        result = tuned(place, *BRIEF)
        assert result.exit_code == 130
        assert "the same command goes on where this one was" in result.stderr
        assert not (place / "out.onnx").exists()
    result = tuned(place, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert f"going on with what {place / 'out.onnx.part'} has" in result.stderr
    assert not (place / "out.onnx.part").exists()
    assert len(epochs) == 2 * 2 + 2  # no epoch was learned twice
    tuned(place, *BRIEF, output="through.onnx")
    assert (place / "through.onnx").read_bytes() == (place / "out.onnx").read_bytes()


@pytest.mark.slow
def test_what_another_run_left_is_not_gone_on_with(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_in(monkeypatch, 2)
    assert tuned(place, *BRIEF).exit_code == 130
    result = tuned(place, *BRIEF, "--seed", "5")
    assert result.exit_code == 0, result.stderr
    assert "going on" not in result.stderr
    tuned(place, *BRIEF, "--seed", "5", output="alone.onnx")
    assert (place / "alone.onnx").read_bytes() == (place / "out.onnx").read_bytes()


def test_what_diverges_is_told_and_not_kept(place: Path) -> None:
    result = tuned(place, "--scheme", "w2a8", "--epochs", "9", "--learning-rate", "50")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("diverged, with a loss of") == 4
    assert "kept codes" not in result.stderr


def test_what_is_in_the_way_of_the_journal_stays(place: Path) -> None:
    (place / "out.onnx.part").write_text("mine")
    result = tuned(place, *BRIEF)
    assert result.exit_code == 2
    assert "out.onnx.part is in the way" in result.stderr
    assert (place / "out.onnx.part").read_text() == "mine"


@pytest.mark.slow
def test_the_seed_decides(place: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "-2")):
        result = tuned(place, *BRIEF, "--seed", seed, output=f"{name}.onnx")
        assert result.exit_code == 0, result.stderr
    a, b, c = ((place / f"{name}.onnx").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--learn-from", "labels"), "by labels;"),
        (("--learn-from", "both"), "by the float model and labels;"),
        (("--learn-from", "float"), "by the float model;"),
    ],
)
def test_what_is_learned_from_is_said(place: Path, options: tuple[str, ...], words: str) -> None:
    result = tuned(place, "--scheme", "w4a8", "--epochs", "1", *options)
    assert result.exit_code == 0, result.stderr
    assert words in result.stderr


def test_labels_may_lie_elsewhere_or_nowhere(place: Path) -> None:
    (place / "data" / "labels.npy").rename(place / "labels.npy")
    more = ("--scheme", "w4a8", "--epochs", "1")
    result = tuned(place, *more)
    assert "by the float model; 32 to judge on, by agreement" in result.stderr
    result = tuned(place, *more, "--labels", place / "labels.npy", "-f")
    assert "by the float model and labels; 32 to judge on, by top1" in result.stderr
    result = tuned(place, *more, "--learn-from", "labels", "-f")
    assert result.exit_code == 2
    assert "--learn-from labels needs labels" in result.stderr


def test_labels_that_only_a_predicted_class_is_held_against_teach_nothing(place: Path) -> None:
    graph = """g (float[N,16] x) => (int64[N] k, float[N,1] y) {
        b = Gemm(x, w) r = Relu(b) y = Gemm(r, u) a = Gemm(r, v) k = ArgMax<axis=1, keepdims=0>(a)
    }"""
    save(place / "m.onnx", graph, w=weight(16, 32), u=weight(32, 1), v=weight(32, 5))
    result = tuned(place, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert "by the float model; 32 to judge on, by top1" in result.stderr
    result = tuned(place, *BRIEF, "--learn-from", "labels", "-f")
    assert result.exit_code == 4
    assert "--learn-from float" in result.stderr


def test_numbers_are_learned_from_labels(place: Path) -> None:
    graph = "g (float[N,16] x) => (float[N,1] y) { b = Gemm(x, w) r = Relu(b) y = Gemm(r, v) }"
    model = save(place / "m.onnx", graph, w=weight(16, 32), v=weight(32, 1))
    x = np.load(place / "data" / "x.npy")
    y = Session(model).run({"x": x})["y"][:, 0] + normal(160, seed=5) / 4
    np.save(place / "data" / "labels.npy", y.astype(np.float32))
    result = tuned(place, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert "by the float model and labels; 32 to judge on, by mse" in result.stderr
    assert re.search(r"^mse lost \S+%", result.stdout)


def test_what_repeats_is_on_one_side(place: Path) -> None:
    x = normal(30, 16)
    np.save(place / "data" / "x.npy", np.concatenate([x, x]))
    np.save(place / "data" / "labels.npy", np.zeros(60, np.int64))
    apart = place / "apart"
    apart.mkdir()
    np.save(apart / "x.npy", np.concatenate([x[:10], normal(8, 16, seed=3)]))
    np.save(apart / "labels.npy", np.zeros(18, np.int64))
    result = tuned(place, *BRIEF, "--eval", apart)
    assert result.exit_code == 0, result.stderr
    assert "left out 20 samples that repeat or follow one to judge on" in result.stderr
    assert "40 samples to learn from" in result.stderr
    assert "18 to judge on" in result.stderr
    assert "40 samples are few to learn from" in result.stderr
    assert "18 samples are few to judge on: each moves a share by 5.6 pp" in result.stderr
    np.save(apart / "x.npy", x)
    np.save(apart / "labels.npy", np.zeros(30, np.int64))
    result = tuned(place, *BRIEF, "--eval", apart, "-f")
    assert result.exit_code == 4
    assert "60 of 60 hold what is judged on" in " ".join(result.stderr.split())


def test_a_fixed_batch_is_filled_in_each_part(tmp_path: Path) -> None:
    made(tmp_path, 50)
    graph = "g (float[4,16] x) => (float[4,5] y) { a = Gemm(x, w) b = Relu(a) y = Gemm(b, v) }"
    save(tmp_path / "m.onnx", graph, w=weight(16, 32), v=weight(32, 5))
    result = tuned(tmp_path, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert "40 samples to learn from" in result.stderr
    assert "; 8 to judge on" in result.stderr


@pytest.mark.parametrize("wrong", [-1, -100, 7])
def test_labels_that_are_no_class_end_in_an_error(place: Path, wrong: int) -> None:
    apart = place / "apart"
    apart.mkdir()
    np.save(apart / "x.npy", normal(20, 16, seed=3))
    np.save(apart / "labels.npy", np.zeros(20, np.int64))
    labels = np.zeros(160, np.int64)
    labels[7] = wrong
    np.save(place / "data" / "labels.npy", labels)
    result = tuned(place, *BRIEF, "--eval", apart)
    assert result.exit_code == 4, result.output
    assert f"{min(wrong, 0)} to {max(wrong, 0)}, cannot be learned from" in result.stderr


def test_without_labels_to_judge_on_the_float_model_judges(place: Path) -> None:
    apart = place / "apart"
    apart.mkdir()
    np.save(apart / "x.npy", normal(20, 16, seed=3))
    result = tuned(place, *BRIEF, "--eval", apart, "--learn-from", "labels")
    assert result.exit_code == 0, result.stderr
    found = re.search(r"codes: .* set apart (\S+) at best", result.stderr)
    assert found, result.stderr
    assert float(found[1]) > 0
