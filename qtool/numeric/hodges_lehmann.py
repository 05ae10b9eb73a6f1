"""The middle of a few independent measurements and how sure it is, from their ranks alone.

Hodges, J. L. and Lehmann, E. L. (1963), "Estimates of location based on rank tests"; the interval
is that of Wilcoxon's signed-rank test (Hollander, Wolfe and Chicken, "Nonparametric Statistical
Methods", section 3.3). It asks that the values lie symmetrically, as logarithms of ratios of two
equals do, and not that they are normal: of twelve values one may be wild, of twenty two.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray


def hodges_lehmann(values: NDArray[np.float64], cover: float = 0.95) -> tuple[float, float, float]:
    """(middle, low, high) of values (n,): the median of all means of two, and its interval.

    It is unbounded with fewer values than such an interval needs, which are six for 95 %.
    """
    first, second = np.triu_indices(len(values))
    means = np.sort((values[first] + values[second]) / 2)
    middle = float(np.median(means))
    outside = _outside(len(values), cover)
    if outside is None:
        return middle, -np.inf, np.inf
    return middle, float(means[outside]), float(means[-1 - outside])


@cache
def _outside(n: int, cover: float) -> int | None:
    """How many of the sorted means lie below the interval, and as many above; None if too few.

    The signed-rank statistic of n values is at most k in count(k) of 2^n equally likely cases.
    """
    counts = [1]  # of the sets of ranks 1 … n, by their sum
    for rank in range(1, n + 1):
        longer = counts + [0] * rank
        for total, count in enumerate(counts):
            longer[total + rank] += count
        counts = longer
    most, below, outside = (1 - cover) / 2 * 2**n, 0, 0
    for count in counts:
        below += count
        if below > most:
            break
        outside += 1
    return outside - 1 if outside else None
