"""What a session costs, measured in processes of its own; no time is compared with a limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qtool.compare import footprint, footprint_child
from qtool.compare.footprint import measure_footprint
from qtool.compare.footprint_child import pack, resident, unpack
from tests.models import normal, save, weight

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read on Linux")
X = {"x": normal(1, 1000)}
GRAPH = "g (float[N,1000] x) => (float[N,1000] y) { y = MatMul(x, w) }"
# Runs with more than one value end as a fault inside a kernel does, in models called "bad".
CRASHES = """
import signal
from qtool.compare import footprint_child as child
class Crashing(child.Session):
    def run(self, feeds):
        if "bad" in path and feeds["x"].size > 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(feeds)
child.Session = Crashing
"""


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process for each model is enough to see what is measured."""
    monkeypatch.setattr(footprint, "MEMORY_ROUNDS", 1)
    monkeypatch.setattr(footprint, "FEWEST_ROUNDS", 1)
    monkeypatch.setattr(footprint, "MOST_ROUNDS", 1)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return save(tmp_path / "large.onnx", GRAPH, w=weight(1000, 1000))


@linux
def test_memory_is_that_of_the_weights(large: Path, tmp_path: Path) -> None:
    """4 MB of float weights; a tenth of them."""
    few = "g (float[N,1000] x) => (float[N,100] y) { y = MatMul(x, w) }"
    small = save(tmp_path / "small.onnx", few, w=weight(100, 1000).T.copy())
    found, notes = measure_footprint(large, small, X, threads=1)
    assert notes == ()
    assert found.reference_memory and found.candidate_memory and found.memory_ratio
    assert found.reference_memory > 4e6 > 2e6 > found.candidate_memory
    assert found.memory_ratio == found.candidate_memory / found.reference_memory
    assert found.reference_peak and found.reference_peak > 4e6
    assert found.reference_load_ms and found.candidate_load_ms and found.load_ratio
    assert found.load_ratio == found.candidate_load_ms / found.reference_load_ms


