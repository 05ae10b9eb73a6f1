"""What looks wrong in the data that was fed, though nothing forbids it."""

from __future__ import annotations

from collections.abc import Mapping

from qtool.data.dataset import Dataset
from qtool.data.declaration import toml_key
from qtool.data.fed import Fed
from qtool.signature import Signature, TensorSpec

TINY = 0.05  # a range narrower than this, after scaling, was most likely scaled before


def advice(dataset: Dataset, signature: Signature, fed: Mapping[str, Fed]) -> list[str]:
    """Notes of one or several lines each, on the model's inputs in order.

    1. a float input that is the same value all over
    2. pixels of 0 ... 255 that go into a model of floats with nothing declared
    3. an input that is next to nothing once it has been scaled as declared
    """
    notes = []
    for spec in signature.without(dataset.states).inputs:
        now = fed.get(spec.name)
        if now is None or "float" not in spec.dtype:
            continue
        if now.low == now.high and len(dataset) > 1:
            notes.append(f"{spec.name} is {now.low:.4g} in all samples: is that the right data?")
        elif not _scaled(dataset, spec):
            if _pixels(dataset, spec, now):
                notes.append(_UNSCALED.format(spec=spec, now=now, key=toml_key(spec.name)))
        elif now.high - now.low < TINY:
            notes.append(
                f"{spec.name} is fed in the range {now.low:.4g} … {now.high:.4g}: are scale, mean "
                "or std of qtool.toml applied to what was scaled before?"
            )
    return notes


def _scaled(dataset: Dataset, spec: TensorSpec) -> bool:
    declared = dataset.declaration.input(spec.name)
    return any(each is not None for each in (declared.scale, declared.mean, declared.std))


def _pixels(dataset: Dataset, spec: TensorSpec, now: Fed) -> bool:
    stored = dataset.columns[spec.name].read(0)
    if stored.ndim < 2:
        return False
    if stored.dtype == "uint8":
        return now.high > 1  # a mask of zeros and ones is no picture
    return now.low >= 0 and 128 < now.high <= 255


_UNSCALED = """\
{spec.name} is fed as it is stored, {now.low:.4g} … {now.high:.4g}: \
no scale, mean or std is declared
  if the model was trained on 0 … 1, add to qtool.toml in or above the data folder:
    [data.inputs.{key}]
    scale = 0.00392156862745098   # 1/255
  and  mean = […]  and  std = […]  if it was trained with them"""
