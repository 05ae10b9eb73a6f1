"""Whether the judge of speed and memory is right: copies are equal, and what is slower is found.

    python -m tests.benchmarks.latency [--runs 20] [--busy] [--only copies,slower,kept,footprint]

`copies`: two copies of one file, how many runs say "no clear difference", and between which ratios
they lie. `slower`: chains of equal layers against chains with 3, 5 and 10 % more of them, how many
runs find it. `kept`: copies again, with sessions that are never opened anew, which is what `copies`
would be without that. `footprint`: load time and memory of copies, and of half the layers. `--busy`
keeps one core busy from another process meanwhile. The load of the machine stands above the table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qtool.compare.footprint import measure_footprint
from qtool.compare.latency import measure
from qtool.compare.result import Latency
from qtool.runtime import Session
from tests.models import normal, save, weight


@dataclass(frozen=True)
class Chain:
    """So many products with square matrices of so many columns, on so many rows."""

    name: str
    width: int
    rows: int

    def save(self, folder: Path, layers: int) -> Path:
        path = folder / f"{self.name}_{layers}.onnx"
        if not path.exists():
            nodes = " ".join(f"x{i + 1} = MatMul(x{i}, w{i})" for i in range(layers))
            shape = f"float[N,{self.width}]"
            weights = {f"w{i}": weight(self.width, self.width, seed=i) for i in range(layers)}
            save(path, f"g ({shape} x0) => ({shape} x{layers}) {{ {nodes} }}", **weights)
        return path

    def feeds(self) -> list[dict[str, Any]]:
        return [{"x0": normal(self.rows, self.width, seed=seed)} for seed in range(4)]


# about 0.03, 0.5 and 8 ms for 20 layers
CHAINS = (Chain("small", 48, 16), Chain("medium", 256, 16), Chain("large", 512, 64))
SLOWER = {"3%": (33, 34), "5%": (20, 21), "10%": (20, 22)}
THREADS = {"1 thread": 1, "all": 0}


class Kept:
    """A session that stays where it is."""

    def __init__(self, session: Session) -> None:
        self.run = session.run

    def close(self) -> None:
        pass


def once(pair: tuple[Path, Path], chain: Chain, threads: int, keep: bool) -> Latency:
    left, right = (Session(path, threads=threads) for path in pair)
    if keep:
        return measure(Kept(left), Kept(right), chain.feeds(), batch_size=1, threads=threads)
    return measure(left, right, chain.feeds(), batch_size=1, threads=threads)


def show(
    what: str, pair: tuple[Path, Path], chain: Chain, runs: int, *, keep: bool = False
) -> None:
    for label, threads in THREADS.items():
        start = time.perf_counter()
        found = [once(pair, chain, threads, keep) for _ in range(runs)]
        seconds = (time.perf_counter() - start) / runs
        verdicts = Counter(f.verdict for f in found)
        ratios = [f.ratio for f in found]
        width = np.median([f.interval.high - f.interval.low for f in found])
        counts = [verdicts[name] for name in ("no clear difference", "slower", "faster")]
        print(f"{what:14}{chain.name:8}{label:>9}"
              f"{np.median([f.reference_median_ms for f in found]):9.3f}"
              f"{min(ratios):9.3f}{np.median(ratios):8.3f}{max(ratios):8.3f}{width:9.3f}"
              f"{counts[0]:7}{counts[1]:8}{counts[2]:8}{seconds:8.1f}", flush=True)  # fmt: skip


def footprints(folder: Path, runs: int) -> None:
    print(f"{'model':14}{'against':>10}{'load ms':>9}{'ratios of load':>26}{'MB':>9}"
          f"{'ratios of memory':>26}{'seconds':>9}")  # fmt: skip
    for chain in CHAINS:
        path, half = chain.save(folder, 20), chain.save(folder, 10)
        copy = Path(shutil.copy(path, folder / "copy.onnx"))
        for against, other in (("copy", copy), ("half", half)):
            start = time.perf_counter()
            found = [measure_footprint(path, other, chain.feeds()[0], threads=1)[0]
                     for _ in range(runs)]  # fmt: skip
            seconds = (time.perf_counter() - start) / runs
            load = np.array([f.load_ratio for f in found], np.float64)  # None is NaN
            memory = np.array([f.memory_ratio for f in found], np.float64)
            opened = np.median([f.reference_load_ms or np.nan for f in found])
            held = np.median([f.reference_memory or np.nan for f in found]) / 1e6
            print(f"{chain.name:14}{against:>10}{opened:9.2f}{three(load):>26}"
                  f"{held:9.2f}{three(memory):>26}{seconds:9.1f}", flush=True)  # fmt: skip


def three(values: Any) -> str:
    """Least, middle and greatest."""
    return " ".join(f"{v:7.3f}" for v in (values.min(), np.median(values), values.max()))


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Another process computes all the time."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def load() -> str:
    """Processes that want a core: this one is among them."""
    return f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--busy", action="store_true", help="beside a process that keeps a core")
    parser.add_argument("--only", default="copies,slower,kept,footprint")
    parser.add_argument("--by", nargs="+", default=list(SLOWER), choices=list(SLOWER))
    options = parser.parse_args()
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as scratch, busy(options.busy):
        folder = Path(scratch)
        print(load())
        if set(wanted) & {"copies", "slower", "kept"}:
            print(f"{'':14}{'model':8}{'threads':>9}{'ms':>9}{'ratios: least, middle, most':>25}"
                  f"{'interval':>9}{'equal':>7}{'slower':>8}{'faster':>8}{'s/run':>8}")  # fmt: skip
        for chain in CHAINS:
            path = chain.save(folder, 20)
            copy = Path(shutil.copy(path, folder / "copy.onnx"))
            if "copies" in wanted:
                show("copies", (path, copy), chain, options.runs)
            if "kept" in wanted:
                show("copies kept", (path, copy), chain, options.runs, keep=True)
            if "slower" in wanted:
                for what, (few, more) in ((by, SLOWER[by]) for by in options.by):
                    pair = chain.save(folder, few), chain.save(folder, more)
                    show(f"{what} slower", pair, chain, options.runs)
        if "footprint" in wanted:
            footprints(folder, min(options.runs, 5))
        print(load())


if __name__ == "__main__":
    main()