@linux
def test_weights_beside_the_model_and_names_that_are_no_utf8(large: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart.onnx"
    onnx.save(onnx.load(large), apart, save_as_external_data=True, location="apart.data")
    odd = tmp_path / os.fsdecode(b"m\xff \n.onnx")
    odd.write_bytes(large.read_bytes())
    found, notes = measure_footprint(apart, odd, X, threads=1)
    assert notes == ()
    assert found.reference_memory and found.reference_memory > 3.9e6
    assert found.candidate_memory and found.candidate_memory > 3.9e6


@linux
def test_no_ratio_of_next_to_nothing(tmp_path: Path) -> None:
    tiny = save(tmp_path / "m.onnx", "g (float[N] x) => (float[N] y) { y = Identity(x) }")
    found, _ = measure_footprint(tiny, tiny, {"x": normal(3)}, threads=1)
    assert found.memory_ratio is None
    assert found.reference_memory is not None and found.load_ratio is not None


@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_a_crash_is_a_note_and_the_other_is_still_measured(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(large.read_bytes())
    first, then = footprint._START.split("from qtool", 1)
    monkeypatch.setattr(footprint, "_START", f"{first}{CRASHES}from qtool{then}")
    pair = (bad, large) if side == "reference" else (large, bad)
    found, notes = measure_footprint(*pair, X, threads=1)
    assert notes == (
        "memory of bad.onnx cannot be measured: the process that runs it was ended by SIGSEGV",
    )
    other = {"reference": "candidate", "candidate": "reference"}[side]
    assert getattr(found, f"{side}_memory") is None and found.memory_ratio is None
    assert getattr(found, f"{other}_load_ms") > 0 and found.load_ratio is not None


def test_a_model_that_does_not_run_says_why(large: Path, tmp_path: Path) -> None:
    found, notes = measure_footprint(large, large, {"x": normal(1, 7)}, threads=1)
    assert found.reference_load_ms and found.reference_memory is None
    (note,) = notes
    assert note.startswith("memory of large.onnx cannot be measured: the model does not run")
    nothing = tmp_path / "none.onnx"
    found, notes = measure_footprint(nothing, large, X, threads=1)
    assert found.reference_load_ms is None
    assert "cannot load" in notes[0]


def test_none_is_started_after_one_failed(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def child(what: str, path: Path, *rest: Any) -> tuple[dict[str, Any], str]:
        started.append(path.name)
        if what == "memory":
            return {}, ""
        return {"load_ms": 2.0}, "it was ended" if path == large else ""

    monkeypatch.setattr(footprint, "MOST_ROUNDS", 3)
    monkeypatch.setattr(footprint, "FEWEST_ROUNDS", 3)
    monkeypatch.setattr(footprint, "_child", child)
    _, notes = measure_footprint(large, Path("other.onnx"), X, threads=1)
    assert (started.count("large.onnx"), started.count("other.onnx")) == (
        1,
        3 + footprint.MEMORY_ROUNDS,
    )
    assert notes == ("memory of large.onnx cannot be measured: it was ended",)


def test_each_number_is_the_least_of_a_few(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "MEMORY_ROUNDS", 2)
    values = {"load": iter([3.0, 5.0, 2.0]), "memory": iter([9e6, 7e6])}

    def child(what: str, path: Path, *rest: Any) -> tuple[dict[str, Any], str]:
        value = next(values[what]) if path == large else {"load": 4.0, "memory": 3.5e6}[what]
        return {"load_ms" if what == "load" else what: value}, ""

    monkeypatch.setattr(footprint, "MOST_ROUNDS", 3)
    monkeypatch.setattr(footprint, "FEWEST_ROUNDS", 3)
    monkeypatch.setattr(footprint, "_child", child)
    found, _ = measure_footprint(large, Path("other.onnx"), X, threads=1)
    assert (found.reference_load_ms, found.load_ratio) == (2.0, 2.0)
    assert (found.reference_memory, found.memory_ratio) == (7e6, 0.5)


def test_one_that_hangs_is_ended(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "pid"
    monkeypatch.setattr(footprint, "_START", _HANGS.format(str(mark)))
    monkeypatch.setattr(footprint, "PATIENCE", 3)
    _, notes = measure_footprint(large, large, X, threads=1)
    first = "load time and memory of large.onnx cannot be measured: "
    assert set(notes) == {
        first + "it takes longer than 3 s", first + "the process that runs it ended with 1"
    }  # fmt: skip
    assert_gone(int(mark.read_text()))


# The second one that is started finds the mark of the first, and ends.
_HANGS = "import os, time; open({!r}, 'x').write(str(os.getpid())); time.sleep(600)"


def assert_gone(pid: int) -> None:
    """Neither running nor waiting to be asked how it ended."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("it is still there")


def test_ctrl_c_is_left_to_the_parent_and_ends_the_child(large: Path, tmp_path: Path) -> None:
    """The terminal sends it to both; the child's own traceback would be noise."""
    mark = tmp_path / "pid"
    # What a shell starts in the background ignores it, and so would all that it starts.
    code = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
import numpy as np
from qtool.compare import footprint
footprint._START = {_HANGS.format(str(mark))!r}
try:
    model = Path({str(large)!r})
    footprint.measure_footprint(model, model, {{"x": np.ones((1, 1000), np.float32)}}, threads=1)
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, text=True,
    ) as run:  # fmt: skip
        while not (mark.exists() and mark.read_text()):
            assert run.poll() is None
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        assert run.communicate(timeout=60) == ("interrupted\n", "")
    assert_gone(int(mark.read_text()))


@linux
def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    child = (
        "import os, time; from qtool.compare import footprint_child as c; c._end_with_parent(600);"
        "os.write(1, str(os.getpid()).encode()); os.close(1); time.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        pid = int(os.read(run.stdout.fileno(), 20))
        run.kill()
    assert_gone(pid)


def test_without_an_interpreter_there_is_a_note(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    found, notes = measure_footprint(large, large, X, threads=1)
    assert found.reference_load_ms is None and "no Python interpreter" in notes[0]


def test_a_program_that_cannot_start_is_a_note(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "no process can be started" in measure_footprint(large, large, X, threads=1)[1][0]


def test_a_module_in_the_working_folder_is_not_taken_for_ours(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "numpy", "qtool", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert measure_footprint(large, large, X, threads=1)[1] == ()


def test_without_proc_only_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint_child, "_read", lambda path, name: None)
    assert resident() is None and footprint_child.peak() is None


@linux
def test_what_is_resident_grows_by_what_is_written() -> None:
    before = resident()
    assert before is not None
    block = np.ones(20 << 20, np.uint8)
    after = resident()
    assert after is not None and block.nbytes <= after - before < 1.5 * block.nbytes


def test_feeds_arrive_as_they_were() -> None:
    feeds: dict[str, Any] = {
        "file": np.array([["a", "ö\U0001f600"]], dtype=object),
        "a/b ü": normal(2, 3),
        "": np.array(True),
        "names": np.zeros((0, 4), np.int64),
        "half": np.ones(3, np.float16),
    }
    back = unpack(pack(feeds))
    assert list(back) == list(feeds)
    for name, expected in feeds.items():
        np.testing.assert_array_equal(back[name], expected)
        assert back[name].dtype == expected.dtype
