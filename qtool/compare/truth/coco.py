"""mAP by pycocotools, COCO's own evaluation, and how it changes when images are drawn again.

The only module that imports pycocotools, an extra.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.errors import missing_extra

Array = NDArray[Any]
Found = tuple[int, int, Array, float]
"""Image id, category id, corners x1, y1, x2, y2 in pixels of the image, score."""

MOST = 100  # boxes of one category in one image that count, as COCO has it
_ALL_AREAS = 0
_RECALLS = np.linspace(0, 1, 101)


def require() -> None:
    """Raises MachineError where pycocotools is not installed."""
    try:
        importlib.import_module("pycocotools.cocoeval")
    except ImportError as error:
        raise missing_extra("annotations.json", "pycocotools", "detection") from error


class Images:
    """The ground truth of some images of a COCO file."""

    def __init__(self, annotations: Path, images: Sequence[int]) -> None:
        require()
        from pycocotools.coco import COCO

        self._truth = COCO()
        given = json.loads(annotations.read_bytes())
        boxes = [
            # What COCOeval needs and many a converter leaves out; it takes the number 0 for no box.
            {
                "id": number,
                "image_id": box["image_id"],
                "category_id": box["category_id"],
                "bbox": box["bbox"],
                "area": _area(box),
                "iscrowd": int(box.get("iscrowd") in (1, True)),
            }
            for number, box in enumerate(given["annotations"], start=1)
        ]
        self._truth.dataset = {**given, "annotations": boxes}
        with contextlib.redirect_stdout(io.StringIO()):  # it tells all that it does
            self._truth.createIndex()
        self.ids = list(images)
        self.categories: list[int] = sorted(self._truth.getCatIds())

    def size(self, image: int) -> tuple[float, float]:
        """Width and height in pixels."""
        found = self._truth.imgs[image]
        return float(found["width"]), float(found["height"])

    def evaluate(self, found: Sequence[Found]) -> Evaluation:
        """COCO's evaluation of boxes in these images."""
        from pycocotools.cocoeval import COCOeval

        results = [
            {
                "image_id": image,
                "category_id": category,
                "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                "score": score,
            }
            for image, category, box, score in found
        ]
        if not results:
            return Evaluation(0.0 if self._has_boxes() else float("nan"), (), len(self.ids))
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, self._truth.loadRes(results), "bbox")
            evaluation.params.imgIds = self.ids
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        position = {image: row for row, image in enumerate(self.ids)}
        areas = len(evaluation.params.areaRng)
        per_category = len(self.ids) * areas
        matches = tuple(
            _Matches.of(evaluation.evalImgs[start : start + len(self.ids)], position)
            for start in range(_ALL_AREAS, len(self.categories) * per_category, per_category)
        )
        return Evaluation(float(evaluation.stats[0]), matches, len(self.ids))

    def _has_boxes(self) -> bool:
        return bool(self._truth.getAnnIds(imgIds=self.ids, iscrowd=False))


def _area(box: Mapping[str, Any]) -> float:
    area = box.get("area")
    return float(area) if isinstance(area, (int, float)) else box["bbox"][2] * box["bbox"][3]


@dataclass(frozen=True)
class _Matches:
    """Detections of one category, best first: which threshold takes each for a hit, (10, d), or
    does not count it, (10, d), its image (d,); and the boxes to be found in each image (n,)."""

    hits: Array
    ignored: Array
    image: Array
    wanted: Array

    @classmethod
    def of(cls, images: Sequence[Any], position: dict[int, int]) -> _Matches:
        wanted = np.zeros(len(position), np.int64)
        there = [each for each in images if each is not None]
        for each in there:
            wanted[position[each["image_id"]]] = int((np.asarray(each["gtIgnore"]) == 0).sum())
        if not there:
            return cls(np.zeros((10, 0), bool), np.zeros((10, 0), bool), np.zeros(0, int), wanted)
        scores = np.concatenate([each["dtScores"][:MOST] for each in there])
        order = np.argsort(-scores, kind="mergesort")
        image = [
            np.full(len(each["dtScores"][:MOST]), position[each["image_id"]]) for each in there
        ]
        return cls(
            np.concatenate([each["dtMatches"][:, :MOST] for each in there], axis=1)[:, order] > 0,
            np.concatenate([each["dtIgnore"][:, :MOST] for each in there], axis=1)[:, order] > 0,
            np.concatenate(image)[order].astype(int),
            wanted,
        )

    def precision(self, weights: Array) -> float:
        """Average precision over all thresholds, each image counted `weights` times; or NaN."""
        wanted = float(self.wanted @ weights)
        if not wanted:
            return float("nan")
        counted = weights[self.image] * ~self.ignored
        true = np.cumsum(counted * self.hits, axis=1)
        all_ = np.cumsum(counted, axis=1)
        precision = true / np.maximum(all_, np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total = 0.0
        for recall, best in zip(true / wanted, envelope, strict=True):
            at = np.searchsorted(recall, _RECALLS, side="left")
            total += float(best[at[at < len(best)]].sum())
        return total / (len(_RECALLS) * len(true))


@dataclass(frozen=True)
class Evaluation:
    """mAP@[.5:.95] as pycocotools gives it, and what it takes to compute it over other images."""

    value: float
    matches: tuple[_Matches, ...]
    images: int

    def again(self, weights: Array) -> float:
        """The mAP with each image counted `weights` (n,) times; `value` if all are 1."""
        found = [each.precision(weights) for each in self.matches]
        known = [value for value in found if value == value]
        return sum(known) / len(known) if known else float("nan") if self.matches else self.value
