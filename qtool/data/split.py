"""Samples in parts that have none in common."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from qtool.data.dataset import Dataset


def split(data: Dataset, shares: Sequence[float], seed: int) -> list[Dataset]:
    """The samples in as many parts as there are shares, of about these shares of them; order kept.

    Which part a sample is in depends on its name and the seed; where states are carried, whole
    sequences go together. A part may be empty where there are few.
    """
    groups = list(data.sequences) if data.states else [range(i, i + 1) for i in range(len(data))]

    def rank(rows: range) -> bytes:
        # Not as `Dataset.choose` ranks: what it chose must not lie in one part.
        return hashlib.sha256(f"{seed}\nsplit\n{data.names[rows.start]}".encode()).digest()

    parts: list[list[int]] = [[] for _ in shares]
    ends = [sum(shares[: i + 1]) / sum(shares) * len(data) for i in range(len(shares))]
    done = 0
    for rows in sorted(groups, key=rank):
        place = next(i for i, end in enumerate(ends) if done < end or end == ends[-1])
        parts[place] += rows
        done += len(rows)
    return [replace(data.take(sorted(rows)), seed=seed) for rows in parts]
