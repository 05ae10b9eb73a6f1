"""What outputs can be held against; `truths` finds what the samples come with."""

from __future__ import annotations

from collections.abc import Sequence

from qtool.compare.truth.custom import Custom, Scorer
from qtool.compare.truth.detections import Detections
from qtool.compare.truth.held import Truth
from qtool.compare.truth.labels import Labels
from qtool.compare.truth.pairs import Pairs
from qtool.compare.truth.targets import Targets
from qtool.compare.truth.tokens import Tokens
from qtool.compare.watch import Watch
from qtool.data import Dataset


def truths(
    data: Dataset, watched: Sequence[Watch], scorers: Sequence[Scorer] = ()
) -> tuple[Truth, ...]:
    """Every way to judge these outputs by what the samples come with.

    Raises:
        DataError: labels, pairs or annotations that cannot be read.
        MachineError: an extra that they need is missing.
    """
    labels, declared = data.labels, data.declaration
    names = [watch.name for watch in watched if not watch.state]
    found: list[Truth] = []
    if labels is not None and labels.ndim == 1:
        strict = not any("label" in scorer.takes for scorer in scorers)
        found.append(Labels(watched, labels, data.classes, strict=strict))
    elif labels is not None and labels.dtype.kind == "f":
        span = declared.target_range
        found.append(Targets(names, labels, None if span is None else (span[0], span[1])))
    elif labels is not None:
        found.append(Tokens(names, labels))
    if declared.next_token is not None:
        found.append(Tokens(names, following=declared.next_token, mask=declared.mask))
    if data.pairs is not None:
        found.append(Pairs(names, data.pairs))
    if data.annotations is not None:
        found.append(Detections(names, data.annotations, declared.detections))
    return (*found, *(Custom(scorer, labels, data.names) for scorer in scorers))


def any_truth(data: Dataset) -> bool:
    """Whether the samples come with anything to hold outputs against; reads nothing."""
    return (
        data.label_source is not None
        or data.declaration.next_token is not None
        or (data.beside is not None and bool(data.beside.files))
    )
