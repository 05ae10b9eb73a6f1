"""Whether a codebook is worth its room in the file."""

from __future__ import annotations

from qtool.numeric.scheme import WeightScheme

_NODES = 400
"""Bytes of the nodes that look levels up, beside those that any unpacked weight has, and of the
book's header."""


def pays(scheme: WeightScheme, values: int, channels: int) -> bool:
    """Whether books and what reads them take less than the codes themselves: then the file is
    smaller than with evenly spaced codes of twice as many bits. Evenly spaced ones need no book.

    n books, 2 or 4 bytes a level  +  nodes  <=  values x bits / 8
    """
    if scheme.mapping == "linear":
        return True
    books = 1 if scheme.group is None else -(-channels // scheme.group)
    levels = books * scheme.type.codes
    return levels * 2 + _NODES <= values * scheme.type.container / 8
