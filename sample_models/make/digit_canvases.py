"""Noisy gray canvases with a few enlarged digits on them, and where these stand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from digits_data import Digits
from PIL import Image

SIDE, CELL = 64, 8  # pixels of a canvas, and of a cell of the detector's grid
SMALLEST, LARGEST = 10, 18  # height of a digit
GAP = 1  # pixels between two digits at least
# Gray comes in steps of 16, as in the digits themselves: noise finer than that would only make the
# files large, which do not compress it.
STEP = 16


@dataclass(frozen=True)
class Canvas:
    image: np.ndarray  # uint8 (64, 64)
    boxes: np.ndarray  # int64 (digits, 4): x1, y1, x2, y2, the last two outside the digit
    labels: np.ndarray  # int64 (digits,)


def draw(digits: Digits, chance: np.random.Generator) -> Canvas:
    """Two to five digits that neither touch nor share the cell of their middles."""
    ink, boxes, labels = np.zeros((SIDE, SIDE)), [], []
    wanted = chance.integers(2, 6)
    while len(boxes) < wanted:
        row = chance.integers(len(digits.labels))
        patch = _enlarged(digits.images[row], chance)
        height, width = patch.shape
        for _ in range(20):
            x, y = chance.integers(SIDE - width + 1), chance.integers(SIDE - height + 1)
            box = np.array([x, y, x + width, y + height])
            if all(_apart(box, other) for other in boxes):
                ink[y : y + height, x : x + width] = patch * chance.uniform(0.6, 1)
                boxes.append(box)
                labels.append(digits.labels[row])
                break
    ground = chance.uniform(1, 5) + chance.normal(0, 0.4, ink.shape)
    levels = np.rint(ground + ink * (15 - ground)).clip(0, 15)
    return Canvas((levels * STEP).astype(np.uint8), np.array(boxes), np.array(labels))


def _enlarged(image: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """A digit in 0..1, cut to its ink: float64 (10..18, 4..18)."""
    rows, columns = (np.flatnonzero((image >= 4).any(axis)) for axis in (1, 0))
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height = int(chance.integers(SMALLEST, LARGEST + 1))
    width = round(height * cut.shape[1] / cut.shape[0] * chance.uniform(0.85, 1.15))
    size = (min(max(width, 4), LARGEST), height)
    return np.asarray(Image.fromarray(cut * np.float32(1 / 16)).resize(size, Image.BILINEAR))


def _apart(box: np.ndarray, other: np.ndarray) -> bool:
    touching = (box[:2] < other[2:] + GAP).all() and (other[:2] < box[2:] + GAP).all()
    return not touching and cell_of(box) != cell_of(other)


def cell_of(box: np.ndarray) -> int:
    """The number of the cell that a box's middle lies in, row by row."""
    x, y = (box[:2] + box[2:]) // (2 * CELL)
    return int(y * (SIDE // CELL) + x)


def canvases(digits: Digits, seed: int) -> Iterator[Canvas]:
    """Without an end, the same ones for the same seed."""
    chance = np.random.default_rng(seed)
    while True:
        yield draw(digits, chance)


def write_annotations(path: Path, drawn: list[Canvas]) -> None:
    """COCO's format: boxes are x, y, width, height; a category's id is its digit."""
    annotations = []
    for image, canvas in enumerate(drawn):
        for (x1, y1, x2, y2), label in zip(canvas.boxes.tolist(), canvas.labels, strict=True):
            annotations.append({
                "id": len(annotations) + 1,  # pycocotools takes 0 for "not matched"
                "image_id": image,
                "category_id": int(label),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            })  # fmt: skip
    images = [
        {"id": image, "file_name": f"image.npz[{image}]", "width": SIDE, "height": SIDE}
        for image in range(len(drawn))
    ]
    categories = [{"id": digit, "name": str(digit)} for digit in range(10)]
    table = {"images": images, "categories": categories, "annotations": annotations}
    # One record a line: readable, and small.
    parts = [
        f'"{key}": [\n' + ",\n".join(json.dumps(record) for record in records) + "\n]"
        for key, records in table.items()
    ]
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
