"""What a detector gives, as boxes: corners in pixels of the image, a category and a score each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.detections import DetectionDeclaration

Array = NDArray[Any]


def corners(boxes: Array, form: str) -> Array:
    """Boxes (..., 4) as x1, y1, x2, y2; `form` is "xyxy", "xywh" (corner) or "cxcywh" (centre)."""
    if form == "xyxy":
        return boxes
    start, size = boxes[..., :2], boxes[..., 2:]
    if form == "cxcywh":
        start = start - size / 2
    return np.concatenate([start, start + size], axis=-1)


def overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box (4,) with each of boxes (n, 4); 0 where both are empty."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(0).prod(axis=1)
    both = (box[2:] - box[:2]).clip(0).prod() + (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    union = both - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def suppressed(boxes: Array, scores: Array, most: float) -> NDArray[np.int64]:
    """The boxes (n, 4) that stay, best first: each removes those that overlap it by more."""
    rows = np.argsort(-scores, kind="stable")
    kept = []
    while rows.size:
        best, rows = rows[0], rows[1:]
        kept.append(int(best))
        rows = rows[overlaps(boxes[best], boxes[rows]) <= most]
    return np.array(kept, np.int64)


def of_candidates(rows: Array, how: DetectionDeclaration) -> tuple[Array, Array, Array]:
    """Corners (m, 4), class columns (m,) and scores (m,) of an image's candidates (n, 4 + classes).

    Those with a score of `least_score` or more, suppressed class by class.
    """
    rows = rows.astype(np.float64)
    boxes, kept, columns = corners(rows[:, :4], how.boxes), [], []
    for column in range(rows.shape[1] - 4):
        scores = rows[:, 4 + column]
        likely = np.flatnonzero(scores >= how.least_score)
        kept.append(likely[suppressed(boxes[likely], scores[likely], how.overlap)])
        columns.append(np.full(len(kept[-1]), column))
    chosen, classes = np.concatenate(kept), np.concatenate(columns)
    return boxes[chosen], classes, rows[chosen, 4 + classes]
