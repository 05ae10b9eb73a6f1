"""The text reader: vocabularies, tokenizers, masks, padding to a fixed length."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from qtool.errors import MachineError, install_command
from tests.data.folders import declare, model, refused

IDS = model(ids=("N", "L"), dtype="int64")
THREE = model(ids=("N", "L"), mask=("N", "L"), types=("N", "L"), dtype="int64")
FIXED = model(ids=("N", 5), mask=("N", 5), types=("N", 5), dtype="int64")

VOCABULARY = "[PAD]\n[UNK]\n[SPACE]\na\nb\nä\n"
TABLE = '[data.inputs.ids]\nfrom = "text"\nvocabulary = "words.txt"\n'
BESIDE = '[data.inputs.mask]\nfrom = "mask"\n[data.inputs.types]\nfrom = "zeros"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three texts with a character vocabulary beside them."""
    (tmp_path / "words.txt").write_text(VOCABULARY, encoding="utf-8")
    (tmp_path / "texts.txt").write_text("ab\na b\nxäba\n", encoding="utf-8")
    declare(tmp_path, TABLE)
    return tmp_path


def test_characters(folder: Path) -> None:
    data = open_dataset(folder, IDS)
    assert data.names == ("texts.txt[0]", "texts.txt[1]", "texts.txt[2]")
    assert data.unit == "lines"
    samples = [data.sample(index)["ids"] for index in range(3)]
    assert [sample.tolist() for sample in samples] == [[3, 4], [3, 2, 4], [1, 5, 4, 3]]
    assert all(sample.dtype == np.int64 for sample in samples)


def test_words(folder: Path) -> None:
    (folder / "words.txt").write_text("[UNK]\ngood\nbad\n")
    (folder / "texts.txt").write_text("  good  strange bad\n")
    declare(folder, TABLE + 'unit = "word"\n')
    assert open_dataset(folder, IDS).sample(0)["ids"].tolist() == [1, 0, 2]


def test_max_length_cuts(folder: Path) -> None:
    declare(folder, TABLE + "max_length = 2\n")
    assert open_dataset(folder, IDS).sample(2)["ids"].tolist() == [1, 5]


def test_mask_and_zeros_without_padding(folder: Path) -> None:
    declare(folder, TABLE + BESIDE)
    sample = open_dataset(folder, THREE).sample(1)
    assert {name: array.tolist() for name, array in sample.items()} == {
        "ids": [3, 2, 4],
        "mask": [1, 1, 1],
        "types": [0, 0, 0],
    }


def test_padding_where_the_model_is_fixed(folder: Path) -> None:
    declare(folder, TABLE + BESIDE)
    data = open_dataset(folder, FIXED)
    assert data.sample(1)["ids"].tolist() == [3, 2, 4, 0, 0]
    assert data.sample(1)["mask"].tolist() == [1, 1, 1, 0, 0]
    assert data.sample(1)["types"].tolist() == [0] * 5


def test_padding_needs_a_pad_token(folder: Path) -> None:
    (folder / "words.txt").write_text("[UNK]\na\nb\n")
    refused(folder, model(ids=("N", 5), dtype="int64"), "texts.txt[0]", "[PAD]")


def test_longer_than_the_model(folder: Path) -> None:
    (folder / "texts.txt").write_text("ab\nabababab\n")
    signature = model(ids=("N", 5), dtype="int64")
    refused(folder, signature, "texts.txt[1] (line 2)", "8 tokens", "max_length = 5")


def test_floats_for_a_mask_of_floats(folder: Path) -> None:
    declare(folder, TABLE + BESIDE)
    sample = open_dataset(folder, model(ids=("N", "L"), mask=("N", "L"), types=("N", "L"))).sample(
        0
    )
    assert sample["mask"].dtype == np.float32


def test_lines_end_only_at_newlines(folder: Path) -> None:
    content = "\ufeffa\u2028b\r\n\ufeffb\x0ca\nab"
    (folder / "texts.txt").write_text(content, encoding="utf-8", newline="")
    data = open_dataset(folder, IDS)
    assert [data.sample(i)["ids"].tolist() for i in range(3)] == [[3, 1, 4], [1, 4, 1, 3], [3, 4]]
    assert len(data) == 3


