"""Rows of every kind: columns of strings and of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qtool.data import open_dataset
from qtool.signature import Signature
from tests.data.folders import declare, model, refused
from tests.data.tables import values


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
