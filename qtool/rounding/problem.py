"""What a rounding algorithm is asked: codes for a matrix whose product with a layer's input counts.

A layer gives y = W x, with W (rows, columns) and its inputs x known by their second moments
H = sum of x x^T. Stored as codes q, the matrix is (q - z) s, and what that costs is

    sum over x of |((q - z) s - W) x|^2 = sum over rows of d H d^T,     d = (q - z) s - W

which parts into one problem for each row, under the same H. With a codebook levels[q] stands in the
place of q - z, and is not evenly spaced. Of a grouped layer, such as a
depthwise convolution, each group has a matrix and an H of its own; all are solved at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Codes

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Matrices to be rounded.

    `weight` (groups, rows, columns), float; `scale` and `zero_point` broadcast against it: (),
    (groups, rows, 1), or (groups, rows, columns) where blocks of columns have their own. Codes go
    from `lowest` to `highest`. `moments` (groups, columns, columns), float, symmetric, without
    negative eigenvalues but for rounding.

    With `levels` (books, codes), ascending, codes stand for those of them that the `book` of their
    row has, (groups, rows); the zero point is 0.
    """

    weight: NDArray[Any]
    scale: NDArray[Any]
    zero_point: NDArray[Any]
    lowest: int
    highest: int
    moments: NDArray[Any]
    levels: NDArray[Any] | None = None
    book: NDArray[Any] | None = None

    @property
    def steps(self) -> Reals:
        """The scale of every weight, (groups, rows, columns)."""
        return np.broadcast_to(self.scale, self.weight.shape).astype(np.float64)

    @property
    def exact(self) -> Reals:
        """The codes as they would be if they need not be integers, (groups, rows, columns)."""
        return np.asarray(self.weight / self.steps + self.zero_point, np.float64)

    def clip(self, codes: NDArray[Any]) -> NDArray[Any]:
        """The nearest codes that there are."""
        return np.asarray(np.clip(codes, self.lowest, self.highest))

    def snapped(self, wish: NDArray[Any]) -> NDArray[Any]:
        """The nearest that there is to what would be best, (groups, rows), in units of the scale,
        the zero point added: a code, or the level of one."""
        if self.levels is None:
            return self.clip(np.rint(wish))
        return np.asarray(self.levels[self._of_rows(wish), self._places(wish)], wish.dtype)

    def stood_for(self, codes: Codes) -> NDArray[Any]:
        """What codes (groups, rows, columns) stand for in the same units: levels, or themselves."""
        if self.levels is None or self.book is None:
            return codes
        return np.asarray(self.levels[self.book[:, :, None], codes], np.float64)

    def codes(self, values: NDArray[Any]) -> Codes:
        """The way back, of what there is and nothing between, int32."""
        if self.levels is None:
            return values.astype(np.int32)
        return self._places(values)

    def nearest(self) -> Codes:
        """Each weight rounded by itself, int32."""
        if self.levels is not None:
            return self._places(self.exact)
        return self.clip(np.rint(self.exact)).astype(np.int32)

    def costs(self, codes: Codes) -> Reals:
        """d H d^T of each row, (groups, rows)."""
        lost = (self.stood_for(codes) - self.exact) * self.steps
        slope = lost @ self.moments.astype(np.float64, copy=False)
        return np.asarray(np.einsum("grc,grc->gr", slope, lost))

    @cached_property
    def _borders(self) -> NDArray[Any]:
        assert self.levels is not None
        return np.asarray((self.levels[:, 1:] + self.levels[:, :-1]) / 2)

    def _of_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        assert self.book is not None
        return self.book if values.ndim == 2 else self.book[:, :, None]

    def _places(self, values: NDArray[Any]) -> Codes:
        """The code of the nearest level, of rows or of all columns; halfway the lower one."""
        assert self.book is not None
        borders = self._borders
        if len(borders) == 1:
            return np.searchsorted(borders[0], values, "left").astype(np.int32)
        found = np.empty(values.shape, np.int32)
        for book in range(len(borders)):
            rows = self.book == book
            found[rows] = np.searchsorted(borders[book], values[rows], "left")
        return found

    def best(self, *choices: Codes) -> Codes:
        """Of several choices the one that costs least, row by row; of equals the first."""
        costs = np.stack([self.costs(codes) for codes in choices])
        chosen = costs.argmin(0)[None, :, :, None]
        return np.asarray(np.take_along_axis(np.stack(choices), chosen, 0)[0])
