"""`qtool quantize --max-drop`, `--max-size`, `--target-bits`: what is asked for, on what data."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli import options as o

if TYPE_CHECKING:
    from qtool.data import Dataset
    from qtool.recipe import Recipe
    from qtool.search.within import Bounds

MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="X",
        help="Search for the smallest and fastest plan that loses at most so much: 0.5pp. Exits "
        "with 1 if none does, and writes the best all the same.",
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What --max-drop is about: top1, mse, sqnr … (the labels' first score, else "
        "agreement, else sqnr).",
    ),
]
Eval = Annotated[
    str | None,
    typer.Option(
        "--eval", metavar=o.DIR, help="Samples to judge on (default: a part of --data, set apart)."
    ),
]
Scorers = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE:FUNCTION", help="With --max-drop: a score of your own."),
]
MaxSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Fewer bits, layer by layer, until it fits: 3MB, 500kB."),
]
TargetBits = Annotated[
    float | None,
    typer.Option(metavar="B", help="Bits of a weight on average, chosen layer by layer: 4.5."),
]


ExitZero = Annotated[
    bool, typer.Option("--exit-zero", help="Exit with 0 also where a budget was not met.")
]


@dataclass(frozen=True)
class Asked:
    """The options of a search as they were given."""

    max_drop: str | None
    metric: str | None
    judged: str | None
    labels: Path | None
    scorers: tuple[str, ...]
    max_size: str | None
    target_bits: float | None

    @property
    def searches(self) -> bool:
        """Whether there is anything to search for."""
        return not (self.max_drop is None and self.max_size is None and self.target_bits is None)

    def alone(
        self, recipe: Recipe, *, calibration: object, optimize: object, dry_run: bool
    ) -> None:
        """Refuse what does not go with a search.

        Raises:
            UsageError: one of them is given.
        """
        from qtool.errors import UsageError

        name = next(n for n in ("max_drop", "max_size", "target_bits") if getattr(self, n))
        option = f"--{name.replace('_', '-')}"
        if calibration is not None:
            raise UsageError(
                f"{option} and --calibration are both given",
                "candidates are run on samples, and a calibration file holds none",
                "give  --data DIR  in its place",
            )
        if recipe.mode == "dynamic":
            raise UsageError(
                f"{option} goes with activations that are measured beforehand, or stay float",
                "the mode is dynamic",
                "leave out  --mode",
            )
        for given, other in ((optimize, "--optimize"), (dry_run, "--dry-run")):
            if given:
                raise UsageError(
                    f"{option} and {other} are both given",
                    "the search decides by what it measures",
                    "keep one of them",
                )

    def bounds(self) -> Bounds:
        """What they mean.

        Raises:
            UsageError: one of them means nothing, or goes with --max-drop only.
        """
        from qtool.errors import UsageError
        from qtool.search.budget import parse_amount
        from qtool.search.within import Bounds

        if self.max_drop is None:
            alone = {
                "metric": self.metric,
                "eval": self.judged,
                "labels": self.labels,
                "scorer": self.scorers,
            }
            if given := [name for name, value in alone.items() if value]:
                raise UsageError(
                    f"--{given[0]} goes with --max-drop", fix="add  --max-drop 0.5pp,  or leave it"
                )
        else:
            parse_amount(self.max_drop)
        bits = self.target_bits
        if bits is not None and not 2 <= bits <= 32:
            raise UsageError(f"--target-bits {bits:g}", "2 to 32 bits can be had")
        return Bounds(self.max_drop, self.metric or "", _bytes(self.max_size), bits)


def _bytes(text: str | None) -> int | None:
    from qtool.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+)\s*(B|kB|KB|MB|GB)?\s*", text)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or not 0 < number < math.inf:
        raise UsageError(
            f"--max-size {text!r} is no size", "it is bytes, or a number with kB, MB or GB",
            "try  --max-size 3MB",
        )  # fmt: skip
    return int(number * {"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}.get(found[2] or "", 1))


@dataclass(frozen=True)
class Parts:
    """Samples that share none: to calibrate on, to choose by, and to report on."""

    calibration: Dataset | None
    selection: Dataset | None
    report: Dataset | None


def parts(
    data: str | None, asked: Asked, model: Path, recipe: Recipe, on_bad_file: o.BadFile
) -> Parts:
    """The samples of --data and --eval in three parts.

    Raises:
        UsageError: there are none where some are needed.
        DataError: there are too few.
    """
    from qtool import model as models
    from qtool.cli.console import err
    from qtool.data.split import split
    from qtool.errors import DataError, UsageError

    signature = models.signature(models.load(model))

    def opened(place: str, labels: Path | None = None) -> Dataset:
        return o.open_chosen(place, signature, recipe, on_bad_file, sys.maxsize, labels)

    if asked.max_drop is None:
        used = None if data is None else o.open_chosen(data, signature, recipe, on_bad_file)
        return Parts(used, None, None)
    if data is None and asked.judged is None:
        raise UsageError(
            "--max-drop needs samples to judge on", fix="add  --data DIR,  or  --eval DIR"
        )
    activations = any("a" in text for text in (recipe.scheme_in_full(),)) and data is not None
    if asked.judged is not None:
        used = None if data is None else opened(data).choose(recipe.samples, recipe.seed)
        selection, report = split(opened(asked.judged, asked.labels), (1, 1), recipe.seed)
    else:
        assert data is not None
        every = opened(data, asked.labels)
        share = min(recipe.samples, len(every) // 3) if activations else 0
        rest = (len(every) - share) / 2
        first, selection, report = split(every, (share, rest, rest), recipe.seed)
        used = first if activations else None
    counts = [len(part) for part in (selection, report) if part is not None]
    if min(counts) == 0 or (used is not None and len(used) == 0):
        raise DataError(
            "there are too few samples to set some apart",
            "a search needs some to calibrate on, others to choose by, and others to report on",
            "give more in  --data,  or others in  --eval DIR",
        )
    calibrated = "" if used is None else f"{len(used)} samples to calibrate on, "
    err.print(
        f"{calibrated}{counts[0]} to choose by, {counts[1]} to report on (seed {recipe.seed}): "
        "none is in two of them"
    )
    return Parts(used, selection, report)
