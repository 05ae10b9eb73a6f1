"""What stands in a row's columns, as an array for one input of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.files import printable

SHOWN = 40  # characters of a value in a message
COMMA = re.compile(r"[+-]?[0-9.]*,[0-9]+([eE][+-]?[0-9]+)?")  # 1,5 for 1.5


def quoted(value: object) -> str:
    """A value as it stands in messages: printable, cut where it is long."""
    text = printable(str(value))
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return f'"{text}"' if isinstance(value, str) else text


def number(cell: str) -> int | float:
    """The number that a cell of a CSV file holds. ValueError where it holds none."""
    text = cell.strip()
    if not text:
        raise ValueError("is empty")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    # Python would also read 1_000 and digits of other scripts.
    if text.isascii() and "_" not in text:
        with suppress(ValueError):
            value = int(text)
            return value if abs(value) < 2**63 else float(text)
        with suppress(ValueError):
            return float(text)
    if COMMA.fullmatch(text):
        raise ValueError(f"is {quoted(cell)}: write a decimal point, and no comma")
    raise ValueError(f"is {quoted(cell)}, which is not a number")


def value_of(value: Any, dtype: np.dtype[Any], parses: bool) -> Any:
    """One value: a number, a string where `dtype` is one, or an array where it is a list.

    ValueError where the value is missing or of another kind; `parses` reads numbers from strings.
    """
    strings = dtype.kind == "U"
    if value is None:
        raise ValueError("is null")
    if isinstance(value, str) and strings:
        if not value.strip():
            raise ValueError("is empty")
        return value
    if isinstance(value, str) and parses:
        return number(value)
    if isinstance(value, (int, float)) and not strings:
        if abs(value) >= 2**63 and isinstance(value, int):
            raise ValueError(f"is {quoted(value)}, which is too large")
        return value
    if isinstance(value, (list, np.ndarray)):
        return _nested(value, strings)
    raise ValueError(f"is {quoted(value)}, and the model wants {'text' if strings else dtype}")


def _nested(value: Any, strings: bool) -> NDArray[Any]:
    try:
        array = np.array(value)
    except ValueError:
        raise ValueError("holds lists of different lengths") from None
    # np.array makes strings of numbers that stand beside strings.
    mixed = (
        strings and isinstance(value, list) and not all(isinstance(v, str) for v in _flat(value))
    )
    if array.dtype.kind not in ("U" if strings else "biuf") or mixed:
        raise ValueError(f"holds something else than {'text' if strings else 'numbers'}")
    return array


def _flat(value: Any) -> list[Any]:
    return [v for part in value for v in _flat(part)] if isinstance(value, list) else [value]


def joined(values: Sequence[Any], columns: Sequence[str], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values of several columns, stacked on a new first axis; of one, as they are.

    For a model of floats they become floats, for one of integers int64. ValueError names the column
    where a value cannot.
    """
    if len(values) == 1:
        array = np.asarray(values[0])
    else:
        shapes = [np.shape(value) for value in values]
        if other := next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None):
            pairs = [f"{quoted(columns[i])} is {shapes[i]}" for i in (0, other)]
            raise ValueError(f"its columns have different shapes: {', '.join(pairs)}")
        array = np.stack([np.asarray(value) for value in values]) if shapes[0] else np.array(values)
    if dtype.kind == "U":
        return array
    whole = dtype.kind in "biu"
    if array.dtype.kind == "f":
        good = np.isfinite(array)
        if whole:
            array = array.astype(np.float64)
            good &= (np.abs(array) <= 2**53) & (np.floor(array) == array)
        if not good.all():
            place = np.argwhere(~good)[0]
            column = columns[place[0] if len(values) > 1 else 0]
            wanted = f", and the model wants {dtype}" if whole else ""
            raise ValueError(f"column {quoted(column)} is {array[tuple(place)]}{wanted}")
        return array.astype(np.int64) if whole else array
    return array if whole else array.astype(np.float64)
