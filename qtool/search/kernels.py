"""What each kernel of a model takes, as the runtime's own profile tells.

The models are run in turns, so that what slows the machine slows all of them; of each kernel the
quieter runs count. A profile adds about 1 to 2 us to every kernel: times are compared, not quoted.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.errors import MachineError
from qtool.runtime import Session

Feeds = Mapping[str, NDArray[Any]]

SECONDS = 0.3
"""For each model."""
FEWEST, TURN = 12, 4  # runs of each model, and in a row
_QUIET = 0.25  # the share of the runs that counts


@dataclass(frozen=True)
class Kernel:
    """One kernel: its node's name in the optimized graph, microseconds in one run of the model, and
    the shape of its first result."""

    name: str
    operator: str
    time: float
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """How many values it gives."""
        return math.prod(self.shape)


def profile(
    models: Sequence[Path], feeds: Sequence[Feeds], folder: Path, *, threads: int
) -> list[list[Kernel]]:
    """The kernels of each model in the order in which they run; `folder` takes the profiles.

    Raises:
        ModelError: a model does not load or run.
        MachineError: there is no room for the profiles.
    """
    sessions = [
        Session(path, threads=threads, profile=folder / f"profile{index}")
        for index, path in enumerate(models)
    ]
    start, runs = time.perf_counter(), 0
    while runs < FEWEST or time.perf_counter() - start < SECONDS * len(models):
        for session in sessions:
            for turn in range(TURN):
                session.run(feeds[(runs + turn) % len(feeds)])
        runs += TURN
    found = []
    for session in sessions:
        file = session.end_profile()
        try:
            events = json.loads(file.read_text(encoding="utf-8"))
            file.unlink()
        except (OSError, ValueError) as error:  # the runtime does not say that it could not write
            raise MachineError(f"cannot write {file}", "the profile is cut short", ROOM) from error
        found.append(read(events, runs))
    return found


ROOM = "set TMPDIR to a folder with free space"
"""What to do where the folder of candidates and profiles is full."""


def read(events: Sequence[Mapping[str, Any]], runs: int) -> list[Kernel]:
    """The kernels in a profile of so many runs."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for event in events:
        name, told = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") != "Node" or not name.endswith(_KERNEL):
            continue
        key = name.removesuffix(_KERNEL), str(told.get("op_name", ""))
        times[key].append(float(event["dur"]))
        shapes[key] = max(shapes.get(key, ()), _shape(told), key=math.prod)
    return [
        Kernel(*key, _usual(taken) * len(taken) / runs, shapes[key]) for key, taken in times.items()
    ]


_KERNEL = "_kernel_time"


def _usual(taken: Sequence[float]) -> float:
    """The mean of the quieter runs."""
    return float(np.sort(taken)[: max(1, int(len(taken) * _QUIET))].mean())


def _shape(told: Mapping[str, Any]) -> tuple[int, ...]:
    outputs = told.get("output_type_shape") or [{}]
    return tuple(next(iter(outputs[0].values()), ()))


def original(name: str) -> list[str]:
    """What a node may have been called before the runtime renamed it, the likeliest first.

    Nodes that it makes anew are called after the old ones, or after what they give:
    `conv_token_4`, `relu_out_nchwc`, `gemm/MatMulAddFusion`, `fused gemm`.
    """
    found = [name]
    for addition in _ADDITIONS:
        if (shorter := addition.sub("", found[-1])) != found[-1]:
            found.append(shorter)
    return found


_ADDITIONS = tuple(map(re.compile, (r"_token_\d+$", r"_nchwc$", r"/\w*Fusion\w*/?$", r"^fused ")))
