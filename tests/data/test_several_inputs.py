"""Models with several inputs: one folder each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qtool.data import open_dataset
from qtool.signature import Signature
from tests.data.folders import declare, model, noise, refused, save_arrays, save_image

TWO = Signature(
    (*model(image=("N", 3, 4, 4)).inputs, *model(mask=("N", 4, 4), dtype="uint8").inputs), ()
)


def two_inputs(folder: Path, images: str, masks: str) -> None:
    for number, key in enumerate(images.split()):
        save_image(folder / "image" / f"{key}.png", noise(4, 4, 3, seed=number))
    for key in masks.split():
        save_arrays(folder, {f"mask/{key}": np.full((4, 4), ord(key[-1]), np.uint8)})


def test_one_folder_for_each_input(tmp_path: Path) -> None:
    # a.o.png comes before a.png, and a.o.npy after a.npy
    two_inputs(tmp_path, "b a a.o", "a a.o b")
    (tmp_path / "labels.csv").write_text("file,label\na,1\nb,2\na.o,3\n")
    data = open_dataset(tmp_path, TWO)
    assert data.names == ("image/a.o.png", "image/a.png", "image/b.png")
    assert [chr(data.sample(i)["mask"][0, 0]) for i in range(3)] == ["o", "a", "b"]
    assert data.labels is not None and data.labels.tolist() == [3, 1, 2]


def test_class_folders_inside_input_folders(tmp_path: Path) -> None:
    two_inputs(tmp_path, "x/a y/b", "y/b x/a")
    data = open_dataset(tmp_path, TWO)
    assert data.classes == ("x", "y")
    assert data.labels is not None and data.labels.tolist() == [0, 1]


def test_from_names_the_folder(tmp_path: Path) -> None:
    two_inputs(tmp_path, "a", "a")
    (tmp_path / "image").rename(tmp_path / "photos")
    (tmp_path / "mask").rename(tmp_path / "arrays")
    tables = '[data.inputs.image]\nfrom = "photos"\n[data.inputs.mask]\nfrom = "arrays"\n'
    declare(tmp_path, tables)
    assert open_dataset(tmp_path, TWO).names == ("photos/a.png",)


def test_class_folder_named_like_an_input(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"x/0": noise(2), "y/0": noise(2)})
    assert open_dataset(tmp_path, model(x=("N", 2))).classes == ("x", "y")


def test_input_folders_that_differ(tmp_path: Path) -> None:
    two_inputs(tmp_path, "a b", "b c")
    error = refused(tmp_path, TWO, '"a" has no file for input "mask"')
    assert 'sample "c" has no file for input "image"' in error.why


def test_input_folder_with_one_name_twice(tmp_path: Path) -> None:
    two_inputs(tmp_path, "a", "a")
    save_image(tmp_path / "image" / "a.jpg", noise(4, 4, 3))
    refused(tmp_path, TWO, "image", "two files of the name a")


def test_images_for_two_inputs(tmp_path: Path) -> None:
    save_image(tmp_path / "0.png", noise(4, 4, 3))
    refused(tmp_path, TWO, "feeds one input", "image, mask", "image/, mask/")


def test_sets_in_input_folders(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"a/x": np.zeros((5, 2)), "b/x": np.zeros((5, 3))})
    signature = model(a=("N", 2), b=("N", 3))
    assert len(open_dataset(tmp_path, signature)) == 5
    save_arrays(tmp_path, {"b/x": np.zeros((4, 3))})
    refused(tmp_path, signature, "different numbers", "a: 5, b: 4")
