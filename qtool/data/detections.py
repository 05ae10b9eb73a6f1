"""The `[data.detections]` table: what a detector's outputs hold, for `compare` to score them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from qtool.data.files import repeated

Name = Annotated[str, Field(min_length=1)]
THREE = ("box_output", "score_output", "label_output")


class DetectionDeclaration(BaseModel):
    """How boxes and scores stand in a detector's outputs.

    One output, `output` or the model's own of that shape, not suppressed yet: `layout` "rows" is
    (n, candidates, 4 + classes), "columns" is (n, 4 + classes, candidates). Class column c is the
    c-th category of annotations.json by id. Kept are scores of `least_score` or more, and within a
    class no two boxes whose intersection over union is more than `overlap`.

    Or three outputs (see `outputs`) of a model that suppresses by itself.

    The four numbers of a box are, by `boxes`, "xyxy": two corners; "xywh": the least corner and the
    size; "cxcywh": the centre and the size. By `units` they are "pixels" of the model's input
    image, or "relative" to its width and height, 0 … 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    boxes: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    units: Literal["pixels", "relative"] = "pixels"
    layout: Literal["rows", "columns"] = "rows"
    output: Name | None = None
    least_score: FiniteFloat = 0.001
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.6
    box_output: Name | None = None
    score_output: Name | None = None
    label_output: Name | None = None

    @property
    def outputs(self) -> tuple[str, str, str] | None:
        """The outputs of boxes (…, k, 4), scores (…, k) and labels (…, k), which are category ids.

        None where one output holds it all and suppression is still to be done.
        """
        if self.box_output and self.score_output and self.label_output:
            return self.box_output, self.score_output, self.label_output
        return None

    @property
    def named(self) -> dict[str, str]:
        """Key -> the output that it names, of those declared."""
        keys = ("output", *THREE)
        return {key: name for key in keys if (name := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _agrees(self) -> DetectionDeclaration:
        given = [key for key in THREE if key in self.named]
        if not given:
            return self
        if missing := [key for key in THREE if key not in given]:
            raise ValueError(f"{given[0]} needs {' and '.join(missing)} beside it")
        if twice := repeated(self.named[key] for key in THREE):
            raise ValueError(f'box_output, score_output and label_output name "{twice}" twice')
        if idle := sorted({"output", "layout", "overlap"} & self.model_fields_set):
            raise ValueError(f"{idle[0]} means nothing where box_output names what is suppressed")
        return self
