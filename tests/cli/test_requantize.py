"""`--allow-requantize`: a quantized model is dequantized first, and the figures are said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from typer.testing import Result

from qtool.runtime import Session
from tests.models import operators

Run = Callable[..., Result]
FLAG = "--allow-requantize"


@pytest.fixture
def quantized(qtool: Run, cnn: Path) -> Path:
    """The sample with weights and activations of 8 bits."""
    path = cnn / "q.onnx"
    made = qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "-o", path)
    assert made.exit_code == 0, made.stderr
    return path


def test_without_the_flag_the_form_and_the_flag_are_named(qtool: Run, quantized: Path) -> None:
    for command in (
        ("quantize", quantized),
        ("quantize", quantized, "--dry-run"),
        ("calibrate", quantized, "--data", quantized.parent / "calib", "-o", "m.calib"),
    ):
        result = qtool(*command)
        assert result.exit_code == 3
        assert "error: the model is already quantized" in result.stderr
        assert "  QDQ: it holds DequantizeLinear, QuantizeLinear\n" in result.stderr
        assert FLAG in result.stderr
    shown = qtool("inspect", quantized)
    assert shown.exit_code == 0
    assert "cannot be quantized: the model is already quantized: QDQ" in shown.stdout


def test_again_in_the_same_form(qtool: Run, quantized: Path, cnn: Path) -> None:
    again = cnn / "again.onnx"
    data = ("--data", cnn / "calib")
    result = qtool("quantize", quantized, *data, FLAG, "-o", again)
    assert result.exit_code == 0, result.stderr
    assert "note: already quantized (QDQ): dequantized first, then quantized anew" in result.stderr
    (found,) = re.findall(r"model is (.*) dB from the quantized one\n", result.stderr)
    assert float(found) > 40
    assert "quantized 6 layers: 5 w8sca8u, 1 w8sc" in result.stderr
    assert Session(again).signature == Session(cnn / "model.onnx").signature
    assert sorted(operators(onnx.load(again))) == sorted(operators(onnx.load(quantized)))


@pytest.mark.parametrize(
    "options",
    [
        ("--bits", 4),
        pytest.param(("--mode", "dynamic"), marks=pytest.mark.slow),
        pytest.param(("--scheme", "fp16"), marks=pytest.mark.slow),
    ],
)
def test_in_another_form(
    qtool: Run, quantized: Path, cnn: Path, options: tuple[object, ...]
) -> None:
    again = cnn / "again.onnx"
    result = qtool("quantize", quantized, *options, FLAG, "--allow-larger", "-o", again)
    assert result.exit_code == 0, result.stderr
    judged = qtool(
        "compare", cnn / "model.onnx", again, "--data", cnn / "eval", "--gate", "agreement >= 97%"
    )
    assert judged.exit_code == 0, judged.stdout + judged.stderr


@pytest.mark.slow
def test_by_a_calibration_file(qtool: Run, quantized: Path, cnn: Path) -> None:
    calib, data = cnn / "m.calib", ("--data", cnn / "calib")
    measured = qtool("calibrate", quantized, *data, FLAG, "-o", calib)
    assert measured.exit_code == 0, measured.stderr
    assert "dB from the quantized one" in measured.stderr
    both = [
        qtool("quantize", quantized, *given, FLAG, "-o", cnn / name)
        for given, name in ((("--calibration", calib, *data), "a.onnx"), (data, "b.onnx"))
    ]
    assert [result.exit_code for result in both] == [0, 0], both[0].stderr
    assert (cnn / "a.onnx").read_bytes() == (cnn / "b.onnx").read_bytes()
    refused = qtool("quantize", cnn / "model.onnx", "--calibration", calib, "-o", cnn / "c.onnx")
    assert refused.exit_code == 4


def test_what_could_be_quantized_of_it(qtool: Run, quantized: Path) -> None:
    shown = qtool("inspect", quantized, FLAG)
    assert shown.exit_code == 0
    assert "5 w8sca8u" in shown.stdout
    assert "cannot be quantized" not in shown.stdout
    assert "QLinearConv" in qtool("inspect", quantized, "--runtime").stdout


def test_a_float_model_is_taken_as_ever(qtool: Run, cnn: Path) -> None:
    results = [
        qtool("quantize", cnn / "model.onnx", *flag, "-o", cnn / f"{len(flag)}.onnx")
        for flag in ((), (FLAG,))
    ]
    assert [result.exit_code for result in results] == [0, 0]
    assert (cnn / "0.onnx").read_bytes() == (cnn / "1.onnx").read_bytes()
    assert "dequantized" not in results[1].stderr
