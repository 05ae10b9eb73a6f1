"""From a stored array to what one model input takes; every sample goes through here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.declaration import InputDeclaration
from qtool.data.misfit import fits, misfit
from qtool.errors import DataError
from qtool.signature import TensorSpec


@dataclass(frozen=True)
class Prepare:
    """The declared steps for one input, in this order.

    1. stored -> reshape to `shape`; a leading batch axis of 1 goes
    2. `layout` -> `model_layout`, by transposition
    3. x -> (x * scale - mean) / std, in a float type that holds both x and float32
    4. x -> the input's dtype, where that loses no more than float precision
    """

    spec: TensorSpec
    declared: InputDeclaration
    stored: str | None = None  # the layout, where the reader knows it: images

    def __call__(self, stored: NDArray[Any], sample: str) -> NDArray[Any]:
        """One sample ready to feed. DataError names `sample`, what it is and what is wanted."""
        array = self._reshaped(stored, sample)  # 1
        if layout := self.stored or self.declared.layout:  # 2
            if array.ndim != len(layout) - 1:
                why = f"got {array.shape}, and the layout is {layout}"
                fix = f"mend  layout  under [data.inputs.{self.spec.name}] in qtool.toml"
                raise self._error(sample, why, fix)
            if sorted(layout) != sorted(self.declared.model_layout):  # the reader's, not declared
                why = f"its axes are {layout}, model_layout is {self.declared.model_layout}"
                fix = f"mend  model_layout  under [data.inputs.{self.spec.name}] in qtool.toml"
                raise self._error(sample, why, fix)
            array = array.transpose([layout.index(a) - 1 for a in self.declared.model_layout[1:]])
        if self.spec.shape is not None and not fits(array.shape, self.spec.shape[1:]):
            raise misfit(array, self.spec, self.declared, sample, bool(self.stored))
        if array.dtype.kind == "U":
            return array
        if not np.isfinite(array).all():
            count = int(array.size - np.isfinite(array).sum())
            raise self._error(sample, f"{count} of {array.size} values are NaN or infinite", "")
        return self._cast(self._normalized(array, sample), sample)  # 3, 4

    def _error(self, sample: str, why: str, fix: str) -> DataError:
        what = f'sample {sample} does not fit input "{self.spec.name}"'
        return DataError(what, why, fix or "mend or remove it, or pass --on-bad-file skip")

    def _reshaped(self, array: NDArray[Any], sample: str) -> NDArray[Any]:
        if (shape := self.declared.shape) is not None:
            if math.prod(shape) != array.size:
                fix = f"mend  shape  under [data.inputs.{self.spec.name}] in qtool.toml"
                raise self._error(sample, f"got {array.shape}, which is no {tuple(shape)}", fix)
            return array.reshape(shape)
        batched = self.spec.shape is not None and array.ndim == len(self.spec.shape)
        return array[0] if batched and not self.stored and array.shape[0] == 1 else array

    def _normalized(self, array: NDArray[Any], sample: str) -> NDArray[Any]:
        declared = self.declared
        if declared.scale is None and declared.mean is None and declared.std is None:
            return array
        work = array.astype(np.result_type(array.dtype, np.float32))
        if declared.scale is not None:
            work = work * self._along_channels("scale", declared.scale, work, sample)
        if declared.mean is not None:
            work = work - self._along_channels("mean", declared.mean, work, sample)
        if declared.std is not None:
            work = work / self._along_channels("std", declared.std, work, sample)
        return work

    def _along_channels(
        self, key: str, values: float | list[float], array: NDArray[Any], sample: str
    ) -> NDArray[Any]:
        vector = np.atleast_1d(np.array(values, array.dtype))
        if len(vector) == 1:
            return vector.reshape(())  # which leaves a single number's shape as it is
        # A vector has one axis, whatever an image's layout is: its features.
        layout = "C" if array.ndim == 1 else self.declared.model_layout.replace("N", "")
        axis = layout.find("C")
        if axis < 0 or array.ndim != len(layout) or array.shape[axis] != len(vector):
            why = f"{key} has {len(vector)} values, and {array.shape} in layout N{layout} has not"
            fix = f"give {key} one value per channel, and model_layout, in qtool.toml"
            raise self._error(sample, why, fix)
        return vector.reshape([-1 if i == axis else 1 for i in range(array.ndim)])

    def _cast(self, array: NDArray[Any], sample: str) -> NDArray[Any]:
        dtype = np.dtype(self.spec.dtype)
        from_float, to_float = array.dtype.kind in "fc", dtype.kind not in "biu"
        if (from_float and not to_float) or (array.dtype.kind == "c" and dtype.kind != "c"):
            why = f"got {array.dtype}, the model wants {dtype}"
            raise self._error(sample, why, f"store it as {dtype}")
        # An overflow is found below, with the sample's name.
        with np.errstate(over="ignore", invalid="ignore"):
            cast = np.array(array, dtype, order="C")
            # Floats may be rounded; integers must stay what they are: they may be ids. (-1 as uint8
            # would come back from its round trip; a float holds no such thing, and rounds instead.)
            back = cast.astype(array.dtype) if to_float else cast
            kept = np.isfinite(cast) if from_float else back == array
        if not kept.all():
            worst = array[~kept].flat[0]
            why = f"the value {worst} of {array.dtype} does not fit into the model's {dtype}"
            raise self._error(sample, why, f"store values that fit into {dtype}")
        return cast
