"""Which values are counted: the law of positions, and that ends stay exact."""

from __future__ import annotations

import numpy as np
import pytest

from qtool.numeric.histogram import Histogram
from qtool.numeric.tally import SHIFTS, Tally, counted, positions

MOST = 1024


@pytest.mark.parametrize("size", [2 * MOST + 1, 2500, 3 * MOST, 4096, 99_999, 1 << 20])
@pytest.mark.parametrize("shift", [0, 1, 63])
def test_one_value_of_each_stretch_is_counted(size: int, shift: int) -> None:
    chosen = positions(size, (shift,), MOST)
    assert chosen is not None
    edges = np.arange(MOST + 1) * size / MOST
    assert (np.floor(edges[:-1]) <= chosen).all()
    assert (chosen < edges[1:]).all()
    assert (np.diff(chosen) >= 0).all()


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("size", [1, 7, MOST, 2 * MOST, 2 * MOST + 1, 3000, 16_384, 100_003])
def test_a_batch_counts_what_its_samples_would(size: int, samples: int) -> None:
    shifts = tuple(17 * number % SHIFTS for number in range(samples))
    together = positions(size * samples, shifts, MOST)
    expected: list[int] = []
    for number, shift in enumerate(shifts):
        alone = positions(size, (shift,), MOST)
        expected += (number * size + (np.arange(size) if alone is None else alone)).tolist()
    assert (list(range(size * samples)) if together is None else together.tolist()) == expected


@pytest.mark.parametrize("size", [4096, 16_384, 65_536, 1 << 20])
@pytest.mark.parametrize("channels", [3, 4, 16, 64, 100, 256])
def test_samples_together_tell_of_all_channels_alike(size: int, channels: int) -> None:
    met = np.zeros(channels)
    for shift in range(SHIFTS):
        chosen = positions(size, (shift,), MOST)
        assert chosen is not None
        met += np.bincount(chosen % channels, minlength=channels)
    expected = SHIFTS * MOST / channels
    # Drawn at random, each would be met so often, with a deviation of its root.
    assert abs(met - expected).max() < 5 * np.sqrt(expected)


def test_positions_are_the_same_for_ever() -> None:
    """Shards of other machines and versions of numpy must agree; these numbers never change."""
    chosen = positions(1_000_000, (5,), MOST)
    assert chosen is not None
    assert chosen[:4].tolist() == [710, 1328, 2080, 3033]


def test_counted_are_the_positions_and_the_ends_are_exact() -> None:
    x = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32)
    x[1, 17], x[0, 4] = 99, -77
    tally = Tally(["x"], MOST)
    tally.see("x", x, (3, 4))
    found = tally.histograms()["x"]
    chosen = positions(x.size, (3, 4), MOST)
    assert chosen is not None
    expected = Histogram.empty().observe(x.reshape(-1)[chosen])
    assert (found.low, found.high) == (-77, 99)
    assert found.bins.tolist() == expected.bins.tolist()
    assert found.counts.tolist() == expected.counts.tolist()
    assert found.total == 2 * MOST


@pytest.mark.parametrize("limit", ["_HELD", "_HELD_OF_ONE"])
def test_when_values_are_counted_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    arrays = [np.random.default_rng(i).normal(size=3000).astype(np.float32) for i in range(9)]

    def seen() -> Histogram:
        tally = Tally(["x", "never"], MOST)
        for x in arrays:
            tally.see("x", x, (0,))
        assert tally.histograms()["never"].total == 0
        return tally.histograms()["x"]

    late = seen()
    monkeypatch.setattr(f"qtool.numeric.tally.{limit}", 2500)
    soon = seen()
    assert (soon.low, soon.high, soon.on_grid) == (late.low, late.high, late.on_grid)
    assert soon.bins.tobytes() == late.bins.tobytes()
    assert soon.counts.tobytes() == late.counts.tobytes()


def test_what_waits_is_not_the_array_that_was_shown() -> None:
    """The runtime, or the next batch, may write where the last one lay."""
    x = np.zeros(10, np.float32)
    tally = Tally(["x"], MOST)
    tally.see("x", x, (0,))
    x[:] = 5
    assert tally.histograms()["x"].sorted[0].tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_refused_wherever_they_lie(value: float) -> None:
    x = np.zeros(100_000, np.float32)
    x[54_321] = value
    with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "Inf"):
        Tally(["x"], MOST).see("x", x, (0,))


@pytest.mark.parametrize(
    ("samples", "most"),
    [(1, 4096), (128, 4096), (129, 2048), (256, 2048), (512, 1024), (2048, 256), (10**6, 256)],
)
def test_more_samples_are_counted_less_each(samples: int, most: int) -> None:
    assert counted(samples) == most


def test_on_grid_does_not_depend_on_when_values_are_counted() -> None:
    """An end that was not counted says nothing: another sample may hide it."""
    samples = [np.zeros(1 << 15, np.float32) for _ in range(4)]
    for x, end in zip(samples, (0.1, 1, 1, 1), strict=True):
        x[7777] = end
    together, one_by_one = Tally(["x"], 256), Tally(["x"], 256)
    for x in samples:
        together.see("x", x, (0,))
        one_by_one.see("x", x, (0,))
        one_by_one.histograms()
    assert together.histograms()["x"].on_grid == one_by_one.histograms()["x"].on_grid
