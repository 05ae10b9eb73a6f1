"""What a run must not be worse in than an earlier one, where no gate says so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.compare import baseline, gates
from qtool.compare.gates import GateResult
from qtool.compare.metrics import METRICS
from qtool.compare.result import Comparison, Latency, Rate, Score, Size, Used
from qtool.errors import UsageError
from qtool.numeric.bootstrap import Interval
from tests.compare.test_gates import comparison, output


def top1(drop: float, low: float, high: float) -> Score:
    return Score(0.9, 0.9 - drop, drop, Interval(low, high), 500, unit="share")


BEFORE = comparison(
    scores={"top1": top1(0.005, -0.002, 0.012)},
    outputs=(output(intervals={"sqnr_db": Interval(29, 31)}),),
    footprint=None,
    layers=(),
    data=Used("eval", 500, 500, None, "abc"),
)


def now(**changes: object) -> Comparison:
    return replace(BEFORE, **changes)  # type: ignore[arg-type]


def judged(found: Comparison, *texts: str, before: Comparison = BEFORE) -> dict[str, GateResult]:
    results = baseline.check(found, before, [gates.parse(text) for text in texts])
    return {result.gate.text.split()[0].split(".")[0]: result for result in results}


def failed(found: Comparison, before: Comparison = BEFORE) -> set[str]:
    return {name for name, result in judged(found, before=before).items() if not result.passed}


def test_a_run_is_no_worse_than_itself() -> None:
    assert set(judged(BEFORE)) == {"top1", "agreement", "sqnr", "size", "latency"}
    assert failed(BEFORE) == set()


@pytest.mark.parametrize(
    ("score", "fails"),
    [
        (top1(0.02, 0.01, 0.03), True),
        (top1(0.02, 0.004, 0.03), False),  # worse, and maybe by chance
        (top1(-0.02, -0.03, -0.01), False),  # certainly better
    ],
)
def test_a_score_may_not_be_certainly_worse(score: Score, fails: bool) -> None:
    result = judged(now(scores={"top1": score}))["top1"]
    assert result.failed is fails
    assert result.value == pytest.approx(score.drop - 0.005)
    assert result.gate.metric == "top1.drop.regression"
    assert result.gate.text == "top1.drop no worse than baseline"
    assert result.interval == Interval(score.interval.low - 0.005, score.interval.high - 0.005)


def test_of_what_is_better_high_the_low_is_worse() -> None:
    low = output(
        sqnr_db=25.0,
        intervals={"sqnr_db": Interval(24, 26)},
        agreement=Rate(0.9, Interval(0.88, 0.92), 500),
    )
    assert failed(now(outputs=(low,))) == {"sqnr", "agreement"}
    high = replace(low, sqnr_db=35.0, intervals={"sqnr_db": Interval(34, 36)})
    assert failed(now(outputs=(high,))) == {"agreement"}


def test_without_an_interval_nothing_is_certain_but_what_is_not_finite() -> None:
    bare = output(sqnr_db=25.0)
    assert "sqnr" not in judged(now(outputs=(bare,)))
    assert failed(now(outputs=(replace(bare, sqnr_db=-math.inf),))) == {"sqnr"}
    assert failed(now(outputs=(replace(bare, sqnr_db=math.nan),))) == {"sqnr"}
    equal = replace(bare, sqnr_db=math.inf)
    assert failed(now(outputs=(equal,))) == set()
    worse = output(sqnr_db=90.0, intervals={"sqnr_db": Interval(89, 91)})
    assert failed(now(outputs=(worse,)), now(outputs=(equal,))) == {"sqnr"}
    broken = now(outputs=(replace(bare, sqnr_db=math.nan),))
    assert failed(broken, broken) == set(), "it was so before"


@pytest.mark.parametrize(("candidate", "fails"), [(2_020_000, False), (2_020_001, True)])
def test_a_file_may_be_one_percent_larger(candidate: int, fails: bool) -> None:
    result = judged(now(size=Size(8_000_000, candidate)))["size"]
    assert result.failed is fails
    assert (result.gate.limit, result.gate.unit) == (20_000, "kB")


@pytest.mark.parametrize(
    ("ratio", "interval", "passes"),
    [
        (0.27, Interval(0.26, 0.28), False),
        (0.26, Interval(0.255, 0.28), True),  # 4 %
        (0.3, Interval(0.2, 0.4), True),
        (0.1, Interval(0.09, 0.11), True),
    ],
)
def test_latency_only_warns(ratio: float, interval: Interval, passes: bool) -> None:
    timed = Latency(4, 5, 1, 2, ratio, interval, "", 100, 1, 1)
    result = judged(now(latency=timed))["latency"]
    assert (result.passed, result.failed) == (passes, False)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("top1.regression <= 1pp", "top1"),
        ("top1.drop.regression <= 1pp", "top1"),
        ("size.ratio.regression <= 1pp", "size"),
        ("sqnr.regression <= 3dB @warn", "sqnr"),
    ],
)
def test_a_gate_on_the_regression_takes_its_place(text: str, about: str) -> None:
    assert set(judged(BEFORE)) - set(judged(BEFORE, text)) == {about}
    plain = ["top1.drop <= 1pp", "size.ratio <= 1", "sqnr >= 3dB"]
    assert set(judged(BEFORE, *plain)) == set(judged(BEFORE))


def test_what_a_run_lacks_may_be_worse_and_is_an_error() -> None:
    for lacking, name in (({"scores": {}}, "top1"), ({"outputs": ()}, "agreement")):
        with pytest.raises(UsageError, match=f"{name} of the baseline cannot be judged"):
            judged(now(**lacking))
    assert "latency" not in judged(now(latency=None)), "which would only warn"


def test_what_the_baseline_lacks_is_passed_over() -> None:
    assert set(judged(BEFORE, before=now(scores={}, latency=None))) == {"agreement", "sqnr", "size"}


def test_its_gates_cannot_be_given() -> None:
    for result in baseline.check(BEFORE, BEFORE):
        assert baseline.is_ours(result.gate.text)
        assert result.gate.metric.removesuffix(gates.REGRESSION) in METRICS
        with pytest.raises(UsageError):
            gates.parse(result.gate.text)
    assert not baseline.is_ours("top1.drop <= 1pp")


def test_what_else_may_differ_is_said() -> None:
    assert baseline.notes(BEFORE, BEFORE) == ()
    assert baseline.notes(now(data=None), BEFORE) == ()
    (few,) = baseline.notes(now(data=Used("eval", 100, 500, 0, "ab")), BEFORE)
    assert few == "the baseline was measured on 500 samples, this on 100"
    (other,) = baseline.notes(now(data=Used("eval", 500, 500, None, "ab")), BEFORE)
    assert "other data" in other
    assert baseline.notes(now(data=Used("moved", 500, 500, None, "abc")), BEFORE) == ()
    for changed in (now(reference=Path("else.onnx")), now(size=Size(9_000_000, 2_000_000))):
        (another,) = baseline.notes(changed, BEFORE)
        assert "another reference, r.onnx of 8000000 bytes" in another
    assert baseline.notes(now(reference=Path("a/b/r.onnx")), BEFORE) == ()
