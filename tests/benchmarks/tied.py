"""A table that a head multiplies with too: stored once or twice, looked up in each way there is.

    python -m tests.benchmarks.tied [--shapes 64x128 32000x512] [--bits 8 4] [--runs 31]

Each file is what `qtool quantize` writes, but for `twice`, where the plan's ties are left out, and
`unpacked`, where look-up and product are of floats that are restored when the model is loaded.
Size, unshared memory of a process that has loaded it and run it once, and time for 1 and for 64
tokens on one thread, all files taking turns, over that of the float file. SQNR is of the logits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qtool import model as models
from qtool import workflow
from qtool.passes import rewritten
from qtool.plan.plan import Plan, WeightPlan
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import normal, save, sqnr

# layout -> what becomes of the plan
LAYOUTS: dict[str, Callable[[Plan], Plan]] = {
    "once": lambda plan: plan,
    "twice": lambda plan: replace(plan, tied={}),
    "unpacked": lambda plan: replace(plan, tied={}, weights=_unpacked(plan)),
}
TOKENS = (1, 64)


@dataclass(frozen=True)
class File:
    """One form of the model."""

    name: str
    path: Path


def _unpacked(plan: Plan) -> dict[tuple[str, int], WeightPlan]:
    return {key: replace(weight, encoding="cast-mul") for key, weight in plan.weights.items()}


def model(path: Path, rows: int, width: int) -> Path:
    """Tokens, a step that is no product, logits; the head is the table, turned."""
    graph = f"""g (int64[N,S] i) => (float[N,S,{rows}] y) {{
        e = Gather(w, i) h = Tanh(e) t = Transpose<perm=[1,0]>(w) y = MatMul(h, t) }}"""
    return save(path, graph, w=normal(rows, width, seed=3) * np.float32(0.5))


def files(folder: Path, rows: int, width: int, bits: list[int]) -> Iterator[File]:
    """The float file and each form of it."""
    path = model(folder / f"{rows}x{width}.onnx", rows, width)
    yield File("float", path)
    for scheme in [form for n in bits for form in (f"w{n}", f"w{n}b32")]:
        for contrib in (False, True):
            recipe = Recipe(scheme=scheme, contrib=contrib, algorithms=())
            job = workflow.open_job(path, recipe, load_target("cpu"), threads=1)
            plan = workflow.decided(job, None)
            packed = any(w.encoding == "packed-rows" for w in plan.weights.values())
            if contrib and not packed:
                continue
            for layout, change in LAYOUTS.items():
                if contrib and layout == "unpacked":
                    continue
                made = models.serialize(rewritten(job.model, change(plan)))
                name = f"{scheme}{' --contrib' if contrib else ''} {layout}"
                out = folder / f"{rows}_{name.replace(' ', '_')}.onnx"
                out.write_bytes(made)
                yield File(name, out)


def memory(path: Path) -> float:
    """MB that loading and running it once took, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


_CHILD = """
import ctypes, sys
from pathlib import Path
import numpy as np
from qtool.runtime import Session
def held():
    rows = Path("/proc/self/status").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("RssAnon")).split()[1]) / 1024
before = held()
session = Session(Path(sys.argv[1]), threads=1)
session.run({"i": np.ones((1, 1), np.int64)})
ctypes.CDLL(None).malloc_trim(0)
print(held() - before)
"""


def times(sessions: list[Session], rows: int, tokens: int, runs: int) -> list[float]:
    """Seconds of each, the median of so many runs in turns."""
    found: list[list[float]] = [[] for _ in sessions]
    chance = np.random.default_rng(0)
    for _ in range(runs + 1):
        ids = chance.integers(0, rows, (1, tokens))
        for session, taken in zip(sessions, found, strict=True):
            start = time.perf_counter()
            session.run({"i": ids})
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken[1:])) for taken in found]


def report(rows: int, width: int, bits: list[int], runs: int, folder: Path) -> None:
    every = list(files(folder, rows, width, bits))
    sessions = [Session(each.path, threads=1) for each in every]
    ids = np.random.default_rng(1).integers(0, rows, (1, 64))
    logits = [session.run({"i": ids})["y"] for session in sessions]
    timed = [times(sessions, rows, tokens, runs) for tokens in TOKENS]
    del sessions
    print(
        f"{rows} x {width}\n{'':28}{'size':>10}{'memory':>10}{'1 token':>16}{'64 tokens':>16}  SQNR"
    )
    for index, each in enumerate(every):
        cells = [f"{t[index] * 1e3:8.3f} ms {t[index] / t[0]:4.2f}" for t in timed]
        noise = sqnr(logits[0], logits[index])
        print(
            f"{each.name:28}{each.path.stat().st_size / 1e6:7.3f} MB{memory(each.path):7.1f} MB"
            f" {cells[0]} {cells[1]} {noise:5.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="*", default=["64x128", "32000x512"])
    parser.add_argument("--bits", nargs="*", type=int, default=[8, 4])
    parser.add_argument("--runs", type=int, default=31)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes:
            rows, width = map(int, shape.split("x"))
            report(rows, width, options.bits, options.runs, Path(folder))


if __name__ == "__main__":
    main()
