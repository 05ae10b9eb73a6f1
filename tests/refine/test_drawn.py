"""Which samples algorithms learn from follows from what they hold, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool import model as models
from qtool.data import open_dataset
from qtool.recipe import Recipe, Rule
from qtool.refine import samples as drawing
from qtool.refine.samples import FEW, JUDGED, LEARNED, Samples, drawn, learned
from qtool.runtime import Session
from tests.models import Array, build, normal

MODEL = build("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")


def of(folder: Path, rows: Array, size: int = 1) -> Samples:
    folder.mkdir()
    np.save(folder / "x.npy", rows)
    signature = Session(models.serialize(MODEL)).signature
    return drawn(open_dataset(folder, signature), size)


def held(samples: Samples) -> list[list[bytes]]:
    return [[feeds["x"].tobytes() for feeds in part] for part in (samples.fit, samples.check)]


@pytest.mark.parametrize("size", [1, 8])
def test_the_order_of_the_data_does_not_matter(tmp_path: Path, size: int) -> None:
    rows = normal(200, 4, seed=1)
    shuffled = rows[np.random.default_rng(0).permutation(200)]
    one, two = of(tmp_path / "a", rows, size), of(tmp_path / "b", shuffled, size)
    assert held(one) == held(two)
    assert (len(one.fit), len(one.check)) == (LEARNED // size, JUDGED // size)
    assert not set(held(one)[0]) & set(held(one)[1])


@pytest.mark.parametrize(("count", "fit", "check"), [(1, 1, 1), (2, 1, 1), (10, 7, 3)])
def test_few_samples_are_shared_out(tmp_path: Path, count: int, fit: int, check: int) -> None:
    found = of(tmp_path / "a", normal(count, 4, seed=2))
    assert (len(found.fit), len(found.check)) == (fit, check)
    assert found.apart is (count > 1)


def test_equal_samples_are_no_trouble(tmp_path: Path) -> None:
    found = of(tmp_path / "a", np.ones((100, 4), np.float32))
    assert len(found.fit) + len(found.check) == LEARNED + JUDGED


def test_a_batch_is_one_run(tmp_path: Path) -> None:
    found = of(tmp_path / "a", normal(50, 4, seed=3), size=4)
    assert [len(feeds["x"]) for feeds in (*found.fit, *found.check)].count(4) >= 12


def test_they_hold_no_more_than_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "BYTES", 10 * 16)
    found = of(tmp_path / "a", normal(200, 4, seed=4))
    assert len(found.fit) + len(found.check) == 10


def test_nor_does_it_where_large_samples_leave_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several that are too large for what is left, one that comes late would still go in."""
    monkeypatch.setattr(drawing, "BYTES", 12_000)
    rng = np.random.default_rng(5)
    rows = [normal(int(n), 4, seed=i) for i, n in enumerate(rng.integers(1, 200, 20))]
    model = build("g (float[N,S,4] x) => (float[N,S,4] y) { y = Relu(x) }")
    signature = Session(models.serialize(model)).signature
    found = set()
    for turn in range(6):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for place, i in enumerate(rng.permutation(20)):
            np.save(folder / f"{place:02}.npy", rows[i])
        found.add(str(held(drawn(open_dataset(folder, signature)))))
    assert len(found) == 1


def test_a_batch_is_full_where_there_are_samples_for_it(tmp_path: Path) -> None:
    """A model with a fixed batch axis takes no other."""
    found = of(tmp_path / "a", normal(140, 4, seed=3), size=7)
    assert {len(feeds["x"]) for feeds in (*found.fit, *found.check)} == {7}
    found = of(tmp_path / "b", normal(256, 4, seed=3), size=128)
    assert [len(feeds["x"]) for feeds in (*found.fit, *found.check)] == [128, 128]


def test_more_are_learned_from_where_few_bits_are_rounded() -> None:
    assert learned(Recipe(scheme="w4a8")) == learned(Recipe(scheme="w3k")) == FEW
    tables = Recipe(rules=(Rule(match="op:Gemm", scheme="w4"),))
    assert learned(tables) == FEW
    plain = Recipe(scheme="w4", algorithms=("equalize", "bias"))
    halves = Recipe(scheme="fp16")
    for recipe in (Recipe(), plain, halves, Recipe(scheme="w8", algorithms=("gptq",))):
        assert learned(recipe) == LEARNED
    # Transforms come before calibration, which knows nothing of what is rounded behind it.
    smooth = Recipe(scheme="w4a8", algorithms=("smooth", "gptq"))
    assert learned(smooth.measured_before()) == LEARNED
