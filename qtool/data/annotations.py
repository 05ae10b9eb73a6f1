"""annotations.json: the boxes that are in images, for detectors; which image each sample is.

An image belongs to the sample that its file_name calls; where none does, images sorted by id are
the samples in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qtool.data.coco import read_truth
from qtool.data.files import File, printable, raise_all
from qtool.data.pairs import called
from qtool.data.sequences import disordered
from qtool.errors import DataError

FILE = "annotations.json"


@dataclass(frozen=True)
class Annotations:
    """The file, and which of its images each sample of a dataset is."""

    file: File  # it has been fetched, and holds what a COCO file must
    images: NDArray[np.int64]  # (n,) ids
    boxes: NDArray[np.int64]  # (n,) how many annotations each has
    categories: tuple[int, ...]  # all ids, sorted

    def among(self, rows: Sequence[int]) -> Annotations:
        """Those of these samples, in this order."""
        kept = np.asarray(rows, np.int64)
        return replace(self, images=self.images[kept], boxes=self.boxes[kept])


def read_annotations(
    file: File, names: Sequence[str], keys: Sequence[str], files: Sequence[File]
) -> Annotations:
    """The images of samples with these names and keys, which lie in `files`.

    DataError where the file is no COCO ground truth, a sample has no image or several, or neither
    names nor numbers say which is which.
    """
    truth = read_truth(file)
    images = sorted(truth.images, key=lambda image: image.id)
    found = _by_name([printable(image.file_name or "") for image in images], names, keys)
    if not found:
        _check_order(file, len(images), files)
        found = {row: [row] for row in range(len(names))}
    problems = []
    for row, name in enumerate(names):
        numbers = found.get(row, [])
        if len(numbers) > 1:
            several = " and ".join(str(images[number].id) for number in numbers[:2])
            fix = "give each image the file_name of one sample"
            problems.append(DataError(f"images {several} of {file.name} are both {name}", fix=fix))
        elif not numbers:
            fix = f'add an image with the file_name "{name}", or take the sample away'
            problems.append(DataError(f"{file.name} has no image for {name}", fix=fix))
    raise_all(problems, len(names))
    ids = np.array([images[found[row][0]].id for row in range(len(names))], np.int64)
    counts = Counter(annotation.image_id for annotation in truth.annotations)
    boxes = np.array([counts[number] for number in ids.tolist()], np.int64)
    return Annotations(file, ids, boxes, tuple(sorted(each.id for each in truth.categories)))


def _by_name(
    images: Sequence[str], names: Sequence[str], keys: Sequence[str]
) -> dict[int, list[int]]:
    """Row of a sample -> the images that are called so, by the closest way in which any is.

    1. The whole file_name; 2. its last part; 3. and 4. these without the suffix.
    5. and 6. Its last part, as 2. and 4., is also the last part of the sample's name.
    """
    places, ends = called(names, keys), called([*map(_last, names)], [*map(_last, keys)])
    ways: list[tuple[Mapping[str, int | None], Callable[[str], str]]] = [
        (places, str),
        (places, _last),
        (places, _stem),
        (places, lambda name: _stem(_last(name))),
        (ends, _last),
        (ends, lambda name: _stem(_last(name))),
    ]
    found: dict[int, list[int]] = {}
    left: Sequence[int] = range(len(images))
    for rows, form in ways:
        now: dict[int, list[int]] = {}
        rest = []
        for number in left:
            row = rows.get(form(images[number]))
            if row is None or row in found:
                rest.append(number)
            else:
                now.setdefault(row, []).append(number)
        found |= now
        left = rest
    return found


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return File(Path(), name).key()


def _check_order(file: File, images: int, files: Sequence[File]) -> None:
    """DataError where the images' order cannot be that of the samples."""
    if images != len(files):
        raise DataError(
            f"{printable(file.path)} does not belong to the samples",
            f"none of its images has a sample's name, and there are {images} of them and "
            f"{len(files)} samples",
            "give each image the name of its sample as  file_name",
        )
    if found := disordered(files):
        raise DataError(
            f"the order of the images in {printable(file.path)} is in doubt",
            f"none has a sample's name, and {found[1]} comes before {found[0]} by name, and after "
            "it by number",
            "give each image the name of its sample as  file_name",
        )
