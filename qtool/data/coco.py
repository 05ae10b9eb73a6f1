"""Ground truth as COCO has it: https://cocodataset.org/#format-data."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from qtool.data.files import File, listed, printable, repeated
from qtool.errors import DataError

Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Extent = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Image(BaseModel):
    model_config = ConfigDict(strict=True)
    id: Id
    width: Size
    height: Size
    file_name: str | None = None


class Annotation(BaseModel):
    model_config = ConfigDict(strict=True)
    image_id: Id
    category_id: Id
    bbox: tuple[FiniteFloat, FiniteFloat, Extent, Extent]  # x, y, width, height


class Category(BaseModel):
    model_config = ConfigDict(strict=True)
    id: Id


class Truth(BaseModel):
    model_config = ConfigDict(strict=True)
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def read_truth(file: File) -> Truth:
    """What the file holds. DataError where it is no ground truth, or does not agree with itself."""
    with file.open() as stream:
        try:
            truth = Truth.model_validate_json(stream.read())
        except ValidationError as error:
            raise _wrong(file, _told(error)) from error
    images, categories = ([each.id for each in some] for some in (truth.images, truth.categories))
    for kind, ids in (("images", images), ("categories", categories)):
        if twice := repeated(map(str, ids)):
            raise _wrong(file, f"two of the {kind} have the id {twice}")
    for kind, known in (("image", set(images)), ("category", set(categories))):
        wanted = (getattr(each, f"{kind}_id") for each in truth.annotations)
        if strange := {number for number in wanted if number not in known}:
            shown = listed(map(str, sorted(strange)))
            raise _wrong(file, f"annotations have the {kind}_id {shown}, and no {kind} has it")
    return truth


def _told(error: ValidationError) -> str:
    """`annotations[17].bbox: …` of the first problem, and how many more there are."""
    first = error.errors(include_url=False)[0]
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    place = "".join(parts).removeprefix(".")
    words = first["msg"]
    more = error.error_count() - 1
    told = f"{place}: {words[0].lower()}{words[1:]}" if place else words
    return f"{printable(told)}{f', and {more} more' if more else ''}"


def _wrong(file: File, why: str) -> DataError:
    return DataError(
        f"{printable(file.path)} is no ground truth as COCO has it",
        why,
        "it holds images (id, width, height, file_name), annotations (image_id, category_id, bbox) "
        "and categories (id)",
    )
