"""`qtool report`: a saved run says again what it said, and answers other questions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from tests.cli.conftest import SAMPLES
from tests.conftest import hurry

Run = Callable[..., Result]
FOLDER = SAMPLES / "digits_cnn"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model of 2 bits, with a gate that it does not meet."""
    folder = tmp_path_factory.mktemp("run")
    hasty = pytest.MonkeyPatch()
    hurry(hasty)
    for arguments in (
        ("quantize", FOLDER / "model.onnx", "--bits", 2, "-o", folder / "c.onnx"),
        (
            "compare", FOLDER / "model.onnx", folder / "c.onnx", "--data", FOLDER / "eval",
            "--samples", 64, "--gate", "sqnr >= 60dB", "--gate", "size.ratio <= 0.5",
            "--json", folder / "run.json", "--markdown", folder / "run.md",
            "--junit", folder / "run.xml", "--latency",
        ),
    ):  # fmt: skip
        done = CliRunner().invoke(app, [str(a) for a in arguments])
    hasty.undo()
    assert done.exit_code == 1, done.stderr
    (folder / "stdout").write_text(done.stdout, encoding="utf-8")
    (folder / "stderr").write_text(done.stderr, encoding="utf-8")
    (folder / "c.onnx").unlink()  # nothing is run, and no model is opened
    return folder


def test_it_says_what_compare_said(qtool: Run, saved: Path) -> None:
    done = qtool("report", saved / "run.json")
    assert done.exit_code == 1
    assert done.stdout == (saved / "stdout").read_text(encoding="utf-8")
    assert "sqnr is " in done.stderr
    assert "the largest errors of their own" in done.stderr


def test_a_real_run_is_what_its_schema_says(saved: Path) -> None:
    schema = json.loads((SAMPLES.parent / "docs" / "run.schema.json").read_text())
    run = json.loads((saved / "run.json").read_text(), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(schema).validate(run)
    assert run["metrics"]["latency.ratio"] > 0
    assert math.isfinite(run["metrics"]["layers.own"])
    assert run["data"]["samples"] == run["samples"] == 64


def test_its_forms_are_those_of_compare(qtool: Run, saved: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / f"again.{form}" for form in ("json", "md", "xml")}
    options = "--json", files["json"], "--markdown", files["md"], "--junit", files["xml"]
    assert qtool("report", saved / "run.json", *options).exit_code == 1
    for form, file in files.items():
        assert file.read_bytes() == (saved / f"run.{form}").read_bytes()
    refused = qtool("report", saved / "run.json", *options)
    assert refused.exit_code == 2
    assert qtool("report", saved / "run.json", *options, "-f", "--exit-zero").exit_code == 0


def test_the_run_itself_is_not_overwritten(qtool: Run, saved: Path) -> None:
    done = qtool("report", saved / "run.json", "--json", saved / "run.json", "-f")
    assert done.exit_code == 2
    assert "is an input" in done.stderr


def test_other_gates_take_the_place_of_its_own(qtool: Run, saved: Path) -> None:
    done = qtool("report", saved / "run.json", "--gate", "sqnr >= -60dB")
    assert done.exit_code == 0, done.stderr
    assert "size.ratio <= 0.5" not in done.stdout


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("layers.owm >= 1", "did you mean 'layers.own'"),
        ("mse <= 1", "fix: compare again, and add class folders"),
        ("top1.regression <= 1pp", "fix: compare again, and add  --baseline"),
    ],
)
def test_what_the_run_has_not_is_said(qtool: Run, saved: Path, gate: str, says: str) -> None:
    done = qtool("report", saved / "run.json", "--gate", gate)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_baseline_is_kept_in_the_run(qtool: Run, saved: Path, tmp_path: Path) -> None:
    before, run = json.loads((saved / "run.json").read_text()), tmp_path / "run.json"
    before["size"]["candidate"] -= 20_000
    (tmp_path / "before.json").write_text(json.dumps(before))
    options = ("--gate", "top1.regression <= 0.5pp", "--baseline", tmp_path / "before.json")
    done = qtool("report", saved / "run.json", *options, "--json", run)
    assert done.exit_code == 1
    assert "size.bytes.regression is 20 kB" in done.stderr
    again = qtool("report", run)
    assert (again.exit_code, again.stdout, again.stderr) == (1, done.stdout, done.stderr)
    other = qtool("report", run, "--baseline", saved / "run.json")
    assert other.exit_code == 0, other.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 7}, "another schema"),
        ({"samples": "many"}, "damaged or was edited"),
        ({"gates": [{"gate": "top9 <= 1"}]}, "damaged or was edited"),
    ],
)
def test_what_is_no_run_is_exit_code_four(
    qtool: Run, saved: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    run = json.loads((saved / "run.json").read_text()) | change
    (tmp_path / "run.json").write_text(json.dumps(run))
    done = qtool("report", tmp_path / "run.json")
    assert done.exit_code == 4
    assert says in done.stderr
    assert "--json FILE" in done.stderr


def test_a_gate_of_the_run_that_nobody_knows_is_its_fault(
    qtool: Run, saved: Path, tmp_path: Path
) -> None:
    text = (saved / "run.json").read_text().replace("sqnr >= 60dB", "sqmr >= 60dB")
    (tmp_path / "run.json").write_text(text)
    done = qtool("report", tmp_path / "run.json")
    assert done.exit_code == 4
    assert "unknown metric 'sqmr'" in done.stderr


def test_no_such_file(qtool: Run, tmp_path: Path) -> None:
    done = qtool("report", tmp_path / "none.json")
    assert done.exit_code == 4
    assert "No such file" in done.stderr


def test_help_starts_with_an_example(qtool: Run) -> None:
    done = qtool("report", "-h")
    assert done.exit_code == 0
    assert "qtool report run.json" in done.stdout
