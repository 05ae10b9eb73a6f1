"""Which samples follow one another: the files of a folder, or the samples of a file."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby

from qtool.data.files import File


def shared(name: str, parts: int) -> str:
    """A sample's name without its last parts: what it has in common with those that follow it."""
    return name if parts == 0 else "/".join(name.split("/")[:-parts])


def runs(keys: Iterable[Hashable]) -> list[range]:
    """The rows of equal keys that stand together."""
    found, start = [], 0
    for _, group in groupby(keys):
        stop = start + sum(1 for _ in group)
        found.append(range(start, stop))
        start = stop
    return found


def gathered(keys: Iterable[Hashable]) -> list[int]:
    """All rows, those of equal keys together; the order is kept otherwise."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return [row for together in rows.values() for row in together]


def disordered(files: Sequence[File]) -> tuple[str, str] | None:
    """The first two names whose order by number ("2" before "10") is not their order here."""
    by_number = sorted(files, key=lambda file: _with_numbers(file.name))
    for first, second in zip(by_number, files, strict=True):
        if first != second:
            return first.name, second.name
    return None


def _with_numbers(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(p), "") if i % 2 else (0, p) for i, p in enumerate(parts)]
