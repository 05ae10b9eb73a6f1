"""Parts of one run become one: all that a calibration file holds adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from qtool.calibrate.file import Calibration, Run
from qtool.calibrate.spans import gaps, union
from qtool.data.fed import add, add_fingerprints
from qtool.errors import DataError
from qtool.numeric.histogram import merged


def merge(parts: Sequence[Calibration], names: Sequence[str]) -> Calibration:
    """The sum of parts of one run, in any order; `names` are what messages call them.

    Raises:
        DataError: they are not parts of one run, or two of them cover the same samples.
    """
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        if differs := _difference(first, part):
            raise DataError(
                f"{names[0]} and {name} are not parts of one run",
                f"they differ in {differs}",
                "give shards that were made with the same model, data and options",
            )
    try:
        covers = union(span for part in parts for span in part.covers)
    except ValueError as error:
        start, stop = error.args
        twice = [n for n, p in zip(names, parts, strict=True) if _holds(p, start)]
        raise DataError(
            f"{' and '.join(twice)} cover the same samples",
            f"batches {start + 1} to {stop} of {first.run.blocks}",
            "give each shard once",
        ) from None
    fed = dict(first.fed)
    for part in parts[1:]:
        add(fed, part.fed)
    return replace(
        first,
        covers=covers,
        samples=sum(part.samples for part in parts),
        data=add_fingerprints(part.data for part in parts),
        fed=fed,
        histograms={
            name: merged(part.histograms[name] for part in parts) for name in first.histograms
        },
    )


def missing(calibration: Calibration) -> str:
    """Which blocks of the run are not covered, in words: "17 to 32"."""
    left = gaps(calibration.covers, (0, calibration.run.blocks))
    return ", ".join(f"{a + 1} to {b}" if a + 1 < b else f"{b}" for a, b in left)


def _holds(part: Calibration, block: int) -> bool:
    return any(start <= block < stop for start, stop in part.covers)


def difference(one: Run, other: Run) -> str:
    """What two runs differ in, in words; empty if in nothing."""
    ours, theirs = asdict(one), asdict(other)
    for key, value in ours.items():
        if key == "versions":
            for kind in {**value, **theirs[key]}:
                left, right = value.get(kind), theirs[key].get(kind)
                if left != right:
                    return f"the version of {kind}: {left}, {right}"
        elif value != theirs[key]:
            return _WORDS.get(key) or f"{key.replace('_', ' ')}: {value}, {theirs[key]}"
    return ""


def _difference(one: Calibration, other: Calibration) -> str:
    """What two parts differ in that those of one run have in common; empty if in nothing."""
    if list(one.histograms) != list(other.histograms):
        return difference(one.run, other.run) or "the tensors that were measured"
    return difference(one.run, other.run)


_WORDS = {"model": "the model as transformed", "declared": "the preprocessing in qtool.toml"}
