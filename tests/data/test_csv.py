"""The .csv reader: headers, quotes, numbers, lines, and memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.data import lines, open_dataset
from qtool.data.csv_rows import CsvTable
from qtool.data.files import File
from tests.data.folders import declare, model, refused
from tests.data.tables import save_csv

X = model(x=("N", 2))


def write(folder: Path, content: str | bytes, name: str = "set.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def opened(path: Path, delimiter: str | None = None) -> CsvTable:
    return CsvTable(File(path, path.name), delimiter)


def cells(table: CsvTable) -> list[list[str]]:
    return [[table.value(row, name) for name in table.columns] for row in range(len(table))]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(TEXT, min_size=width, max_size=width), max_size=6)
)


@settings(max_examples=300, deadline=None)
@given(rows=TABLES, end=st.sampled_from(["\n", "\r\n"]), bom=st.booleans(), last=st.booleans())
def test_what_rfc_4180_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    end: str,
    bom: bool,
    last: bool,
) -> None:
    header = [f'c"{number},\n' for number in range(len(rows[0]) if rows else 2)]
    text = end.join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [header, *rows]
    )
    content = lines.BOM * bom + (text + end * last).encode()
    table = opened(write(tmp_path_factory.getbasetemp(), content, "rfc.csv"))
    assert table.columns == tuple(name.strip() for name in header)
    assert cells(table) == rows
    for row in range(len(table)):  # where it says that a row begins, it begins
        line = int(table.where(row).removeprefix("line "))
        assert content.split(b"\n")[line - 1].startswith(b'"')


def test_quotes_and_lines(tmp_path: Path) -> None:
    content = 'a,b,note\r\n1,2,"x,\n""y"""\r\n3,4,\r\n5,oops,z\r\n\r\n\n'
    table = opened(write(tmp_path, content))
    assert cells(table) == [["1", "2", 'x,\n"y"'], ["3", "4", ""], ["5", "oops", "z"]]
    assert [table.where(row) for row in range(3)] == ["line 2", "line 4", "line 5"]
    declare(tmp_path, '[data.inputs.x]\ncolumns = ["a", "b"]\n')
    refused(tmp_path, X, "set.csv[2] (line 5)", 'column "b" is "oops", which is not a number')


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"1,2\n3,4\n", ["header", 'numbers: "1", "2"', "add a line with the columns' names"]),
        (b"a,a\n3,4\n", ["header", 'two columns are called "a"']),
        (b",a,b\n0,3,4\n", ["header", "column 1 has no name", "index=False"]),
        (b"a;b\n3;4\n", ["header", 'one cell, "a;b"', 'delimiter = ";"', "under [data]"]),
        (b"a\tb\n3\t4\n", ["header", 'delimiter = "\\t"']),
        (b"a|b\n3|4\n", ["header", 'delimiter = "|"']),
        (b"\n\n", ["header", "it has none"]),
        (b"", ["the file is empty"]),
        (b"a,b\n", ["holds no samples", "no rows"]),
        (b'a,"b\n3,4\n', ["header", "a quote is opened and not closed"]),
        ("a,b\n1,2\n".encode("utf-16"), ["UTF-16", "only UTF-8"]),
        (b"a,\xe9\n1,2\n", ["header", "byte 0xe9 is not UTF-8"]),
        (b"a,b\r1,2\r", ["header", "carriage return stands alone"]),
    ],
)
def test_bad_headers(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    write(tmp_path, content)
    refused(tmp_path, X, "set.csv" if "holds" not in parts[0] else "holds", *parts)


@pytest.mark.parametrize("delimiter", [";", "\\t", "|", ":", " "])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    sign = delimiter.replace("\\t", "\t")
    write(tmp_path, f"a{sign}b\n1.5{sign}2\n")
    declare(tmp_path, f'[data]\ndelimiter = "{delimiter}"\n')
    assert open_dataset(tmp_path, X).sample(0)["x"].tolist() == [1.5, 2]
    declare(tmp_path, '[data]\ndelimiter = "ab"\n')
    refused(tmp_path, X, '"delimiter" under [data]', "';'")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"3,", 'column "b" is empty'),
        (b" ,3", 'column "a" is empty'),
        (b"abc,3", 'column "a" is "abc", which is not a number'),
        (b'3,"1,5"', 'column "b" is "1,5": write a decimal point'),
        (b"1_000,3", '"1_000", which is not a number'),
        ("٣,3".encode(), "which is not a number"),
        (b"0x1f,3", "which is not a number"),
        (b"inf,3", 'column "a" is inf'),
        (b"3,NaN", 'column "b" is nan'),
        (b"1e999,3", 'column "a" is inf'),
        (b"9" * 400 + b",3", 'column "a" is inf'),
        (b"\x1b[31m,3", '"\\x1b[31m", which'),
        (b"a" * 99 + b",3", '"' + "a" * 40 + '…"'),
        (b"3", "it has 1 cells, and the header has 2"),
        (b"3,4,5", "it has 3 cells, and the header has 2"),
        (b"", "the line is empty"),
        (b"3,\xff", "byte 0xff is not UTF-8"),
        (b'3,"4"x', "behind a closing quote"),
        (b'3,"' + b"4" * 140_000 + b'"', "is a quote left open?"),
        (b"3,4\r5,6", "carriage return stands alone"),
    ],
)
def test_bad_rows(tmp_path: Path, row: bytes, why: str) -> None:
    write(tmp_path, b"a,b\n1,2\n" + row + b"\n7,8\n")
    refused(tmp_path, X, f"cannot use {tmp_path}/set.csv[1] (line 3)", why, "--on-bad-file skip")
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert [data.sample(i)["x"].tolist() for i in range(len(data))] == [[1, 2], [7, 8]]
    assert data.skipped == ("set.csv[1]",)


