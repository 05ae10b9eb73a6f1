"""`qtool quantize` as a person uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from qtool.recipe import presets
from tests.cli.conftest import SAMPLES

Run = Callable[..., Result]


def test_static_is_written_beside_the_model_and_is_a_quarter_of_the_size(
    qtool: Run, cnn: Path
) -> None:
    before = (cnn / "model.onnx").read_bytes()
    result = qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib")
    assert result.exit_code == 0, result.stderr
    written = cnn / "model.int8.onnx"
    assert result.stdout.startswith(f"Wrote {written} (")
    assert written.stat().st_size < 0.3 * len(before)
    assert (cnn / "model.onnx").read_bytes() == before
    assert "weights and activations (w8sca8u) for cpu" in result.stderr.splitlines()[0]
    assert "used 256 of 270 files (seed 0), float32 (1, 8, 8)" in result.stderr


def test_without_data_only_weights_and_the_first_line_says_so(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--bits", 8)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[0] == (
        "model.onnx: weights only (w8sc) for cpu, since no --data or --calibration is given"
    )
    assert (cnn / "model.w8.onnx").is_file()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 16])
def test_any_number_of_bits_is_written_and_runs(qtool: Run, cnn: Path, bits: int) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--bits", bits)
    assert result.exit_code == 0, result.stderr
    container = next(c for c in (2, 4, 8, 16) if c >= bits)
    ratio = (cnn / f"model.w{bits}.onnx").stat().st_size / (cnn / "model.onnx").stat().st_size
    assert container / 32 < ratio < container / 32 + 0.02


def test_an_existing_output_is_kept_unless_forced(qtool: Run, cnn: Path) -> None:
    output = cnn / "out.onnx"
    output.write_bytes(b"precious")
    refused = qtool("quantize", cnn / "model.onnx", "-o", output)
    assert refused.exit_code == 2
    assert output.read_bytes() == b"precious"
    assert "-f" in refused.stderr
    assert qtool("quantize", cnn / "model.onnx", "-o", output, "-f").exit_code == 0
    assert len(output.read_bytes()) > 1000


def test_never_onto_the_input_even_when_forced(qtool: Run, cnn: Path) -> None:
    model = cnn / "model.onnx"
    before = model.read_bytes()
    (cnn / "link.onnx").symlink_to(model)
    for output in (model, cnn / "link.onnx"):
        assert qtool("quantize", model, "-o", output, "-f").exit_code == 2
        assert model.read_bytes() == before


def test_a_dry_run_writes_nothing_and_shows_the_plan(qtool: Run, cnn: Path) -> None:
    files = sorted(cnn.iterdir())
    result = qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert sorted(cnn.iterdir()) == files
    assert "w8sca8u" in result.stdout
    assert "would become about" in result.stdout


def test_excluded_layers_stay_float(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "--exclude", "op:Gemm")
    assert result.exit_code == 0, result.stderr
    assert "quantized 4 layers" in result.stderr
    assert "2 kept in float as asked" in result.stderr


def test_include_quantizes_nothing_else(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "--include", "op:Gemm")
    assert result.exit_code == 0, result.stderr
    assert "quantized 2 layers" in result.stderr


def test_mixed_precision_by_hand(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--bits", 4, "--tensor", "op:Conv=w8")
    assert result.exit_code == 0, result.stderr
    assert "4 w8sc, 2 w4sc" in result.stderr


def test_a_dry_run_shows_what_each_pattern_does(qtool: Run, cnn: Path) -> None:
    result = qtool(
        "quantize", cnn / "model.onnx", "--data", cnn / "calib", "--dry-run",
        "--exclude", "17.weight", "--exclude", "op:Relu", "--tensor", "/*/Conv_output_0=w4a8",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    start = rows.index(["pattern", "becomes", "nodes", "changed"])
    assert rows[start + 2 : start + 5] == [
        ["/*/Conv_output_0", "w4sca8u", "4", "4"],
        ["17.weight", "float", "1", "1"],
        ["op:Relu", "float", "5", "4"],  # the first one reads floats anyway
    ]
    assert "note:" not in result.stderr.replace("note: the second", "")


def test_a_pattern_that_does_nothing_is_a_note(qtool: Run, cnn: Path) -> None:
    options = ("--exclude", "op:BatchNorm*", "--tensor", "op:MaxPool=w4")
    result = qtool("quantize", cnn / "model.onnx", "--bits", 8, *options)
    assert result.exit_code == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("note:")] == [
        "note: pattern 'op:MaxPool' has no effect: it has no weights",
        "note: pattern 'op:BatchNorm*' has no effect: '/1/BatchNormalization' was folded into "
        "'/0/Conv', and so on with 3 more",
    ]


def test_a_pattern_that_matches_nothing_is_an_error(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--exclude", "op:Conw")
    assert result.exit_code == 2
    assert "'op:Conw' matches no node" in result.stderr
    assert "'op:Conv'" in result.stderr
    assert not (cnn / "model.w8.onnx").exists()
    result = qtool("quantize", cnn / "model.onnx", "--tensor", "Gemm=w4")
    assert result.exit_code == 2
    assert "did you mean 'op:Gemm'?" in result.stderr
    result = qtool("quantize", cnn / "none.onnx", "--exclude", "re:(")  # known without the model
    assert result.exit_code == 2
    assert "is no regular expression" in result.stderr


def test_two_runs_and_a_saved_recipe_give_the_same_bytes(qtool: Run, cnn: Path) -> None:
    common = ("quantize", cnn / "model.onnx", "--data", cnn / "calib")
    recipe = cnn / "recipe.toml"
    choices = ("--method", "percentile", "--samples", 64, "--exclude", "op:Gemm", "--seed", 3)
    assert qtool(*common, *choices, "-o", cnn / "a", "--save-recipe", recipe).exit_code == 0
    assert qtool(*common, *choices, "-o", cnn / "b").exit_code == 0
    assert qtool(*common, "--recipe", recipe, "-o", cnn / "c").exit_code == 0
    assert qtool(*common, "-o", cnn / "d").exit_code == 0
    first = (cnn / "a").read_bytes()
    assert first == (cnn / "b").read_bytes() == (cnn / "c").read_bytes()
    assert first != (cnn / "d").read_bytes()


@pytest.mark.parametrize(
    "method", ["mse", *(pytest.param(m, marks=pytest.mark.slow) for m in ("minmax", "percentile"))]
)
def test_a_calibration_file_gives_the_same_bytes_as_the_data(
    qtool: Run, cnn: Path, method: str
) -> None:
    model, calib = cnn / "model.onnx", cnn / "model.calib"
    assert qtool("calibrate", model, "--data", cnn / "calib", "-o", calib).exit_code == 0
    common = ("quantize", model, "--method", method)
    file, data = ("--calibration", calib), ("--data", cnn / "calib")
    statistics = cnn / "statistics.toml"
    statistics.write_text('algorithms = ["equalize", "masks"]\n')
    plain = ("--recipe", statistics)
    for name, given in {
        "a": data, "b": (*data, *file), "c": file, "d": (*data, *plain), "e": (*file, *plain),
    }.items():  # fmt: skip
        assert qtool(*common, *given, "-o", cnn / name).exit_code == 0
    a, b, c, d, e = ((cnn / name).read_bytes() for name in "abcde")
    assert a == b
    assert c == d == e


@pytest.mark.slow
@pytest.mark.parametrize("preset", presets())
def test_threads_do_not_change_the_bytes(qtool: Run, tmp_path: Path, preset: str) -> None:
    sample = SAMPLES / "text_transformer"
    for threads in (1, 2):
        done = qtool(
            "quantize", sample / "model.onnx", "--data", sample / "calib", "--samples", 100,
            "--preset", preset, "--threads", threads, "-o", tmp_path / f"{threads}",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_calibration_file_is_no_replacement_for_samples(qtool: Run, cnn: Path) -> None:
    model, calib = cnn / "model.onnx", cnn / "model.calib"
    assert qtool("calibrate", model, "--data", cnn / "calib", "-o", calib).exit_code == 0
    common = ("quantize", model, "--calibration", calib, "-o", cnn / "a")
    refused = qtool(*common, "--preset", "balanced")
    assert refused.exit_code == 2
    assert "bias needs samples" in refused.stderr
    assert "--data DIR" in refused.stderr
    left_out = qtool(*common)
    assert left_out.exit_code == 0
    assert "note: left out bias, which needs samples" in left_out.stderr


def test_bits_and_scheme_together_are_refused(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--bits", 8, "--scheme", "w8")
    assert result.exit_code == 2
    assert "--bits and --scheme" in result.stderr


@pytest.mark.parametrize("scheme", ["w1", "w8a17", "8", "w4b17", "w8a8x", "wl1"])
def test_a_wrong_scheme_is_an_error_of_usage(qtool: Run, cnn: Path, scheme: str) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--scheme", scheme)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_an_already_quantized_model_is_refused(qtool: Run, cnn: Path) -> None:
    qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "-o", cnn / "q.onnx")
    result = qtool("quantize", cnn / "q.onnx", "--data", cnn / "calib")
    assert result.exit_code == 3
    assert "already quantized" in result.stderr
    assert "QuantizeLinear" in result.stderr


def test_quiet_leaves_the_result_alone(qtool: Run, cnn: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "-q")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("Wrote ")
