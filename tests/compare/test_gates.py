"""The gate language, over the whole table of metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from qtool.compare import gates
from qtool.compare.kinds import KINDS, Kind
from qtool.compare.metrics import METRICS, metrics_of, of_scores
from qtool.compare.result import (
    Comparison,
    Footprint,
    Latency,
    LayerError,
    OutputComparison,
    Rate,
    Score,
    Size,
)
from qtool.errors import UsageError
from qtool.numeric.bootstrap import Interval


def output(name: str = "y", **changes: Any) -> OutputComparison:
    values: dict[str, Any] = {
        "dtype": "float32",
        "sqnr_db": 30.0,
        "cosine": 0.999,
        "max_abs_error": 0.5,
        "mean_abs_error": 0.125,
        "identical": False,
        "nonfinite": 0,
        "skipped": 0,
        "mismatched": 0,
        "agreement": Rate(0.98, Interval(0.96, 1), 100),
        "kl": 0.01,
    }
    return OutputComparison(name, **values | changes)


# of reference and candidate
SCORES = {
    "top1": (0.9, 0.895),
    "top5": (1.0, 0.99),
    "f1": (0.8, 0.7),
    "mse": (1.0, 1.5),
    "r2": (0.9, 0.6),
    "psnr": (40.0, 38.0),
    "ssim": (0.9, 0.8),
    "spearman": (0.8, 0.75),
    "perplexity": (10.0, 12.0),
    "mAP": (0.5, 0.45),
}


def score(name: str, reference: float, candidate: float) -> Score:
    kind = KINDS[name]
    values = reference, candidate, abs(reference - candidate), Interval(0, 0.02), 100
    if kind.better == "high":
        return Score(*values, better="high", unit=kind.unit)
    return Score(*values, candidate / reference, Interval(1.4, 1.6), kind.better, kind.unit)


def layer(own: float, clipped: float | None) -> LayerError:
    return LayerError("t", "n", "Conv", own - 1, own, own + 5, clipped, False, 100)


def comparison(**changes: Any) -> Comparison:
    values: dict[str, Any] = {
        "size": Size(8_000_000, 2_000_000),
        "samples": 100,
        "outputs": (output(),),
        "scores": {name: score(name, *numbers) for name, numbers in SCORES.items()},
        "latency": Latency(4, 5, 1, 2, 0.25, Interval(0.2, 0.3), "faster", 100, 1, 1),
        "footprint": Footprint(10, 4, 0.4, 8_000_000, 2_000_000, 0.25, 9_000_000, 3_000_000),
        "layers": (layer(20.0, 0.01), layer(30.0, None)),
    }
    return Comparison(Path("r.onnx"), Path("c.onnx"), **values | changes)


# metric -> a gate that holds exactly at the limit, with each unit that the metric takes
AT_LIMIT = {
    "top1": ["89.5%", "0.895"],
    "top1.drop": ["0.5pp"],
    "top5": ["99%", "0.99"],
    "top5.drop": ["1pp"],
    "f1": ["70%", "0.7"],
    "f1.drop": ["10pp"],
    "mse": ["1.5"],
    "mse.drop": ["0.5"],
    "mse.ratio": ["150%", "1.5"],
    "r2": ["0.6"],
    "r2.drop": ["0.3"],
    "psnr": ["38dB", "38"],
    "psnr.drop": ["2dB", "2"],
    "ssim": ["0.8"],
    "ssim.drop": ["0.1"],
    "spearman": ["0.75"],
    "spearman.drop": ["0.05"],
    "perplexity": ["12"],
    "perplexity.drop": ["2"],
    "perplexity.ratio": ["120%", "1.2"],
    "mAP": ["45%", "0.45"],
    "mAP.drop": ["5pp"],
    "agreement": ["98%", "0.98"],
    "sqnr": ["30dB", "3e1"],
    "cosine": [".999"],
    "max_abs_error": ["0.5"],
    "mean_abs_error": ["0.125"],
    "kl": ["0.01"],
    "size.bytes": ["2MB", "2000KB", "2000kB", "2000000"],
    "size.ratio": ["25%", "0.25"],
    "latency.ratio": ["25%", "0.25"],
    "latency.median": ["1ms", "1"],
    "latency.p90": ["2ms", "2"],
    "load.ratio": ["40%", "0.4"],
    "load.time": ["4ms", "4"],
    "memory.ratio": ["25%", "0.25"],
    "memory.bytes": ["2MB", "2000KB", "2000kB", "2000000"],
    "layers.own": ["20dB", "20"],
    "layers.clipped": ["1%", "0.01"],
}


NO_CHANGE = {
    name: "0pp" if "%" in metric.units else f"0{metric.units[0]}"
    for name, metric in METRICS.items()
}


def outcome(
    text: str, found: Comparison | None = None, baseline: Comparison | None = None
) -> gates.GateResult:
    (result,) = gates.judge([gates.parse(text)], found or comparison(), METRICS, baseline)
    return result


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_in_each_of_its_units(metric: str) -> None:
    assert len(AT_LIMIT[metric]) == len(METRICS[metric].units)
    for limit in AT_LIMIT[metric]:
        passed = {op: outcome(f"{metric} {op} {limit}").passed for op in gates.OPERATORS}
        assert passed == {"<": False, "<=": True, ">": False, ">=": True, "==": True}


@pytest.mark.parametrize(
    ("operator", "above", "below"),
    [
        ("<", False, True),
        ("<=", False, True),
        (">", True, False),
        (">=", True, False),
        ("==", False, False),
    ],
)
def test_operators_off_the_limit(operator: str, above: bool, below: bool) -> None:
    assert outcome(f"sqnr {operator} 29.9dB").passed is above
    assert outcome(f"sqnr {operator} 30.1dB").passed is below


def test_spaces_and_levels() -> None:
    tight, wide = gates.parse("sqnr>=25dB@warn"), gates.parse("  sqnr  >=  25 dB  @ warn ")
    assert (tight.limit, tight.unit, tight.level) == (25, "dB", "warn")
    assert (wide.limit, wide.unit, wide.level) == (25, "dB", "warn")
    assert gates.parse("sqnr >= -3dB").limit == -3
    assert gates.parse("sqnr >= 1").level == "error"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "top1.drop"),
        ("sqnr", "metrics: top1"),
        ("sqnr => 3", "did you mean 'sqnr >= 3'"),
        ("sqnr ~ 3", "operators: < <= > >= =="),
        ("top1.drop <= 1,5pp", "did you mean 'top1.drop <= 1.5pp'"),
        ("sqnr >= 3 4", "not a gate"),
        ("sqnr >= 3dB warn", "levels: error, warn"),
        ("top1.dorp <= 1pp", "did you mean 'top1.drop'"),
        ("sqnr >= 3ms", "units of sqnr: dB or none"),
        ("sqnr >= 3db", "units of sqnr: dB or none"),
        ("top1.drop <= 0.5", "a unit is missing"),
        ("top1.drop <= 0.5%", "units of top1.drop: pp"),
        ("sqnr >= 3dB @warning", "did you mean 'warn'"),
        ("size.ratio <= inf", "not a gate"),
        ("max_abs_error <= 1e999", "not a gate"),
        ("size.ratio <= 40", "did you mean 40%"),
        ("top1 >= 96", "did you mean 96%"),
        ("accuracy >= 96%", "did you mean 'top1'"),
        ("size.bytes <= 1mb", "did you mean 1MB"),
        ("size.ratio <= nan", "not a gate"),
        ("SQNR >= 3", "did you mean 'sqnr'"),
    ],
)
def test_what_is_no_gate_says_what_is(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        gates.parse(text)
    error = caught.value
    assert says in f"{error.what}\n{error.why}\n{error.fix}"


def test_certain_only_with_the_limit_outside_the_interval() -> None:
    assert outcome("top1.drop <= 1pp").certain is False
    assert outcome("top1.drop <= 3pp").certain is True
    assert outcome("sqnr >= 25dB").certain is None
    assert outcome("mse.ratio <= 1.7").certain is True
    assert outcome("mse.ratio <= 1.55").certain is False


def test_a_warning_does_not_decide() -> None:
    assert outcome("sqnr >= 99dB").failed
    warning = outcome("sqnr >= 99dB @warn")
    assert (warning.passed, warning.failed) == (False, False)


def test_the_worst_output_counts_and_class_ids_do_not() -> None:
    found = comparison(
        outputs=(
            output("a", sqnr_db=20.0, max_abs_error=0.1),
            output("b", sqnr_db=50.0, max_abs_error=0.9, kl=None, agreement=None),
            output("ids", dtype="int64", sqnr_db=1.0, max_abs_error=7.0),
        )
    )
    assert outcome("sqnr >= 0", found).value == 20
    assert outcome("max_abs_error <= 1", found).value == 0.9
    assert outcome("kl <= 1", found).value == 0.01
    alone = comparison(outputs=(output("pixels", dtype="uint8", sqnr_db=40.0),))
    assert outcome("sqnr >= 0", alone).value == 40
    label = output("best", dtype="int64", sqnr_db=math.nan, kind="label")
    both = comparison(outputs=(label, output("pixels", dtype="uint8", sqnr_db=40.0)))
    assert outcome("sqnr >= 0", both).value == 40
    assert outcome("agreement >= 90%", comparison(outputs=(label,))).value == 0.98
    with pytest.raises(UsageError, match="sqnr was not computed") as caught:
        outcome("sqnr >= 0", comparison(outputs=(label,)))
    assert "other than predicted classes" in caught.value.why


def test_nan_anywhere_is_the_worst() -> None:
    found = comparison(outputs=(output("a"), output("b", cosine=math.nan)))
    result = outcome("cosine >= 0", found)
    assert not result.passed
    assert math.isnan(result.value)


@pytest.mark.parametrize(
    ("sources", "text", "fix"),
    [
        ({"size"}, "top1.drop <= 1pp", "--data"),
        ({"size"}, "latency.ratio <= 1", "--data"),
        ({"size", "data"}, "top1.drop <= 1pp", "labels.csv"),
        ({"size", "data", "labels"}, "latency.ratio <= 1", "--latency"),
    ],
)
def test_a_gate_that_will_have_nothing_to_read_is_refused_early(
    sources: set[str], text: str, fix: str
) -> None:
    with pytest.raises(UsageError, match="nothing to read") as caught:
        gates.require([gates.parse("size.ratio <= 1"), gates.parse(text)], sources)
    assert fix in caught.value.fix


def test_gates_that_have_something_to_read_pass_on() -> None:
    every = [gates.parse(f"{name} <= {limits[0]}") for name, limits in AT_LIMIT.items()]
    gates.require(every, set(gates.NEEDS))
    changed = [gates.parse(f"{name}.regression <= {now}") for name, now in NO_CHANGE.items()]
    gates.require(changed, set(gates.NEEDS), METRICS, comparison())
    gates.require([gates.parse("size.bytes <= 1MB")], {"size"})


@pytest.mark.parametrize("metric", [m for m in METRICS if not m.startswith("size")])
def test_what_was_not_computed_says_what_it_needs(metric: str) -> None:
    bare = comparison(outputs=(), scores={}, latency=None, footprint=None, layers=())
    with pytest.raises(UsageError, match=f"{metric} was not computed") as caught:
        outcome(f"{metric} <= {AT_LIMIT[metric][0]}", bare)
    assert "it needs" in caught.value.why
    assert caught.value.fix


def test_scores_of_the_users_own_can_be_gated() -> None:
    own = of_scores({"edits": Kind(KINDS["mse"].function, "", "low")})
    metrics = {**METRICS, **own}
    gate = gates.parse("edits.drop <= 0.1", metrics)
    with pytest.raises(UsageError, match="unknown metric"):
        gates.parse("edits.drop <= 0.1")
    found = comparison(scores={"edits": Score(1, 1.5, 0.5, Interval(0, 1), 100, better="low")})
    assert gates.judge([gate], found, metrics)[0].value == 0.5
    assert gates.judge([gate], found, metrics_of(found))[0].value == 0.5
