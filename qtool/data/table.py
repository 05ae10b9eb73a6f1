"""Rows of tables as samples: what stands in the columns becomes the arrays of each input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.cells import joined, quoted, value_of
from qtool.data.column import Column, Found, Request
from qtool.data.feeding import Feed, choose_columns
from qtool.data.files import File, listed, printable, raise_all
from qtool.data.label_column import LabelColumn
from qtool.data.rows import Rows, Table, Unreadable
from qtool.data.text import ARRAYS, encoder_of
from qtool.errors import DataError
from qtool.signature import TensorSpec

Encode = Callable[[str], tuple[NDArray[Any], int]]


def open_table(request: Request, read: Callable[[File], Table]) -> Found:
    """The rows of all files, as `read` gives each, for every input of the request."""
    tables = [_table(request, file, read) for file in request.files]
    good = [table for table in tables if not isinstance(table, Unreadable)]
    for table in good:
        _check_columns(good[0], table)
    if not good:
        raise_all([table.error for table in tables if isinstance(table, Unreadable)], len(tables))
    if not any(map(len, good)):
        what, why = f"{request.where} holds no samples", "it has columns and no rows"
        raise DataError(what, why, "add rows, each of them a sample")
    rows = Rows(tables)
    chosen = choose_columns(request, good[0])
    labels = LabelColumn(rows, chosen.label) if chosen.label else None
    texts = {feed.text for feed in chosen.feeds if feed.text}
    # The ids, their mask and zeros are asked for one after the other, and a text is encoded once.
    encoders = {spec: lru_cache(1)(encoder_of(request, spec)) for spec in texts}
    columns = {feed.spec.name: _column(rows, feed, encoders, labels) for feed in chosen.feeds}
    found = Found(columns, unit="rows")
    return replace(found, labels=labels.column, classes=labels.classes) if labels else found


def _table(request: Request, file: File, read: Callable[[File], Table]) -> Table:
    try:
        return read(file)
    except DataError as error:
        if not request.skip:
            raise
        return Unreadable(file, error)


def _check_columns(first: Table, table: Table) -> None:
    missing = [name for name in first.columns if name not in table.columns]
    others = [name for name in table.columns if name not in first.columns]
    if not missing and not others:
        return
    reasons = [f"it has no {listed(map(quoted, missing))}"] if missing else []
    reasons += [f"only it has {listed(map(quoted, others))}"] if others else []
    raise DataError(
        f"{printable(table.file.path)} has other columns than {first.file.name}",
        " and ".join(reasons),
        "give all files the same columns, or give one of them as the data",
    )


def _column(
    rows: Rows, feed: Feed, encoders: Mapping[TensorSpec, Encode], labels: LabelColumn | None
) -> Column:
    # A row whose label is missing is a bad row, found where it is read.
    def make(table: Table, row: int) -> NDArray[Any]:
        if labels:
            labels.value(table, row)
        if feed.text is None:
            return _numbers(feed, table, row)
        return ARRAYS[feed.kind](*encoders[feed.text](_text(feed, table, row)))

    column = Column(rows.names, rows.files, lambda index: rows.read(index, make))
    if feed.text is None or feed.kind != "text":
        return column
    return replace(column, text=lambda i: rows.read(i, lambda table, row: _text(feed, table, row)))


def _numbers(feed: Feed, table: Table, row: int) -> NDArray[Any]:
    """The values of one row: those of several columns, or one, which may be an array."""
    dtype = np.dtype(feed.spec.dtype)
    values = []
    for column in feed.columns:
        value = table.value(row, column)
        try:
            values.append(value_of(value, dtype, table.parses))
        except ValueError as error:
            raise ValueError(f"column {quoted(column)} {error}") from error
    array = joined(values, feed.columns, dtype)
    if array.ndim or not feed.spec.shape:
        return array
    return array.reshape((1,) * (len(feed.spec.shape) - 1))


def _text(feed: Feed, table: Table, row: int) -> str:
    column = feed.columns[0]
    try:
        text = value_of(table.value(row, column), np.dtype(str), table.parses)
        if isinstance(text, str):
            return text
        raise ValueError("is a list, and no text")
    except ValueError as error:
        raise ValueError(f"column {quoted(column)} {error}") from error
