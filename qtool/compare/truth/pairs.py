"""Embeddings: whether samples that are alike lie close together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from qtool.compare.kinds import KINDS, score
from qtool.compare.truth.held import Array, Judged, Outputs, fits, unused
from qtool.data.pairs import Pairs as Labelled
from qtool.numeric.ranks import cosines


class Pairs:
    """Pairs of samples and how alike they are, for the first output of one vector per sample.

    An embedding is kept until its last pair is done: of samples in the order of their pairs, few.
    """

    inputs = alone = False

    def __init__(self, names: Sequence[str], pairs: Labelled) -> None:
        self._names = names
        self._output: str | None = None
        self._pairs = pairs
        self._seen = 0
        self._left: Counter[int] = Counter([*pairs.first.tolist(), *pairs.second.tolist()])
        self._of: dict[int, list[int]] = defaultdict(list)
        for number, ends in enumerate(zip(pairs.first, pairs.second, strict=True)):
            self._of[int(max(ends))].append(number)  # done when the later of the two is there
        self._held: dict[int, tuple[Array, Array]] = {}
        self._found = np.full((2, len(pairs.scores)), np.nan)

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Take in the next samples."""
        first, self._seen = self._seen, self._seen + count
        vectors = [
            name
            for name in self._names
            if fits(count, reference[name], candidate[name]) and reference[name].size >= 2 * count
        ]
        if first == 0 and vectors:
            self._output = vectors[0]
        if self._output not in vectors:
            self._output = None
            return
        left, right = reference[self._output], candidate[self._output]
        for row in range(first, first + count):
            if row in self._left:
                # Copies: a view would keep all of its block.
                self._held[row] = left[row - first].flatten(), right[row - first].flatten()
        done = [number for row in range(first, first + count) for number in self._of.get(row, ())]
        if not done:
            return
        ends = [self._pairs.first[done].tolist(), self._pairs.second[done].tolist()]
        for model in (0, 1):
            sides = [np.stack([self._held[row][model] for row in rows]) for rows in ends]
            self._found[model, done] = cosines(sides[0], sides[1])
        self._left.subtract([*ends[0], *ends[1]])
        for row in {*ends[0], *ends[1]}:
            if not self._left[row]:
                del self._held[row]

    def judge(self) -> Judged:
        """The rank correlation of the cosines with the scores of the pairs."""
        what = f"{len(self._pairs.scores)} pairs"
        if self._output is None:
            return unused(what, "they need a float output with a vector for each sample")
        left = self._pairs.left_out
        others = f", and of {left} more a sample is not there" if left else ""
        if len(self._pairs.scores) < 2:
            return unused(what, f"a correlation needs two or more{others}")
        truth = self._pairs.scores
        found = score(KINDS["spearman"], (truth, self._found[0]), (truth, self._found[1]))
        notes = (f"{left} pairs were left out: a sample of theirs was",) if left else ()
        return Judged(self._output, {"spearman": found}, notes)
