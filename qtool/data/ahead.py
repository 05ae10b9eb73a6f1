"""Fetching the next while the current one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_DEPTH = 2  # items fetched and not yet asked for: a slow one is made up for by a quick one


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, fetched by a thread of its own; what fetching raises is raised here."""
    ready: queue.Queue[T | _End] = queue.Queue(_DEPTH)
    stopped = threading.Event()

    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def fetch() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as caught:  # told to whoever waits for the next
            error = caught
        put(_End(error))

    threading.Thread(target=fetch, daemon=True).start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error
