"""The next is fetched while the current one is worked on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from qtool.data import ahead as module
from qtool.data.ahead import by_thread as ahead


def test_order_and_number_stay() -> None:
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead(())) == []


def test_the_next_is_fetched_meanwhile() -> None:
    fetched = threading.Event()

    def items() -> Iterator[int]:
        time.sleep(0.01)  # more than is handed over at once
        yield 1
        fetched.set()
        yield 2

    got = ahead(items())
    assert next(got) == 1
    assert fetched.wait(10)  # nobody has asked for the second


def test_it_does_not_run_away() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            time.sleep(0.002)
            yield number

    got = ahead(items())
    for number in range(50):
        assert next(got) == number
        assert len(taken) <= number + 5


def test_an_error_arrives_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    got = ahead(items())
    assert next(got) == 1
    with pytest.raises(OSError, match="gone"):
        next(got)


def test_who_leaves_early_leaves_no_thread() -> None:
    before = threading.active_count()
    got = ahead(iter(range(10**9)))
    assert next(got) == 0
    got.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.daemon and thread.name.startswith("Thread"):
            thread.join(5)
    assert threading.active_count() <= before


@pytest.mark.parametrize("slow", [False, True])
def test_only_what_takes_a_while_has_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    here = threading.get_ident()
    monkeypatch.setattr(module, "_WORTH", 0.0 if slow else 60.0)

    def items() -> Iterator[tuple[int, bool]]:
        for number in range(20):
            yield number, threading.get_ident() == here

    got = list(module.ahead(items()))
    assert [number for number, _ in got] == list(range(20))
    assert [own for _, own in got] == [True] * 8 + [not slow] * 12
    assert list(module.ahead(())) == []
