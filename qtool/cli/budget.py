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
    from qtool.signature import Signature

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

        names = ("max_drop", "max_size", "target_bits")
        name = next(n for n in names if getattr(self, n) is not None)
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
        schemes = {recipe.scheme, *(rule.scheme for rule in recipe.rules)}
        if self.target_bits is not None and schemes <= {"fp16", "bf16", "float"}:
            raise UsageError(
                "--target-bits chooses bits of integers",
                f"{recipe.scheme} has none",
                "give a scheme of integers, such as  --scheme w8",
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
        return Bounds(self.max_drop, self.metric or "", bytes_of(self.max_size, "--max-size"), bits)


def bytes_of(text: str | None, option: str) -> int | None:
    """`3MB`, `512MiB` or a number of bytes.

    Raises:
        UsageError: it is none of them, or so few bytes that a unit was forgotten.
    """
    from qtool.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+)\s*(?:([kmg]?)(i?)b?)\s*", text.lower())
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or not 0 < number < math.inf:
        raise UsageError(
            f"{option} {text!r} is no size", "it is bytes, or a number with kB, MB or GB",
            f"try  {option} 3MB",
        )  # fmt: skip
    if not found[2] and number < _FEWEST:
        raise UsageError(
            f"{option} {text} is less than any model has", "it is counted in bytes",
            f"try  {option} {number:g}kB",
        )  # fmt: skip
    return int(number * (1024 if found[3] else 1000) ** " kmg".index(found[2] or " "))


_FEWEST = 100  # bytes


@dataclass(frozen=True)
class Parts:
    """Samples that share none: to calibrate on, to choose by, and to report on."""

    calibration: Dataset | None
    selection: Dataset | None
    report: Dataset | None

    def noted(self, recipe: Recipe) -> Recipe:
        """The recipe that chooses from --data by itself what is calibrated on here."""
        used = self.calibration
        if used is None or len(used) == min(recipe.samples, used.total):
            return recipe
        return recipe.model_copy(update={"samples": len(used)})


def parts(
    data: str | None,
    asked: Asked,
    model: Path,
    recipe: Recipe,
    on_bad_file: o.BadFile,
    batch_size: int = 1,
) -> Parts:
    """The samples of --data and --eval in three parts, which fill batches where they must.

    Raises:
        UsageError: there are none where some are needed.
        DataError: there are too few.
    """
    from qtool import model as models
    from qtool.cli.console import err
    from qtool.data.split import alike, split
    from qtool.errors import DataError, UsageError

    signature = models.signature(models.load(model))

    def opened(place: str, labels: Path | None = None) -> Dataset:
        found = o.open_chosen(place, signature, recipe, on_bad_file, sys.maxsize, labels)
        signature.without(found.states).check_batches(batch_size, 0)
        return found

    if asked.max_drop is None:
        used = None if data is None else opened(data).choose(recipe.samples, recipe.seed)
        _check(used, signature, batch_size)
        return Parts(used, None, None)
    if data is None and asked.judged is None:
        raise UsageError(
            "--max-drop needs samples to judge on", fix="add  --data DIR,  or  --eval DIR"
        )
    if asked.judged is not None:
        used = None if data is None else opened(data).choose(recipe.samples, recipe.seed)
        _check(used, signature, batch_size)
        rest = opened(asked.judged, asked.labels)
        unit = _unit(rest, signature)
    else:
        assert data is not None
        rest = opened(data, asked.labels)
        # chosen as without a search, so that the recipe that is found chooses the same
        unit = _unit(rest, signature)
        share = min(recipe.samples, len(rest) // 3) // unit * unit
        used = rest.choose(max(unit, share), recipe.seed)
    groups = alike(rest, used)
    copies = len(rest) - sum(map(len, groups)) - (len(used) if used and not asked.judged else 0)
    selection, report = (
        part.take(range(len(part) // unit * unit))
        for part in split(rest, (1, 1), recipe.seed, groups)
    )
    counts = [len(selection), len(report)]
    if min(counts) == 0:
        raise DataError(
            "there are too few samples to set some apart",
            "a search needs some to calibrate on, others to choose by, and others to report on"
            + (f"; {copies} of {len(rest)} hold what is calibrated on" if copies else ""),
            "give more in  --data,  or others in  --eval DIR",
        )
    calibrated = "" if used is None else f"{len(used)} samples to calibrate on, "
    err.print(
        f"{calibrated}{counts[0]} to choose by, {counts[1]} to report on (seed {recipe.seed}): "
        "none is in two of them"
    )
    if copies:
        err.print(f"note: left out {copies} samples that repeat or follow one to calibrate on")
    return Parts(used, selection, report)


def _unit(data: Dataset, signature: Signature) -> int:
    """How many samples a run must have; 1 where it may have any number."""
    return max(1, signature.without(data.states).batch)


def _check(data: Dataset | None, signature: Signature, batch_size: int) -> None:
    if data is not None:
        signature.without(data.states).check_batches(batch_size, len(data))
