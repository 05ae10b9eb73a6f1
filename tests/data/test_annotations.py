"""annotations.json: which image each sample is, and files that are no ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import Dataset, open_dataset
from qtool.data.remote import located
from qtool.errors import DataError
from tests.data.folders import contains, floats, model, noise, save_arrays, save_image
from tests.data.remotes import Counted, forget, upload

X = model(x=("N", 2))
SAMPLES = Path(__file__).parents[2] / "sample_models"


def truth(*files: str | None, ids: list[int] | None = None) -> dict[str, Any]:
    """An image for each file_name, with as many boxes as its place says."""
    ids = ids or list(range(10, 10 + len(files)))
    images = [
        {"id": n, "width": 64, "height": 48.0} | ({"file_name": f} if f is not None else {})
        for n, f in zip(ids, files, strict=True)
    ]
    boxes = [
        {"image_id": n, "category_id": 9, "bbox": [0, 1.5, 2, 0]}
        for place, n in enumerate(ids)
        for _ in range(place)
    ]
    return {"images": images, "annotations": boxes, "categories": [{"id": 9}, {"id": 3}]}


def folder_of(folder: Path, names: str, content: Any) -> Path:
    save_arrays(folder, {name: floats(2) for name in names.split()})
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    return folder


def images_of(data: Dataset) -> dict[str, int]:
    assert data.annotations is not None and data.annotations.images.dtype == np.int64
    return dict(zip(data.names, data.annotations.images.tolist(), strict=True))


def refused(folder: Path, *parts: str) -> DataError:
    """It opens all the same: annotations are read when they are asked for."""
    data = open_dataset(folder, X)
    with pytest.raises(DataError) as caught:
        _ = data.annotations
    contains(caught.value, *parts)
    return caught.value


@pytest.mark.parametrize(
    "form", ["{}.npy", "{}", "{}.jpg", "val/{}.npy", "val/{}.jpg", "/a/b/{}.v2.npy"]
)
def test_images_by_name(tmp_path: Path, form: str) -> None:
    names = ("a.v2", "b.v2", "c.v2") if "v2" in form else ("a", "b", "c")
    content = truth(*(form.format(name) for name in "cab"), ids=[7, 5, 6])
    data = open_dataset(folder_of(tmp_path, " ".join(names), content), X)
    assert list(images_of(data).values()) == [5, 6, 7]
    assert data.annotations is not None
    assert data.annotations.file.path == tmp_path / "annotations.json"
    assert data.annotations.boxes.tolist() == [1, 2, 0]
    assert data.annotations.categories == (3, 9)
    assert data.labels is None and list(data.paths())[-1] == tmp_path / "annotations.json"


def test_images_in_folders(tmp_path: Path) -> None:
    for name in ("0/a", "1/b", "1/a"):
        save_image(tmp_path / f"{name}.png", noise(4, 4, 3))
    content = truth("1/a.png", "0/a.jpg", "b.png", ids=[1, 2, 3])
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    data = open_dataset(tmp_path, model(x=("N", 3, 4, 4)))
    assert images_of(data) == {"0/a.png": 2, "1/a.png": 1, "1/b.png": 3}
    assert data.classes == ("0", "1")


def test_images_that_are_no_samples(tmp_path: Path) -> None:
    content = truth("b.npy", "x.npy", "a.npy", "a.png", None)
    data = open_dataset(folder_of(tmp_path, "a b", content), X)
    assert images_of(data) == {"a.npy": 12, "b.npy": 10}


@pytest.mark.parametrize(
    ("samples", "files"),
    [
        ("a.npy sub/a.npy", ["val/a.npy", "sub/a.npy"]),  # the last part of a name, before ends
        ("a.npy sub/a.npy", ["val/a.jpg", "sub/a.jpg"]),
        ("x/a.png x/a.jpg y/a.png", ["x/a.png", "x/a.jpg", "y/a.png"]),  # whole, before all else
        ("x/a.png x/a.jpg y/b.png", ["a.png", "a.jpg", "b.jpg"]),  # ends with and without suffix
        ("None.npy", ["None.npy", None]),
    ],
)
def test_the_closest_name_counts(tmp_path: Path, samples: str, files: list[str | None]) -> None:
    for name in samples.split():
        if name.endswith(".npy"):
            save_arrays(tmp_path, {name.removesuffix(".npy"): floats(3, 4, 4)})
        else:
            save_image(tmp_path / name, noise(4, 4, 3))
    content = truth(*files, ids=[30, 20, 10][: len(files)])
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    found = images_of(open_dataset(tmp_path, model(x=("N", 3, 4, 4))))
    assert found == dict(zip(samples.split(), (30, 20, 10), strict=False))


def test_images_in_order_where_no_name_matches(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"x": floats(3, 2)})
    for names in (("000.png", "001.png", "002.png"), (None, None, None), ("x.png", "", "q")):
        content = truth(*names, ids=[8, 2, 5])
        (tmp_path / "annotations.json").write_text(json.dumps(content))
        data = open_dataset(tmp_path, X)
        assert images_of(data) == {"x.npy[0]": 2, "x.npy[1]": 5, "x.npy[2]": 8}
        assert data.annotations is not None and data.annotations.boxes.tolist() == [1, 2, 0]


def test_order_in_doubt(tmp_path: Path) -> None:
    names = [str(number) for number in range(11)]
    folder_of(tmp_path, " ".join(names), truth(*(f"img{name}" for name in names)))
    refused(tmp_path, "order", "in doubt", "10.npy comes before 2.npy", "file_name")
    folder_of(tmp_path, " ".join(names), truth(*names))
    assert images_of(open_dataset(tmp_path, X))["10.npy"] == 20


def test_the_sample_model() -> None:
    path = SAMPLES / "digits_detector"
    signature = model(image=("N", 1, 64, 64))
    data = open_dataset(path / "eval", signature)
    assert list(images_of(data).values()) == list(range(300))
    chosen = data.choose(7, 0)
    assert all(name == f"image.npz[{image}]" for name, image in images_of(chosen).items())
    assert chosen.annotations is not None and chosen.annotations.categories == tuple(range(10))
    assert ((chosen.annotations.boxes >= 2) & (chosen.annotations.boxes <= 5)).all()
    assert open_dataset(path / "calib", signature).annotations is None


@pytest.mark.parametrize("names", [("c", "a", "b"), (None, None, None)])
def test_images_follow_choice_and_skip(tmp_path: Path, names: Any) -> None:
    folder_of(tmp_path, "a b c", truth(*names, ids=[3, 1, 2]))
    save_arrays(tmp_path, {"a": floats(3)})
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert images_of(data) == {"b.npy": 2, "c.npy": 3}
    assert images_of(data.choose(1, 0)).items() <= images_of(data).items()
    assert data.annotations is not None and len(data.annotations.boxes) == 2


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (["a.npy"], ["no image for b.npy", 'file_name "b.npy"']),
        (["x", "y", "z"], ["does not belong", "3 of them and 2 samples"]),
        ([], ["does not belong", "0 of them"]),
        (["u/a.npy", "v/a.npy", "b"], ["images 10 and 11 of annotations.json are both a.npy"]),
    ],
)
def test_samples_and_images_that_do_not_agree(
    tmp_path: Path, files: list[str], parts: list[str]
) -> None:
    refused(folder_of(tmp_path, "a b", truth(*files)), *parts)


def test_many_samples_without_image(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(43)]
    folder_of(tmp_path, " ".join(names), truth("07.png"))
    error = refused(tmp_path, "42 of 43 samples", "no image for 04.npy", "and 37 more")
    assert "05.npy" not in error.why


def changed(**keys: Any) -> dict[str, Any]:
    """`truth("a")` with a box, with these in place of what a path of keys names."""
    content = truth("a")
    content["annotations"] = [{"image_id": 10, "category_id": 9, "bbox": [0, 0, 1, 1]}]
    for path, value in keys.items():
        place: Any = content
        *folders, last = [int(p) if p.isdigit() else p for p in path.split("__")]
        for folder in folders:
            place = place[folder]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "Input should be an object"),
        ("{", "Invalid JSON"),
        ('{"images": ' + "[" * 10_000, "Invalid JSON"),
        (changed(images=None), "images: field required"),
        (changed(annotations={}), "annotations: input should be a valid array"),
        (changed(categories=None), "categories: field required"),
        (changed(images__0__id="1"), "images[0].id: input should be a valid integer"),
        (changed(images__0__id=2**63), "images[0].id: "),
        (changed(images__0__width=None), "images[0].width: field required"),
        (changed(images__0__height=0), "images[0].height: input should be greater than 0"),
        (changed(images__0__file_name=3), "images[0].file_name: input should be a valid string"),
        (changed(annotations__0__bbox=None), "annotations[0].bbox: field required"),
        (changed(annotations__0__bbox=[0, 1, 2]), "annotations[0].bbox[3]: field required"),
        (changed(annotations__0__bbox=[0] * 5), "annotations[0].bbox: tuple should have at most 4"),
        (changed(annotations__0__bbox=[0, 0, 1, "1"]), "bbox[3]: input should be a valid number"),
        (changed(annotations__0__bbox=[0, 0, float("nan"), 1]), "bbox[2]: input should be a fin"),
        (
            changed(annotations__0__bbox=[0, 0, 1, -1]),
            "bbox[3]: input should be greater than or equal to 0",
        ),
        (changed(annotations__0__image_id=None), "annotations[0].image_id: field required"),
        (changed(annotations__0__image_id=7), "have the image_id 7, and no image has it"),
        (changed(annotations__0__category_id=1), "have the category_id 1, and no category"),
        (changed(categories__0__id=3), "two of the categories have the id 3"),
        (changed(images=truth("a", "b", ids=[4, 4])["images"]), "two of the images have the id 4"),
        (changed(images=[{}, {}]), "images[0].id: field required, and 5 more"),
    ],
)
def test_no_ground_truth(tmp_path: Path, content: Any, why: str) -> None:
    error = refused(folder_of(tmp_path, "a", content), "annotations.json is no ground truth", why)
    assert "categories (id)" in error.fix


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    refused(folder_of(tmp_path / "empty", "a", ""), "cannot read", "the file is empty")
    outside = tmp_path / "elsewhere.json"
    outside.write_text("{}")
    folder = folder_of(tmp_path / "link", "a", "")
    (folder / "annotations.json").unlink()
    (folder / "annotations.json").symlink_to(outside)
    refused(folder, "cannot read", "outside the data folder")


def test_nothing_but_json(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, X)
    contains(caught.value, "no samples", "only annotations.json")
    (tmp_path / "annotations.json").rename(tmp_path / "other.json")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, X)
    contains(caught.value, "no samples", "only .json files")


def test_at_a_url(tmp_path: Path) -> None:
    forget()
    folder_of(tmp_path, "a b", truth("b", "a"))
    data = open_dataset(located(upload(tmp_path, "counted://bucket/boxes")), X)
    assert not any(name.endswith(".json") for name in Counted.fetched)
    assert images_of(data) == {"a.npy": 11, "b.npy": 10}
    assert data.annotations is not None
    assert json.loads(data.annotations.file.path.read_text())["categories"]
    folder_of(tmp_path, "a b", "{}")
    remote = open_dataset(located(upload(tmp_path, f"memory://{tmp_path.name}")), X)
    with pytest.raises(DataError, match=rf"memory://{tmp_path.name}/annotations\.json"):
        _ = remote.annotations
