"""The `[data]` table of a qtool.toml: how stored samples become what the model takes."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from qtool.data.detections import DetectionDeclaration, Name
from qtool.data.files import File, printable, raise_all, repeated
from qtool.errors import DataError, did_you_mean

Layout = Annotated[str, Field(pattern=r"^N[A-Z]+$")]
Size = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
Range = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
PerChannel = FiniteFloat | Annotated[list[FiniteFloat], Field(min_length=1)]

# Keys of a `[data]` table that `compare` alone heeds: nothing that is fed depends on them.
JUDGED = frozenset({"next_token", "mask", "target_range", "detections"})


class InputDeclaration(BaseModel):
    """How one model input is made: `x * scale`, then `(x - mean) / std`, in `model_layout`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str | None = Field(default=None, alias="from", min_length=1)
    color: Literal["gray", "rgb", "bgr"] = "rgb"
    resize: PositiveInt | Size | None = None
    crop: Size | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    layout: Layout | None = None
    model_layout: Layout = "NCHW"
    shape: list[PositiveInt] | None = None
    scale: PerChannel | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    sample_rate: PositiveInt | None = None
    length: PositiveInt | None = None
    channels: Literal["mono"] | None = None
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    vocabulary: str | None = None
    tokenizer: str | None = None
    unit: Literal["character", "word"] = "character"
    max_length: PositiveInt | None = None

    @property
    def is_text(self) -> bool:
        return self.source == "text" or bool(self.vocabulary or self.tokenizer)

    @field_validator("std")
    @classmethod
    def _divides(cls, value: float | list[float] | None) -> float | list[float] | None:
        if value is not None and 0 in (value if isinstance(value, list) else [value]):
            raise ValueError("must not be 0")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> InputDeclaration:
        if self.layout and sorted(self.layout) != sorted(self.model_layout):
            raise ValueError(
                f'layout "{self.layout}" and model_layout "{self.model_layout}" name other axes'
            )
        if self.vocabulary and self.tokenizer:
            raise ValueError("vocabulary and tokenizer exclude each other")
        if self.columns and (self.source or self.is_text):
            raise ValueError("columns excludes from, vocabulary and tokenizer")
        if twice := repeated(self.columns or ()):
            raise ValueError(f'columns has "{printable(twice)}" twice')
        return self


class Declaration(BaseModel):
    """A whole `[data]` table; see `parse_declaration`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    samples: Literal["whole", "files"] | None = None
    label: Annotated[str, Field(min_length=1)] | None = None
    delimiter: Literal[",", ";", "\t", "|", ":", " "] | None = None
    carry: dict[str, str] = Field(default_factory=dict)  # output of a run -> input of the next
    empty: list[str] = Field(default_factory=list)  # globs on inputs that begin with nothing
    inputs: dict[str, InputDeclaration] = Field(default_factory=dict)
    next_token: Name | None = None  # input of a language model whose next token the logits are for
    mask: Name | None = None  # input that is 0 where `next_token` holds nothing to be scored
    target_range: Range | None = None  # the least and the greatest value that float targets can be
    detections: DetectionDeclaration = DetectionDeclaration()
    _folder: Path = PrivateAttr(default=Path())

    @field_validator("mask")
    @classmethod
    def _masks(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("next_token", "") is None:
            raise ValueError("it says which places of  next_token  count, and there is none")
        return value

    @field_validator("target_range")
    @classmethod
    def _rises(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("the first number must be less than the second")
        return value

    def input(self, name: str) -> InputDeclaration:
        return self.inputs.get(name, InputDeclaration())

    def source(self, name: str) -> str:
        """The array, file stem or folder that feeds the input: its own name where not declared."""
        return self.input(name).source or name

    def feeding(self) -> dict[str, Any]:
        """The table as plain values, with what makes the samples what they are, and no defaults."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_defaults=True, exclude=set(JUDGED)
        )

    def within(self, folder: Path) -> Declaration:
        """The same table, with the paths in it relative to `folder`; else they are to the cwd."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    def file(self, name: str) -> File:
        """A file named in the table. DataError where it lies outside the table's folder."""
        path = self._folder / name
        # Resolved, because a link is a way out too.
        inside = path.resolve().is_relative_to(self._folder.resolve())
        if Path(name).is_absolute() or not inside:
            raise DataError(
                f'"{printable(name)}" in qtool.toml leads out of its folder',
                f"only files inside {printable(self._folder)} are read",
                "copy the file there and give its relative path",
            )
        return File(path, printable(name), "" if path.is_file() else "there is no such file")


def parse_declaration(table: Mapping[str, Any], folder: Path) -> Declaration:
    """A `[data]` table as tomllib gives it; paths in it are relative to `folder`.

    Raises DataError with up to five problems, each with its key and the closest known one.
    """
    try:
        declaration = Declaration.model_validate(dict(table))
    except ValidationError as error:
        messages: dict[tuple[str, ...], list[Any]] = {}
        for problem in error.errors():
            # A union reports once for each of its members, with the member's name as a last part.
            location = tuple(map(str, problem["loc"][: _DEPTHS.get(problem["loc"][0], 1)]))
            messages.setdefault(location, []).append(problem)
        raise_all([_problem(*item) for item in messages.items()], len(messages))
        raise
    return declaration.within(folder)


# A table inside -> how many parts of a problem's place say which key it is.
_DEPTHS: dict[int | str, int] = {"inputs": 3, "carry": 2, "detections": 2}


def _problem(location: tuple[str, ...], problems: list[Any]) -> DataError:
    table = "[data]"
    model: type[BaseModel] = Declaration
    whole = problems[0]["type"] == "value_error"  # its keys do not agree
    if location[0] == "inputs" and (len(location) == 3 or (whole and len(location) == 2)):
        table, model = f"[data.inputs.{printable(location[1])}]", InputDeclaration
    elif location[0] in _DEPTHS and location[0] != "inputs" and len(location) == 2:
        table, model = f"[data.{location[0]}]", DetectionDeclaration
    key = printable(location[-1])
    if problems[0]["type"] == "extra_forbidden":
        fields = model.model_fields.items()
        known = [field.alias or field_name for field_name, field in fields]
        fix = did_you_mean(key, known) or f"known keys: {', '.join(known)}"
        return DataError(f'unknown key "{key}" under {table} of qtool.toml', fix=fix)
    why = " or ".join(dict.fromkeys(str(p["msg"]).removeprefix("Value error, ") for p in problems))
    return DataError(f'"{key}" under {table} of qtool.toml is not right', why, f'mend "{key}"')


def find_declaration(path: Path) -> Declaration:
    """The `[data]` table beside the data or one folder above; empty where there is none."""
    folder = (path if path.is_dir() else path.parent).absolute()
    for place in (folder, folder.parent):
        file = place / "qtool.toml"
        if not file.is_file():
            continue
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8")).get("data")
        except (OSError, ValueError) as error:
            why = printable(str(error))
            raise DataError(f"cannot read {printable(file)}", why, "mend the TOML") from error
        if isinstance(table, dict):
            return parse_declaration(table, place)
    return Declaration()


def toml_key(name: str) -> str:
    """A name as a key of a TOML table."""
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
