"""A run as JSON: what `--json` writes, and what `--baseline` and `qtool report` read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qtool.compare.gates import GateResult
from qtool.compare.result import Comparison


def dumps(comparison: Comparison, gates: Sequence[GateResult] = ()) -> str:
    """The comparison and its gates as one JSON object, ASCII, ending with a newline."""
    run = comparison.as_dict() | {"gates": [result.as_dict() for result in gates]}
    return json.dumps(run, indent=2, allow_nan=False) + "\n"
