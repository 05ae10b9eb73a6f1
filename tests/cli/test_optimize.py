"""`qtool quantize --optimize latency`, end to end on small models; no test here judges a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import Result

from qtool.compare import latency as harness
from qtool.compare.result import Latency
from qtool.numeric.bootstrap import Interval
from qtool.recipe import load_recipe
from qtool.runtime import Session
from qtool.search import kernels, latency, workbench
from tests.models import normal, save, weight

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short measurements: whatever they say, the file must be right."""
    monkeypatch.setattr(harness, "SECONDS", 0.2)
    monkeypatch.setattr(latency, "ROUND_SECONDS", 0.1)
    monkeypatch.setattr(latency, "MOVES", 3)
    monkeypatch.setattr(kernels, "SECONDS", 0.05)


def narrow(folder: Path) -> tuple[Path, Path]:
    """Few channels on many pixels, where integer kernels are slow, then wide and small layers."""
    graph = """g (float[N,3,32,32] x) => (float[N,10] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w0) b = Relu(a)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(b, w1) d = Relu(c)
        e = MaxPool<kernel_shape=[4,4], strides=[4,4]>(d)
        f = Conv(e, w2) g0 = Relu(f) h = Conv(g0, w3) i = Relu(h)
        j = GlobalAveragePool(i) k = Flatten(j) y = Gemm(k, w4) }"""
    model = save(
        folder / "narrow.onnx", graph,
        w0=weight(8, 3, 3, 3), w1=weight(8, 1, 3, 3), w2=weight(64, 8, 1, 1),
        w3=weight(64, 64, 1, 1), w4=weight(64, 10),
    )  # fmt: skip
    data = folder / "calib"
    data.mkdir()
    np.save(data / "x.npy", normal(40, 3, 32, 32))
    return model, data


def activations(path: Path) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)


@pytest.mark.usefixtures("any_size")
def test_what_was_found_is_said_and_can_be_made_again(qtool: Run, tmp_path: Path) -> None:
    model, data = narrow(tmp_path)
    output, recipe = tmp_path / "fast.onnx", tmp_path / "fast.toml"
    result = qtool(
        "quantize", model, "--data", data, "--optimize", "latency", "--threads", 1,
        "-o", output, "--save-recipe", recipe,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (total,) = [line for line in result.stderr.splitlines() if line.startswith("time ")]
    assert "of the model's (95 % interval" in total and "batch 1, 1 thread;" in total
    segments = [line.split() for line in result.stderr.splitlines() if " ms  " in line]
    assert sum(int(words[1]) for words in segments) == 5  # every layer is in one of them
    # It is float, or has proved to be faster than float.
    found = load_recipe(recipe)
    if found.scheme == "w8sc":
        assert "only weights are stored" in result.stderr and not activations(output)
        assert {words[0] for words in segments} == {"float"}
    else:
        assert ": faster (" in total and activations(output)
    again = tmp_path / "again.onnx"
    made = qtool("quantize", model, "--data", data, "--recipe", recipe, "-o", again)
    assert made.exit_code == 0, made.stderr
    assert again.read_bytes() == output.read_bytes()


# the latter wants a higher opset
@pytest.mark.parametrize("scheme", ["w8a8", pytest.param("w8a16", marks=pytest.mark.slow)])
def test_integers_that_lose_leave_no_conversion_in_the_file(
    qtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    # Each choice is faster than the one before, says this clock, and none than what was given.
    honest = harness.measure

    def biased(*arguments: Any, **options: Any) -> Latency:
        found = honest(*arguments, **options)
        return replace(found, interval=Interval(0.5, 0.6), verdict="no clear difference")

    monkeypatch.setattr(workbench, "measure", biased)
    model, data = narrow(tmp_path)
    output, recipe = tmp_path / "fast.onnx", tmp_path / "fast.toml"
    result = qtool(
        "quantize", model, "--data", data, "--optimize", "latency", "-o", output, "--threads", 1,
        "--scheme", scheme, "--save-recipe", recipe,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "no choice with integers is faster than float here" in result.stderr
    assert not activations(output)
    assert output.stat().st_size < 0.6 * model.stat().st_size
    again = tmp_path / "again.onnx"
    made = qtool("quantize", model, "--data", data, "--recipe", recipe, "-o", again)
    assert made.exit_code == 0, made.stderr
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.slow
def test_a_calibration_file_serves_too(qtool: Run, tmp_path: Path) -> None:
    model, data = narrow(tmp_path)
    calibration = tmp_path / "m.calib"
    assert qtool("calibrate", model, "--data", data, "-o", calibration).exit_code == 0
    output = tmp_path / "fast.onnx"
    result = qtool(
        "quantize", model, "--calibration", calibration, "--optimize", "latency",
        "--threads", 1, "-o", output,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert output.is_file() and "of the model's (95 % interval" in result.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bits", "8"], "needs samples to time the model on"),
        (["--data", "DATA", "--dry-run"], "--dry-run are both given"),
        (["--data", "DATA", "--mode", "dynamic"], "measured beforehand"),
        (["--data", "DATA", "--optimize", "beauty"], "beauty"),
        (["--data", "DATA", "--preset", "accurate", "--calibration", "DATA"], "go with smooth"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(
    qtool: Run, tmp_path: Path, options: list[str], says: str
) -> None:
    model, data = narrow(tmp_path)
    given = [str(data) if each == "DATA" else each for each in options]
    goal = [] if "--optimize" in given else ["--optimize", "latency"]
    result = qtool("quantize", model, *given, *goal)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not list(tmp_path.glob("*.int8.onnx"))


@pytest.mark.slow
def test_a_name_of_two_lines_takes_one(qtool: Run, tmp_path: Path) -> None:
    model, data = narrow(tmp_path)
    made = onnx.load(model)
    for index, node in enumerate(made.graph.node):
        node.name = f"a\n::error::b{index}"
    onnx.save(made, model)
    result = qtool(
        "quantize", model, "--data", data, "--optimize", "latency", "--threads", 1,
        "-o", tmp_path / "fast.onnx",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert not any(line.startswith("::") for line in result.stderr.splitlines())


def test_a_folder_that_is_full_is_no_bug(
    qtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The runtime says nothing where the disk takes only a part of a profile.
    whole = Session.end_profile

    def cut_short(session: Session) -> Path:
        path = whole(session)
        path.write_bytes(path.read_bytes()[:1000])
        return path

    monkeypatch.setattr(Session, "end_profile", cut_short)
    model, data = narrow(tmp_path)
    result = qtool("quantize", model, "--data", data, "--optimize", "latency", "--threads", 1)
    assert result.exit_code == 5
    assert "set TMPDIR to a folder with free space" in result.stderr
    assert not list(tmp_path.glob("*.int8.onnx"))


def test_nothing_in_integers_is_nothing_to_choose_from(qtool: Run, tmp_path: Path) -> None:
    model, data = narrow(tmp_path)
    result = qtool(
        "quantize", model, "--data", data, "--mode", "weights", "--optimize", "latency",
        "-o", tmp_path / "w.onnx",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "nothing would run in integers" in result.stderr
