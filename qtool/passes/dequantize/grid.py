"""How codes stand for values: scale, zero point, axis, and the type of the codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import attribute, constant
from qtool.passes.edit import array

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Grid:
    """How codes stand for values: constants, or what DynamicQuantizeLinear measured."""

    scale: Array | None
    zero: Array | None
    axis: int
    measured: ir.Node | None = None

    def same(self, other: Grid) -> bool:
        """Whether both give the same values for the same codes."""
        if self.measured is not None or other.measured is not None:
            return self.measured is other.measured
        assert self.scale is not None and other.scale is not None
        if self.scale.size != other.scale.size or (self.scale.size > 1 and self.axis != other.axis):
            return False
        mine, theirs = numbers(self.zero), numbers(other.zero)
        scales = np.array_equal(numbers(self.scale), numbers(other.scale))
        return scales and bool((mine == theirs).all())


def numbers(values: Array | None) -> Array:
    """In float64 and along one axis; None is one zero."""
    return np.zeros(1) if values is None else values.astype(np.float64).reshape(-1)


def grid_of(node: ir.Node) -> Grid | None:
    """The grid of Q or DQ where it is constant and not blocked; of equal steps only one."""
    scale, zero = (*node.inputs[1:3], None)[:2]
    if constant(scale) is None or (zero is not None and constant(zero) is None):
        return None
    if attribute(node, "block_size", 0):
        return None
    steps, zeros = array(scale), None if zero is None else array(zero)
    alike = all((each == each[:1]).all() for each in (numbers(steps), numbers(zeros)))
    if steps.size > 1 and alike:
        steps, zeros = steps.reshape(-1)[0], None if zeros is None else zeros.reshape(-1)[0]
    return Grid(np.asarray(steps), zeros, attribute(node, "axis", 1))


def written_type(node: ir.Node) -> ir.DataType:
    """The type of a QuantizeLinear's codes where inference did not find it."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None and zero.dtype is not None:
        return zero.dtype
    return ir.DataType(attribute(node, "output_dtype", 0) or ir.DataType.UINT8)


def limits(kind: ir.DataType) -> tuple[float, float]:
    """The lowest and the highest code of a type."""
    dtype = kind.numpy()
    known: Any = ml_dtypes.finfo if "FLOAT" in kind.name else ml_dtypes.iinfo  # they have no types
    found = known(dtype)
    return float(found.min), float(found.max)
