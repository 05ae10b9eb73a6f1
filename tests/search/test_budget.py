"""Budgets: their units, what a loss is in each metric, and who is inside."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.compare.result import Comparison, OutputComparison, Rate, Score, Size
from qtool.errors import UsageError
from qtool.numeric.bootstrap import Interval
from qtool.search.budget import Budget, Loss, budget_for, loss_of, parse_amount


def score(**changes: object) -> Score:
    made = Score(0.9, 0.88, 0.02, Interval(-0.01, 0.05), 100, unit="share")
    return replace(made, **changes)  # type: ignore[arg-type]


def output(**changes: object) -> OutputComparison:
    made = OutputComparison(
        "y", "float32", 20.0, 0.99, 1.0, 0.1, False, 0, 0, 0, None, None, "value", 100,
        {"sqnr_db": Interval(17.0, 23.0)},
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def comparison(*outputs: OutputComparison, **scores: Score) -> Comparison:
    return Comparison(Path("a"), Path("b"), Size(10, 5), 100, outputs, scores=scores)


LOSSES = {
    "top1": (score(), "pp", Loss(0.02, -0.01, 0.05)),
    "psnr": (score(unit="dB", drop=1.5), "dB", Loss(1.5, -0.01, 0.05)),
    "r2": (score(unit=""), "", Loss(0.02, -0.01, 0.05)),
    "mse": (
        score(unit="", better="low", ratio=1.25, ratio_interval=Interval(1.125, 1.5)),
        "%",
        Loss(0.25, 0.125, 0.5),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_score_has_a_loss_and_a_unit(name: str) -> None:
    given, unit, loss = LOSSES[name]
    found = comparison(**{name: given})
    budget = budget_for(f"2{unit}", "", found)
    assert (budget.metric, budget.unit) == (name, unit)
    assert budget.limit == pytest.approx(2 if unit in ("dB", "") else 0.02)
    assert loss_of(found, name) == loss


def test_agreement_and_noise_are_losses_too() -> None:
    rate = Rate(0.97, Interval(0.94, 0.99), 100)
    found = comparison(output(agreement=rate, kind="classes"))
    budget = budget_for("1pp", "", found)
    assert budget.metric == "agreement"
    loss = loss_of(found, "agreement")
    assert (loss.value, loss.low, loss.high) == pytest.approx((0.03, 0.01, 0.06))
    noise = loss_of(found, "sqnr")
    assert (noise.value, noise.low, noise.high) == pytest.approx((0.01, 10**-2.3, 10**-1.7))
    assert budget_for("1%", "sqnr", found) == Budget("sqnr", 0.01, "%")
    assert budget_for("1%", "", comparison(output())).metric == "sqnr"
    assert budget_for("40dB", "sqnr", found).limit == pytest.approx(1e-4)  # as people say it


def test_what_is_no_number_is_the_worst() -> None:
    found = comparison(output(sqnr_db=math.nan), mse=score(unit="", better="low"))
    assert loss_of(found, "mse").value == math.inf  # without a ratio
    assert loss_of(found, "sqnr").value == math.inf
    assert loss_of(comparison(output(sqnr_db=math.inf)), "sqnr").value == 0


@pytest.mark.parametrize("text", ["", "pp", "-1pp", "nan", "1 mm", "inf", "1e", "0.5 pp pp"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="is no budget"):
        parse_amount(text)


def test_a_budget_in_another_unit_is_told_the_right_one() -> None:
    with pytest.raises(UsageError) as error:
        budget_for("0.5", "", comparison(top1=score()))
    assert "--max-drop 0.5pp" in error.value.fix
    assert budget_for("0", "", comparison(top1=score())).limit == 0  # zero is zero in all of them


def test_a_metric_that_cannot_be_had_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="'top1' cannot be had") as error:
        budget_for("1pp", "top1", comparison(output()))
    assert "integer labels" in error.value.why
    with pytest.raises(UsageError) as error:
        budget_for("1%", "sqrn", comparison(output()))
    assert "sqnr" in error.value.fix


@pytest.mark.parametrize(
    ("loss", "doubt", "inside"),
    [
        (Loss(0.004, 0.001, 0.005), 0.0, True),  # the whole interval
        (Loss(0.004, 0.001, 0.006), 0.0, False),
        (Loss(0.0, -0.011, 0.011), 0.011, True),  # as wide as that of equal models
        (Loss(0.006, -0.005, 0.011), 0.011, False),  # itself over
        (Loss(0.004, -0.009, 0.012), 0.011, False),  # wider than that of equal models
        (Loss(math.inf, math.inf, math.inf), 1.0, False),
    ],
)
def test_who_is_inside(loss: Loss, doubt: float, inside: bool) -> None:
    assert Budget("top1", 0.005, "pp").holds(loss, doubt) is inside
