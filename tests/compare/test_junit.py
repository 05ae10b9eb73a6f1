"""JUnit XML: valid by the schema, and read as CI systems read it."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.metadata import distribution

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Failure, JUnitXml, Skipped, TestSuite
from lxml import etree

from qtool.compare.metrics import METRICS, values
from qtool.report.junit import junit
from qtool.report.plain import shortened
from qtool.text import visible
from tests.compare.runs import UNKIND, output, renamed, results, run

GATES = ["top1.drop <= 0.5pp", "size.ratio <= 0.3", "sqnr >= 35dB @warn"]
# Read from the installed package without importing it.
RESOURCES = "pyEDAA/Reports/Resources"
SCHEMA = distribution("pyEDAA.Reports").locate_file(f"{RESOURCES}/Any-JUnit.xsd")


def suite(text: str) -> TestSuite:
    """The one suite of a text that the schema allows."""
    document = etree.parse(io.BytesIO(text.encode()))
    schema = etree.XMLSchema(etree.parse(str(SCHEMA)))
    schema.assertValid(document)
    suites = list(JUnitXml.fromstring(text.encode()))
    assert len(suites) == 1
    return suites[0]


def test_a_case_for_each_gate() -> None:
    found = run()
    text = junit(found, results(found, *GATES))
    read = suite(text)
    assert (read.name, read.tests, read.failures, read.errors, read.skipped) == (
        "model.int8.onnx", 3, 1, 0, 1,
    )  # fmt: skip
    failed, passed, warned = list(read)
    assert {case.classname for case in read} == {"qtool.model_int8_onnx"}
    assert [case.name for case in read] == GATES
    assert [type(r) for case in read for r in case.result] == [Failure, Skipped]
    says = "top1.drop is 1 pp (95 % interval -0.5 to 2 pp), the limit is 0.5 pp"
    assert failed.result[0].message == failed.result[0].text == says
    assert warned.result[0].message == "a warning: sqnr is 31.25 dB, the limit is 35 dB"
    assert passed.is_passed


def test_the_counts_of_the_root_are_those_of_the_suite() -> None:
    found = run()
    root = etree.fromstring(junit(found, results(found, *GATES)).encode())
    names = ("tests", "failures", "errors")
    assert [root.get(name) for name in names] == ["3", "1", "0"]
    assert [root[0].get(name) for name in names] == ["3", "1", "0"]


def test_metrics_are_properties() -> None:
    found = replace(run(), outputs=(output("logits", float("inf")),))
    text = junit(found)
    assert suite(text).name == "model.int8.onnx"
    read = etree.fromstring(text.encode()).iter("property")
    properties = {each.get("name"): each.get("value") for each in read}
    assert properties["candidate"] == "model.int8.onnx"
    assert properties["samples"] == "256"
    assert properties["sqnr"] == "inf"
    assert {name: float(properties[name]) for name in ("top1.drop", "size.ratio")} == {
        "top1.drop": 0.01,
        "size.ratio": 0.2525,
    }
    assert set(values(found, METRICS)) <= set(properties)


def test_without_gates_it_says_compared() -> None:
    read = suite(junit(run()))
    (case,) = list(read)
    assert (case.name, case.is_passed, read.tests) == ("compared", True, 1)


@pytest.mark.parametrize("name", UNKIND)
def test_any_name_makes_valid_xml(name: str) -> None:
    _valid(name)


@given(st.text())
def test_any_text_makes_valid_xml(name: str) -> None:
    _valid(name)


def _valid(name: str) -> None:
    found = run(name, candidate=f"{name}.onnx")
    first, *others = results(found, *GATES)
    read = suite(junit(found, [renamed(first, name), *others]))
    case = next(iter(read))
    assert case.name == shortened(visible(f"{name} <= 1"))
    assert case.result[0].message.startswith(f"{shortened(visible(name))} is 1 pp")
    assert read.failures == 1


def test_equal_runs_give_equal_bytes_without_time_and_host() -> None:
    text = junit(run(), results(run(), *GATES))
    assert text == junit(run(), results(run(), *GATES))
    root = etree.fromstring(text.encode())
    assert not {"time", "timestamp", "hostname"} & {a for each in root.iter() for a in each.attrib}


@pytest.mark.parametrize("name", UNKIND)
def test_what_is_to_blame_is_in_the_text(name: str) -> None:
    found = run()
    (result,) = results(found, "top1.drop <= 0.5pp")
    why = (f"the worst: {name}", "try: qtool quantize m.onnx")
    (case,) = list(suite(junit(found, [replace(result, why=why)])))
    message, *lines = case.result[0].text.split("\n")
    assert message == case.result[0].message
    assert lines == [visible(each) for each in why]
