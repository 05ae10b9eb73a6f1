"""Files of few bits are smaller than those of bytes, on every sample that is mostly weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool.recipe import Recipe
from qtool.runtime import Session
from tests.benchmarks.forms import TASKS, made

LARGE = [name for name, task in TASKS.items() if task.large]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("activations", ["a8", ""])
def test_fewer_bits_are_fewer_bytes(name: str, activations: str, tmp_path: Path) -> None:
    sizes = {}
    for bits in (8, 4, 2):
        recipe = Recipe(scheme=f"w{bits}{activations}", algorithms=("equalize", "masks"))
        path = made(name, recipe, tmp_path / f"{bits}.onnx")
        Session(path)
        sizes[bits] = path.stat().st_size
    assert sizes[4] < 0.8 * sizes[8]
    assert sizes[2] < 0.85 * sizes[4]
