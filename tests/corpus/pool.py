"""Cases judged by processes that may crash or hang: that is noted, and the rest goes on."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.corpus.cases import Case
from tests.corpus.outcome import Outcome, Status

LIMIT = 180.0  # seconds for one case
ROOT = Path(__file__).parents[2]


def judged(
    found: Iterable[Case],
    recipes: Sequence[str],
    folder: Path,
    *,
    jobs: int = 2,
    limit: float = LIMIT,
    step: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Every case under every recipe, in the order of cases; `folder` is for scratch files."""
    tasks: queue.SimpleQueue[tuple[int, str, str, Path]] = queue.SimpleQueue()
    count = 0
    for number, case in enumerate(found):
        path = case.save(folder / f"{number}.case")
        for recipe in recipes:
            tasks.put((count, str(case), recipe, path))
            count += 1
    outcomes: dict[int, Outcome] = {}

    def work() -> None:
        worker = None
        try:
            with suppress(queue.Empty):
                while True:
                    number, name, recipe, path = tasks.get_nowait()
                    worker = worker or _Worker(limit)
                    outcomes[number] = worker.judge(name, recipe, path)
                    step(outcomes[number])
                    if worker.ended:
                        worker.close()
                        worker = None
        finally:
            if worker is not None:
                worker.close()

    with ThreadPoolExecutor(jobs) as threads:
        for done in [threads.submit(work) for _ in range(jobs)]:
            done.result()
    return [outcomes[number] for number in range(count)]


class _Worker:
    """One process, and the thread that waits for it."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.ended = False
        command = [sys.executable, "-m", "tests.corpus.worker"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        if self._read().strip() != "ready":
            self.close()
            raise RuntimeError("a worker did not start:\n" + "".join(self._said[-20:]))

    def judge(self, name: str, recipe: str, path: Path) -> Outcome:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{recipe}\t{path}\n")
        self._process.stdin.flush()
        hung = threading.Event()

        def kill() -> None:
            hung.set()
            self._process.kill()

        timer = threading.Timer(self._limit, kill)
        timer.start()
        try:
            stage = "start"
            while line := self._read():
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "outcome":
                    return Outcome.parse(rest)
                stage = rest
        finally:
            timer.cancel()
        self.ended = True
        code = self._process.wait()
        if hung.is_set():
            return Outcome(name, recipe, "hang", f"{stage}: more than {self._limit:.0f} s")
        self._listener.join(5)
        died = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        said = " ".join("".join(self._said[-3:]).split())[-300:]
        # The original alone is the runtime's affair.
        status: Status = "unrunnable" if stage == "original" else "crash"
        return Outcome(name, recipe, status, f"{stage}: {died} {said}".rstrip())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line)
            del self._said[:-50]
