"""`[data] empty`: inputs that are fed with nothing in them, as a cache before the first token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.column import Column, Lazy
from qtool.data.files import listed, printable
from qtool.errors import DataError, did_you_mean
from qtool.signature import Signature, TensorSpec


def nothing_in(
    signature: Signature, patterns: Sequence[str], declared: Mapping[str, object]
) -> dict[str, NDArray[Any]]:
    """What one sample of each of these inputs is: every axis that is no number has length 0.

    `patterns` are globs on inputs, `declared` those under [data.inputs]. Raises DataError where a
    pattern matches none, or one that cannot be empty or is fed in another way too.
    """
    found: dict[str, NDArray[Any]] = {}
    for pattern in patterns:
        specs = [spec for spec in signature.inputs if fnmatchcase(spec.name, pattern)]
        if not specs:
            names = [spec.name for spec in signature.inputs]
            raise DataError(
                f'"{printable(pattern)}" under [data] empty in qtool.toml is no input of the model',
                f"the inputs are {listed(names)}",
                did_you_mean(pattern, names) or "rename or remove it",
            )
        found |= {spec.name: _nothing(spec) for spec in specs}
    if twice := [name for name in found if name in declared]:
        raise DataError(
            f"[data.inputs.{printable(twice[0])}] in qtool.toml declares what  empty  feeds",
            "there is nothing in it to be made",
            "take one of the two away",
        )
    if found and len(found) == len(signature.inputs):
        raise DataError(
            "[data] empty in qtool.toml leaves no input of the model to the samples",
            f"it means {listed(found)}",
            "name only what is empty before the first token",
        )
    return found


def empty_column(array: NDArray[Any], beside: Column) -> Column:
    """A column that is the same for each of the samples of another one."""
    count = len(beside.names)
    return Column(
        Lazy(count, lambda index: beside.names[index]),
        Lazy(count, lambda index: beside.files[index]),
        lambda index: array,
    )


def _nothing(spec: TensorSpec) -> NDArray[Any]:
    axes = [axis if isinstance(axis, int) else 0 for axis in (spec.shape or ())[1:]]
    if 0 not in axes:
        raise DataError(
            f'[data] empty in qtool.toml cannot feed "{printable(spec.name)}"',
            f"it is {spec}: no axis behind the first may have length 0",
            "take it out of  empty",
        )
    return np.zeros(axes, spec.dtype)
