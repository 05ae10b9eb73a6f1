"""Text that does nothing: what a model, a file or a scorer is called is somebody else's choice."""

from __future__ import annotations

from qtool.compare.gates import GateResult
from qtool.report.table import in_unit, interval_in
from qtool.text import visible

TRY = "try: "
"""What a line begins with that is a command."""
SHOWN = 200
"""Characters of a name that are shown; a longer one keeps its two ends."""


def shortened(text: str, limit: int = SHOWN) -> str:
    """The text, or its two ends around a sign that something is left out."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}…{text[len(text) - (limit - 1) // 2 :]}"


def sentence(result: GateResult) -> str:
    """`top1.drop is 1.25 pp (95 % interval 0.4 to 2.1 pp), the limit is 0.5 pp`."""
    gate, sure = result.gate, ""
    if result.interval is not None:
        sure = f" (95 % interval {interval_in(result.interval, gate.unit)})"
    value, limit = in_unit(result.value, gate.unit), in_unit(gate.limit, gate.unit)
    return f"{shortened(visible(gate.metric))} is {value}{sure}, the limit is {limit}"
