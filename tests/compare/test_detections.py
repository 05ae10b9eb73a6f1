"""mAP, held against pycocotools called by hand, over every way that boxes can be written."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from qtool import model
from qtool.compare.judge import compare
from qtool.compare.truth.boxes import of_candidates, overlaps, suppressed
from qtool.compare.truth.coco import Images
from qtool.data import open_dataset
from qtool.data.detections import DetectionDeclaration
from qtool.errors import MachineError, install_command

Array = NDArray[Any]
Build = Callable[..., Path]
RNG = np.random.default_rng(6)
IMAGES, BOXES, SIDE, CLASSES = 24, 6, 64, 3
TRUE = np.concatenate([c := RNG.integers(0, 40, (IMAGES, BOXES, 2)), c + 16], axis=-1).astype(float)
KIND = RNG.integers(0, CLASSES, (IMAGES, BOXES))
GUESS = TRUE + RNG.normal(size=TRUE.shape) * 1.5
SCORES = (
    np.where(np.arange(CLASSES) == KIND[..., None], 0.8, 0.1)
    + RNG.random((IMAGES, BOXES, CLASSES)) * 0.2
)
ROWS = np.concatenate([GUESS, SCORES], axis=-1).astype(np.float32)


def truth(width: int = SIDE, height: int = SIDE) -> dict[str, Any]:
    grow = np.array([width, height, width, height]) / SIDE
    return {
        "images": [{"id": 10 + i, "width": width, "height": height} for i in range(IMAGES)],
        "categories": [{"id": 7 + k, "name": str(k)} for k in range(CLASSES)],
        "annotations": [
            {
                "id": 1 + i * BOXES + j,
                "image_id": 10 + i,
                "category_id": 7 + int(KIND[i, j]),
                "bbox": [*(box := TRUE[i, j] * grow)[:2], *(box[2:] - box[:2])],
            }
            for i in range(IMAGES)
            for j in range(BOXES)
        ],
    }


def by_hand(file: Path, rows: Array, overlap: float = 0.6) -> float:
    """pycocotools' mAP@[.5:.95] of rows (n, candidates, 4 + classes)."""
    how = DetectionDeclaration(overlap=overlap)
    found = []
    for image, candidates in enumerate(rows):
        boxes, kinds, scores = of_candidates(candidates, how)
        for box, kind, score in zip(boxes, kinds, scores, strict=True):
            sides = [*box[:2], *(box[2:] - box[:2])]
            found.append({"image_id": 10 + image, "category_id": 7 + int(kind),
                          "bbox": sides, "score": score})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        boxes = COCO(str(file))
        for each in boxes.dataset["annotations"]:
            each |= {"iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
        judged = COCOeval(boxes, boxes.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])


def outputs(form: str, rows: Array) -> Array:
    """The rows with their boxes written in another form."""
    boxes, size = rows[..., :4], rows[..., 2:4] - rows[..., :2]
    if form == "xywh":
        boxes = np.concatenate([rows[..., :2], size], axis=-1)
    if form == "cxcywh":
        boxes = np.concatenate([rows[..., :2] + size / 2, size], axis=-1)
    return np.concatenate([boxes, rows[..., 4:]], axis=-1).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps(truth()))
    return folder


def run(build: Build, place: Path, x: Array, toml: str, body: str) -> Any:
    """Compare a model that gives what it is fed with one that moves all boxes."""
    (place / "qtool.toml").write_text(f"[data.detections]\n{toml}\n")
    shape = ",".join(map(str, x.shape[1:]))
    np.save(place / "x.npy", x)
    path = build("m", f"m (float[N,{shape}] x) => {body}")
    return compare(path, path, open_dataset(place, model.signature(model.load(path))))


@pytest.mark.parametrize(
    ("form", "layout"),
    [
        ("xyxy", "rows"), ("xywh", "columns"), ("cxcywh", "rows"),
        *(pytest.param(*each, marks=pytest.mark.slow)
          for each in (("xyxy", "columns"), ("xywh", "rows"), ("cxcywh", "columns"))),
    ],
)  # fmt: skip
def test_map_is_pycocotools(build: Build, place: Path, form: str, layout: str) -> None:
    x = outputs(form, ROWS)
    x = x if layout == "rows" else x.transpose(0, 2, 1).copy()
    shape = ",".join(map(str, x.shape[1:]))
    toml = f'boxes = "{form}"\nlayout = "{layout}"'
    found = run(build, place, x, toml, f"(float[N,{shape}] y) {{ y = Identity(x) }}")
    expected = by_hand(place / "annotations.json", ROWS)
    assert 0.2 < expected < 0.9
    assert found.scores["mAP"].reference == pytest.approx(expected, abs=2e-3)
    assert (found.scores["mAP"].drop, found.scores["mAP"].n) == (0, IMAGES)
    assert found.scores["mAP"].unit == "share"
    assert found.labelled == "y"


