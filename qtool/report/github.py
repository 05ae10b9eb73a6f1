"""What GitHub Actions takes from a step: a summary, outputs, annotations, each within its limit.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence

from qtool.compare.gates import GateResult
from qtool.compare.metrics import metrics_of, values
from qtool.compare.result import Comparison
from qtool.compare.run_file import finite
from qtool.report.markdown import LIMIT, markdown
from qtool.report.plain import sentence, shortened
from qtool.text import visible

SUMMARY = 1024 * 1024
"""Bytes of a step's summary, whoever wrote them; the runner drops a larger one as a whole."""
ANNOTATIONS = 10
"""Of each level in a step; the runner drops what comes after."""
TITLE, MESSAGE = 255, 4096
"""Characters of an annotation."""


def report(
    comparison: Comparison,
    results: Sequence[GateResult],
    environ: Mapping[str, str],
    baseline: Comparison | None = None,
) -> tuple[str, ...]:
    """Write summary and outputs where `environ` is a runner's; the lines to print, in any case.

    A file that cannot be written is a note among the lines: a report never decides a job.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return ()

    def summary(used: int) -> str:
        room = SUMMARY - used - len(_GAP)
        text = markdown(comparison, results, baseline, limit=min(LIMIT, room))
        if len(text.encode()) > room:
            raise OSError(0, f"{used:,} of its {SUMMARY:,} bytes are used")
        return text

    return (
        *_annotations("error", [result for result in results if result.failed]),
        *_annotations("warning", [r for r in results if not r.passed and not r.failed]),
        *_append(environ, "GITHUB_STEP_SUMMARY", summary),
        *_append(environ, "GITHUB_OUTPUT", lambda _: _outputs(comparison, results)),
    )


def _annotations(level: str, results: Sequence[GateResult]) -> list[str]:
    shown = len(results) if len(results) <= ANNOTATIONS else ANNOTATIONS - 1
    lines = [_command(level, f"qtool: {r.gate.text}", _message(r)) for r in results[:shown]]
    if shown < len(results):
        more = f"{len(results) - shown} more gates, see the summary of the job"
        lines.append(_command(level, "qtool: and more", more))
    return lines


def _message(result: GateResult) -> str:
    return "\n".join([sentence(result), *map(visible, result.why)])


def _command(level: str, title: str, message: str) -> str:
    titled = _escaped(shortened(visible(title), TITLE)).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={titled}::{_escaped(shortened(message, MESSAGE))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _outputs(comparison: Comparison, results: Sequence[GateResult]) -> str:
    """`name=value` lines. JSON holds no newline, so no name can end a value and add another."""
    failed = sum(result.failed for result in results)
    measured = values(comparison, metrics_of(comparison))
    numbers = finite({name: value for name, (value, _) in measured.items()})
    passed = "false" if failed else "true"
    return f"passed={passed}\nfailed-gates={failed}\nmetrics={json.dumps(numbers)}\n"


def _append(
    environ: Mapping[str, str], variable: str, make: Callable[[int], str]
) -> tuple[str, ...]:
    """Append what `make` gives for so many bytes that are there; a note where that fails."""
    path = environ.get(variable)
    if not path:
        return (f"note: {variable} is not set, so it was not written",)
    try:
        with open(path, "ab", opener=_there) as file:
            file.write((_GAP + make(os.fstat(file.fileno()).st_size)).encode())
    except OSError as error:
        return (f"note: {variable} was not written: {error.strerror or error}",)
    return ()


def _there(path: str, flags: int) -> int:
    """An opener that makes no file: the runner made them, and reads no other."""
    return os.open(path, flags & ~os.O_CREAT)


_GAP = "\n"  # what is there may not end with one
