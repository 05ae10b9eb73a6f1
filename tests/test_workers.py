"""Work on processes and machines: lost workers cost nothing but time, and errors say what to do."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from qtool import cluster
from qtool.errors import DataError, MachineError, UsageError, install_command
from tests.calibrate import farm
from tests.calibrate.farm import Counted, busy, deadly, failing

MEGABYTES = 3_000_000


def test_every_item_is_done_once_and_what_they_share_is_sent_once() -> None:
    with cluster.processes(2) as crowd:
        done = dict(crowd.run(busy, Counted(bytes(MEGABYTES)), [n / 100 for n in range(20)]))
    assert sorted(done) == [n / 100 for n in range(20)]
    assert len({process for process, _, _ in done.values()}) == 2
    assert {(arrived, size) for _, arrived, size in done.values()} == {(1, MEGABYTES)}


@pytest.mark.parametrize("killed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_a_killed_worker_had_is_done_by_another(killed: int) -> None:
    items = [0.3 + n / 1000 for n in range(8)]
    with cluster.processes(2) as crowd:
        done = []
        for item, (_, _, size) in crowd.run(busy, Counted(bytes(MEGABYTES)), items):
            done.append((item, size))
            if len(done) == 2:
                farm.kill(killed)
    assert sorted(done) == [(item, MEGABYTES) for item in items]


@pytest.mark.slow
def test_work_that_kills_its_worker_is_given_up() -> None:
    with cluster.processes(2) as crowd, pytest.raises(MachineError, match="workers of") as raised:
        list(crowd.run(deadly, None, range(4)))
    assert "memory" in raised.value.fix


def test_errors_arrive_as_they_are_and_others_name_the_worker() -> None:
    with cluster.processes(1) as crowd:
        with pytest.raises(DataError) as ours:
            list(crowd.run(failing, "ours", range(4)))
        with pytest.raises(MachineError) as other:
            list(crowd.run(failing, "other", range(4)))
        with pytest.raises(MachineError) as memory:
            list(crowd.run(failing, "memory", range(4)))
        assert dict(crowd.run(failing, "ours", [0, 1])) == {0: 0, 1: 1}
    assert (ours.value.what, ours.value.why, ours.value.fix) == ("what", "why", "fix")
    assert other.value.what.startswith("the worker tcp://127.0.0.1:")
    assert other.value.why == "ValueError: a strange value"
    assert "farm.py" in other.value.__notes__[0]
    assert memory.value.why == "MemoryError: out of memory"


def test_workers_are_of_this_machine_alone_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), cluster.processes(2) as crowd:
        for _ in crowd.run(busy, Counted(), [0.0, 5.0, 5.0]):
            processes = farm.workers()
            listening = [
                connection.laddr.ip
                for process in (psutil.Process(), *processes)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            assert list(tmp_path.iterdir())
            start = time.monotonic()
            raise KeyboardInterrupt
    assert time.monotonic() - start < 5
    assert len(processes) == 2
    assert set(listening) == {"127.0.0.1"}
    assert not any(process.is_running() for process in processes)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_nobody_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        port = silent.getsockname()[1]
        for address in (f"tcp://127.0.0.1:{port}", "tcp://127.0.0.1:1", "tcp://127.0.0.1:99999"):
            with pytest.raises(MachineError) as raised, cluster.scheduler(address):
                pass
            assert raised.value.what == f"no scheduler at {address}"
            assert "dask scheduler" in raised.value.fix
            assert f"dask worker {address}" in raised.value.fix


@pytest.mark.parametrize(
    "address", ["", "home", "tcp://", "tcp://home:x", "pigeon://home:1", "tls://127.0.0.1:1"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="no address"), cluster.scheduler(address):
        pass


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    with ExitStack() as stack:
        address, _ = stack.enter_context(farm.scheduler())
        raised = stack.enter_context(pytest.raises(MachineError))
        stack.enter_context(cluster.scheduler(address))
    assert raised.value.what == f"the scheduler at {address} has no workers"


@pytest.mark.slow
def test_a_worker_that_joins_takes_part_and_one_that_leaves_is_not_missed() -> None:
    with ExitStack() as stack:
        address, _ = stack.enter_context(farm.scheduler())
        first = stack.enter_context(farm.worker(address))
        crowd = stack.enter_context(cluster.scheduler(address))
        assert crowd.size == 1
        processes = []
        for _, (process, _, _) in crowd.run(busy, Counted(), [0.3 + n / 1000 for n in range(20)]):
            processes.append(process)
            if len(processes) == 2:
                stack.enter_context(farm.worker(address))
            if len(processes) == 10:
                farm.end(first)
    assert len(processes) == 20
    assert len(set(processes[:10])) == 2
    assert len(set(processes[-5:])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("who", ["scheduler", "worker"])
def test_a_scheduler_or_the_last_worker_that_ends_is_an_error(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    with ExitStack() as stack:
        address, scheduler = stack.enter_context(farm.scheduler())
        worker = stack.enter_context(farm.worker(address))
        raised = stack.enter_context(pytest.raises(MachineError))
        crowd = stack.enter_context(cluster.scheduler(address))
        for _ in crowd.run(busy, Counted(), [0.2] * 20):
            farm.end(scheduler if who == "scheduler" else worker)
    assert raised.value.what == f"the workers of {address} are gone"


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MachineError) as raised, cluster.processes(1):
        pass
    assert raised.value.fix == install_command("cluster")
