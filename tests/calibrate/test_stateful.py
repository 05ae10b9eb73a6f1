"""Calibrating a model with states: the ranges are those of a plain loop over each sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool import workflow
from qtool.calibrate.file import Calibration
from qtool.calibrate.merge import merge
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.spans import WHOLE, Shard
from qtool.data import open_dataset
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.calibrate.made import saved
from tests.data.stateful import SEQUENCES, files, loop, recurrent
from tests.models import save, weight


def calibrated(model: Path, data: Path, shard: Shard = WHOLE) -> Calibration:
    job = workflow.open_job(model, Recipe(), load_target("cpu"), threads=1)
    return workflow.measure(job, open_dataset(data, job.signature), shard=shard)


@pytest.mark.usefixtures("any_size")
def test_ranges_are_those_of_the_loop(tmp_path: Path) -> None:
    model = recurrent(tmp_path)
    found = calibrated(model, files(tmp_path / "data"))
    states = [result["state_out"] for result in loop(Session(model))]
    histogram = found.histograms["state_out"]
    np.testing.assert_allclose(histogram.low, min(float(s.min()) for s in states), rtol=1e-5)
    np.testing.assert_allclose(histogram.high, max(float(s.max()) for s in states), rtol=1e-5)
    assert histogram.total == 8 * sum(map(len, SEQUENCES))
    assert set(found.fed) == {"x"}


def test_sequences_are_shared_out_whole(tmp_path: Path) -> None:
    model, data = recurrent(tmp_path), files(tmp_path / "data")
    whole = calibrated(model, data)
    parts = [calibrated(model, data, Shard(k, 3)) for k in (1, 2, 3)]
    assert [part.samples for part in parts] == [3, 1, 5]
    assert saved(merge(parts, ["a", "b", "c"]), tmp_path / "m") == saved(whole, tmp_path / "w")


def test_the_order_within_a_sequence_counts(tmp_path: Path) -> None:
    model = recurrent(tmp_path)
    there = calibrated(model, files(tmp_path / "there"))
    back = calibrated(model, files(tmp_path / "back", [s[::-1] for s in SEQUENCES]))
    other = calibrated(model, files(tmp_path / "other", SEQUENCES[::-1]))
    assert there.data != back.data
    assert there.data == other.data  # sequences in another order are the same data
    job = workflow.open_job(model, Recipe(), load_target("cpu"))
    assert open_dataset(tmp_path / "there", job.signature).fingerprint == there.data


def test_an_interrupted_run_goes_on_at_a_sequence(tmp_path: Path) -> None:
    model, data = recurrent(tmp_path), files(tmp_path / "data")
    job = workflow.open_job(model, Recipe(), load_target("cpu"), threads=1)
    used = open_dataset(data, job.signature)
    kept = Checkpoint(tmp_path / "out", used)
    kept.write(calibrated(model, data, Shard(2, 3)))
    ran: list[int] = []
    found = workflow.measure(job, used, kept=kept, step=lambda done, total: ran.append(done))
    assert ran == [4, 9]
    assert saved(found, tmp_path / "a") == saved(calibrated(model, data), tmp_path / "b")


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", ["input", "constant"])
def test_a_state_that_is_only_passed_on(tmp_path: Path, kind: str) -> None:
    inside = "a = Add(x, s)" if kind == "input" else "c = Add(x, t)  a = Mul(c, s)"
    output = "s" if kind == "input" else "t"
    constants: dict[str, Any] = {} if kind == "input" else {"t": np.ones((1, 3), np.float32)}
    graph = f"""g (float[N,3] x, float[1,3] s) => (float[N,5] y, float[1,3] {output}) {{
        {inside} y = MatMul(a, W) }}"""
    model = save(tmp_path / "m.onnx", graph, W=weight(5, 3).T.copy(), **constants)
    files(tmp_path / "data")
    (tmp_path / "data" / "qtool.toml").write_text(f'[data]\ncarry = {{{output} = "s"}}\n')
    found = calibrated(model, tmp_path / "data")
    assert found.samples == sum(map(len, SEQUENCES))
    assert found.histograms["a"].total > 0
