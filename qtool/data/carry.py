"""Stateful models: what `[data] carry` feeds from one run to the next, and where that begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.files import listed, printable
from qtool.errors import DataError, did_you_mean
from qtool.signature import Signature, TensorSpec

MOST = 2**30  # elements of one state

Feeds = Mapping[str, NDArray[Any]]
Axis = int | str | None


class Carry:
    """The states of one session between its runs; `mapping` names them, output -> input."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = dict(mapping)
        self._states: dict[str, NDArray[Any]] = {}
        self._starts: dict[str, tuple[int, ...]] = {}  # shapes, of what a sequence begins with
        self._dtypes: dict[str, np.dtype[Any]] = {}

    def fill(self, feeds: Feeds) -> Feeds:
        """The feeds with the last results' states where they have none; a start has zeros."""
        if not self._mapping:
            return feeds
        given = {name: feeds[name].dtype for name in self._mapping.values() if name in feeds}
        self._dtypes |= given
        self._starts = {name: feeds[name].shape for name in given}
        # A candidate in half precision may take its states in another width than it gives them.
        states = {
            name: state.astype(self._dtypes.get(name, state.dtype), copy=False)
            for name, state in self._states.items()
            if name not in given
        }
        return {**feeds, **states}

    def keep(self, results: Mapping[str, Any]) -> None:
        """Take the states for the next run from the results of this one, by output name.

        Raises:
            DataError: a state grows that did not begin with nothing in it.
        """
        if self._mapping:
            self._states = {name: results[output] for output, name in self._mapping.items()}
        for name, start in self._starts.items():
            now = np.shape(self._states[name])
            if now != start and 0 not in start:
                raise DataError(
                    f'[data] carry in qtool.toml feeds "{printable(name)}" with what grows',
                    f"it began as {start}, zeros, and is {now} after one run",
                    f'add  empty = ["{printable(name)}"]  under [data]: it begins with length 0',
                )


def carried(
    mapping: Mapping[str, str], batches: Iterable[Feeds], run: Callable[[Feeds], Mapping[str, Any]]
) -> Iterator[Feeds]:
    """The batches with their states, for which `run` is called on each; as they are without."""
    carry = Carry(mapping)
    for feeds in batches:
        filled = carry.fill(feeds)
        if mapping:
            carry.keep(run(filled))
        yield filled


def first_states(
    signature: Signature,
    carry: Mapping[str, str],
    declared: Mapping[str, object],
    empty: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> dict[str, NDArray[Any]]:
    """The zeros that a sequence starts with, by carried input; axes that are no numbers are 1.

    `declared` are the inputs under [data.inputs], `empty` those that start with nothing in them:
    one sample of each. Raises DataError where the model and the
    declaration do not agree.
    """
    inputs = {spec.name: spec for spec in signature.inputs}
    outputs = {spec.name: spec for spec in signature.outputs}
    origin: dict[str, str] = {}
    for output, name in carry.items():
        for kind, key, known in (("output", output, outputs), ("input", name, inputs)):
            if key not in known:
                raise DataError(
                    f'"{printable(key)}" under [data] carry in qtool.toml is no {kind} of the '
                    "model",
                    f"carry = {{output = input}}, and the {kind}s are {listed(known)}",
                    did_you_mean(key, known) or "rename or remove it",
                )
        if name in origin:
            why = f'from the outputs "{printable(origin[name])}" and "{printable(output)}"'
            raise DataError(
                f'[data] carry in qtool.toml feeds "{printable(name)}" twice',
                why,
                "keep one of the two",
            )
        if name in declared:
            raise DataError(
                f"[data.inputs.{printable(name)}] in qtool.toml declares what  carry  feeds",
                f'carry takes it from the output "{printable(output)}" of the run before',
                "take one of the two away",
            )
        origin[name] = output
    if carry and len(origin) == len(inputs):
        raise DataError(
            "[data] carry in qtool.toml feeds every input of the model",
            "so there is none left for the samples",
            "carry only the states, or leave data out",
        )
    for spec in signature.inputs:
        if carry and spec.name not in origin and spec.shape and _number(spec.shape[0]) != 1:
            raise DataError(
                "[data] carry in qtool.toml needs a model that takes one sample at a time",
                f"its input is {spec}",
                "export the model with a batch axis of 1, or with a dynamic one",
            )
    zeros = {name: _zeros(outputs[output], inputs[name]) for name, output in origin.items()}
    return {name: empty[name][None] if name in empty else zeros[name] for name in zeros}


def _zeros(output: TensorSpec, spec: TensorSpec) -> NDArray[Any]:
    if not _numeric(spec) or not _numeric(output):
        raise _unfit(output, spec, "states are numbers, zeros at first")
    if output.dtype != spec.dtype:
        raise _unfit(output, spec, "their types differ")
    # The runtime gives no axes also where a file does not say the rank.
    theirs, ours = output.shape or spec.shape or (), spec.shape or output.shape or ()
    numbers = [(_number(a, b), _number(b, a)) for a, b in zip(ours, theirs, strict=False)]
    if len(theirs) != len(ours) or any(a != b for a, b in numbers):
        raise _unfit(output, spec, "their shapes differ")
    shape = [a for a, _ in numbers]
    if min(shape, default=0) < 0 or math.prod(shape) > MOST:
        raise _unfit(output, spec, f"there are no zeros of shape {tuple(shape)}")
    return np.zeros(shape, spec.dtype)


def _number(axis: Axis, other: Axis = None) -> int:
    """The axis, or what it is in the other of a pair; 1 where neither says a number."""
    return next((size for size in (axis, other) if isinstance(size, int)), 1)


def _numeric(spec: TensorSpec) -> bool:
    try:
        return np.dtype(spec.dtype).kind in "biufc"
    except (TypeError, ValueError):  # bfloat16, a sequence, a map
        return False


def _unfit(output: TensorSpec, spec: TensorSpec, why: str) -> DataError:
    return DataError(
        f'[data] carry in qtool.toml cannot feed "{printable(spec.name)}" from '
        f'"{printable(output.name)}"',
        f"{why}: the output is {output}, the input is {spec}",
        "carry an output of the input's type and shape",
    )
