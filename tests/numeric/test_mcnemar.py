"""McNemar's exact test against scipy's binomial test."""

from __future__ import annotations

import pytest
import scipy.stats

from qtool.numeric import mcnemar as module
from qtool.numeric.mcnemar import mcnemar


@pytest.mark.parametrize(
    ("lost", "gained"),
    [
        (0, 0), (1, 0), (0, 1), (5, 0), (5, 1), (3, 8), (40, 41), (40, 60), (500, 500), (480, 520),
        (0, 1000), (0, 1100), (520, 600), (6000, 5800), (500_000, 501_500), (1_000_000, 998_000),
    ],
)  # fmt: skip
def test_p_is_scipys(lost: int, gained: int) -> None:
    total = lost + gained
    expected = scipy.stats.binomtest(lost, total).pvalue if total else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-8)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_what_is_impossible_by_chance_is_zero_and_no_error() -> None:
    assert mcnemar(1_000_000, 0) == 0
    assert 0 < mcnemar(1000, 0) < 1e-300


def test_both_ways_of_adding_up_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(lost, total - lost) for total in (9, 400, 1000) for lost in range(0, total // 2, 7)]
    exact = [mcnemar(*pair) for pair in pairs]
    monkeypatch.setattr(module, "FEW", 0)
    assert [mcnemar(*pair) for pair in pairs] == pytest.approx(exact, rel=1e-9)
