"""What holds for rows of every kind: columns to inputs, files, labels, texts, bad rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import Dataset, open_dataset
from qtool.signature import Signature
from tests.data.folders import declare, model, noise, refused, save_arrays
from tests.data.tables import SAVE, Columns

X = model(x=("N", 2))
AB: Columns = {"a": [0.5, 1.5, 2.5, 3.5, 4.5], "b": [10, 11, 12, 13, 14]}


@pytest.fixture(params=list(SAVE))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def save(kind: str, tmp_path: Path) -> Any:
    """Columns to a file of the format, `iris` where no name is given."""
    return lambda columns, name="iris": SAVE[kind](tmp_path / f"{name}.{kind}", columns)


def values(data: Dataset, name: str = "x") -> list[Any]:
    return [data.sample(index)[name].tolist() for index in range(len(data))]


# --- columns to inputs -------------------------------------------------------------------------


def test_all_columns_in_their_order(tmp_path: Path, kind: str, save: Any) -> None:
    save({**AB, "target": [0, 1, 2, 1, 0]})
    for path in (tmp_path, tmp_path / f"iris.{kind}"):
        data = open_dataset(path, X)
        assert data.names == tuple(f"iris.{kind}[{row}]" for row in range(5))
        assert values(data) == [[0.5, 10], [1.5, 11], [2.5, 12], [3.5, 13], [4.5, 14]]
        assert data.sample(0)["x"].dtype == np.float32
        assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 1, 0]
        assert data.labels.dtype == np.int64 and data.classes is None
        assert data.describe() == "used 5 of 5 rows, float32 (2,), range 0.5 … 14"


def test_rows_in_any_order(tmp_path: Path, save: Any) -> None:
    save({"a": list(range(2000)), "b": [-number for number in range(2000)]})
    data = open_dataset(tmp_path, X)
    for row in (1999, 3, 1024, 0, 1023, 1):
        assert data.sample(row)["x"].tolist() == [row, -row]


def test_declared_columns_in_declared_order(tmp_path: Path, save: Any) -> None:
    save({**AB, "c": [1] * 5})
    declare(tmp_path, '[data.inputs.x]\ncolumns = ["b", "a"]\n')
    assert values(open_dataset(tmp_path, X))[1] == [11, 1.5]
    declare(tmp_path, '[data.inputs.x]\ncolumns = ["b"]\n')
    assert values(open_dataset(tmp_path, model(x=("N", 1))))[1] == [11]


def test_column_named_like_the_input_or_in_from(tmp_path: Path, save: Any) -> None:
    save({**AB, "c": [1, 2, 3, 4, 5]})
    declare(tmp_path, '[data.inputs.x]\nfrom = "c"\n')
    data = open_dataset(tmp_path, model(b=("N", 1), x=("N",)))
    assert values(data, "b")[1] == [11] and values(data)[1] == 2
    assert data.sample(1)["b"].shape == (1,) and data.sample(1)["x"].shape == ()
    assert next(data.batches(3))["x"].shape == (3,)


def test_the_rest_feeds_the_input_that_is_left(tmp_path: Path, save: Any) -> None:
    save({"a": AB["a"], "id": [5, 6, 7, 8, 9], "b": AB["b"], "y": [0] * 5})
    ids = model(id=("N",), dtype="int64").inputs
    data = open_dataset(tmp_path, Signature((*ids, *X.inputs), ()))
    assert data.sample(2)["id"].dtype == np.int64 and data.sample(2)["id"] == 7
    assert values(data)[2] == [2.5, 12]


def test_one_column_is_not_guessed_for_one_of_several(tmp_path: Path, save: Any) -> None:
    save(AB)
    signature = model(a=("N", 1), bb=("N", 1))
    refused(tmp_path, signature, 'no column "bb"', 'input "bb"', "did you mean 'b'?")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ('from = "c"', ['no column "c"', "the columns are a, b", 'from = "a"']),
        ('columns = ["a", "bb"]', ['no column "bb"', "did you mean 'b'?"]),
        ('columns = ["a"]', ["takes 2 values", "1 column: a", "name more", "[data.inputs.x]"]),
        ('columns = ["a", "a"]', ['"a" twice']),
        ('columns = ["a"]\nfrom = "a"', ["columns excludes from"]),
        ("columns = []", ['"columns"', "at least 1"]),
        ("resize = 3", ['"resize"', "means nothing", "columns, layout"]),
    ],
)
def test_bad_declarations(tmp_path: Path, save: Any, table: str, parts: list[str]) -> None:
    save(AB)
    declare(tmp_path, f"[data.inputs.x]\n{table}\n")
    refused(tmp_path, X, *parts)


def test_width_that_does_not_fit(tmp_path: Path, kind: str, save: Any) -> None:
    save({**AB, "species": [0] * 5})
    error = refused(tmp_path, X, "x float32 (N, 2) takes 2 values", "3 columns: a, b, species")
    assert 'label = "species"' in error.fix and "columns = [" in error.fix
    refused(tmp_path, model(x=("N", 9)), "takes 9 values", "for each of the 9 values")
    refused(tmp_path, model(x=("N",)), "takes 1 values", "3 columns")
    assert open_dataset(tmp_path, model(x=("N", "features"))).sample(0)["x"].shape == (3,)
    assert open_dataset(tmp_path, model(x=None)).sample(0)["x"].shape == (3,)


def test_shape_scale_mean_and_std_by_column(tmp_path: Path, save: Any) -> None:
    save(AB)
    declare(tmp_path, "[data.inputs.x]\nmean = [1.5, 10]\nstd = [1, 2]\n")
    assert values(open_dataset(tmp_path, X))[1] == [0, 0.5]
    declare(tmp_path, "[data.inputs.x]\nshape = [1, 2, 1]\n")
    data = open_dataset(tmp_path, model(x=("N", 1, 2, 1)))
    assert values(data)[1] == [[[1.5], [11]]]
    declare(tmp_path, "")
    refused(tmp_path, model(x=("N", 1, 2, 1)), "add  shape = [1, 2, 1]")


def test_types(tmp_path: Path, save: Any) -> None:
    save({"a": [1, 0], "b": [0, 1]})
    for dtype in ("int64", "uint8", "bool", "float64", "float16"):
        sample = open_dataset(tmp_path, model(x=("N", 2), dtype=dtype)).sample(0)["x"]
        assert sample.dtype == dtype and sample.tolist() == [1, 0]


def test_integers_stay_what_they_are(tmp_path: Path, save: Any) -> None:
    save({"x": [2**53 + 1, 3]})
    integers = model(x=("N", 1), dtype="int64")
    assert values(open_dataset(tmp_path, integers)) == [[2**53 + 1], [3]]
    refused(tmp_path, model(x=("N", 1), dtype="int32"), "iris", "does not fit")


def test_whole_floats_for_integers_and_no_others(tmp_path: Path, kind: str, save: Any) -> None:
    integers = model(x=("N", 1), dtype="int64")
    save({"x": [5.0, 6.0]})
    assert values(open_dataset(tmp_path, integers)) == [[5], [6]]
    save({"x": [5.0, 6.5]})
    refused(tmp_path, integers, f"iris.{kind}[1]", 'column "x" is 6.5', "wants int64")


# --- strings and texts -------------------------------------------------------------------------


def test_inputs_of_strings(tmp_path: Path, kind: str, save: Any) -> None:
    save({"town": ["Bern", "Zürich"], "age": [3, 4]})
    strings = model(town=("N", 1), dtype="str").inputs
    data = open_dataset(tmp_path, Signature((*strings, *model(age=("N", 1)).inputs), ()))
    assert values(data, "town") == [["Bern"], ["Zürich"]]
    batch = next(data.batches(2))["town"]
    assert batch.shape == (2, 1) and batch.dtype.kind == "U"
    assert data.describe().splitlines()[1] == "  town str (1,)"
    declare(tmp_path, "[data.inputs.town]\nscale = 2\n")
    refused(tmp_path, Signature(strings, ()), '"scale"', "nothing for strings")


def test_strings_that_are_numbers_or_missing(tmp_path: Path, kind: str, save: Any) -> None:
    save({"town": ["Bern", ""]})
    strings = model(town=("N", 1), dtype="str")
    refused(tmp_path, strings, f"iris.{kind}[1]", 'column "town" is empty')
    if kind != "csv":  # where everything is a string
        save({"town": [1, 2]})
        refused(tmp_path, strings, 'column "town" is 1', "wants text")


VOCABULARY = "[PAD]\n[UNK]\ngood\nbad\nfilm\n"
WORDS = '[data.inputs.ids]\nvocabulary = "words.txt"\nunit = "word"\n'


@pytest.fixture
def reviews(tmp_path: Path, save: Any) -> Path:
    (tmp_path / "words.txt").write_text(VOCABULARY)
    save({"stars": [1, 2, 3], "review": ["good film", "bad", "no, good"], "label": ["p", "n", "p"]})
    declare(tmp_path, WORDS + 'from = "review"\n')
    return tmp_path


def test_texts(reviews: Path) -> None:
    data = open_dataset(reviews, model(ids=("N", "L"), dtype="int64"))
    assert values(data, "ids") == [[2, 4], [3], [1, 2]]
    assert data.columns["ids"].text and data.columns["ids"].text(2) == "no, good"
    assert data.classes == ("n", "p") and data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]


def test_texts_with_mask_zeros_and_numbers(reviews: Path) -> None:
    beside = '[data.inputs.mask]\nfrom = "mask"\n[data.inputs.types]\nfrom = "zeros"\n'
    declare(reviews, f'{beside}{WORDS}from = "review"\n')
    shapes: dict[str, Any] = {"mask": ("N", 3), "ids": ("N", 3), "types": ("N", 3)}
    data = open_dataset(reviews, model(**shapes, stars=("N", 1), dtype="int64"))
    sample = {name: array.tolist() for name, array in data.sample(0).items()}
    assert sample == {"mask": [1, 1, 0], "ids": [2, 4, 0], "types": [0, 0, 0], "stars": [1]}


def test_the_only_column_is_the_text(reviews: Path, save: Any) -> None:
    save({"text of it": ["good", "bad"], "label": [0, 1]})
    for source in ("", 'from = "text"\n'):
        declare(reviews, WORDS + source)
        data = open_dataset(reviews, model(ids=("N", "L"), dtype="int64"))
        assert values(data, "ids") == [[2], [3]]


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (WORDS, ["which column is the text", "stars, review", 'from = "stars"']),
        (WORDS + 'from = "revue"', ['no column "revue"', "did you mean 'review'?"]),
        ('[data.inputs.ids]\nfrom = "text"', ["neither a vocabulary nor a tokenizer"]),
        ('[data.inputs.ids]\nfrom = "mask"', ["which text the mask", "0 inputs declare"]),
        (WORDS + 'columns = ["review"]', ["columns excludes"]),
    ],
)
def test_texts_that_are_not_declared_well(reviews: Path, table: str, parts: list[str]) -> None:
    declare(reviews, table + "\n")
    refused(reviews, model(ids=("N", "L"), dtype="int64"), *parts)


def test_texts_that_are_bad(reviews: Path, kind: str, save: Any) -> None:
    ids = model(ids=("N", 2), dtype="int64")
    save({"review": ["good", "good bad film"]})
    refused(reviews, ids, f"iris.{kind}[1]", "3 tokens", "max_length = 2")
    save({"review": ["good", ""]})
    refused(reviews, ids, f"iris.{kind}[1]", 'column "review" is empty')


def test_texts_txt_beside_rows_is_in_doubt(reviews: Path, kind: str) -> None:
    (reviews / "README.txt").write_text("about")
    ids = model(ids=("N", "L"), dtype="int64")
    assert len(open_dataset(reviews, ids)) == 3
    (reviews / "texts.txt").write_text("good\n")
    refused(reviews, ids, f"text and {kind} files")


# --- files -------------------------------------------------------------------------------------


def test_several_files_in_name_order(tmp_path: Path, kind: str, save: Any) -> None:
    save({"b": [3], "a": [4], "y": ["q"]}, "part-1")
    save({"a": [0, 1], "b": [5, 6], "y": ["r", "q"]}, "part-0")
    data = open_dataset(tmp_path, X)
    assert data.names == tuple(f"part-{n}.{kind}[{i}]" for n, i in ((0, 0), (0, 1), (1, 0)))
    assert values(data) == [[0, 5], [1, 6], [4, 3]]
    assert data.labels is not None and data.labels.tolist() == [1, 0, 0]
    assert len(open_dataset(tmp_path / f"part-1.{kind}", model(x=("N", 2)))) == 1


def test_several_files_with_other_columns(tmp_path: Path, kind: str, save: Any) -> None:
    save(AB, "1")
    save({"a": [1], "c": [2]}, "2")
    refused(tmp_path, X, f"2.{kind} has other columns than 1.{kind}", '"b"', '"c"', "the same")


def test_a_choice_of_rows(tmp_path: Path, save: Any) -> None:
    save({"a": list(range(50)), "b": list(range(50)), "y": list(range(50))})
    chosen = open_dataset(tmp_path, X).choose(7, 3)
    assert chosen.labels is not None and len(chosen.labels) == 7
    for index, label in enumerate(chosen.labels):
        assert chosen.sample(index)["x"].tolist() == [label, label]
        assert chosen.names[index].endswith(f"[{label}]")


def test_one_folder_for_each_input(tmp_path: Path, kind: str) -> None:
    tables: dict[str, Columns] = {"a": {"k": [1, 2]}, "b": {"k": [3, 4], "z": ["u", "v"]}}
    for name, columns in tables.items():
        (tmp_path / name).mkdir()
        SAVE[kind](tmp_path / name / f"rows.{kind}", columns)
    declare(tmp_path, '[data]\nlabel = "z"\n')
    data = open_dataset(tmp_path, model(a=("N", 1), b=("N", 1)))
    assert values(data, "a") == [[1], [2]] and values(data, "b") == [[3], [4]]
    assert data.classes == ("u", "v")
    declare(tmp_path, '[data]\nlabel = "zz"\n[data.inputs.b]\ncolumns = ["k"]\n')
    refused(tmp_path, model(a=("N", 1), b=("N", 1)), '"zz"', "no folder has such a column")


def test_no_rows(tmp_path: Path, kind: str, save: Any) -> None:
    save({"a": [], "b": []})
    refused(tmp_path, X, "the file is empty" if kind == "jsonl" else "holds no samples")


def test_rows_beside_arrays(tmp_path: Path, kind: str, save: Any) -> None:
    save(AB)
    save_arrays(tmp_path, {"0": noise(2)})
    refused(tmp_path, X, f"npy and {kind} files", "one kind")


def test_fingerprint_reads_the_files(tmp_path: Path, save: Any) -> None:
    save(AB)
    before = open_dataset(tmp_path, X).fingerprint
    save({**AB, "b": [10, 11, 12, 13, 15]})
    assert open_dataset(tmp_path, X).fingerprint != before


# --- bad rows ----------------------------------------------------------------------------------


def test_skipping_bad_rows(tmp_path: Path, kind: str, save: Any) -> None:
    save({"a": [0.5, float("nan"), 2.5], "b": [1, 2, 3], "y": ["u", "v", "w"]})
    refused(tmp_path, X, f"cannot use {tmp_path}/iris.{kind}[1]", 'column "a" is nan', "skip")
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.names == (f"iris.{kind}[0]", f"iris.{kind}[2]")
    assert data.skipped == (f"iris.{kind}[1]",) and values(data) == [[0.5, 1], [2.5, 3]]
    assert data.classes == ("u", "v", "w") and data.labels is not None
    assert data.labels.tolist() == [0, 2] and data.total == 3


def test_skipping_a_bad_file(tmp_path: Path, kind: str, save: Any) -> None:
    save(AB, "1")
    for content, why in ((b"", "the file is empty"), (b"\xff\xfea\x00", "")):
        (tmp_path / f"2.{kind}").write_bytes(content)
        refused(tmp_path, X, f"2.{kind}", why)
        data = open_dataset(tmp_path, X, on_bad_file="skip")
        assert data.skipped == (f"2.{kind}",) and len(data) == 5 and data.total == 6
    (tmp_path / f"1.{kind}").unlink()
    with pytest.raises(Exception, match="cannot"):
        open_dataset(tmp_path, X, on_bad_file="skip")


def test_file_that_is_cut_after_it_was_opened(tmp_path: Path, kind: str, save: Any) -> None:
    save({"a": list(range(100_000)), "b": list(range(100_000))})
    data = open_dataset(tmp_path, X)
    path = tmp_path / f"iris.{kind}"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Exception, match=rf"cannot read .*iris\.{kind}"):
        data.sample(99_999)
