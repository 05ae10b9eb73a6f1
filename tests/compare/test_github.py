"""What GitHub Actions is told, read the way its runner reads it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtool.compare.result import Comparison
from qtool.report import github
from qtool.report.github import ANNOTATIONS, SUMMARY, report
from qtool.report.markdown import markdown
from tests.compare.runs import UNKIND, output, renamed, results, run

GATES = ["top1.drop <= 0.5pp", "size.ratio <= 0.3", "sqnr >= 35dB @warn"]
COMMANDS = {"error", "warning", "notice", "add-mask", "set-output", "stop-commands", "group"}


class Runner:
    """The two files of a step, and how what is in them and on the terminal is taken."""

    def __init__(self, folder: Path) -> None:
        self.summary, self.output = folder / "summary", folder / "output"
        self.summary.touch()
        self.output.touch()
        self.environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.output),
        }

    def outputs(self) -> dict[str, str]:
        """`name=value` lines, and `name<<END`, lines, `END`."""
        found = {}
        lines = iter(self.output.read_text(encoding="utf-8").split("\n"))
        for line in lines:
            equals, here = line.find("="), line.find("<<")
            if not line:
                continue
            assert equals > 0 or here > 0, f"the runner refuses {line!r}"
            if here < 0 or 0 < equals < here:
                name, value = line.split("=", 1)
            else:
                name, end = line.split("<<", 1)
                value = "\n".join(iter(lambda: next(lines), end))
            found[name] = value
        return found


def taken(line: str) -> tuple[str, dict[str, str], str] | None:
    """Command, properties and message of a line, None where the runner sees no command."""
    line = line.lstrip()
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    command, _, rest = line[2:end].partition(" ")
    if command not in COMMANDS:
        return None
    pairs = [each.split("=", 1) for each in rest.strip().split(",") if each]
    properties = {
        pair[0]: _plain(pair[1].replace("%3A", ":").replace("%2C", ","))
        for pair in pairs
        if len(pair) == 2
    }
    return command, properties, _plain(line[end + 2 :])


def _plain(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_elsewhere_nothing_happens(runner: Runner) -> None:
    for value in ({}, {"GITHUB_ACTIONS": "false"}, {"GITHUB_ACTIONS": ""}):
        environ = {k: v for k, v in runner.environ.items() if k != "GITHUB_ACTIONS"} | value
        assert report(run(), results(run(), *GATES), environ) == ()
    assert runner.summary.read_bytes() == runner.output.read_bytes() == b""


def test_failed_gates_are_annotations_and_warnings_are(runner: Runner) -> None:
    found = run()
    assert report(found, results(found, *GATES), runner.environ) == (
        "::error title=qtool%3A top1.drop <= 0.5pp::top1.drop is 1 pp (95 %25 interval "
        "-0.5 to 2 pp), the limit is 0.5 pp",
        "::warning title=qtool%3A sqnr >= 35dB @warn::sqnr is 31.25 dB, the limit is 35 dB",
    )


def test_signs_that_steer_the_runner_are_escaped(runner: Runner) -> None:
    found = run()
    result = renamed(results(found, GATES[0])[0], "100%, a:b,title=x")
    (line,) = report(found, [result], runner.environ)
    assert line == (
        "::error title=qtool%3A 100%25%2C a%3Ab%2Ctitle=x <= 1::100%25, a:b,title=x is 1 pp "
        "(95 %25 interval -0.5 to 2 pp), the limit is 0.5 pp"
    )
    assert github._escaped("%0A\r\n") == "%250A%0D%0A"


@pytest.mark.parametrize("name", UNKIND)
def test_a_name_stays_in_its_annotation_and_its_output(runner: Runner, name: str) -> None:
    _contained(runner, name)


@given(st.text() | st.text("%0123ADC:,=\r\n<{}\"\\'"))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_stays_in_its_annotation_and_its_output(runner: Runner, name: str) -> None:
    runner.summary.write_bytes(b"")
    runner.output.write_bytes(b"")
    _contained(runner, name)


def _contained(runner: Runner, name: str) -> None:
    found = run(name, candidate=f"{name}.onnx", notes=[name])
    found = replace(found, scores={name or "x": found.scores["top1"]})
    result = renamed(results(run(), GATES[0])[0], name)
    (line,) = report(found, [result], runner.environ)
    assert line.isprintable()
    command, properties, message = taken(line) or ("", {}, "")
    assert command == "error"
    assert list(properties) == ["title"]
    assert len(properties["title"]) <= github.TITLE
    assert len(message) <= github.MESSAGE
    assert message.endswith(" (95 % interval -0.5 to 2 pp), the limit is 0.5 pp")
    outputs = runner.outputs()
    assert list(outputs) == ["passed", "failed-gates", "metrics"]
    assert f"{name or 'x'}.drop" in json.loads(outputs["metrics"])
    assert runner.summary.read_bytes() == b"\n" + markdown(found, [result]).encode()


@pytest.mark.parametrize(("many", "shown"), [(9, 9), (10, 10), (11, 10), (500, 10)])
def test_at_most_ten_of_a_level_and_the_last_counts_the_rest(
    runner: Runner, many: int, shown: int
) -> None:
    found = run()
    error, _, warning = results(found, *GATES)
    both = [renamed(each, f"gate{i}") for i in range(many) for each in (error, warning)]
    lines = report(found, both, runner.environ)
    for level in ("::error ", "::warning "):
        own = [line for line in lines if line.startswith(level)]
        assert len(own) == shown <= ANNOTATIONS
        left = many - 9 if many > 10 else 0
        assert own[-1].endswith(f"::{left} more gates, see the summary of the job") == bool(left)
        assert sum("gate" in line.split("::")[1] for line in own) + left == many
    assert len(lines) == 2 * shown


def test_outputs(runner: Runner) -> None:
    found = replace(run(), outputs=(output("logits", float("inf")),))
    report(found, results(found, *GATES), runner.environ)
    outputs = runner.outputs()
    assert outputs["passed"] == "false"
    assert outputs["failed-gates"] == "1", "a warning is none"
    metrics = json.loads(outputs["metrics"])
    assert metrics["top1.drop"] == 0.01
    assert metrics["sqnr"] is None, "JSON has no infinity"


@pytest.mark.parametrize("gates", [[], GATES[1:2], GATES[1:]])
def test_passed_means_that_no_gate_of_level_error_failed(
    runner: Runner, gates: Sequence[str]
) -> None:
    report(run(), results(run(), *gates), runner.environ)
    assert runner.outputs()["passed"] == "true"
    assert runner.outputs()["failed-gates"] == "0"


def test_what_is_there_stays_and_ends_its_line(runner: Runner) -> None:
    runner.summary.write_text("# Of another command")
    runner.output.write_text("mine=1")
    report(run(), (), runner.environ)
    assert runner.summary.read_text(encoding="utf-8").startswith(
        "# Of another command\n<!-- qtool compare"
    )
    assert runner.outputs()["mine"] == "1"
    assert runner.outputs()["passed"] == "true"


def test_the_baseline_is_in_the_summary(runner: Runner) -> None:
    report(run(), (), runner.environ, run())
    assert "since the baseline" in runner.summary.read_text(encoding="utf-8")


def many_outputs() -> Comparison:
    return run(*(f"output{i}" for i in range(2000)))


@pytest.mark.parametrize("room", [0, 1, 100, 300, 1500, 3000, 59_000, 70_000])
def test_a_summary_is_never_over_the_limit_of_a_step(runner: Runner, room: int) -> None:
    runner.summary.write_bytes(b"x" * (SUMMARY - room))
    lines = report(many_outputs(), (), runner.environ)
    size = runner.summary.stat().st_size
    assert size <= SUMMARY
    if room <= 100:
        assert size == SUMMARY - room, "all or nothing of the verdict"
        assert lines == (
            f"note: GITHUB_STEP_SUMMARY was not written: {size:,} of its 1,048,576 bytes are used",
        )
    else:
        assert lines == ()
        written = runner.summary.read_bytes()[SUMMARY - room :].decode()
        assert written.endswith(".\n")
        assert "Left out to stay within" in written
        assert written.count("<details>") == written.count("</details>")


def test_a_full_summary_does_not_cost_the_outputs(runner: Runner) -> None:
    runner.summary.write_bytes(b"x" * SUMMARY)
    report(run(), (), runner.environ)
    assert runner.outputs()["passed"] == "true"


@pytest.mark.parametrize("variable", ["GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"])
def test_a_file_that_cannot_be_written_is_a_note(runner: Runner, variable: str) -> None:
    path = Path(runner.environ[variable])
    path.unlink()
    (missing,) = report(run(), (), runner.environ)
    assert missing == f"note: {variable} was not written: No such file or directory"
    assert not path.exists(), "the runner reads no file that it did not make"
    path.mkdir()
    (folder,) = report(run(), (), runner.environ)
    assert folder == f"note: {variable} was not written: Is a directory"
    for unset in ({k: v for k, v in runner.environ.items() if k != variable}, {variable: ""}):
        notes = report(run(), (), {"GITHUB_ACTIONS": "true"} | unset)
        assert f"note: {variable} is not set, so it was not written" in notes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_a_file_without_permission_is_a_note(runner: Runner) -> None:
    runner.output.chmod(stat.S_IRUSR)
    (line,) = report(run(), (), runner.environ)
    assert line == "note: GITHUB_OUTPUT was not written: Permission denied"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_a_note(runner: Runner) -> None:
    (line,) = report(run(), (), runner.environ | {"GITHUB_OUTPUT": "/dev/full"})
    assert line == "note: GITHUB_OUTPUT was not written: No space left on device"


def test_what_is_to_blame_is_in_the_annotation(runner: Runner) -> None:
    found = run()
    (result,) = results(found, "top1.drop <= 0.5pp")
    why = ("the worst: a,b\n::error::x", "try: qtool quantize m.onnx")
    (line,) = report(found, [replace(result, why=why)], runner.environ)
    assert line.startswith("::error title=")
    assert "%0Athe worst: a,b\\n::error::x%0Atry: qtool quantize m.onnx" in line
    assert "\n" not in line
