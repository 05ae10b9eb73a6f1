"""Sweeps run: what cells come to, failures, interruptions, and who judges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool import workflow
from qtool.compare.judge import compare
from qtool.data import open_dataset
from qtool.errors import DataError, ModelError, UsageError
from qtool.sweep.cells import Cell
from qtool.sweep.judging import Bench
from qtool.sweep.kept import Kept
from qtool.sweep.run import Workers
from qtool.sweep.spread import judge_cell
from qtool.target import load_target
from tests.calibrate import farm
from tests.models import save
from tests.sweep import small

AXES = {"bits": "8,3", "mode": "static,weights"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small.folder(tmp_path)


def test_a_cell_is_what_quantize_and_compare_say(folder: Path) -> None:
    (folder / "eval").mkdir()
    for name in ("x.npy", "labels.npy"):
        (folder / "eval" / name).write_bytes((folder / "data" / name).read_bytes())
    job = small.sweeping(folder, AXES, keep=folder, evaluation=str(folder / "eval"))
    found = job.run()
    assert [cell.name for cell, _ in found.worked] == ["w8sca8u", "w8sc", "w3sca8u", "w3sc"]
    recipe = job.cells[0].recipe
    assert recipe is not None
    made = workflow.open_job(job.model, recipe, load_target("cpu"))
    data = open_dataset(folder / "data", made.signature).choose(256, 0)
    quantized = workflow.build(made, workflow.measure(made, data))
    kept = folder / "model.w8sca8u.onnx"
    assert kept.read_bytes() == quantized.data
    outcome = {cell.name: each for cell, each in found.cells}["w8sca8u"]
    compared = compare(job.model, kept, data, threads=1)
    assert outcome.metrics["top1"] == compared.scores["top1"].candidate
    assert outcome.size == len(quantized.data)
    assert outcome.loss.value == compared.scores["top1"].drop
    assert found.reference.metrics["top1"] == 1.0
    assert (found.metric.name, found.metric.unit) == ("top1", "pp")
    assert list(Path(folder).glob("candidate*")) == []


def test_parts_of_the_data_share_no_sample(folder: Path) -> None:
    calibration, judged = small.sweeping(folder, AXES).parts
    assert len(calibration) == 20
    assert set(calibration.names).isdisjoint(judged.names)
    few = small.sweeping(folder, AXES, base=small.QUICK.model_copy(update={"samples": 7}))
    assert [len(part) for part in few.parts] == [7, 33]
    (folder / "one").mkdir()
    one = small.sweeping(small.folder(folder / "one", samples=1), AXES)
    with pytest.raises(DataError, match="too few samples"):
        assert one.parts


def test_ranges_are_measured_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    real = workflow.measure

    def counted(*given: object, **options: object) -> object:
        measured.append(1)
        return real(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "measure", counted)
    found = small.sweeping(folder, {"bits": "8,3", "method": "mse,minmax"}).run()
    assert (len(found.worked), len(measured)) == (4, 1)


def test_one_failing_cell_is_a_row_and_the_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Bench._made

    def made(self: Bench, cell: Cell) -> object:
        if cell.name == "w8sc":
            raise ModelError("what", "why", "fix")
        return real(self, cell)

    monkeypatch.setattr(Bench, "_made", made)
    found = small.sweeping(folder, AXES).run()
    cells = {each["name"]: each for each in found.as_dict()["cells"]}
    assert cells["w8sc"]["error"] == {"what": "what", "why": "why", "fix": "fix"}
    assert cells["w8sc"]["loss"] is cells["w8sc"]["ratio"] is None
    assert not cells["w8sc"]["pareto"]
    assert [name for name, each in cells.items() if each["error"] is None] == [
        "w8sca8u", "w3sca8u", "w3sc",
    ]  # fmt: skip


def test_mixed_bits_are_chosen_layer_by_layer(folder: Path) -> None:
    found = small.sweeping(folder, {"bits": "8", "mixed": "none,4.5"}).run()
    (_, plain), (_, mixed) = found.cells
    assert plain.found is None
    assert mixed.found is not None
    assert mixed.size < plain.size
    rules = tomllib.loads(mixed.found)["rules"]
    assert {rule["scheme"][:2] for rule in rules} <= {"w2", "w4"}
    assert [cell.name for cell, _ in found.cells] == ["w8sca8u", "w8sca8u mixed 4.5"]


def test_a_model_without_weights_has_the_reason_in_each_cell(tmp_path: Path) -> None:
    small.folder(tmp_path)
    save(tmp_path / "model.onnx", "g (float[N,24] x) => (float[N,24] y) { y = Sin(x) }")
    found = small.sweeping(tmp_path, AXES).run()
    assert found.worked == []
    assert {o.error.what for _, o in found.cells if o.error} == {
        "there is nothing to quantize in this model"
    }


def test_an_interrupted_sweep_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small.sweeping(folder, AXES).run().json()

    def tell(done: int, total: int, name: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.sweeping(folder, AXES, tell=tell).run()
    judged: list[str] = []
    real = Bench.judge

    def judge(*given: Any, **options: Any) -> Any:
        judged.append("")
        return real(*given, **options)

    monkeypatch.setattr(Bench, "judge", judge)
    again = small.sweeping(folder, AXES)
    assert again.run().json() == whole
    assert (again.kept.went_on, len(judged)) == (2, 2)
    # Other samples, another number of them, another metric: nothing is taken over.
    for other in ({"base": small.QUICK.model_copy(update={"seed": 1})}, {"metric": "sqnr"}):
        fresh = small.sweeping(folder, AXES, **other)
        fresh.run()
        assert fresh.kept.went_on == 0


def test_files_of_others_are_not_taken_for_models_that_were_kept(folder: Path) -> None:
    axes = {"bits": "8", "mode": "weights"}
    small.sweeping(folder, axes).run()  # its .part stays, as of one that was interrupted
    (folder / "model.w8sc.onnx").write_bytes(b"of another model")
    again = small.sweeping(folder, axes, keep=folder)
    again.run()
    assert again.kept.went_on == 0
    assert (folder / "model.w8sc.onnx").read_bytes() != b"of another model"
    more = small.sweeping(folder, axes, keep=folder)
    assert not more.kept.has_models_in(folder / "data")
    more.run()
    assert more.kept.went_on == 1


@pytest.mark.slow
def test_kill_9_costs_a_cell(folder: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from qtool.sweep import kept
from tests.models import save
from tests.sweep import small
def tell(done, total, name):
    if done == 3: os.kill(os.getpid(), signal.SIGKILL)
kept.EVERY = 0
small.sweeping(Path({str(folder)!r}), {AXES!r}, tell=tell).run()
"""
    environment = os.environ | {"PYTHONPATH": str(farm.ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert len(json.loads((folder / "sweep.json.part").read_text())["cells"]) >= 2
    again = small.sweeping(folder, AXES)
    found = again.run()
    assert again.kept.went_on >= 2
    (folder / "sweep.json.part").unlink()
    assert small.sweeping(folder, AXES).run().json() == found.json()


@pytest.mark.slow
def test_latency_is_measured_when_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtool.compare.latency.SECONDS", 0.1)
    monkeypatch.setattr("qtool.compare.judge.measure_footprint", lambda *a, **o: (None, ()))
    found = small.sweeping(folder, {"bits": "8"}, latency=True).run()
    [(_, outcome)] = found.worked
    assert outcome.latency is not None
    low, high = outcome.intervals["latency.ratio"]
    assert low <= outcome.latency <= high
    assert outcome.metrics["top1"] <= 1.0
    assert found.as_dict()["run"]["latency"] is True


def test_a_worker_uses_the_ranges_it_is_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []

    class Crowd:
        size = 1

        def run(self, function: object, task: object, items: list[object]) -> object:
            sent.append(task)
            monkeypatch.setattr(workflow, "measure", None)  # nobody measures any more
            yield from ((item, judge_cell(task, item)) for item in items[::-1])  # type: ignore[arg-type]

        def __enter__(self) -> Crowd:
            return self

        def __exit__(self, *error: object) -> None: ...

    whole = small.sweeping(folder, AXES).run().json()
    (folder / "sweep.json.part").unlink()
    monkeypatch.setattr(Workers, "connected", lambda self, most: Crowd())
    job = small.sweeping(folder, AXES, workers=Workers(2))
    assert job.run().json() == whole
    [task] = sent
    (folder / "sweep.json.part").unlink()
    other = replace(task, digests=("", ""), number="other")  # type: ignore[type-var]
    with pytest.raises(DataError, match="would measure something else"):
        judge_cell(other, (0, job.cells[0].recipe, False))  # type: ignore[arg-type]


@pytest.mark.slow
def test_workers_give_the_bytes_of_one_process(folder: Path) -> None:
    axes = {"bits": "8,3", "symmetry": "mixed,asymmetric"}
    whole = small.sweeping(folder, axes).run().json()
    (folder / "sweep.json.part").unlink()
    job = small.sweeping(folder, axes, workers=Workers(2), keep=folder)
    assert job.run().json() == whole
    assert all((folder / f"model.{cell.slug}.onnx").is_file() for cell in job.cells)


def test_what_lies_in_the_way_is_left_alone(folder: Path) -> None:
    (folder / "sweep.json.part").write_text("[]")
    with pytest.raises(UsageError, match="is in the way"):
        Kept(folder / "sweep.json").check([])
    assert (folder / "sweep.json.part").read_text() == "[]"