def test_any_single_text_file_will_do(folder: Path) -> None:
    (folder / "texts.txt").rename(folder / "reviews.txt")
    assert open_dataset(folder, IDS).names[0] == "reviews.txt[0]"
    (folder / "more.txt").write_text("a\n")
    refused(folder, IDS, "2 text files", "more.txt, reviews.txt", "texts.txt")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ab\n\nab\n", "no tokens"),
        (b"ab\n\xff\xfe\nab\n", "utf-8"),
    ],
)
def test_bad_lines(folder: Path, content: bytes, why: str) -> None:
    (folder / "texts.txt").write_bytes(content)
    refused(folder, IDS, "texts.txt[1] (line 2)", why)


def test_unknown_token_without_unk(folder: Path) -> None:
    (folder / "words.txt").write_text("a\nb\n")
    refused(folder, IDS, "texts.txt[1]", "' ' is not in words.txt", "[UNK]")


def test_token_that_stands_twice(folder: Path) -> None:
    (folder / "words.txt").write_text("a\nb\na\n")
    refused(folder, IDS, "words.txt", "'a' twice")


def test_texts_that_nothing_is_said_about(folder: Path) -> None:
    declare(folder, "")
    refused(folder, IDS, "no samples", 'vocabulary = "vocabulary.txt"', "[data.inputs.ids]")
    declare(folder, '[data.inputs.ids]\nfrom = "text"\n')
    refused(folder, IDS, "neither a vocabulary nor a tokenizer", "[data.inputs.ids]")
    declare(folder, TABLE + '[data.inputs.types]\nfrom = "zeros"\n')
    refused(folder, THREE, 'input "mask"', 'from = "mask"', "[data.inputs.mask]")


@pytest.mark.parametrize(
    "name", ["../words.txt", "/etc/passwd", "link.vocabulary", "FOLDER/inner/texts.txt"]
)
def test_vocabulary_must_be_inside(folder: Path, name: str) -> None:
    name = name.replace("FOLDER", str(folder))
    inner = folder / "inner"
    inner.mkdir()
    (inner / "texts.txt").write_text("ab\n")
    (inner / "link.vocabulary").symlink_to(folder / "words.txt")
    declare(inner, TABLE.replace("words.txt", name))
    refused(inner, IDS, name, "leads out of its folder")


def test_vocabulary_that_is_not_there(folder: Path) -> None:
    declare(folder, TABLE.replace("words.txt", "word.txt"))
    refused(folder, IDS, "word.txt", "no such file")


def test_vocabulary_counts_in_the_fingerprint(folder: Path) -> None:
    before = open_dataset(folder, IDS).fingerprint
    (folder / "words.txt").write_text(VOCABULARY.replace("b", "c"), encoding="utf-8")
    assert open_dataset(folder, IDS).fingerprint != before


# --- tokenizers --------------------------------------------------------------------------------

TOKENIZER = TABLE.replace('vocabulary = "words.txt"', 'tokenizer = "tokenizer.json"')


class FakeTokenizer:
    """What we use of tokenizers.Tokenizer: one id per letter, 100 in front."""

    def __init__(self, content: str) -> None:
        self.content, self.length = content, 10**6
        self.padding: dict[str, int] | None = {"pad_id": 7}

    @classmethod
    def from_str(cls, content: str) -> FakeTokenizer:
        return cls(content)

    def no_padding(self) -> None:
        self.padding = None

    def enable_truncation(self, length: int) -> None:
        self.length = length

    def token_to_id(self, token: str) -> int | None:
        return None

    def encode(self, text: str) -> Any:
        padded = [0] * 20 if self.padding else []
        ids = [100, *(ord(letter) - ord("a") for letter in text)]
        return SimpleNamespace(ids=ids[: self.length] + padded)


def test_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tokenizers")
    module.Tokenizer = FakeTokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tokenizers", module)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "texts.txt").write_text("abcd\nab\n")
    declare(folder, TOKENIZER + "max_length = 4\n" + BESIDE)
    data = open_dataset(folder, THREE)
    assert data.sample(0)["ids"].tolist() == [100, 0, 1, 2]
    data = open_dataset(folder, FIXED)
    assert data.sample(1)["ids"].tolist() == [100, 0, 1, 7, 7]
    assert data.sample(1)["mask"].tolist() == [1, 1, 1, 0, 0]


def test_real_tokenizer(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[UNK]": 1, "good": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    (folder / "texts.txt").write_text("good strange\n")
    declare(folder, TOKENIZER)
    assert open_dataset(folder, IDS).sample(0)["ids"].tolist() == [2, 1]


def test_tokenizer_without_its_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (folder / "tokenizer.json").write_text("{}")
    declare(folder, TOKENIZER)
    with pytest.raises(MachineError) as caught:
        open_dataset(folder, IDS)
    assert caught.value.fix == install_command("tokenizers")