def test_a_quote_that_is_left_open(tmp_path: Path) -> None:
    write(tmp_path, 'a,b\n1,2\n3,"4\n5,6\n7,8\n')
    refused(tmp_path, X, "set.csv[1] (line 3)", "a quote is opened and not closed")


def test_a_line_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LIMIT", 1000)
    write(tmp_path, b"a,b\n1,2\n" + b"3" * 1001)
    refused(tmp_path, X, "cannot read", "set.csv", "line 3 is longer than 1,000 bytes")


@pytest.mark.parametrize(
    ("cell", "number"), [(" 1.5 ", 1.5), ("-2e3", -2000), (".5", 0.5), ("+7", 7), ("True", 1)]
)
def test_numbers(tmp_path: Path, cell: str, number: float) -> None:
    write(tmp_path, f"a,b\n{cell},0\n")
    assert open_dataset(tmp_path, X).sample(0)["x"].tolist() == [number, 0]


def test_large_integers_for_a_model_of_floats_are_rounded(tmp_path: Path) -> None:
    write(tmp_path, "a,b\n16777217,123456789\n")
    assert open_dataset(tmp_path, X).sample(0)["x"].tolist() == [16777216, 123456792]


def test_rows_larger_than_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WINDOW", 7)
    save_csv(tmp_path / "set.csv", {"a": [10**n for n in range(9)], "b": list(range(9))})
    data = open_dataset(tmp_path, X)
    for row in (8, 0, 3, 4, 5, 1):
        assert data.sample(row)["x"].tolist() == [10**row, row]


@pytest.mark.slow
def test_memory_of_many_rows(tmp_path: Path) -> None:
    count = 30_000
    write(tmp_path, "a,b,y\n" + "".join(f"{row},0.25,{row % 7}\n" for row in range(count)))
    tracemalloc.start()
    data = open_dataset(tmp_path, X).choose(256, 0)
    labels = data.labels
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels is not None and len(labels) == len(data) == 256
    # 8 bytes a row, what an array that grows has to spare, and a window of the file
    assert held < peak < 10 * count + 2 * lines.WINDOW
