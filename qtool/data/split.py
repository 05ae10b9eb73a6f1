"""Samples in parts that have none in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from qtool.data.dataset import Dataset


def split(
    data: Dataset, shares: Sequence[float], seed: int, groups: Sequence[Sequence[int]] | None = None
) -> list[Dataset]:
    """The samples in as many parts as there are shares, of about these shares of them; order kept.

    Which part a sample is in depends on its name and the seed; where states are carried, whole
    sequences go together. A part may be empty where there are few. `groups` are rows that go
    together in place of that (`alike`); what is in none of them is in no part.
    """
    if groups is None:
        single = (range(i, i + 1) for i in range(len(data)))
        groups = list(data.sequences if data.states else single)

    def rank(rows: Sequence[int]) -> bytes:
        # Not as `Dataset.choose` ranks: what it chose must not lie in one part.
        return hashlib.sha256(f"{seed}\nsplit\n{data.names[rows[0]]}".encode()).digest()

    parts: list[list[int]] = [[] for _ in shares]
    count = sum(map(len, groups))
    ends = [sum(shares[: i + 1]) / sum(shares) * count for i in range(len(shares))]
    done = 0
    for rows in sorted(groups, key=rank):
        middle = done + (len(rows) - 1) / 2  # else one of two long groups could take all places
        place = next(i for i, end in enumerate(ends) if middle < end or end == ends[-1])
        parts[place] += rows
        done += len(rows)
    return [replace(data.take(sorted(rows)), seed=seed) for rows in parts]


def alike(data: Dataset, used: Dataset | None = None) -> list[list[int]]:
    """The rows in groups that hold the same, without those that hold what is in `used`.

    Reads every sample of both. What is fed counts, not names or labels; of sequences one holds what
    is in another also where it is its beginning.
    """
    ends, held = set[int](), set[int]()
    for _, hashes in _contents(used) if used is not None else ():
        ends.add(hashes[-1])
        held.update(hashes)
    groups: dict[int, list[int]] = {}
    for rows, hashes in _contents(data):
        if hashes[-1] not in held and ends.isdisjoint(hashes):
            groups.setdefault(hashes[-1], []).extend(rows)
    return list(groups.values())


def _contents(data: Dataset) -> Iterator[tuple[range, list[int]]]:
    """The rows of each sample, or of each sequence, and the hashes of all that lies before them."""
    for block in data.blocks(1):
        hashes = list[int]()
        for batch in data.batches(1, [block]):
            hashes += data.hashes(batch, hashes[-1] if hashes else 0)
        yield block, hashes
