"""The .parquet reader, the only module that imports pyarrow. One row group is held at a time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import Any

import numpy as np

from qtool.data.cells import quoted
from qtool.data.column import Found, Request
from qtool.data.files import File, printable, repeated
from qtool.data.parquet_footer import chunks_of
from qtool.data.rows import Table
from qtool.data.table import open_table
from qtool.errors import DataError, missing_extra

# Bytes that the columns in use may unpack to in one row group. A bomb unpacks to far more.
LIMIT = 2**30
BATCH = 256  # rows that are unpacked at once, so that a bomb is met before it is whole


def open_parquet(request: Request) -> Found:
    """Rows of .parquet files. MachineError where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra(request.where, "pyarrow", "parquet") from error
    return open_table(request, lambda file: ParquetTable(file, pyarrow))


class ParquetTable(Table):
    """One .parquet file: where its row groups begin, and columns of the one last used."""

    def __init__(self, file: File, pyarrow: Any) -> None:
        self._arrow = pyarrow
        with file.open() as stream:
            opened = pyarrow.parquet.ParquetFile(stream)
            self._metadata, schema = opened.metadata, opened.schema_arrow
            groups = range(self._metadata.num_row_groups)
            counts = [self._metadata.row_group(group).num_rows for group in groups]
            if min(counts, default=0) < 0:
                raise ValueError("a row group claims to have fewer than no rows")
            self._chunks = chunks_of(stream)
            if len(self._chunks) != len(counts):
                raise ValueError("its footer is damaged")
        if twice := repeated(schema.names):
            why = f"two columns are called {quoted(twice)}"
            raise DataError(f"cannot use {printable(file.path)}", why, "rename one")
        nested = [field.name for field in schema if self._may_be_list(field.type)]
        super().__init__(file, schema.names, frozenset(nested))
        self._ends = array("q", accumulate(counts))
        self._held: tuple[int, dict[str, Any]] = (-1, {})  # a row group's columns

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def value(self, row: int, column: str) -> Any:
        """A number, a string or an array; None for null.

        ValueError where the row group unpacks to more than `LIMIT`, or holds lists of different
        lengths or with nulls; DataError where it is damaged.
        """
        group = bisect_right(self._ends, row)
        held = self._held
        if held[0] != group:
            self._held = held = group, {}
        if column not in held[1]:
            held[1][column] = self._unpacked(group, column, list(held[1].values()))
        scalar = held[1][column][row - (self._ends[group - 1] if group else 0)]
        if hasattr(scalar, "to_numpy"):  # a tensor
            return scalar.to_numpy()
        if scalar.is_valid and self._is_list(scalar.type):
            return self._nested(scalar.values)
        return scalar.as_py()

    def _unpacked(self, group: int, column: str, others: list[Any]) -> Any:
        """The column of a row group, a chunk for each batch of rows."""
        chunks = [c for c in self._chunks[group] if f"{c.path}.".startswith(f"{column}.")]
        used = sum(other.nbytes for other in others)
        self._refuse_bomb(group, column, used + sum(chunk.size for chunk in chunks))
        texts = [chunk.path for chunk in chunks if chunk.text]
        batches = []
        with self.file.open() as stream:
            opened = self._arrow.parquet.ParquetFile(
                stream, metadata=self._metadata, read_dictionary=texts,
                page_checksum_verification=True,
            )  # fmt: skip
            for batch in opened.iter_batches(BATCH, row_groups=[group], columns=[column]):
                batches.append(batch.column(batch.schema.get_field_index(column)))
                batches[-1].validate(full=True)  # a damaged page may point out of its dictionary
                used += batches[-1].nbytes
                if used > LIMIT:  # whatever the footer claims
                    break
            else:
                count = self._metadata.row_group(group).num_rows
                if sum(map(len, batches)) != count:
                    raise ValueError(f"row group {group} has not the {count} rows it claims")
        self._refuse_bomb(group, column, used)
        return self._arrow.chunked_array(batches)

    def _refuse_bomb(self, group: int, column: str, size: int) -> None:
        if size > LIMIT:
            raise ValueError(
                f"with column {quoted(column)} its row group {group} unpacks to {size:,} bytes or "
                f"more, over the limit of {LIMIT:,}: write smaller row groups"
            )

    def _is_list(self, kind: Any) -> bool:
        types = self._arrow.types
        return any(
            is_(kind) for is_ in (types.is_list, types.is_large_list, types.is_fixed_size_list)
        )

    def _may_be_list(self, kind: Any) -> bool:
        return self._is_list(kind) or hasattr(kind, "storage_type")

    def _nested(self, values: Any) -> Any:
        shape = [len(values)]
        while self._is_list(values.type):
            if values.null_count:
                raise ValueError("holds a null")
            lengths = set(values.value_lengths().to_pylist())
            if len(lengths) > 1:
                raise ValueError("holds lists of different lengths")
            shape.append(lengths.pop() if lengths else 0)
            values = values.flatten()
        if values.null_count:
            raise ValueError("holds a null")
        if self._arrow.types.is_dictionary(values.type):  # text
            return np.array(values.to_pylist(), str).reshape(shape)
        return values.to_numpy(zero_copy_only=False).reshape(shape)
