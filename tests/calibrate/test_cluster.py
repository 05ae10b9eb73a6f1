"""`qtool calibrate --workers` and `--cluster`: the bytes of one run, whoever measured and died."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner, Result

from qtool import cluster, workflow
from qtool.calibrate import resume
from qtool.calibrate.file import load
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.spread import Workers
from qtool.cli.app import app
from qtool.data import open_dataset
from qtool.errors import install_command
from qtool.recipe import Recipe
from qtool.target import load_target
from tests.calibrate import farm, made
from tests.models import normal, save, weight

PAGE = (farm.ROOT / "docs" / "machines.md").read_text(encoding="utf-8")
# Tens of milliseconds for a sample.
SLOW = """g (float[N,24] x) => (float[N,8] y) {
    n = Constant<value = int64 {20000}>() c = Constant<value = bool {1}>()
    z = Loop(n, c, x) <body = b (int64 i, bool k, float[N,24] a) => (bool k2, float[N,24] a2) {
        k2 = Identity(k) a2 = Neg(a) }>
    y = MatMul(z, w) }"""


def qtool(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def calibrate(folder: Path, output: str, *arguments: object) -> bytes:
    data = ("--data", folder / "calib") if "--data" not in arguments else ()
    path = folder / output
    result = qtool("calibrate", folder / "model.onnx", *data, "-o", path, *arguments)
    assert result.exit_code == 0, result.stderr
    assert not path.with_name(f"{output}.part").exists()
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model and 20 pictures of several sizes."""
    made.data(tmp_path, sizes=(8, 12, 9))
    return tmp_path


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A model that takes its time, and 60 samples."""
    save(tmp_path / "model.onnx", SLOW, w=weight(24, 8))
    (tmp_path / "calib").mkdir()
    np.save(tmp_path / "calib" / "x.npy", normal(60, 24))
    return tmp_path


def slow_run(folder: Path, **options: object) -> bytes:
    """With two workers, or with none; the bytes of the file."""
    job = workflow.open_job(folder / "model.onnx", Recipe(), load_target("cpu"), threads=1)
    used = open_dataset(folder / "calib", job.signature)
    return made.saved(workflow.measure(job, used, **options), folder / "out.calib")  # type: ignore[arg-type]


def test_the_bytes_are_those_of_one_run(folder: Path) -> None:
    assert calibrate(folder, "two", "--workers", 2) == calibrate(folder, "whole")


@pytest.mark.slow
def test_batches_urls_and_bad_files_are_as_ever(folder: Path) -> None:
    whole = calibrate(folder, "whole")
    assert calibrate(folder, "three", "--workers", 3) == whole
    batches = calibrate(folder, "batches", "--batch-size", 8)
    assert calibrate(folder, "two", "--batch-size", 8, "--workers", 2) == batches
    url = (folder / "calib").as_uri()
    assert calibrate(folder, "url", "--data", url, "--workers", 2) == whole
    (folder / "calib" / "005.npy").write_bytes(b"no array")
    left = calibrate(folder, "left", "--on-bad-file", "skip", "--samples", 12, "--seed", 3)
    arguments = ("--on-bad-file", "skip", "--samples", 12, "--seed", 3, "--workers", 2)
    assert calibrate(folder, "left by workers", *arguments) == left != whole


@pytest.mark.slow
def test_shards_by_workers_merge_to_the_whole(folder: Path) -> None:
    whole = calibrate(folder, "whole")
    for number in (1, 2):
        calibrate(folder, f"{number}", "--shard", f"{number}/2", "--workers", 2)
    assert load(folder / "2").covers == ((10, 20),)
    result = qtool("calibrate", "merge", folder / "1", folder / "2", "-o", folder / "merged")
    assert result.exit_code == 0, result.stderr
    assert (folder / "merged").read_bytes() == whole


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_killed_workers_cost_nothing_but_time(slow: Path, count: int) -> None:
    whole = slow_run(slow)
    steps = []

    def step(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 2:
            farm.kill(count)

    workers = Workers(str(slow / "calib"), count=2)
    assert slow_run(slow, workers=workers, step=step) == whole
    assert len(steps) == 8
    assert (steps[-1], sorted(steps)) == (60, steps)


@pytest.mark.slow
def test_an_interrupted_run_goes_on(slow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "EVERY", 1e9)  # the last word counts, whenever it was written
    workers = Workers(str(slow / "calib"), count=2)
    job = workflow.open_job(slow / "model.onnx", Recipe(), load_target("cpu"), threads=1)
    used = open_dataset(slow / "calib", job.signature)
    kept = Checkpoint(slow / "out.calib", used)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workflow.measure(job, used, kept=kept, step=interrupt, workers=workers)
    part = load(kept.path)
    assert part.samples == 8
    steps: list[int] = []
    again = {"kept": kept, "workers": workers, "step": lambda done, total: steps.append(done)}
    found = workflow.measure(job, used, **again)  # type: ignore[arg-type]
    assert 8 < steps[0] < 8 + 8
    whole = made.saved(found, slow / "found")
    assert whole == slow_run(slow)
    kept.write(found)
    monkeypatch.setattr(Workers, "connected", None)  # nothing is left to be done
    found = workflow.measure(job, used, kept=kept, workers=workers)
    assert made.saved(found, slow / "again") == whole


@pytest.mark.slow
def test_the_commands_of_the_docs_run_on_a_scheduler(folder: Path) -> None:
    block = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.S)[0]
    first, second, third = (line.split("#")[0].split() for line in block.splitlines())
    assert first == ["dask", "scheduler"]
    assert second == ["dask", "worker", "tcp://HOST:8786", "--nthreads", "1"]
    assert third[:3] == ["qtool", "calibrate", "model.onnx"]
    whole = calibrate(folder, "whole")
    with farm.scheduler() as (address, _), farm.worker(address), farm.worker(address):
        arguments = " ".join(third[1:]).replace("tcp://HOST:8786", address).split()
        command = [sys.executable, "-m", "qtool", *arguments]
        (folder / "shared").symlink_to(".")
        command[command.index("/shared/calib")] = "shared/calib"
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert (folder / "model.calib").read_bytes() == whole
        # The data changes, and its number of files does not: workers look again.
        np.save(folder / "calib" / "003.npy", normal(3, 8, 8, seed=99))
        done = subprocess.run([*command, "-f"], cwd=folder, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert (folder / "model.calib").read_bytes() == calibrate(folder, "changed") != whole


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_goes_wrong_on_a_worker_is_said_as_ever(folder: Path, count: int) -> None:
    bad = normal(3, 8, 8)
    bad[1, 2, 3] = np.nan
    np.save(folder / "calib" / "017.npy", bad)
    arguments = ("--data", folder / "calib", "-o", folder / "out")
    alone = qtool("calibrate", folder / "model.onnx", *arguments)
    result = qtool("calibrate", folder / "model.onnx", *arguments, "--workers", count)
    assert result.exit_code == alone.exit_code == 4
    said = [line for line in result.stderr.splitlines() if not line.startswith("measuring")]
    assert said == alone.stderr.splitlines()
    assert "017.npy" in said[1]
    assert not (folder / "out").exists()


def test_nobody_there_no_extra_and_both_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    command = ("calibrate", folder / "model.onnx", "--data", folder / "calib", "-o", folder / "out")
    result = qtool(*command, "--cluster", "tcp://127.0.0.1:1")
    assert result.exit_code == 5
    assert "error: no scheduler at tcp://127.0.0.1:1" in result.stderr
    assert "dask scheduler" in result.stderr
    assert "dask worker tcp://127.0.0.1:1" in result.stderr
    monkeypatch.setitem(sys.modules, "distributed", None)
    for option in (("--cluster", "tcp://127.0.0.1:1"), ("--workers", 2)):
        result = qtool(*command, *option)
        assert result.exit_code == 5
        assert install_command("cluster") in result.stderr
    result = qtool(*command, "--cluster", "tcp://127.0.0.1:1", "--workers", 2)
    assert result.exit_code == 2
    assert "--workers and --cluster are both given" in result.stderr


@pytest.mark.slow
def test_progress_of_many_blocks_is_told_often(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtool.calibrate.spread.MOST", 2)
    steps: list[int] = []
    job, used = made.job(folder), made.data(folder)
    workers = Workers(str(folder / "calib"), count=1)
    workflow.measure(job, used, workers=workers, step=lambda done, total: steps.append(done))
    assert steps == list(range(2, 21, 2))


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("when", ["starting", "measuring"])
def test_an_interrupt_ends_all_within_seconds(slow: Path, terminal: bool, when: str) -> None:
    temporary = slow / "temporary"
    temporary.mkdir()
    command = [
        sys.executable, "-m", "qtool", "calibrate", slow / "model.onnx", "--data", slow / "calib",
        "-o", slow / "out", "--workers", "2", "--threads", "1",
    ]  # fmt: skip
    environment = os.environ | {"TMPDIR": str(temporary)}
    with farm.started(*command, env=environment, start_new_session=True) as run:
        process = psutil.Process(run.pid)
        while len(found := process.children(recursive=True)) < 3:
            time.sleep(0.02)  # two workers and a tracker of resources
        if when == "measuring":
            farm.said(run, "(measuring ranges)")
        start = time.monotonic()
        # Ctrl-C in a terminal goes to all of its processes.
        (os.killpg if terminal else os.kill)(run.pid, signal.SIGINT)
        said = run.communicate(timeout=20)[1]
        assert time.monotonic() - start < 5
    assert run.returncode == 130
    assert said.splitlines()[-1:] == ["interrupted"]
    assert "Traceback" not in said
    assert psutil.wait_procs(found, timeout=5)[1] == []
    assert [path.name for path in temporary.iterdir()] == []
    assert not (slow / "out").exists()
