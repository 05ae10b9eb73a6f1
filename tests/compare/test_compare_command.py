"""`qtool compare` as a shell sees it: exit codes, gates and what they need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from typer.testing import CliRunner

from qtool.cli.app import app
from tests.compare.shell import Case


def test_a_passed_gate_exits_with_zero(case: Case) -> None:
    result = case.run("--gate", "top1.drop <= 20pp", "--gate", "agreement >= 90%")
    assert result.exit_code == 0
    assert "10.00 pp" in result.stdout
    assert result.stdout.count("passed") == 2
    assert "used 40 of 40 files" in result.stderr
    assert "used" not in result.stdout


def test_a_failed_gate_exits_with_one_and_says_what_to_try(case: Case) -> None:
    result = case.run("--gate", "top1.drop <= 0.5pp")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "top1.drop is 10 pp (95 % interval" in result.stderr
    assert "), the limit is 0.5 pp" in result.stderr
    assert f"try: qtool quantize {case.reference} --scheme w8" in result.stderr


@pytest.mark.parametrize("arguments", [["--exit-zero"], []])
def test_exit_zero_and_warnings_do_not_fail(case: Case, arguments: list[str]) -> None:
    level = "" if arguments else " @warn"
    result = case.run("--gate", f"top1.drop <= 0.5pp{level}", *arguments)
    assert result.exit_code == 0
    assert "top1.drop is 10 pp" in result.stderr


def test_exit_zero_turns_no_other_code(case: Case) -> None:
    assert case.run("--gate", "nonsense", "--exit-zero").exit_code == 2
    case.candidate.write_bytes(b"no model")
    assert case.run("--exit-zero").exit_code == 3


def test_an_uncertain_gate_says_how_to_be_surer(case: Case) -> None:
    result = case.run("--gate", "top1.drop <= 12pp")
    assert "passed, not certain" in result.stdout
    assert 'note: gate "top1.drop <= 12pp" is not certain' in result.stderr
    assert "--samples 40" not in result.stderr
    few = case.run("--gate", "top1.drop <= 12pp", "--samples", "20")
    assert "used 20 of 40 files (seed 0)" in few.stderr
    assert "--samples 40 may settle it" in few.stderr


def test_without_data_sizes_can_be_gated_and_accuracy_cannot(case: Case) -> None:
    result = case.run("--gate", "size.ratio <= 9", data=False)
    assert result.exit_code == 0
    assert "size" in result.stdout
    assert "accuracy needs samples" in result.stderr
    refused = case.run("--gate", "top1.drop <= 1pp", data=False)
    assert refused.exit_code == 2
    assert "add  --data DIR" in refused.stderr


def test_a_gate_without_its_source_is_refused_before_the_models_run(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the models ran")

    monkeypatch.setattr("qtool.compare.judge.compare", never)
    result = case.run("--gate", "latency.ratio <= 1")
    assert result.exit_code == 2
    assert "--latency" in result.stderr


def test_bad_data_is_exit_code_four(case: Case) -> None:
    np.save(case.data / "labels.npy", np.full(40, 3))
    result = case.run()
    assert result.exit_code == 4
    assert "label 3 is not a class of output 'y'" in result.stderr


def test_other_signatures_are_exit_code_three(case: Case, build: Callable[..., Path]) -> None:
    build("candidate", "m (float[N,3] x) => (float[N,3] z) { z = Identity(x) }")
    result = case.run()
    assert result.exit_code == 3
    assert "different outputs" in result.stderr


def test_a_baseline_holds_what_was_reached(case: Case, tmp_path: Path) -> None:
    run = str(tmp_path / "run.json")
    assert case.run("--json", run).exit_code == 0
    same = case.run("--baseline", run)
    assert same.exit_code == 0
    assert "top1.drop no worse than baseline" in same.stdout
    assert "since the baseline" in same.stdout
    worse = onnx.load(case.candidate)
    tensor = worse.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 0, 2], np.float32), tensor.name))
    onnx.save(worse, case.candidate)
    failed = case.run("--baseline", run)
    assert failed.exit_code == 1
    assert "top1.drop.regression is 90 pp (95 % interval" in failed.stderr
    allowed = case.run(
        "--baseline", run, "--gate", "top1.regression <= 95pp",
        *("--gate", "f1.regression <= 95pp", "--gate", "agreement.regression <= 95pp"),
        *("--gate", "sqnr.regression <= 95dB"),
    )  # fmt: skip
    assert allowed.exit_code == 0, allowed.stderr
    # It is not replaced by what is held against it.
    refused = case.run("--baseline", run, "--json", run, "-f")
    assert refused.exit_code == 2
    assert "is an input" in refused.stderr


def test_a_gate_on_a_regression_needs_a_baseline_that_has_it(case: Case, tmp_path: Path) -> None:
    gate = ("--gate", "top1.regression <= 1pp")
    assert "add  --baseline RUN.json" in case.run(*gate).stderr
    run = str(tmp_path / "sizes.json")
    assert case.run("--json", run, data=False).exit_code == 0
    early = case.run("--baseline", run, *gate)
    assert early.exit_code == 2
    assert "it needs an earlier run that has it" in early.stderr


def test_what_is_no_run_as_a_baseline_is_exit_code_four(case: Case, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    result = case.run("--baseline", str(tmp_path / "run.json"))
    assert result.exit_code == 4
    assert "not a run of  qtool compare" in result.stderr


def test_a_scorer_is_a_metric(case: Case, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def first(outputs):\n    return outputs['y'][0]\n")
    scorer = ("--scorer", f"{tmp_path / 'mine.py'}:first")
    result = case.run(*scorer, "--gate", "first.drop <= 0", "--gate", "first >= 1")
    assert result.exit_code == 0, result.stderr
    assert "first.drop <= 0" in result.stdout
    unknown = case.run("--gate", "first.drop <= 0")
    assert unknown.exit_code == 2


def test_layers_are_a_table_and_a_metric(case: Case) -> None:
    result = case.run("--layers", "--gate", "layers.own >= 0dB")
    assert result.exit_code == 0, result.stderr
    assert "inherited" in result.stdout
    assert "inherited" not in case.run().stdout
    assert "add  --layers" in case.run("--gate", "layers.own >= 0dB").stderr


@pytest.mark.usefixtures("brief")
def test_latency_is_measured_on_demand(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtool.compare.latency.SECONDS", 0.0)
    result = case.run("--latency", "--gate", "latency.ratio <= 1000")
    assert result.exit_code == 0
    assert "latency p90" in result.stdout
    assert "latency" not in case.run().stdout


def test_help_starts_with_an_example() -> None:
    result = CliRunner().invoke(app, ["compare", "--help"], terminal_width=200)
    text = " ".join(result.stdout.split())
    assert (
        'qtool compare model.onnx model.int8.onnx --data eval --gate "top1.drop <= 0.5pp"' in text
    )
    assert text.index("--data eval") < text.index("Arguments")
