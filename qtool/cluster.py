"""Work on several processes and machines, the only module that imports Dask's `distributed`.

What all pieces of the work share is sent to each worker once. A worker that dies has its pieces
done again by others, and one that joins takes its part.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from qtool.children import NOTHING, end_processes, leaving_interrupts, silent, start_tracker
from qtool.errors import MachineError, QtoolError, UsageError, missing_extra
from qtool.files import temporary_folder

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 10  # seconds for a scheduler to answer, and for a worker to be there
START = 60  # seconds for processes to start
TRIES = 3  # how often in a row all workers may be lost at once, with nothing done between


class Cluster:
    """Workers that are connected: `size` is how many pieces they do at once, when it began."""

    def __init__(self, client: Any, size: int, place: str) -> None:
        self._client = client
        self._place = place
        self.size = size

    def run(
        self,
        function: Callable[[Shared, Item, int], Result],
        shared: Shared,
        items: Iterable[Item],
    ) -> Generator[tuple[Item, Result], None, None]:
        """Each item with `function(shared, item, n)`, in the order in which they are done.

        `n` is how many such calls its process does at once.

        Raises:
            QtoolError: what the function raised, as it was raised.
            MachineError: it raised anything else, or there are no workers left.
        """
        left = dict(enumerate(items))
        tries = 0
        while left:
            before = len(left)
            try:
                yield from self._attempt(function, shared, left)
                why = f"they ended all at once, {TRIES} times"
            except (_distributed().client.CancelledError, OSError) as error:
                why = str(error) or type(error).__name__
            tries = 0 if len(left) < before else tries + 1
            time.sleep(min(tries, 1))  # until what has died is known to have died
            if tries == TRIES:
                raise MachineError(f"the workers of {self._place} are gone", why, _WEAK)

    def _attempt(
        self, function: Callable[..., Result], shared: object, left: dict[int, Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Does what is left, as far as it goes; what is done leaves `left`."""
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE)
            # Not hashed: the name would be that of data which may just have been lost.
            [data] = self._client.scatter([shared], broadcast=True, hash=False)
        except AttributeError as error:  # of None, which a client has then
            raise ConnectionError("the scheduler does not answer") from error
        numbers = {
            self._client.submit(_call, function, data, item, pure=False): number
            for number, item in left.items()
        }
        try:
            for future in _distributed().as_completed(list(numbers), loop=self._client.loop):
                number = numbers.pop(future)
                if future.status in ("finished", "error"):
                    result = self._result(future)
                    yield left.pop(number), result
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self._client.cancel(list(numbers))

    def _result(self, future: Any) -> Any:
        distributed = _distributed()
        try:
            return future.result()
        except (QtoolError, distributed.client.CancelledError, OSError):
            raise
        except distributed.KilledWorker as error:
            raise MachineError(
                f"workers of {self._place} died of their work, one after the other",
                f"the last was {error.last_worker.address}",
                _WEAK,
            ) from error
        except Exception as error:  # the function, or what it is given, is unknown to the worker
            raise MachineError(
                f"a worker of {self._place} cannot run qtool",
                f"{type(error).__name__}: {error.__cause__ or error}",
                "install the same versions of qtool and of its packages on all machines",
            ) from error


def connected(count: int, address: str | None) -> AbstractContextManager[Cluster]:
    """So many processes of this machine, or where an address is given the workers there."""
    return processes(count) if address is None else scheduler(address)


@contextmanager
def processes(count: int) -> Iterator[Cluster]:
    """So many processes on this machine, which only this machine can reach.

    Raises:
        MachineError: `distributed` is not installed, or they cannot be started.
    """
    distributed = _distributed()
    folder = temporary_folder()
    others = set(multiprocessing.active_children())
    with ExitStack() as stack:
        stack.enter_context(silent("distributed", "tornado", "asyncio"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(end_processes, "Dask Worker", others)
        start_tracker()
        try:
            with leaving_interrupts():
                cluster = distributed.LocalCluster(
                    n_workers=0, threads_per_worker=1, processes=True, host="127.0.0.1",
                    dashboard_address=None, silence_logs=NOTHING, local_directory=str(folder),
                    scheduler_kwargs={**_NO_DASHBOARD, "local_directory": str(folder)},
                    env={"TMPDIR": str(folder)},  # what a killed worker leaves goes with it
                    memory_limit=0,  # no bound other than the machine's
                )  # fmt: skip
            stack.callback(_close, cluster)
            client = distributed.Client(cluster, set_as_default=False)
            stack.callback(_close, client)
            cluster.scale(count)
            client.wait_for_workers(1, timeout=START)  # the others take part when they come
        except (OSError, RuntimeError) as error:
            raise MachineError(
                f"cannot start {count} worker processes", str(error), "use fewer --workers"
            ) from error
        yield Cluster(client, count, "this machine")


@contextmanager
def scheduler(address: str) -> Iterator[Cluster]:
    """The workers of a scheduler that runs already, here or elsewhere.

    Raises:
        UsageError: it is no address.
        MachineError: `distributed` is not installed, nobody is there, or there is no worker.
    """
    distributed = _distributed()
    with silent("distributed", "tornado", "asyncio"):
        try:
            # Asked first: a client that was not answered complains for as long as it lives.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, _answered(address)).result()
            client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{address!r} is no address of a scheduler", str(error), "tcp://HOST:PORT"
            ) from error
        except OSError as error:
            raise MachineError(
                f"no scheduler at {address}",
                f"nobody answered within {PATIENCE} s",
                f"start  dask scheduler  there, and  dask worker {address}  on each machine",
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except OSError as error:
                raise MachineError(
                    f"the scheduler at {address} has no workers",
                    f"none joined within {PATIENCE} s",
                    f"start  dask worker {address}  on each machine",
                ) from error
            yield Cluster(client, sum(client.nthreads().values()), address)


async def _answered(address: str) -> None:
    """Shake hands. OSError where nobody does; ValueError or TypeError: it is no address."""
    distributed = _distributed()
    options = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(PATIENCE + 1):  # theirs does not count once there is a connection
        comm = await distributed.comm.connect(address, timeout=PATIENCE, **options)
        await comm.close()


def _call(function: Callable[[Any, Any, int], Result], shared: object, item: object) -> Result:
    """On a worker: what fails is one of our errors, which names the worker where it is no other."""
    worker = _distributed().get_worker()
    try:
        return function(shared, item, worker.state.nthreads)
    except QtoolError:
        raise
    except Exception as error:
        what = "out of memory" if isinstance(error, MemoryError) else str(error)
        failed = MachineError(
            f"the worker {worker.address} failed",
            f"{type(error).__name__}: {what}",
            "look at that machine: its memory, its disk, its versions of packages",
        )
        failed.add_note("".join(traceback.format_exception(error)))  # a cause would stay behind
        raise failed from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise missing_extra("work on several processes", "distributed", "cluster") from error
    return distributed


def _close(each: Any) -> None:
    with suppress(Exception):  # it closes itself ill while it starts
        each.close()


_WEAK = (
    "look at their memory (fewer workers and smaller batches take less), and give the same "
    "command: it goes on where it was"
)
# Its server of pages must be there, and nobody asks for them: on this machine alone, at any port.
_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
