"""mAP of a detector's raw output: class-wise non-maximum suppression, then COCO's own evaluation.

`scored(annotations, detections)` takes what a model without suppression in its graph gives: an
array (n, cells, 4 + classes) of x1, y1, x2, y2 in pixels and a score for each class. Row i belongs
to the i-th image by id, and class column c to the c-th category by id.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# As YOLO's validation: nearly all boxes, since the area under a curve is judged, not one threshold.
LEAST_SCORE = 0.001
OVERLAP = 0.6


def intersection_over_union(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
    """Of one box (4,) with each of boxes (n, 4), corners x1, y1, x2, y2; 0 where both are empty."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(0).prod(axis=1)
    both = (box[2:] - box[:2]).clip(0).prod() + (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    union = both - shared
    ratio: NDArray[Any] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def suppressed(boxes: NDArray[Any], scores: NDArray[Any], overlap: float) -> list[int]:
    """The boxes (n, 4) that stay, best first: each removes those that overlap it by more."""
    rows = np.argsort(-scores, kind="stable")
    kept = []
    while rows.size:
        best, rows = rows[0], rows[1:]
        kept.append(int(best))
        rows = rows[intersection_over_union(boxes[best], boxes[rows]) <= overlap]
    return kept


def results(truth: COCO, detections: NDArray[Any]) -> list[dict[str, Any]]:
    """Detections (n, cells, 4 + classes) as COCO's list of results, suppressed class by class.

    ValueError where they do not belong to `truth`, or are not finite.
    """
    images, categories = sorted(truth.getImgIds()), sorted(truth.getCatIds())
    wanted = (len(images), 4 + len(categories))
    if detections.ndim != 3 or (detections.shape[0], detections.shape[2]) != wanted:
        raise ValueError(f"detections are {detections.shape}, not ({wanted[0]}, n, {wanted[1]})")
    if not np.isfinite(detections).all():
        raise ValueError("detections are not finite")
    found = []
    for image, rows in zip(images, detections.astype(np.float64), strict=True):
        for column, category in enumerate(categories):
            likely = rows[rows[:, 4 + column] >= LEAST_SCORE]
            boxes, scores = likely[:, :4], likely[:, 4 + column]
            for kept in suppressed(boxes, scores, OVERLAP):
                corner, sides = boxes[kept, :2], boxes[kept, 2:] - boxes[kept, :2]
                found.append({
                    "image_id": image,
                    "category_id": category,
                    "bbox": [*corner.tolist(), *sides.tolist()],
                    "score": float(scores[kept]),
                })  # fmt: skip
    return found


def scored(annotations: Path, detections: NDArray[Any]) -> float:
    """mAP@[.5:.95] of detections (n, cells, 4 + classes) against a COCO file; 0 without any."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints all it does
        truth = COCO(annotations)
        if not (found := results(truth, detections)):
            return 0.0
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