def test_relative_boxes_fit_images_of_any_size(build: Build, place: Path) -> None:
    (place / "annotations.json").write_text(json.dumps(truth(128, 320)))
    x = np.concatenate([ROWS[..., :4] / SIDE, ROWS[..., 4:]], axis=-1).astype(np.float32)
    shape = ",".join(map(str, x.shape[1:]))
    body = f"(float[N,{shape}] y) {{ y = Identity(x) }}"
    found = run(build, place, x, 'units = "relative"', body)
    grown = np.concatenate([ROWS[..., :4] * np.array([2, 5, 2, 5]), ROWS[..., 4:]], axis=-1)
    expected = by_hand(place / "annotations.json", grown)
    assert found.scores["mAP"].reference == pytest.approx(expected, abs=2e-3)


def test_pixels_are_those_of_the_input(build: Build, place: Path) -> None:
    """The input is (N, 1, 32, 16): boxes in its pixels, the images four and two times as large."""
    (place / "annotations.json").write_text(json.dumps(truth(64, 64)))
    rows = ROWS.copy()
    rows[..., [0, 2]] /= 4
    rows[..., [1, 3]] /= 2
    x = np.zeros((IMAGES, 1, 32, 16), np.float32)
    x.reshape(IMAGES, -1)[:, : BOXES * (4 + CLASSES)] = rows.reshape(IMAGES, -1)
    body = (
        f"(float[N,{BOXES},{4 + CLASSES}] y) <int64[2] flat = {{0, -1}}, int64[1] zero = {{0}},"
        f" int64[1] end = {{{BOXES * (4 + CLASSES)}}}, int64[1] one = {{1}},"
        f" int64[3] shape = {{0, {BOXES}, {4 + CLASSES}}}>"
        " { f = Reshape(x, flat) s = Slice(f, zero, end, one) y = Reshape(s, shape) }"
    )
    found = run(build, place, x, "", body)
    expected = by_hand(place / "annotations.json", ROWS)
    assert found.scores["mAP"].reference == pytest.approx(expected, abs=2e-3)


def test_three_outputs_of_a_model_that_suppresses_itself(build: Build, place: Path) -> None:
    best = ROWS[..., 4:].argmax(-1)
    only = np.where(np.arange(CLASSES) == best[..., None], ROWS[..., 4:], 0)
    rows = np.concatenate([ROWS[..., :4], only, 7.0 + best[..., None]], axis=-1).astype(np.float32)
    body = (
        f"(float[{BOXES},4] boxes, float[{BOXES}] scores, int64[{BOXES}] labels)"
        " <int64[1] zero = {0}, int64[1] four = {4}, int64[1] seven = {7}, int64[1] eight = {8},"
        " int64[1] last = {2}>"
        " { b = Slice(x, zero, four, last) boxes = Squeeze(b, zero)"
        " s = Slice(x, four, seven, last) t = ReduceMax<keepdims=0>(s, last)"
        " scores = Squeeze(t, zero)"
        " l = Slice(x, seven, eight, last) k = Squeeze(l, last) i = Squeeze(k, zero)"
        " labels = Cast<to=7>(i) }"
    )
    toml = 'box_output = "boxes"\nscore_output = "scores"\nlabel_output = "labels"'
    found = run(build, place, rows, toml, body)
    with_zeros = np.concatenate([ROWS[..., :4], only], axis=-1)
    expected = by_hand(place / "annotations.json", with_zeros, overlap=1)
    assert found.scores["mAP"].reference == pytest.approx(expected, abs=2e-3)


def test_an_output_of_another_shape_is_said(build: Build, place: Path) -> None:
    found = run(build, place, ROWS[..., :6], "", f"(float[N,{BOXES},6] y) {{ y = Identity(x) }}")
    assert not found.scores
    assert any("annotations.json" in n and "3 classes" in n for n in found.notes)


