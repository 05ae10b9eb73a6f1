"""Time and memory to calibrate, beside a float pass over the same data and onnxruntime's own.

    python -m tests.benchmarks.calibration --bench DIR [--models NAME ...] [--batch-size 8]

Times are over that of a float pass (load the model, run all the data), medians of rounds in which
all take turns. Ours: `pass` is what `qtool calibrate` does once the model is transformed, a method
adds every range that its plan asks for. Theirs: load, collect and compute, on the pre-processed
model, at the defaults of quantize_static. `before` is our transforming, and their pre-processing.

Memory is the peak of a process of its own, one sample at a time: the float pass without qtool,
`qtool calibrate`, and theirs without qtool.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TypeVar

from qtool import workflow
from qtool.calibrate.file import Calibration
from qtool.data import open_dataset
from qtool.data.dataset import Dataset
from qtool.numeric.ranges import METHODS
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.benchmarks import one_pass
from tests.benchmarks.subjects import SUBJECTS
from tests.peak import peak_mb

FEW, SOME, MANY = 16, 64, 2048  # samples of which memory is compared
THEIRS = {f"ort {method}": method for method in one_pass.CALIBRATORS}
COLUMNS = ("pass", *METHODS, *THEIRS, "before", "ort before")

T = TypeVar("T")


@dataclass
class Times:
    """Seconds of each column, round by round, or why there are none; tensors that got a range."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, int] = field(default_factory=lambda: {"onnxruntime": 0})

    def of(self, column: str, run: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = run()
        self.add(column, time.perf_counter() - start)
        return result

    def add(self, column: str, seconds: float) -> None:
        self.seconds.setdefault(column, []).append(seconds)

    def ratio(self, column: str) -> float | None:
        """Over the float pass of the same round, the median of all rounds."""
        found, plain = self.seconds.get(column), self.seconds["plain"]
        return median(a / b for a, b in zip(found, plain, strict=False)) if found else None


class Race:
    """One model over one set of data, all kinds of pass in turn."""

    def __init__(self, model: Path, data: Dataset, batch_size: int, folder: Path) -> None:
        self.times, self._data, self._size, self._folder = Times(), data, batch_size, folder
        self._model, self._ready = model, model
        opened = partial(workflow.open_job, model, Recipe(), load_target("cpu"))
        self._job = self.times.of("before", opened)
        self.times.tensors["qtool"] = len(self._job.sites.sources)
        try:
            prepared = partial(one_pass.preprocess, model, folder)
            self._ready = self.times.of("ort before", prepared)
        except Exception as error:  # what it raises is part of the comparison
            self.times.failed |= dict.fromkeys(THEIRS, said(error))

    def run(self, rounds: int, patience: float) -> Times:
        """Every other round backwards; two at least, and no new one after `patience` seconds."""
        late = time.perf_counter() + patience
        peers = [partial(self._theirs, column) for column in THEIRS]
        steps: list[Callable[[], None]] = [self._plain, self._ours, *peers]
        for turn in range(rounds):
            if turn < 2 or time.perf_counter() < late:
                for step in steps if turn % 2 == 0 else steps[::-1]:
                    step()
        return self.times

    def _plain(self) -> None:
        batches = self._data.batches(self._size)
        self.times.of("plain", lambda: one_pass.plain(self._model, batches))

    def _ours(self) -> None:
        start = time.perf_counter()
        found = workflow.measure(self._job, self._data, batch_size=self._size)
        passed = time.perf_counter() - start
        self.times.add("pass", passed)
        for method in METHODS:
            self.times.add(method, passed + self._ranges(found, method))

    def _ranges(self, found: Calibration, method: str) -> float:
        """Seconds for every range of the plan, nothing of it known beforehand."""
        fresh = {name: replace(each) for name, each in found.histograms.items()}
        start = time.perf_counter()
        for site in self._job.sites.activations.values():
            METHODS[method](fresh[site.source], site.scheme.type, site.scheme.symmetric)
        return time.perf_counter() - start

    def _theirs(self, column: str) -> None:
        if column in self.times.failed:
            return
        batches = self._data.batches(self._size)
        run = partial(one_pass.theirs, THEIRS[column], self._ready, batches, self._folder)
        try:
            self.times.tensors["onnxruntime"] = self.times.of(column, run)
        except Exception as error:  # as above
            self.times.failed[column] = said(error)
            self.times.seconds.pop(column, None)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"


def time_table(names: Iterable[str], bench: Path, options: argparse.Namespace) -> None:
    head = "".join(f"{c:>{len(c) + 3}}" for c in COLUMNS)
    print("\ntime over a float pass; tensors: ours/onnxruntime's")
    print(f"{'model':18}{'samples':>8}{'batch':>6}{'rounds':>7}{'tensors':>9}{'float':>9}{head}")
    for name in names:
        subject = SUBJECTS[name]
        with tempfile.TemporaryDirectory() as scratch:
            model, data = opened(name, bench, Path(scratch), options.samples or subject.samples)
            size = options.batch_size if subject.batches else 1
            times = Race(model, data, size, Path(scratch)).run(options.rounds, options.patience)
        plain, tensors = times.seconds["plain"], times.tensors
        counts = f"{tensors['qtool']}/{tensors['onnxruntime']}"
        cells = "".join(cell(times.ratio(c), len(c) + 3, ".2f") for c in COLUMNS)
        print(
            f"{name:18}{len(data):8}{size:6}{len(plain):7}{counts:>9}{median(plain):7.2f} s{cells}"
        )
        for column, why in times.failed.items():
            print(f"{'':18}{column} fails: {why}", flush=True)


def opened(name: str, bench: Path, folder: Path, samples: int) -> tuple[Path, Dataset]:
    """A model and so many samples for it, which are written into `folder`."""
    (folder / "data").mkdir()
    model = SUBJECTS[name].model(bench, folder).resolve()
    SUBJECTS[name].write(bench, folder / "data", samples)
    return model, open_dataset(folder / "data", Session(model).signature)


def memory_table(names: Iterable[str], bench: Path) -> None:
    columns = ("float", f"qtool {SOME}", "over float", f"qtool {MANY}", "more", *THEIRS)
    print("\npeak memory in MB; onnxruntime's of "
          f"{SOME} samples, and MB more for each sample from {FEW} on")  # fmt: skip
    print(f"{'model':18}" + "".join(f"{c:>{max(len(c) + 3, 9)}}" for c in columns[:5])
          + "".join(f"{c:>18}" for c in THEIRS))  # fmt: skip
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            model, data = opened(name, bench, folder, MANY)
            one_pass.store(islice(data.batches(1), SOME), folder / "feeds.npz")
            plain, few, many, *peers = memory(model, folder)
        ours = [plain, few, less(few, plain), many, less(many, few)]
        cells = "".join(
            cell(x, max(len(c) + 3, 9), ".0f") for x, c in zip(ours, columns, strict=False)
        )
        shown = "".join(f"{two(a, b):>18}" for a, b in zip(peers[::2], peers[1::2], strict=True))
        print(f"{name:18}{cells}{shown}", flush=True)


def memory(model: Path, folder: Path) -> list[float | None]:
    """Float, ours of some and of many samples, theirs of some and of few by method."""

    def ours(samples: int) -> float | None:
        return peak("qtool", "calibrate", model, "--data", folder / "data", "--samples", samples,
                    "-o", folder / f"{samples}.calib", "-q")  # fmt: skip

    def alone(method: str, path: Path, samples: int) -> float | None:
        return peak(
            "tests.benchmarks.one_pass", method, path, folder / "feeds.npz", samples, folder
        )

    found = [alone("plain", model, SOME), ours(SOME), ours(MANY)]
    try:
        ready = one_pass.preprocess(model, folder)
    except Exception:  # said in the other table
        return found + [None] * (2 * len(THEIRS))
    for method in THEIRS.values():
        most = alone(method, ready, SOME)
        found += [most, alone(method, ready, FEW) if most else None]
    return found


def peak(module: str, *arguments: object) -> float | None:
    """Peak resident memory in MB of a module run in a process of its own; None if it fails."""
    return peak_mb(sys.executable, "-m", module, *map(str, arguments))


def less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def cell(value: float | None, width: int, form: str) -> str:
    return f"{'fails':>{width}}" if value is None else f"{value:{width}{form}}"


def two(most: float | None, few: float | None) -> str:
    """A peak, and how much each sample adds."""
    if most is None or few is None:
        return "fails"
    return f"{most:.0f} ({(most - few) / (SOME - FEW):+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--samples", type=int, help="of which time is measured; 256, encoder 64")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patience", type=float, default=120, help="seconds for one model")
    parser.add_argument("--only", choices=("time", "memory"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    bench = options.bench.resolve()
    if options.only != "memory":
        time_table(options.models, bench, options)
    if options.only != "time":
        memory_table(options.models, bench)


if __name__ == "__main__":
    main()
