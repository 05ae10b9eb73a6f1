"""`qtool compare` as a shell sees it: what it prints and writes, and where to."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

from tests.compare.shell import Case


def test_github_gets_a_summary_and_annotations(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    case.run("--gate", "top1.drop <= 0.5pp")
    assert (tmp_path / "GITHUB_OUTPUT").stat().st_size == 0
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = case.run("-q", "--gate", "top1.drop <= 0.5pp")
    assert "::error title=" in result.stderr
    assert "passed=false" in (tmp_path / "GITHUB_OUTPUT").read_text()
    assert "top1.drop" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_json_on_stdout_is_all_of_stdout(case: Case) -> None:
    result = case.run("--json", "-", "--gate", "top1.drop <= 0.5pp")
    assert result.exit_code == 1
    run = json.loads(result.stdout)
    assert run["scores"]["top1"]["drop"] == pytest.approx(0.1)
    assert run["gates"][0]["passed"] is False


def test_json_in_a_file_is_not_overwritten_without_force(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    assert case.run("--json", str(file)).exit_code == 0
    assert json.loads(file.read_bytes())["samples"] == 40
    file.write_text("mine")
    refused = case.run("--json", str(file))
    assert refused.exit_code == 2
    assert "-f" in refused.stderr
    assert file.read_text() == "mine"
    assert case.run("--json", str(file), "-f").exit_code == 0
    assert json.loads(file.read_bytes())["schema"] == 1


def test_json_never_replaces_a_model(case: Case) -> None:
    before = case.candidate.read_bytes()
    result = case.run("--json", str(case.candidate), "-f")
    assert result.exit_code == 2
    assert "is an input" in result.stderr
    assert case.candidate.read_bytes() == before


def test_every_form_is_written_even_if_a_gate_fails(case: Case, tmp_path: Path) -> None:
    files = {form: tmp_path / f"run.{form}" for form in ("json", "markdown", "junit")}
    options = [text for form, file in files.items() for text in (f"--{form}", str(file))]
    result = case.run("--gate", "top1.drop <= 0.5pp", *options)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert json.loads(files["json"].read_bytes())["passed"] is False
    assert "top1.drop is 10 pp" in files["markdown"].read_text(encoding="utf-8")
    assert ElementTree.parse(files["junit"]).getroot().get("failures") == "1"
    refused = case.run(*options[:2])
    assert refused.exit_code == 2
    assert "exists" in refused.stderr


@pytest.mark.parametrize(("form", "begins"), [("markdown", "<!-- qtool"), ("junit", "<?xml")])
def test_a_form_on_stdout_is_all_of_stdout(case: Case, form: str, begins: str) -> None:
    result = case.run(f"--{form}", "-", "--gate", "top1.drop <= 20pp")
    assert result.exit_code == 0
    assert result.stdout.startswith(begins)
    assert "─" not in result.stdout


def test_two_forms_do_not_share_a_place(case: Case, tmp_path: Path) -> None:
    both = case.run("--json", "-", "--markdown", "-")
    assert both.exit_code == 2
    assert "--json and --markdown both write to stdout" in both.stderr
    place = str(tmp_path / "out")
    assert case.run("--json", place, "--junit", place).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_for_json_is_the_machines_fault(case: Case, tmp_path: Path) -> None:
    assert case.run("--json", str(tmp_path / "none" / "run.json")).exit_code == 5


def test_quiet_keeps_the_result_and_failed_gates(case: Case) -> None:
    result = case.run("-q", "--gate", "top1.drop <= 0.5pp")
    assert result.exit_code == 1
    assert "10.00 pp" in result.stdout
    assert "used 40" not in result.stderr
    assert "the limit is 0.5 pp" in result.stderr
    loud = case.run()
    assert "used 40" in loud.stderr, "quiet lasts for one command"


def test_markup_and_control_characters_in_names_are_shown_as_they_are(
    tmp_path: Path, case: Case
) -> None:
    for path in (case.reference, case.candidate):
        proto = onnx.load(path)
        proto.graph.output[0].name = proto.graph.node[-1].output[0] = "[red]y\x1b[2J"
        onnx.save(proto, path)
    result = case.run()
    assert result.exit_code == 0
    assert "[red]y\\x1b[2J" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_pipe_gets_whole_lines(tmp_path: Path, case: Case) -> None:
    name = "an output whose name is much longer than a terminal is wide, " * 3
    for path in (case.reference, case.candidate):
        proto = onnx.load(path)
        proto.graph.output[0].name = proto.graph.node[-1].output[0] = name
        onnx.save(proto, path)
    assert f"{name}  " in case.run().stdout