def test_resampling_with_every_image_once_is_the_value_itself(place: Path) -> None:
    images = Images(place / "annotations.json", range(10, 10 + IMAGES))
    rows = [
        (10 + image, images.categories[int(kind)], box, float(score))
        for image, candidates in enumerate(ROWS)
        for box, kind, score in zip(*of_candidates(candidates, DetectionDeclaration()), strict=True)
    ]
    judged = images.evaluate(rows)
    assert judged.again(np.ones(IMAGES, int)) == pytest.approx(judged.value, abs=1e-12)
    half = np.arange(IMAGES) < IMAGES // 2
    few = Images(place / "annotations.json", range(10, 10 + IMAGES // 2))
    alone = few.evaluate([row for row in rows if row[0] < 10 + IMAGES // 2])
    assert judged.again(half.astype(int)) == pytest.approx(alone.value, abs=1e-12)
    assert judged.again(2 * half.astype(int)) == pytest.approx(alone.value, abs=2e-3)


def test_no_boxes_at_all_score_nothing(place: Path) -> None:
    images = Images(place / "annotations.json", range(10, 10 + IMAGES))
    judged = images.evaluate([])
    assert (judged.value, judged.again(np.ones(IMAGES, int))) == (0, 0)


def test_overlaps_and_suppression() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [0, 0, 2, 2.2], [5, 5, 5, 5]], float)
    assert overlaps(boxes[0], boxes).tolist() == pytest.approx([1, 1 / 3, 1 / 1.1, 0])
    assert overlaps(boxes[3], boxes[3:]).tolist() == [0]
    assert suppressed(boxes, np.array([0.5, 0.9, 0.6, 0.1]), 0.6).tolist() == [1, 2, 3]


def test_without_pycocotools_the_extra_is_named(
    build: Build, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(MachineError, match="needs the package pycocotools") as caught:
        run(build, place, ROWS, "", f"(float[N,{BOXES},{4 + CLASSES}] y) {{ y = Identity(x) }}")
    assert caught.value.fix == install_command("detection")


def test_images_with_one_box_each_are_told_apart(build: Build, place: Path) -> None:
    """A model that gives boxes (k, 4) without an axis of images: k = 1 looks like one."""
    table = truth()
    table["annotations"] = [b for b in table["annotations"] if (b["id"] - 1) % BOXES == 0]
    (place / "annotations.json").write_text(json.dumps(table))
    x = np.concatenate([TRUE[:, 0], np.ones((IMAGES, 1)), 7 + KIND[:, :1]], axis=1)
    body = (
        "(float[k,4] boxes, float[k] scores, int64[k] labels)"
        " <int64[1] zero = {0}, int64[1] four = {4}, int64[1] five = {5}, int64[1] six = {6},"
        " int64[1] last = {1}>"
        " { boxes = Slice(x, zero, four, last) s = Slice(x, four, five, last)"
        " scores = Squeeze(s, last) l = Slice(x, five, six, last) i = Squeeze(l, last)"
        " labels = Cast<to=7>(i) }"
    )
    toml = 'box_output = "boxes"\nscore_output = "scores"\nlabel_output = "labels"'
    found = run(build, place, x.astype(np.float32), toml, body)
    assert found.scores["mAP"].reference == pytest.approx(1)


@pytest.mark.parametrize("odd", [{"area": None}, {"iscrowd": None}, {"area": "x", "iscrowd": "no"}])
def test_what_converters_leave_empty_is_filled_in(place: Path, odd: dict[str, Any]) -> None:
    images = Images(place / "annotations.json", range(10, 10 + IMAGES))
    table = truth()
    table["annotations"] = [box | odd for box in table["annotations"]]
    (place / "odd.json").write_text(json.dumps(table))
    other = Images(place / "odd.json", range(10, 10 + IMAGES))
    rows = [(10, 7, TRUE[0, 0], 0.5)]
    assert other.evaluate(rows).value == images.evaluate(rows).value


def test_images_without_boxes_have_no_score(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text(json.dumps(truth() | {"annotations": []}))
    judged = Images(tmp_path / "none.json", range(10, 10 + IMAGES)).evaluate([])
    assert np.isnan(judged.value) and np.isnan(judged.again(np.ones(IMAGES, int)))
