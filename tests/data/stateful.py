"""A small recurrent model with two states, and the plain loop that `[data] carry` stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qtool.data import Carry, Dataset
from qtool.runtime import Session
from tests.models import normal, save, weight

# state = tanh(x W + state U + 0.1 step), y = state V; the step is counted.
GRAPH = """g (float[N,3] x, float[N,8] state_in, int64[1] step_in)
    => (float[N,2] y, float[N,8] state_out, int64[1] step_out)
    <int64[1] one = {1}, float tenth = {0.1}> {
    a = MatMul(x, W)
    b = MatMul(state_in, U)
    c = Add(a, b)
    float_step = Cast<to = 1>(step_in)
    d = Mul(float_step, tenth)
    e = Add(c, d)
    state_out = Tanh(e)
    y = MatMul(state_out, V)
    step_out = Add(step_in, one)
}"""
W, U, V = weight(3, 8), weight(8, 8, seed=2), weight(8, 2, seed=3)
CARRY = '[data]\ncarry = {state_out = "state_in", step_out = "step_in"}\n'
LENGTHS = (3, 1, 5)
SEQUENCES = [normal(length, 3, seed=10 + length) for length in LENGTHS]

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def recurrent(folder: Path, graph: str = GRAPH, name: str = "model") -> Path:
    """The model as a file."""
    return save(folder / f"{name}.onnx", graph, W=W, U=U, V=V)


def files(folder: Path, sequences: Sequence[Any] = SEQUENCES) -> Path:
    """One .npy for each sample, one folder for each sequence, and a qtool.toml."""
    for number, sequence in enumerate(sequences):
        (folder / f"s{number}").mkdir(parents=True)
        for row, sample in enumerate(sequence):
            np.save(folder / f"s{number}" / f"{row:03}.npy", sample)
    (folder / "qtool.toml").write_text(CARRY)
    return folder


def loop(session: Session, sequences: Iterable[Any] = SEQUENCES) -> list[dict[str, Any]]:
    """The results of every sample, with the states handed on by hand."""
    found = []
    for sequence in sequences:
        state, step = np.zeros((1, 8), np.float32), np.zeros(1, np.int64)
        for sample in sequence:
            results = session.run({"x": sample[None], "state_in": state, "step_in": step})
            state, step = results["state_out"], results["step_out"]
            found.append(results)
    return found


def fed(session: Session, data: Dataset) -> list[dict[str, Any]]:
    """The results of every sample, with the states handed on by `Carry`."""
    carry, found = Carry(data.declaration.carry), []
    for feeds in data.batches(1):
        found.append(session.run(carry.fill(feeds)))
        carry.keep(found[-1])
    return found


def assert_same(found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> None:
    """Equal to the last bit, sample by sample and output by output."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            np.testing.assert_array_equal(one[name], value)
