"""Where the windows of a kernel lie on the spatial axes, as Conv and the pools write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from torch import Tensor

from qtool.ops import attribute
from qtool.tune.operators.reading import cannot, choice, numbers

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass(frozen=True)
class Windows:
    """For each spatial axis: elements of the kernel, from window to window, from element to
    element, and what is padded at both ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """From a window's first element to its last, both counted."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def beyond(self, sizes: Sequence[int], ceil: bool) -> tuple[int, ...]:
        """What the last window of each axis reads behind the pad."""
        # windows = (n + begin + end - extent) / stride + 1, rounded down or up; one that would
        # begin behind the data and the first pad is none
        found = []
        for size, extent, stride, begin, end in zip(
            sizes, self.extents, self.strides, self.begins, self.ends, strict=True
        ):
            padded = size + begin + end
            last = -((extent - padded) // stride) if ceil else (padded - extent) // stride
            if ceil and last * stride >= size + begin:
                last -= 1
            found.append(max(0, last * stride + extent - padded))
        return tuple(found)


def windows(node: ir.Node, sizes: Sequence[int], kernel: Sequence[int]) -> Windows:
    """What the attributes say, for data of these sizes."""
    ones = [1] * len(kernel)
    strides = numbers(node, "strides") or ones
    dilations = numbers(node, "dilations") or ones
    pads = numbers(node, "pads") or [0] * 2 * len(kernel)
    begins, ends = pads[: len(kernel)], pads[len(kernel) :]
    kind = choice(node, "auto_pad", *AUTO_PADS)
    if kind == "VALID":
        begins = ends = [0] * len(kernel)
    if kind.startswith("SAME"):
        # total = (ceil(n / s) - 1) s + extent - n, or none where the windows leave gaps
        every = zip(sizes, kernel, strides, dilations, strict=True)
        totals = [max(0, ((n - 1) // s) * s + d * (k - 1) + 1 - n) for n, k, s, d in every]
        begins, ends = halves(totals, kind)
    return Windows(*(tuple(each) for each in (kernel, strides, dilations, begins, ends)))


def halves(totals: Sequence[int], kind: str) -> tuple[list[int], list[int]]:
    """Padding at both ends: of an odd number SAME_UPPER puts more at the end."""
    less = [total // 2 for total in totals]
    more = [total - total // 2 for total in totals]
    return (less, more) if kind == "SAME_UPPER" else (more, less)


def both(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """As torch pads: the last axis first."""
    pairs = zip(reversed(begins), reversed(ends), strict=True)
    return [each for pair in pairs for each in pair]


def spatial(node: ir.Node, x: Tensor, most: int = 3) -> int:
    """How many axes lie behind batch and channels.

    Raises:
        ModelError: more than torch has kernels for, or none.
    """
    count = x.dim() - 2
    if not 1 <= count <= most:
        raise cannot(node, f"{count} spatial axes")
    return count


def flag(node: ir.Node, name: str) -> bool:
    """An attribute that is 0 or 1, and 0 if it is left out."""
    return bool(attribute(node, name, 0))
