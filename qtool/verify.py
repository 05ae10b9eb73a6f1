"""What must hold before a file may be called written: it opens, it runs, it keeps the promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool import model as models
from qtool.compare.interface import Casts
from qtool.compare.rows import real
from qtool.errors import ModelError, QtoolError
from qtool.numeric.metrics import sqnr_db
from qtool.runtime import Session, probe
from qtool.signature import Signature

Feeds = Mapping[str, NDArray[Any]]


def same_function(
    expected: Mapping[str, Any], found: Mapping[str, Any], what: str, within: float = 1e-3
) -> None:
    """Outputs of two float models on the same feeds agree `within` a part of their largest value.

    Raises:
        ModelError: they do not; `what` names the step that changed the function.
    """
    for name, output in expected.items():
        value, other = real(output), real(found[name])
        if value is None:
            continue
        if other is None or value.shape != other.shape:
            raise ModelError(
                f"{what} changed the shape of output {name!r}",
                f"from {value.shape} to {getattr(other, 'shape', 'none')}",
                "this is a fault of qtool; please report it with the model",
            )
        finite = np.isfinite(value)
        before, after = (each[finite].astype(np.float64) for each in (value, other))
        scale = float(np.abs(before).max(initial=0.0))
        lost = float(np.abs(before - after).max(initial=0.0))
        if not lost <= within * scale + 1e-5:
            raise ModelError(
                f"{what} changed output {name!r}",
                f"by {lost:.3g} where the largest value is {scale:.3g}",
                "this is a fault of qtool; please report it with the model",
            )


def rounded(expected: Mapping[str, Any], found: Mapping[str, Any], *, certain: bool) -> list[str]:
    """How far a dequantized model is from the quantized one on the same feeds, as notes.

    Raises:
        ModelError: so far that it is no rounding, on feeds that are `certain` to mean something.
    """
    worst, where, others = np.inf, "", list[str]()
    for name, value in expected.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or not value.size:
            continue
        if value.shape != found[name].shape:  # as many boxes as there are
            others.append(f"output {name!r} has shape {found[name].shape}, and had {value.shape}")
            continue
        pair = [np.asarray(each, np.float64).reshape(1, -1) for each in (value, found[name])]
        finite = np.isfinite(pair[0]) & np.isfinite(pair[1])
        if not finite.any() or not pair[0][finite].any():
            continue
        ratio = sqnr_db(*(each[finite].reshape(1, -1) for each in pair))
        if ratio < worst:
            worst, where = ratio, name
    if certain and worst < _NO_ROUNDING:
        raise ModelError(
            f"dequantizing the model changed output {where!r}",
            f"it is {worst:.1f} dB from the quantized model's, which rounding cannot explain",
            "give the float model it was made from",
        )
    if not where and others:
        return [f"in the dequantized model {other}" for other in others]
    if not where:
        return ["the dequantized model gives the same as the quantized one"]
    unusual = (
        "more than rounding usually makes" if certain else "on made-up input, which tells little"
    )
    far = f": {unusual}" if worst < _ROUNDING else ""
    return [f"the dequantized model is {worst:.1f} dB from the quantized one{far}"]


_ROUNDING, _NO_ROUNDING = 20.0, 3.0  # dB: below the first a warning, below the second an error


def check_written(
    path: Path, original: Session, feeds: Feeds | None, *, keep_io_types: bool = True
) -> bool:
    """Open a written model again, check it, load it, and run it on `feeds`, or on a probe.

    Returns whether it was run: a probe that the original does not take shows nothing. Without
    `keep_io_types`, float32 inputs and outputs must have become float16.

    Raises:
        ModelError: it is not valid, has another signature, or gives NaN or Inf where the original
            does not.
    """
    models.check(path.read_bytes())
    session = Session(path)
    _same_signature(original.signature, session.signature, {} if keep_io_types else _NARROWER)
    if feeds is None:
        feeds = probe(original.signature)
        try:
            original.run(feeds)
        except QtoolError:
            return False
    cast = Casts(original.signature, session.signature)
    expected, found = original.run(feeds), session.run(cast(feeds))
    for name, output in expected.items():
        value, other = real(output), real(found[name])
        if value is None or other is None:
            continue
        finite, lost = np.isfinite(value), ~np.isfinite(other)
        # Where their number follows from values, there may be others.
        if (finite & lost).any() if finite.shape == lost.shape else finite.all() and lost.any():
            raise ModelError(f"output {name!r} of the quantized model is NaN or Inf")
    return True


_NARROWER = {"float32": "float16"}


def _same_signature(expected: Signature, found: Signature, turned: Mapping[str, str]) -> None:
    for kind in ("inputs", "outputs"):
        before = [
            (s.name, turned.get(s.dtype, s.dtype), _rank(s.shape)) for s in getattr(expected, kind)
        ]
        after = [(s.name, s.dtype, _rank(s.shape)) for s in getattr(found, kind)]
        if before != after:
            raise ModelError(f"the {kind} changed", f"from {before} to {after}")


def _rank(shape: tuple[Any, ...] | None) -> int | None:
    return None if shape is None else len(shape)
