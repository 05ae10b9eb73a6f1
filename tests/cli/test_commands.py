"""Every command: help with an example, a place in the README, errors with a way out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from qtool.cli.app import COMMANDS

Run = Callable[..., Result]
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
NAMES = [command.__name__ for command in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_stands_in_the_readme_and_has_help(qtool: Run, name: str) -> None:
    assert f"qtool {name}" in README
    for flag in ("-h", "--help"):
        result = qtool(name, flag)
        assert result.exit_code == 0
        assert f"qtool {name}" in result.stdout.split("Usage:")[1]


@pytest.mark.parametrize("name", NAMES)
def test_help_starts_with_an_example(name: str) -> None:
    command = next(c for c in COMMANDS if c.__name__ == name)
    assert (command.__doc__ or "").startswith(f"qtool {name}")


def test_inspect_says_what_can_be_quantized_and_what_not(qtool: Run, cnn: Path) -> None:
    result = qtool("inspect", cnn.parents[0] / "digits_cnn" / "model.onnx")
    assert result.exit_code == 0, result.stderr
    assert "5 w8sca8u" in result.stdout
    detector = Path(__file__).parents[2] / "sample_models" / "digits_detector" / "model.onnx"
    assert "cpu has no integer kernel for it: 1 Sub" in qtool("inspect", detector).stdout


def test_inspect_runtime_counts_what_runs_in_integers(qtool: Run, cnn: Path) -> None:
    qtool("quantize", cnn / "model.onnx", "--data", cnn / "calib", "-o", cnn / "q.onnx")
    shown = qtool("inspect", cnn / "q.onnx", "--runtime").stdout
    assert "3 QLinearConv" in shown
    assert "2 QGemm" in shown
    assert "1 QuantizeLinear" in shown  # the input's, and no other
    assert "DequantizeLinear" not in shown.split("Q/DQ left")[1]


def test_doctor_lists_versions_and_the_telemetry(qtool: Run) -> None:
    shown = qtool("doctor")
    assert shown.exit_code == 0
    for word in ("qtool", "onnxruntime", "telemetry", "cores"):
        assert word in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("quantize", "missing.onnx"), 3, "no file"),
        (("quantize", "."), 3, "is a folder"),
        (("quantize", __file__), 3, "looks like a text file"),
        (("inspect", __file__), 3, "looks like a text file"),
        (("quantize",), 2, "MODEL"),
        (("quantise", "x"), 2, "quantize"),
    ],
)
def test_errors_name_the_thing_and_exit_as_documented(
    qtool: Run, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = qtool(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_heavy_modules_are_not_imported_for_help() -> None:
    code = (
        "import sys; import qtool.cli.app;"
        "heavy = {'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'PIL', 'pydantic', 'rich.table'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_runtimes_telemetry_is_off_before_it_is_imported() -> None:
    code = "import qtool.runtime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_the_version(qtool: Run) -> None:
    assert qtool("--version").stdout.startswith("qtool 0.")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_data_folder_that_is_not_there(qtool: Run, cnn: Path, more: tuple[str, ...]) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--data", cnn / "nosuch", *more)
    assert result.exit_code == 4
    assert "nosuch" in result.stderr


def reading_data(cnn: Path) -> list[tuple[object, ...]]:
    """Each command that reads data, on the sample; compare reads what quantize wrote."""
    model, data, q = cnn / "model.onnx", cnn / "calib", cnn / "q.onnx"
    return [
        ("data", data, "--model", model),
        ("calibrate", model, "--data", data, "-o", cnn / "x.calib"),
        ("quantize", model, "--data", data, "-o", q),
        ("compare", model, q, "--data", data),
    ]


def test_bad_files_can_be_left_out_in_every_command(qtool: Run, cnn: Path) -> None:
    (cnn / "calib" / "0" / "bad.png").write_bytes(b"no image")
    for command in reading_data(cnn):
        if command[0] != "compare":
            refused = qtool(*command)
            assert refused.exit_code == 4
            assert "bad.png" in refused.stderr
        result = qtool(*command, "--on-bad-file", "skip")
        assert result.exit_code == 0, result.stderr
        assert "left out 1 bad" in result.stderr


def test_a_recipe_declares_the_data_in_every_command(qtool: Run, cnn: Path) -> None:
    recipe = cnn / "recipe.toml"
    recipe.write_text((cnn / "qtool.toml").read_text())
    (cnn / "qtool.toml").unlink()
    for command in reading_data(cnn):
        assert qtool(*command).exit_code in (3, 4)
        result = qtool(*command, "--recipe", recipe)
        assert result.exit_code == 0, result.stderr
