"""What tests of every folder may ask for, and on which cores they run."""

from __future__ import annotations

import os
from typing import Any

import pytest


def _share_the_cores() -> None:
    """Each worker of xdist, and all that it starts, keeps to cores of its own.

    Threads that wait for work spin: on all cores they would take the other workers' time. Threads
    keep the cores that they began with, so this comes before numpy is imported.
    """
    if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % count :: count] or cores)


_share_the_cores()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tour of README takes longest: begun last, it would keep others waiting for it."""
    items.sort(key=lambda item: "test_the_tour_runs" not in item.name)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets by whose tables integers pay however small a layer is: those of tests are small."""
    from qtool import target

    table = target._table

    def sizeless(name: str) -> dict[str, Any]:
        found = table(name)
        return found | {"pays": dict.fromkeys(found["pays"], 0)}

    monkeypatch.setattr(target, "_table", sizeless)


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Timing takes no longer than it must; what it finds is not looked at."""
    patch.setattr("qtool.compare.latency.SECONDS", 0.4)
    patch.setattr("qtool.compare.footprint.FEWEST_ROUNDS", 1)
    patch.setattr("qtool.compare.footprint.MEMORY_ROUNDS", 1)
    patch.setattr("qtool.compare.footprint.SECONDS", 0.0)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
