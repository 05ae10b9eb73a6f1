"""Gates on how much worse a metric is than in an earlier run."""

from __future__ import annotations

import math

import pytest

from qtool.compare import gates
from qtool.compare.metrics import METRICS
from qtool.compare.result import Size
from qtool.errors import UsageError
from qtool.numeric.bootstrap import Interval
from tests.compare.test_gates import NO_CHANGE, comparison, outcome, output, score


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_changed_since_itself(metric: str) -> None:
    for operator, passed in {"<": False, "<=": True, ">": False, ">=": True, "==": True}.items():
        result = outcome(f"{metric}.regression {operator} {NO_CHANGE[metric]}", None, comparison())
        assert (result.value, result.passed) == (0, passed)


def test_a_regression_is_how_much_worse_whichever_way_that_is() -> None:
    now = comparison(
        size=Size(8_000_000, 2_100_000),
        outputs=(output(sqnr_db=28.0, intervals={"sqnr_db": Interval(27, 28.5)}),),
        scores={"top1": score("top1", 0.9, 0.905), "mse": score("mse", 1.0, 1.75)},
    )
    sqnr = outcome("sqnr.regression <= 1.7dB", now, comparison())
    assert (sqnr.value, sqnr.passed, sqnr.certain) == (2, False, False)
    assert sqnr.interval == Interval(1.5, 3)
    assert outcome("size.bytes.regression <= 0.1MB", now, comparison()).value == 100_000
    assert outcome("mse.regression <= 0.1", now, comparison()).value == 0.25
    better = outcome("top1.regression <= 0pp", now, comparison())
    assert better.value == pytest.approx(-0.01)
    assert better.passed


def test_infinities_then_and_now_are_no_regression() -> None:
    equal = comparison(outputs=(output(sqnr_db=math.inf),))
    assert outcome("sqnr.regression <= 0", equal, equal).value == 0
    assert outcome("sqnr.regression <= 0", comparison(), equal).value == math.inf
    assert outcome("sqnr.regression <= 0", equal, comparison()).value == -math.inf


def test_a_regression_needs_a_run_that_has_the_number() -> None:
    gate = gates.parse("top1.regression <= 1pp")
    sources = {"size", "data", "labels"}
    for before in (None, comparison(scores={})):
        with pytest.raises(UsageError, match="nothing to read") as early:
            gates.require([gate], sources, METRICS, before)
        with pytest.raises(UsageError, match="nothing to read") as late:
            gates.judge([gate], comparison(), METRICS, before)
        assert early.value.fix == late.value.fix == "add  --baseline RUN.json"
    with pytest.raises(UsageError, match="nothing to read") as caught:
        gates.judge([gate], comparison(scores={}), METRICS, comparison())
    assert "labels" in caught.value.fix
