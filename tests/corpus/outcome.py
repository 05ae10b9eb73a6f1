"""What became of one case under one recipe, as plain values that go through a pipe as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Literal

Status = Literal[
    "quantized",  # something in it
    "float",  # nothing, each node with its reason
    "refused",  # by an error of ours, for what the model or its input is
    "unrunnable",  # the runtime itself cannot load the original, or run it on its own input
    "broken",  # what was written failed its own verification
    "traceback",  # any exception that is no error of ours
    "crash",  # the process died
    "hang",
]


@dataclass(frozen=True)
class Left:
    """Nodes of one operator that stay float for one reason; `weighty`: one has constant weights."""

    operator: str
    reason: str
    count: int
    weighty: bool = False

    @property
    def real(self) -> bool:
        """Whether it works on reals at all, as far as the reason tells."""
        return not re.fullmatch(r"it works on (u?int\d+|bool|string), not on float32", self.reason)


@dataclass(frozen=True)
class Outcome:
    """One case, variant and recipe; operators by how often, as planned and as the runtime has them.

    `sqnr` is the lowest of the float outputs, None where there is none to compare or the outputs
    are random; `differs` are outputs of other types that changed.
    """

    case: str
    recipe: str
    status: Status
    detail: str = ""
    left: tuple[Left, ...] = ()
    planned: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    integer: dict[str, int] = field(default_factory=dict)
    floating: dict[str, int] = field(default_factory=dict)
    sqnr: float | None = None
    differs: tuple[str, ...] = ()
    signature: str = ""  # what changed in it

    @property
    def kind(self) -> str:
        return self.case.split("/")[0]

    @property
    def name(self) -> str:
        return self.case.split("/")[1]

    @property
    def variant(self) -> str:
        return self.case.split("/")[2]

    def json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Outcome:
        values = json.loads(text)
        values["left"] = tuple(Left(**each) for each in values["left"])
        values["differs"] = tuple(values["differs"])
        return cls(**values)
