"""Why a sample's shape is not the model's, and the one line of qtool.toml that mends it."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from qtool.data.declaration import InputDeclaration
from qtool.errors import DataError
from qtool.signature import TensorSpec

Dims = tuple[int | str | None, ...]

# Channels last and channels first, for a sample of so many axes.
LAYOUTS = {2: ("NWC", "NCW"), 3: ("NHWC", "NCHW"), 4: ("NDHWC", "NCDHW")}


def fits(shape: tuple[int, ...], wanted: Dims) -> bool:
    """Whether a sample's shape is the wanted one; a name or None stands for any number."""
    return len(shape) == len(wanted) and all(
        not isinstance(want, int) or got == want for got, want in zip(shape, wanted, strict=True)
    )


def misfit(
    array: NDArray[Any], spec: TensorSpec, declared: InputDeclaration, sample: str, image: bool
) -> DataError:
    """The error for a sample that does not fit, with the reason that is most likely."""
    dims = ["?" if dim is None else str(dim) for dim in spec.shape or ()]
    if spec.shape and not isinstance(spec.shape[0], int):
        dims[0] = "N"
    wanted = (spec.shape or ())[1:]
    note, fix = (_image_advice if image else _array_advice)(array.shape, wanted, declared)
    where = f"  under [data.inputs.{spec.name}] in qtool.toml"
    return DataError(
        f'sample {sample} does not fit input "{spec.name}"',
        f"got {array.shape} {array.dtype}, the model wants ({', '.join(dims)})"
        + (f" - {note}" if note else ""),
        fix.replace("@", where) if fix else f"make each sample ({', '.join(dims[1:])})",
    )


def _array_advice(
    shape: tuple[int, ...], wanted: Dims, declared: InputDeclaration
) -> tuple[str, str]:
    last, first = LAYOUTS.get(len(shape), ("", ""))
    if declared.layout:
        return f"once turned from {declared.layout} to {declared.model_layout}", "mend  layout@"
    if last:
        if fits(shape[-1:] + shape[:-1], wanted):
            model = "" if first == "NCHW" else f'  and  model_layout = "{first}"'
            fix = f'add  layout = "{last}"{model}@, or transpose the files'
            return "looks like channels-last", fix
        if fits(shape[1:] + shape[:1], wanted):
            fix = f'add  layout = "{first}"  and  model_layout = "{last}"@, or transpose the files'
            return "looks like channels-first", fix
    sizes = [dim for dim in wanted if isinstance(dim, int)]
    if len(sizes) == len(wanted) and math.prod(sizes) == math.prod(shape):
        return "the same number of values", f"add  shape = {sizes}@"
    if len(shape) == len(wanted) + 1:
        fix = (
            'store one sample in each file, or all in one and add  samples = "whole"  under [data]'
        )
        return f"looks like a batch of {shape[0]}", fix
    return "", ""


def _image_advice(
    shape: tuple[int, ...], wanted: Dims, declared: InputDeclaration
) -> tuple[str, str]:
    layout = declared.model_layout.replace("N", "")
    if len(wanted) != 3 or sorted(layout) != ["C", "H", "W"]:
        return "an image has height, width and channels", "store arrays (.npy) instead of images"
    got = dict(zip(layout, shape, strict=True))
    keys = []
    # 1. the model has its channels elsewhere
    other = "HWC" if layout == "CHW" else "CHW"
    here, there = (_may_be_channels(wanted[axes.index("C")]) for axes in (layout, other))
    if there and not here:
        layout = other
        keys.append(f'model_layout = "N{other}"')
    want = dict(zip(layout, wanted, strict=True))
    # 2. another number of channels
    if isinstance(want["C"], int) and want["C"] != got["C"]:
        if not _may_be_channels(want["C"]):
            return f"no image has {want['C']} channels", "store arrays (.npy) instead of images"
        keys.append(f'color = "{"gray" if want["C"] == 1 else "rgb"}"')
    # 3. another size
    size = [dim if isinstance(dim, int) else got[axis] for axis, dim in want.items() if axis != "C"]
    if size != [got["H"], got["W"]]:
        keys.append(f"resize = {size}")
    return "", f"add  {'  and  '.join(keys)}@"


def _may_be_channels(dim: int | str | None) -> bool:
    return not isinstance(dim, int) or dim in (1, 3)
