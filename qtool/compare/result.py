"""What a comparison found, as plain values, and as JSON.

In JSON only finite numbers occur. An output of the kind "label" has null for all distances. Else a
null SQNR means equal if `identical` is true; else, and for any other number, null means that no
finite number is right: see `nonfinite` and `mismatched`, the counts of what could not be compared.
An interval end is null where it is unbounded; `ratio` is null for what is no loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qtool.numeric.bootstrap import Interval

SCHEMA = 1


@dataclass(frozen=True)
class Size:
    """Bytes on disk, external data files included."""

    reference: int
    candidate: int

    @property
    def ratio(self) -> float:
        """Candidate over reference."""
        return self.candidate / self.reference


@dataclass(frozen=True)
class Rate:
    """A share of n samples in 0 … 1."""

    value: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class Score:
    """One metric against the labels for both models; `drop` is how much worse the candidate is.

    `ratio` is candidate over reference, for a loss alone.
    """

    reference: float
    candidate: float
    drop: float
    interval: Interval
    n: int
    ratio: float | None = None
    ratio_interval: Interval | None = None


@dataclass(frozen=True)
class OutputComparison:
    """One output over all samples; what cannot be compared counts as infinitely wrong.

    SQNR in dB, errors in the output's unit, KL in nats. `nonfinite` counts candidate values that
    are NaN or infinite where the reference is finite, `skipped` reference values that are not
    finite, `mismatched` batches whose shapes differ.

    `kind` is what a sample of it is: "classes" (a row of class scores), "value" (one float),
    "label" (one integer or text: a predicted class, so it has an agreement and no distances, which
    are NaN), or "".
    """

    name: str
    dtype: str
    sqnr_db: float
    cosine: float
    max_abs_error: float
    mean_abs_error: float
    identical: bool
    nonfinite: int
    skipped: int
    mismatched: int
    agreement: Rate | None
    kl: float | None
    kind: str = ""


@dataclass(frozen=True)
class Latency:
    """Time of one run in milliseconds; the ratio is of medians, candidate over reference."""

    reference_median_ms: float
    reference_p90_ms: float
    candidate_median_ms: float
    candidate_p90_ms: float
    ratio: float
    interval: Interval
    verdict: str
    rounds: int
    batch_size: int
    threads: int


@dataclass(frozen=True)
class Comparison:
    """Two models side by side. Without data only their sizes are known.

    `scores` are of the output named `labelled`, against the labels. `notes` are sentences for a
    person: what could not be compared, and why.
    """

    reference: Path
    candidate: Path
    size: Size
    samples: int = 0
    outputs: tuple[OutputComparison, ...] = ()
    labelled: str | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    latency: Latency | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values, `schema` 1; the module says what null means."""
        found: dict[str, Any] = finite(
            {
                "schema": SCHEMA,
                "reference": str(self.reference),
                "candidate": str(self.candidate),
                "size": asdict(self.size) | {"ratio": self.size.ratio},
                "samples": self.samples,
                "outputs": [asdict(output) for output in self.outputs],
                "labelled": self.labelled,
                "scores": {name: asdict(score) for name, score in self.scores.items()},
                "latency": asdict(self.latency) if self.latency else None,
                "notes": list(self.notes),
            }
        )
        return found


def finite(value: Any) -> Any:
    """The value with null in place of each NaN and infinity, all the way down."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
