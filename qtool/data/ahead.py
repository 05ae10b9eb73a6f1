"""Fetching the next while the current one is worked on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_DEPTH = 2  # groups fetched and not yet asked for: a slow one is made up for by a quick one
_TOGETHER = 0.001  # seconds of fetching in a group: handing over costs as much as a small item
_MOST = 32  # items in a group
_TRIED = 8  # items by which it is known how long fetching takes
_WORTH = 0.0005
"""Seconds to fetch an item. Less is not worth another thread: it has to wait for a core, which the
runtime's threads keep busy between runs, and for Python's lock."""


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, fetched by a thread of its own if that is worth it: see `_WORTH`."""
    rest = iter(items)
    begun, fetching = time.monotonic(), 0.0
    for item in islice(rest, _TRIED):
        fetching += time.monotonic() - begun
        yield item
        begun = time.monotonic()
    yield from rest if fetching < _TRIED * _WORTH else by_thread(rest)


def by_thread(items: Iterable[T]) -> Iterator[T]:
    """The same items, fetched by a thread of its own; what fetching raises is raised here."""
    ready: queue.Queue[list[T] | _End] = queue.Queue(_DEPTH)
    stopped = threading.Event()

    def put(item: list[T] | _End) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def fetch() -> None:
        error: BaseException | None = None
        group: list[T] = []
        begun = time.monotonic()
        try:
            for item in items:
                group.append(item)
                if len(group) < _MOST and time.monotonic() - begun < _TOGETHER:
                    continue
                if not put(group):
                    return
                group, begun = [], time.monotonic()
        except BaseException as caught:  # told to whoever waits for the next
            error = caught
        put(group)
        put(_End(error))

    threading.Thread(target=fetch, daemon=True).start()
    try:
        while True:
            group = ready.get()
            if isinstance(group, _End):
                if group.error is not None:
                    raise group.error
                return
            yield from group
    finally:
        stopped.set()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error
