"""What codes stand for before they are scaled: themselves, or levels that are looked up in a book.

    q => cast(q)      q => gather(levels, cast(q))      q => gather(levels, cast(q) + n group)

The levels of all groups lie behind one another, n to each. The runtime folds it once, at load.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams
from qtool.passes.writer import Writer

_SMALL = 64  # levels that as float32 take less than a Cast of 16 bits


def restored(
    write: Writer, name: str, codes: ir.Value, params: QParams, rank: int
) -> list[ir.Node]:
    """The nodes that give the values of codes of that rank, in units of the scale; of a tensor with
    a book and one scale, the values themselves. The caller inserts them."""
    if params.book is None:
        return [write.cast(codes, ir.DataType.FLOAT, f"{name}_cast")]
    made = [write.cast(codes, ir.DataType.INT32, f"{name}_cast")]
    first = offsets(params, codes.shape.numpy(), rank) if codes.shape is not None else None
    if first is not None:
        along = write.constant(f"{name}_first", first)
        made.append(write.node("Add", [made[-1].outputs[0], along], f"{name}_place"))
    return [*made, *looked_up(write, name, made[-1].outputs[0], params)]


def looked_up(write: Writer, name: str, places: ir.Value, params: QParams) -> list[ir.Node]:
    """The nodes that find the levels at these places of the book."""
    assert params.book is not None
    levels = params.book.levels.reshape(-1)
    whole = params.scale.ndim == 0  # scaled here, it needs no Mul
    if whole or levels.size < _SMALL:
        scale = params.scale if whole else np.float32(1)
        book, made = write.constant(f"{name}_levels", levels * scale), []
    else:
        made = [write.widened(write.constant(f"{name}_levels", levels.astype(np.float16)))]
        book = made[0].outputs[0]
    return [*made, write.node("Gather", [book, places], f"{name}_values")]


def offsets(params: QParams, shape: tuple[int, ...], rank: int) -> NDArray[np.int32] | None:
    """Where the levels of each channel begin, int32, broadcast against the codes; None where all
    channels share a book."""
    book = params.book
    if book is None or book.axis is None or len(book.levels) == 1:
        return None
    along = (book.groups_along(shape[book.axis]) * book.levels.shape[1]).astype(np.int32)
    found: NDArray[np.int32] = along.reshape([-1 if i == book.axis else 1 for i in range(rank)])
    return found
