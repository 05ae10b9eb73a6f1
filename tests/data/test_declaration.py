"""The `[data]` table: where it is found, and what is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from qtool.data import Declaration, find_declaration, open_dataset, parse_declaration
from qtool.errors import DataError
from tests.data.folders import contains, declare, model, noise, refused, save_arrays, save_image

X = model(x=("N", 2))


def parse(text: str) -> Declaration:
    return parse_declaration(tomllib.loads(text)["data"], Path())


def test_all_keys() -> None:
    declaration = parse("""
        [data]
        samples = "whole"
        [data.inputs.image]
        from = "images"
        color = "gray"
        resize = [224, 200]
        crop = [192, 192]
        interpolation = "lanczos"
        layout = "NHWC"
        model_layout = "NCHW"
        shape = [1, 28, 28]
        scale = 0.00392156862745098
        mean = [0.5]
        std = 1
        [data.inputs.ids]
        from = "text"
        vocabulary = "vocabulary.txt"
        unit = "word"
        max_length = 48
    """)
    image = declaration.input("image")
    assert (image.source, image.resize, image.std) == ("images", [224, 200], 1)
    assert declaration.input("ids").is_text and declaration.samples == "whole"
    assert declaration.source("other") == "other"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[data]\nsample = 'whole'", ['"sample" under [data]', "'samples'"]),
        ("[data]\nsamples = 'all'", ['"samples" under [data]', "'whole' or 'files'"]),
        ("[data.inputs.x]\ncolour = 'gray'", ['"colour"', "[data.inputs.x]", "'color'"]),
        ("[data.inputs.x]\nqq = 1", ['"qq"', "known keys: from, color"]),
        ("[data.inputs.x]\nsource = 'a'", ['"source"', "[data.inputs.x]"]),
        ("[data.inputs.x]\nresize = '8'", ['"resize"', "valid integer or"]),
        ("[data.inputs.x]\nresize = [8]", ['"resize"', "at least 2"]),
        ("[data.inputs.x]\nresize = 0", ['"resize"', "greater than 0"]),
        ("[data.inputs.x]\ncrop = [8, -8]", ['"crop"', "greater than 0"]),
        ("[data.inputs.x]\nstd = [1.0, 0.0]", ['"std"', "must not be 0"]),
        ("[data.inputs.x]\nmean = nan", ['"mean"', "finite"]),
        ("[data.inputs.x]\nscale = true", ['"scale"', "valid number"]),
        ("[data.inputs.x]\nlayout = 'HWC'", ['"layout"', "^N"]),
        ("[data.inputs.x]\nlayout = 'NWC'", ['"x"', "[data.inputs.x]", '"NCHW"', "other axes"]),
        ("[data.inputs.x]\nvocabulary='a'\ntokenizer='b'", ["exclude each other"]),
        ("[data]\ninputs = 3", ['"inputs" under [data]', "dictionary"]),
    ],
)
def test_what_is_wrong(text: str, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse(text)
    contains(caught.value, *parts, "qtool.toml")


def test_many_wrong_keys() -> None:
    with pytest.raises(DataError) as caught:
        parse("[data.inputs.x]\n" + "\n".join(f"k{n} = 1" for n in range(8)))
    contains(caught.value, '"k4"', "and 3 more")
    assert '"k5"' not in caught.value.why


def test_input_that_the_model_has_not(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": noise(2)})
    declare(tmp_path, "[data.inputs.imag]\nscale = 1\n")
    refused(tmp_path, model(image=("N", 2)), "[data.inputs.imag]", "did you mean 'image'?")


def test_toml_that_is_none(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": noise(2)})
    declare(tmp_path, "[data\n")
    refused(tmp_path, X, "qtool.toml", "line 1")


def test_where_it_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "calib"
    save_arrays(folder, {"0": np.ones(2)})
    assert open_dataset(folder, X).sample(0)["x"].max() == 1
    declare(tmp_path, "[data.inputs.x]\nscale = 2\n")
    assert open_dataset(folder, X).sample(0)["x"].max() == 2
    assert open_dataset(folder / "0.npy", X).sample(0)["x"].max() == 2
    declare(folder, "[other]\nkey = 1\n")  # a qtool.toml without [data] says nothing of data
    assert open_dataset(folder, X).sample(0)["x"].max() == 2
    declare(folder, "[data.inputs.x]\nscale = 3\n")
    assert open_dataset(folder, X).sample(0)["x"].max() == 3
    given = parse("[data.inputs.x]\nscale = 4")
    assert open_dataset(folder, X, given).sample(0)["x"].max() == 4


def test_parent_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calib").mkdir()
    declare(tmp_path, "[data]\nsamples = 'whole'\n")
    monkeypatch.chdir(tmp_path / "calib")
    assert find_declaration(Path()).samples == "whole"


def test_keys_that_mean_nothing_for_the_data(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": noise(2)})
    declare(tmp_path, "[data.inputs.x]\nresize = 8\n")
    refused(tmp_path, X, '"resize"', "[data.inputs.x]", "means nothing for npy", ".npy")
    (tmp_path / "0.npy").unlink()
    save_image(tmp_path / "0.png", noise(2, 2, 3))
    declare(tmp_path, '[data.inputs.x]\nlayout = "NHWC"\n')
    refused(tmp_path, X, '"layout"', "means nothing for image")


def test_within_moves_the_paths(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a\n")
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "texts.txt").write_text("aa\n")
    table = parse('[data.inputs.x]\nfrom = "text"\nvocabulary = "v.txt"')
    data = open_dataset(tmp_path / "calib", model(x=("N", "L")), table.within(tmp_path))
    assert data.sample(0)["x"].tolist() == [0, 0]
