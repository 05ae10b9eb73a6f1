"""What goes into two models and comes out: what must be equal, and floats of different widths.

A model in half precision may take and give float16 where the other has float32. The samples are
cast for the candidate, and outputs are compared as float64 anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.errors import ModelError
from qtool.signature import Signature, TensorSpec

Feeds = Mapping[str, NDArray[Any]]

WIDTHS = ("float16", "float32", "float64")


def check_signatures(reference: Signature, candidate: Signature) -> None:
    """Names, order and ranks must be equal, dtypes too but for the width of floats.

    Inputs must take arrays of the same shape. Outputs that turn out to have other shapes count as
    infinitely wrong.

    Raises:
        ModelError: which input or output differs.
    """
    for kind, left, right in _ends(reference, candidate):
        ours, theirs = [s.name for s in left], [s.name for s in right]
        if ours != theirs:
            raise ModelError(
                f"the models have different {kind}s",
                f"reference: {', '.join(ours)}\ncandidate: {', '.join(theirs)}",
            )
        for one, other in zip(left, right, strict=True):
            same_rank = len({len(s.shape) for s in (one, other) if s.shape}) < 2
            meet = same_rank and (kind == "output" or _shapes_meet(one, other))
            if not _dtypes_meet(one, other) or not meet:
                raise ModelError(
                    f"the models differ in {kind} {one.name!r}",
                    f"reference: {one}\ncandidate: {other}",
                )


def check_readable(signature: Signature) -> None:
    """Outputs must be of types that numpy has.

    Raises:
        ModelError: which output is not.
    """
    for spec in signature.outputs:
        if spec.dtype == "bfloat16" or spec.dtype.startswith("tensor("):
            raise ModelError(
                f"output {spec.name!r} cannot be read",
                f"it is {spec}, and numpy has no such type",
                "compare models whose outputs are float32 or float16",
            )


class Casts:
    """The reference's feeds as the candidate takes them."""

    def __init__(self, reference: Signature, candidate: Signature) -> None:
        self._wanted = {
            other.name: np.dtype(other.dtype)
            for one, other in zip(reference.inputs, candidate.inputs, strict=True)
            if one.dtype != other.dtype
        }
        self._told = "; ".join(
            f"{kind} {one.name!r} is {one.dtype} and {other.dtype}"
            for kind, left, right in _ends(reference, candidate)
            for one, other in zip(left, right, strict=True)
            if one.dtype != other.dtype
        )
        self._beyond: Counter[str] = Counter()

    def __call__(self, feeds: Feeds) -> Feeds:
        """The same values in the candidate's dtypes; what is too large becomes infinite."""
        if not self._wanted:
            return feeds
        return dict(feeds) | {name: self._cast(name, feeds[name]) for name in self._wanted}

    def notes(self) -> tuple[str, ...]:
        """Sentences on where the interfaces differ, and what became infinite."""
        if not self._told:
            return ()
        beyond = tuple(
            f"input {name!r}: {count} values are too large for {self._wanted[name]}, and were fed "
            "to the candidate as infinite"
            for name, count in self._beyond.items()
        )
        return (f"the interfaces differ in type (reference and candidate): {self._told}", *beyond)

    def _cast(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            cast = array.astype(self._wanted[name])
        if lost := int((np.isfinite(array) & ~np.isfinite(cast)).sum()):
            self._beyond[name] += lost
        return cast


def _ends(
    reference: Signature, candidate: Signature
) -> tuple[tuple[str, tuple[TensorSpec, ...], tuple[TensorSpec, ...]], ...]:
    return (
        ("input", reference.inputs, candidate.inputs),
        ("output", reference.outputs, candidate.outputs),
    )


def _dtypes_meet(one: TensorSpec, other: TensorSpec) -> bool:
    return one.dtype == other.dtype or (one.dtype in WIDTHS and other.dtype in WIDTHS)


def _shapes_meet(one: TensorSpec, other: TensorSpec) -> bool:
    """Whether some array has both shapes of one rank; unknown ranks and dynamic axes take any."""
    if not one.shape or not other.shape:
        return True
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs)
