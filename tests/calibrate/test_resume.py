"""An interrupted run goes on where it was, and its file does not tell."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from qtool.calibrate import resume
from qtool.calibrate.file import Calibration, load
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.stream import Stream
from qtool.errors import MachineError
from tests.calibrate.made import data, measured, saved


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "EVERY", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)


class Killed(BaseException):
    pass


def kill_after(runs: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the stream die in its `runs`-th run; the list tells what it ran."""
    ran: list[int] = []
    real = Stream.see

    def see(self: Stream, feeds: object, shifts: object, first: int) -> object:
        if len(ran) == runs:
            raise Killed
        ran.append(first)
        return real(self, feeds, shifts, first)  # type: ignore[arg-type]

    monkeypatch.setattr(Stream, "see", see)
    return ran


@pytest.mark.slow
def test_fifty_interruptions_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = data(tmp_path, samples=90, sizes=(8, 12))
    expected = saved(measured(tmp_path, used, batch_size=4), tmp_path / "whole")
    chance = random.Random(0)
    interruptions = 0
    while interruptions < 50:
        kept = Checkpoint(tmp_path / "out.calib", used)
        while True:
            with monkeypatch.context() as patch:
                kill_after(chance.randrange(0, 12), patch)
                try:
                    found = measured(tmp_path, used, batch_size=4, kept=kept)
                except Killed:
                    interruptions += 1
                    continue
            break
        assert saved(found, tmp_path / "out.calib") == expected
        kept.remove()
        assert not kept.path.exists()


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = data(tmp_path)
    interrupt(tmp_path, monkeypatch, 7)
    ran = kill_after(1000, monkeypatch)
    measured(tmp_path, used, kept=Checkpoint(tmp_path / "out", used))
    assert ran == list(range(7, 20))


def interrupt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, runs: int, batch_size: int = 1
) -> None:
    used = data(folder)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(runs, patch)
        measured(folder, used, kept=Checkpoint(folder / "out", used), batch_size=batch_size)


def test_a_part_is_a_calibration_of_the_samples_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path, monkeypatch, 7)
    part = load(tmp_path / "out.part")
    assert (part.covers, part.samples, part.complete) == (((0, 7),), 7, False)


def change_done(folder: Path) -> None:
    np.save(folder / "calib" / "003.npy", np.ones((3, 8, 8), np.float32))


def change_later(folder: Path) -> None:
    np.save(folder / "calib" / "013.npy", np.ones((3, 8, 8), np.float32))


def declare(folder: Path) -> None:
    (folder / "calib" / "qtool.toml").write_text("[data.inputs.x]\nscale = 2.0\n")


def damage(folder: Path) -> None:
    content = bytearray((folder / "out.part").read_bytes())
    content[-3] ^= 1
    (folder / "out.part").write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [(change_done, False), (change_later, True), (declare, False), (damage, False)],
    ids=["file done changed", "file to come changed", "declaration", "damage"],
)
def test_a_part_counts_only_while_what_it_was_made_of_stays(
    change: object, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path, monkeypatch, 7)
    change(tmp_path)  # type: ignore[operator]
    used = data(tmp_path)
    ran = kill_after(1000, monkeypatch)
    found = measured(tmp_path, used, kept=Checkpoint(tmp_path / "out", used))
    assert (ran[0] == 7) == goes_on
    assert saved(found, tmp_path / "a") == saved(measured(tmp_path, used), tmp_path / "b")


def test_another_batch_size_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(tmp_path, monkeypatch, 3, batch_size=2)
    used = data(tmp_path)
    ran = kill_after(1000, monkeypatch)
    measured(tmp_path, used, kept=Checkpoint(tmp_path / "out", used))
    assert ran == list(range(20))


def test_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Calibration, path: Path, **others: object) -> None:
        raise MachineError("cannot write", "No space left on device")

    used = data(tmp_path)
    monkeypatch.setattr(Calibration, "save", full)
    assert measured(tmp_path, used, kept=Checkpoint(tmp_path / "out", used)).complete
