"""What a comparison found, as plain values; `qtool.compare.run_file` makes files of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qtool.numeric.bootstrap import Interval


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
class McNemar:
    """Samples that only the reference got right (`lost`), or only the candidate (`gained`).

    `p` is how likely a difference as large is among equally good models (exact, two-sided).
    """

    lost: int
    gained: int
    p: float


@dataclass(frozen=True)
class Score:
    """One score of both models against the labels; `drop` is how much worse the candidate is.

    `n` counts what was scored: samples, or pairs of them. `ratio` is candidate over reference, for
    a loss alone. `better` is "high" or "low", `unit` "share" (of 1), "dB" or "". `interval` is that
    of the drop, `candidate_interval` that of the candidate's score.
    """

    reference: float
    candidate: float
    drop: float
    interval: Interval
    n: int
    ratio: float | None = None
    ratio_interval: Interval | None = None
    better: str = "high"
    unit: str = ""
    mcnemar: McNemar | None = None
    candidate_interval: Interval | None = None


@dataclass(frozen=True)
class OutputComparison:
    """One output over all samples; what cannot be compared counts as infinitely wrong.

    SQNR in dB, errors in the output's unit, KL in nats. `nonfinite` counts candidate values that
    are NaN or infinite where the reference is finite, `skipped` reference values that are not
    finite, `mismatched` batches whose shapes differ.

    `kind` is what a sample of it is: "classes" (a row of class scores), "value" (one float),
    "label" (one integer or text: a predicted class, so it has an agreement and no distances, which
    are NaN), or "". `intervals` are those of "sqnr_db", "cosine", "mean_abs_error" and "kl", over
    `n` samples; runs where the output has no axis of samples.
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
    n: int = 0
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """Time of one run in milliseconds; the ratio is candidate over reference.

    It is that of runs side by side, which may be a little other than that of the two medians.
    """

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
class Footprint:
    """What a session costs: milliseconds to open it, bytes that it holds, and held at most.

    None is what could not be measured: on another system than Linux memory is not. Ratios are
    candidate over reference; of less than 1.5 MB of memory there is none.
    """

    reference_load_ms: float | None
    candidate_load_ms: float | None
    load_ratio: float | None
    reference_memory: int | None
    candidate_memory: int | None
    memory_ratio: float | None
    reference_peak: int | None
    candidate_peak: int | None


@dataclass(frozen=True)
class LayerError:
    """One tensor of the reference, and what the candidate makes of it.

    `node` computes it in the candidate ("" for an input of the graph). `sqnr_db` is what its
    readers get, `own_db` what they would get had the node the reference's inputs, `inherited_db`
    the signal over the difference of these two. `clipped` is the share of the reference's values
    beyond what the quantized type holds, None where it is not quantized. `rescaled`: the channels
    are scaled in the candidate, which is undone first.
    """

    tensor: str
    node: str
    op_type: str
    sqnr_db: float
    own_db: float
    inherited_db: float
    clipped: float | None
    rescaled: bool
    values: int


@dataclass(frozen=True)
class Used:
    """The samples: where they lie, how many of how many, and a digest of what was fed."""

    path: str
    samples: int
    total: int
    seed: int | None
    fingerprint: str


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
    footprint: Footprint | None = None
    layers: tuple[LayerError, ...] = ()
    data: Used | None = None
    notes: tuple[str, ...] = ()
