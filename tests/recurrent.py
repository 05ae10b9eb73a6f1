"""Small LSTM, GRU and RNN with all that they may have, and how near to float a model stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qtool.runtime import Session
from tests.models import Array, normal, save, sqnr, weight

STEPS, BATCH, WIDTH, UNITS = 7, 3, 12, 20
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
BOTH = "bidirectional"


def saved(
    path: Path,
    operator: str = "LSTM",
    attributes: str = "",
    *,
    direction: str = "forward",
    outputs: str = "y, h",
    given: str = "",
) -> Path:
    """A model of one layer; `given` are letters of its optional inputs: b(ias), s(teps of each
    sequence), h and c that it begins with, p(eepholes)."""
    n, gates = 2 if direction == BOTH else 1, GATES[operator]
    constants: dict[str, Array] = {
        "w": weight(n * gates * UNITS, WIDTH).reshape(n, -1, WIDTH),
        "r": weight(n * gates * UNITS, UNITS, seed=2).reshape(n, -1, UNITS),
        "b": normal(n, 2 * gates * UNITS, seed=3) / 4,
        "s": np.array([7, 2, 5], np.int32),
        "h": normal(n, BATCH, UNITS, seed=4) / 2,
        "c": normal(n, BATCH, UNITS, seed=5) / 2,
        "p": normal(n, 3 * UNITS, seed=6) / 2,
    }
    inputs = ", ".join(f"i{letter}" if letter in given else "" for letter in "bshcp")
    more = f", {inputs.rstrip(', ')}" if given else ""
    chosen = [f'hidden_size={UNITS}, direction="{direction}"', attributes]
    listed = ", ".join(each for each in chosen if each)
    ranks = {"y": "T,D,3,20", "h": "D,3,20", "c": "D,3,20"}
    ends = ", ".join(f"float[{r}] {name}" for name, r in ranks.items() if name in outputs)
    return save(
        path,
        f"""g (float[T,{BATCH},{WIDTH}] x) => ({ends}) {{
            {outputs} = {operator}<{listed}>(x, iw, ir{more}) }}""",
        **{f"i{name}": each for name, each in constants.items() if name in "wr" + given},
    )


def worst(path: Path, data: bytes | Path) -> float:
    """The lowest SQNR of all outputs, whose shapes are the same."""
    feeds = {"x": normal(STEPS, BATCH, WIDTH, seed=9)}
    before, after = Session(path, threads=1).run(feeds), Session(data, threads=1).run(feeds)
    assert {n: each.shape for n, each in before.items()} == {n: v.shape for n, v in after.items()}
    return min(sqnr(before[name], after[name]) for name in before)
