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
from qtool.errors import DataError

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
        self.alone = how.outputs is not None
        self._names = [how.output] if how.output else names
        self._output: str | None = None
        self._seen = 0
        self._found: tuple[list[Found], list[Found]] = ([], [])

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Take in the next samples: an image each."""
        ids = self._images.ids[self._seen : self._seen + count]
        if self._seen == 0:
            self._output = self._chosen(reference, candidate)
        self._seen += count
        if self._output is None:
            return
        arrays = (feeds[name] for name in feeds if isinstance(feeds[name], np.ndarray))
        shape = next((array.shape for array in arrays if array.ndim == 4), ())
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

    def _chosen(self, reference: Outputs, candidate: Outputs) -> str | None:
        if self._how.outputs:
            return self._how.outputs[0] if set(self._how.outputs) <= set(reference) else None
        classes, axis = len(self._images.categories), 2 if self._how.layout == "rows" else 1

        def holds_boxes(value: Any) -> bool:
            three = isinstance(value, np.ndarray) and value.ndim == 3
            return classes > 0 and three and value.shape[axis] == 4 + classes

        fitting = (n for n in self._names if n in reference)
        return next(
            (n for n in fitting if holds_boxes(reference[n]) and holds_boxes(candidate[n])), None
        )

    def _boxes(self, outputs: Outputs, row: int) -> tuple[Array, Array, Array]:
        """Corners, category ids and scores of one image.

        Raises:
            DataError: the three outputs of a model that suppresses do not belong together.
        """
        how = self._how
        if how.outputs:
            ranks = zip(how.outputs, (2, 1, 1), strict=True)
            boxes, scores, labels = (_row(outputs[name], row, rank) for name, rank in ranks)
            if boxes.shape[1:] != (4,) or not len(boxes) == len(scores) == len(labels):
                raise DataError(
                    "box_output, score_output and label_output do not belong together",
                    f"for one image they are {boxes.shape}, {scores.shape} and {labels.shape}; "
                    "they must be (k, 4), (k,) and (k,)",
                    "mend the names under [data.detections] in qtool.toml",
                )
            numbers = np.column_stack([boxes, scores, labels]).astype(np.float64)
            kept = np.isfinite(numbers).all(axis=1) & (numbers[:, 4] >= how.least_score)
            numbers = numbers[kept]
            return corners(numbers[:, :4], how.boxes), numbers[:, 5], numbers[:, 4]
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
