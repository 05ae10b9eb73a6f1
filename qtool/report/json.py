"""A run as JSON text: what `--json` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qtool.compare.gates import GateResult
from qtool.compare.result import Comparison
from qtool.compare.run_file import as_dict


def dumps(
    comparison: Comparison,
    results: Sequence[GateResult] = (),
    baseline: Comparison | None = None,
) -> str:
    """The comparison, its gates and the earlier run as one JSON object, ASCII, with a newline."""
    run = as_dict(comparison, results, baseline)
    return json.dumps(run, indent=2, allow_nan=False) + "\n"
