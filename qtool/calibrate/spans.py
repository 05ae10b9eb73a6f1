"""Which blocks of a run are done, and which are whose: spans [start, stop) of block numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from qtool.errors import UsageError

Span: TypeAlias = tuple[int, int]


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same blocks in as few spans as can be, ascending.

    Raises:
        ValueError: two spans share blocks; its arguments are the first such span.
    """
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start < joined[-1][1]:
            raise ValueError(start, min(stop, joined[-1][1]))
        if joined and start == joined[-1][1]:
            joined[-1] = joined[-1][0], stop
        elif start < stop:
            joined.append((start, stop))
    return tuple(joined)


def gaps(covers: Iterable[Span], whole: Span) -> tuple[Span, ...]:
    """The spans of `whole` that `covers` leaves out."""
    ends = [whole[0], *(end for span in union(covers) for end in span), whole[1]]
    return tuple((a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if a < b)


def inside(covers: Iterable[Span], whole: Span) -> bool:
    """Whether nothing of `covers` lies outside of `whole`."""
    return all(whole[0] <= start and stop <= whole[1] for start, stop in covers)


def pieces(spans: Iterable[Span], most: int) -> list[Span]:
    """The same blocks in spans of at most `most`."""
    return [
        (first, min(first + most, stop))
        for start, stop in spans
        for first in range(start, stop, most)
    ]


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts of about the same size, counted from 1."""

    number: int
    count: int

    def span(self, blocks: int) -> Span:
        """Its blocks, one behind the other; all shards together cover each block once.

        Raises:
            UsageError: there are more shards than blocks.
        """
        if self.count > blocks:
            raise UsageError(
                f"{self.count} shards are more than there are batches of samples ({blocks})",
                fix="use fewer shards",
            )
        return (self.number - 1) * blocks // self.count, self.number * blocks // self.count

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Read "3/8".

    Raises:
        UsageError: not of that form, or the number is not from 1 to the count.
    """
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return Shard(int(number), int(count))
    raise UsageError(
        f"--shard {text!r} is not a part of a whole",
        "the form is K/N: the K-th of N parts, counted from 1",
        "for example  --shard 3/8",
    )


WHOLE = Shard(1, 1)
