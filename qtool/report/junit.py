"""A comparison as JUnit XML: a test case for each gate, as CI systems list tests.

A gate that only warns and is not met is "skipped": Jenkins, GitLab and the readers for GitHub show
these with their text, apart from the passed ones, and fail no run for them. (Of a passed case
GitLab shows no text at all. pytest writes an expected failure the same way.) The text of a failure
repeats its message: GitLab shows the text alone, and most readers for GitHub the message. There is
no time and no host in it, so the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from qtool.compare.gates import GateResult
from qtool.compare.metrics import metrics_of, values
from qtool.compare.result import Comparison
from qtool.report.plain import sentence, shortened
from qtool.text import visible


def junit(comparison: Comparison, results: Sequence[GateResult] = ()) -> str:
    """One test suite, each metric a property of it; without gates, one case named `compared`."""
    failed = sum(result.failed for result in results)
    warned = sum(not result.passed for result in results) - failed
    counts = {"tests": str(len(results) or 1), "failures": str(failed), "errors": "0"}
    name = _legal(comparison.candidate.name)
    root = ET.Element("testsuites", {"name": "qtool compare", **counts})
    # Jenkins' schema knows the number of skipped cases of a suite alone.
    suite = ET.SubElement(root, "testsuite", {"name": name, **counts, "skipped": str(warned)})
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(comparison).items():
        ET.SubElement(properties, "property", name=_legal(key), value=_legal(value))
    # Jenkins takes what stands before the last dot for a package.
    owner = f"qtool.{name.replace('.', '_')}"
    for result in results:
        _describe(ET.SubElement(suite, "testcase", classname=owner, name=_gate(result)), result)
    if not results:
        ET.SubElement(suite, "testcase", classname=owner, name="compared")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _properties(comparison: Comparison) -> dict[str, str]:
    measured = values(comparison, metrics_of(comparison))
    return {
        "reference": str(comparison.reference),
        "candidate": str(comparison.candidate),
        "samples": str(comparison.samples),
        **{name: repr(value) for name, (value, _) in measured.items()},
    }


def _describe(case: ET.Element, result: GateResult) -> None:
    if result.passed:
        return
    kind, word = ("failure", "") if result.failed else ("skipped", "a warning: ")
    message = word + sentence(result)
    lines = "\n".join([message, *map(visible, result.why)])
    ET.SubElement(case, kind, type="gate", message=message).text = lines


def _gate(result: GateResult) -> str:
    return _legal(result.gate.text)


def _legal(text: str) -> str:
    """On one line; all that XML 1.0 forbids is not printable, and so written as an escape."""
    return shortened(visible(text))
