"""`qtool quantize --max-drop`: what the search finds on each model, and whether its report is true.

    python -m tests.benchmarks.budgets [--bench DIR] [--models NAME ...] [--seeds 5]

Three budgets for each model: 1 point (1 % of a loss) from 8 bits, 50 dB (0.001 % of noise) from
8 bits, and 1 point from 2 bits. Two thirds of the samples, by seed, go into the search, which cuts
them again into those to choose by and those to report on; it never sees the others. `lost` is what
it reports, `fresh` what the same file loses on the others; `agree` counts the seeds in which the
two differ by no more than their 95 % intervals together allow. Time is that of the whole command,
without imports.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qtool.cli import budget, searched
from qtool.cli.console import configure
from qtool.compare.judge import compare
from qtool.data.split import split
from qtool.errors import QtoolError
from qtool.recipe import Recipe
from qtool.search.budget import Loss, budget_for, loss_of
from qtool.search.making import Maker
from qtool.target import load_target
from tests.benchmarks.methods import Subject, subjects

BUDGETS = {
    "1 point, w8a8": ("w8a8", None, {"pp": "1pp", "%": "1%"}),
    "50 dB, w8a8": ("w8a8", "sqnr", {"%": "0.001%"}),
    "1 point, w2a8": ("w2a8", None, {"pp": "1pp", "%": "1%"}),
}


@dataclass(frozen=True)
class Row:
    """One search: what it reported, and what is true of other samples."""

    met: bool
    tried: int
    seconds: float
    share: float
    size: float
    lost: float
    low: float
    high: float
    fresh: Loss
    unit: str

    @property
    def agrees(self) -> bool:
        """Independent samples: the square of the difference against the sum of the squares."""
        apart, fresh = self.fresh.value - self.lost, self.fresh
        ends = (
            (self.high - self.lost, fresh.value - fresh.low)
            if apart > 0
            else (self.lost - self.low, fresh.high - fresh.value)
        )
        return abs(apart) <= math.hypot(*ends)


def one(subject: Subject, name: str, seed: int, folder: Path) -> Row:
    """One search on a part of the samples, and its file judged on the rest."""
    scheme, metric, units = BUDGETS[name]
    seen, fresh = split(subject.judged, (2, 1), 1000 + seed)
    recipe = Recipe(scheme=scheme, seed=seed)
    same = compare(subject.model, subject.model, fresh)
    unit = next(u for u in units if _fits(units[u], metric, same))
    asked = budget.Asked(units[unit], metric, "eval", None, (), None, None)
    selection, report = split(seen, (1, 1), seed)
    calibration = subject.calib.choose(recipe.samples, seed)
    maker = Maker(subject.model, load_target("cpu"), calibration, folder)
    output = folder / "found.onnx"
    begin = time.perf_counter()
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        searched.quantize_within(
            maker, asked, recipe, budget.Parts(calibration, selection, report), output,
            force=True, exit_zero=True,
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    told = json.loads(output.with_suffix(".search.json").read_text())
    output.with_suffix(".search.json").unlink()
    table, trials = told["report"], told["trials"]
    chosen = next(t for t in trials if t["recipe"] == output.with_suffix(".toml").read_text())
    found = compare(subject.model, output, fresh)
    return Row(
        table["met"], len(trials), seconds, chosen["share"], found.size.ratio, table["value"],
        table["low"], table["high"], loss_of(found, table["metric"]), table["unit"],
    )  # fmt: skip


def _fits(text: str, metric: str | None, found: object) -> bool:
    with contextlib.suppress(QtoolError):
        budget_for(text, metric or "", found)  # type: ignore[arg-type]
        return True
    return False


def report(every: Iterator[Subject], seeds: int, folder: Path) -> None:
    print(f"{'model':20}{'budget':15}{'met':>5}{'tried':>7}{'s':>6}{'integer':>9}{'size':>7}"
          f"{'lost':>10}{'fresh':>10}{'agree':>7}")  # fmt: skip
    agreeing, total = 0, 0
    for subject in every:
        for name in BUDGETS:
            rows = list[Row]()
            for seed in range(seeds):
                try:
                    rows.append(one(subject, name, seed, folder))
                except QtoolError as error:
                    print(f"{subject.name:20}{name:15} {error.what}", flush=True)
                    break
            if len(rows) < seeds:
                break
            show(subject.name, name, rows)
            agreeing += sum(row.agrees for row in rows)
            total += len(rows)
    print(f"what is reported and what is true of other samples agree in {agreeing} of {total}")


def show(model: str, name: str, rows: list[Row]) -> None:
    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    factor, unit = (1.0, rows[0].unit) if rows[0].unit in ("", "dB") else (100.0, rows[0].unit)
    met, agree = sum(row.met for row in rows), sum(row.agrees for row in rows)
    print(
        f"{model:20}{name:15}{met:3}/{len(rows)}{max(r.tried for r in rows):7}"
        f"{mean([r.seconds for r in rows]):6.1f}{mean([r.share for r in rows]):9.0%}"
        f"{mean([r.size for r in rows]):7.3f}"
        f"{mean([r.lost for r in rows]) * factor:8.3g}{unit:2}"
        f"{mean([r.fresh.value for r in rows]) * factor:8.3g}{unit:2}{agree:5}/{len(rows)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    configure(quiet=True)
    with tempfile.TemporaryDirectory() as scratch:
        bench = options.bench and options.bench.resolve()
        report(subjects(bench, options.models), options.seeds, Path(scratch))


if __name__ == "__main__":
    main()
