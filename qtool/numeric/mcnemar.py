"""Whether two classifiers differ at all, by the samples that only one of them gets right."""

from __future__ import annotations

import math
from fractions import Fraction

FEW = 1000
"""Up to so many samples the sum is one of whole numbers, and exact."""


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided p of McNemar's test: how likely so uneven a split is by chance alone.

    `lost`: the reference is right and the candidate wrong; `gained`: the other way. McNemar, Q.
    (1947), "Note on the sampling error of the difference between correlated proportions", in its
    binomial form.
    """
    # p = 2 P(X <= min(lost, gained)), X binomial of lost + gained tosses of a fair coin
    total, fewer = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    if total <= FEW:
        ways = sum(math.comb(total, k) for k in range(fewer + 1))
        return min(1.0, float(Fraction(2 * ways, 2**total)))
    # From the largest term downwards, until they no longer count.
    logarithm = (
        math.lgamma(total + 1)
        - math.lgamma(fewer + 1)
        - math.lgamma(total - fewer + 1)
        - total * math.log(2)
    )
    share = term = 1.0
    for k in range(fewer, 0, -1):
        term *= k / (total - k + 1)
        share += term
        if term < share * 1e-17:
            break
    return min(1.0, 2 * math.exp(logarithm) * share)
