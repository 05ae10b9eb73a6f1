"""Detectors: boxes held against those of annotations.json, as COCO does."""

from __future__ import annotations

from typing import Any

import numpy as np

from qtool.compare.kinds import KINDS, score
from qtool.compare.truth.boxes import corners, of_candidates
from qtool.compare.truth.coco import Found, Images
from qtool.compare.truth.held import Array, Judged, Outputs, unused
from qtool.data.annotations import Annotations
from qtool.data.detections import DetectionDeclaration

RESAMPLES = 300
"""Fewer than elsewhere, since each takes milliseconds: the interval's ends are then sure to 8 %."""


class Detections:
    """The boxes of both models' outputs, as `how` declares them to stand there."""

    inputs = True

    def __init__(
        self, names: list[str], annotations: Annotations, how: DetectionDeclaration
    ) -> None:
        self._images = Images(annotations.file.path, annotations.images.tolist())
        self._how = how
        self._names = [how.output] if how.output else names
        self._output: str | None = None
        self._seen = 0
        self._found: tuple[list[Found], list[Found]] = ([], [])

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Take in the next samples: an image each."""
        ids = self._images.ids[self._seen : self._seen + count]
        if self._seen == 0:
            self._output = self._chosen(reference)
        self._seen += count
        if self._output is None:
            return
        shape = next((np.shape(feeds[name]) for name in feeds if np.ndim(feeds[name]) == 4), ())
        for row, image in enumerate(ids):
            scale = self._scale(image, shape)
            for found, outputs in zip(self._found, (reference, candidate), strict=True):
                boxes, categories, scores = self._boxes(outputs, row)
                found += [
                    (image, int(category), box * scale, float(likely))
                    for box, category, likely in zip(boxes, categories, scores, strict=True)
                ]

    def judge(self) -> Judged:
        """mAP@[.5:.95]."""
        if self._output is None:
            shape = "(samples, candidates, 4 + classes)"
            if self._how.layout == "columns":
                shape = "(samples, 4 + classes, candidates)"
            return unused(
                "annotations.json and its boxes",
                f"they need an output of shape {shape} with {len(self._images.categories)} classes,"
                " or  [data.detections]  in qtool.toml that names three",
            )
        both = [self._images.evaluate(found) for found in self._found]
        models = [np.full(len(self._images.ids), model) for model in (0, 1)]

        def mean_average_precision(model: Array, counts: Array | None = None) -> Array:
            """Of one of the two, over images that occur `counts` (..., n) times."""
            weights = np.ones(model.shape) if counts is None else counts
            rows = [both[model.flat[0]].again(row) for row in np.atleast_2d(weights)]
            return np.array(rows).reshape(weights.shape[:-1])

        columns = (models[0],), (models[1],)
        found = score(KINDS["mAP"], *columns, mean_average_precision, resamples=RESAMPLES)
        return Judged(self._output, {"mAP": found})

    def _chosen(self, outputs: Outputs) -> str | None:
        if self._how.outputs:
            return self._how.outputs[0] if set(self._how.outputs) <= set(outputs) else None
        wanted = 4 + len(self._images.categories)
        axis = 2 if self._how.layout == "rows" else 1
        return next(
            (
                n
                for n in self._names
                if np.ndim(outputs[n]) == 3 and outputs[n].shape[axis] == wanted
            ),
            None,
        )

    def _boxes(self, outputs: Outputs, row: int) -> tuple[Array, Array, Array]:
        """Corners, category ids and scores of one image, the best of each category."""
        how = self._how
        if how.outputs:
            ranks = zip(how.outputs, (2, 1, 1), strict=True)
            boxes, scores, labels = (_row(outputs[name], row, rank) for name, rank in ranks)
            finite = np.isfinite(boxes).all(axis=-1) & (scores >= how.least_score)
            return corners(boxes[finite].astype(float), how.boxes), labels[finite], scores[finite]
        rows = outputs[self._output or ""][row]
        rows = rows if how.layout == "rows" else rows.T
        boxes, columns, scores = of_candidates(rows[np.isfinite(rows).all(axis=-1)], how)
        return boxes, np.array(self._images.categories)[columns], scores

    def _scale(self, image: int, shape: tuple[int, ...]) -> Array:
        """From the unit of the outputs to pixels of the image, for x1, y1, x2, y2."""
        width, height = self._images.size(image)
        if self._how.units == "pixels" and shape:
            # The input is the whole image, resized: (n, C, H, W) or (n, H, W, C).
            high, wide = shape[2:] if shape[1] in (1, 3, 4) else shape[1:3]
            width, height = width / wide, height / high
        elif self._how.units == "pixels":
            width = height = 1.0
        return np.array([width, height, width, height])


def _row(value: Any, row: int, rank: int) -> Array:
    """One image's part of an output that may leave out the axis of images where there is one."""
    array = np.asarray(value)
    return array[row] if array.ndim > rank else array
