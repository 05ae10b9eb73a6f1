"""Recipes: what the user wants, as TOML. Command line over recipe over defaults.

scheme = "w8a8"
preset = "accurate"      # what else it sets stands in its file: qtool presets
method = "mse"
scale = "free"           # or "pow2": powers of two

[[rules]]                # the last rule that matches a node wins
match = "op:Softmax"     # glob on names, `op:` on operators, `re:` a regular expression
scheme = "float"
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qtool.algorithms import check_algorithms, find, listed, of_stage
from qtool.data.declaration import Declaration
from qtool.errors import UsageError, did_you_mean
from qtool.numeric.ranges import METHODS
from qtool.numeric.scheme import Half, Range, Scheme, Wish, check_ranges, parse_scheme
from qtool.numeric.types import UINT8
from qtool.patterns import Meant, check_pattern, matches

_KEPT = "kept in float as asked"


class Rule(BaseModel):
    """A pattern on nodes, and the scheme (or `float`) for those that match."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: str
    scheme: str


class Recipe(BaseModel):
    """All choices of one quantization; everything that is not data, model or target."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    scheme: str = "w8a8"
    mode: Literal["static", "dynamic"] = "static"
    placement: Literal["paying", "all"] = "paying"
    keep_io_types: bool = True
    contrib: bool = False
    method: str = "mse"
    range: Range | None = None
    activation_range: Range | None = None
    scale: Literal["free", "pow2"] = "free"
    algorithms: tuple[str, ...] = ("equalize", "masks", "gptq<8", "bias")
    rules: tuple[Rule, ...] = ()
    samples: int = Field(default=256, ge=1)
    seed: int = 0
    data: Declaration | None = None

    def scheme_of(self, node: Meant) -> Wish | str:
        """The scheme for a node, or the reason why it stays float."""
        text = self.scheme
        for rule in self.rules:
            if matches(rule.match, node):
                text = rule.scheme
        if text == "float":
            return _KEPT
        return self._wish(text)

    def keeps(self, node: Meant) -> bool:
        """Whether the node is to stay as it is."""
        return self.scheme_of(node) == _KEPT

    def _wish(self, text: str) -> Wish:
        """The scheme, with what the recipe says of all schemes."""
        scheme, powers = parse_scheme(text), self.scale == "pow2"
        if isinstance(scheme, Half):
            return scheme
        fits = find(self.algorithms, "hqq")
        fitted = fits is not None and fits.takes(scheme.weight.type.bits)
        weight = replace(
            scheme.weight, range=self.range, power_of_two=powers, method="hqq" if fitted else "mse"
        )
        if scheme.activation is None:
            return replace(scheme, weight=weight)
        activation = replace(
            scheme.activation,
            method=self.method, range=self.activation_range, power_of_two=powers,
        )  # fmt: skip
        return Scheme(weight, activation)

    def schemes(self) -> list[str]:
        """Every scheme that the recipe may give to a node."""
        return [s for s in (self.scheme, *(r.scheme for r in self.rules)) if s != "float"]

    def weights_only(self) -> Recipe:
        """The same recipe with all activations left in float."""

        def cut(text: str) -> str:
            return text if text == "float" else str(parse_scheme(text).weights_only())

        rules = tuple(Rule(match=r.match, scheme=cut(r.scheme)) for r in self.rules)
        return self.model_copy(
            update={"scheme": cut(self.scheme), "rules": rules, "mode": "static"}
        )

    def measured_before(self) -> Recipe:
        """The same recipe without what has its turn after ranges are measured."""
        return self.model_copy(update={"algorithms": of_stage(self.algorithms, "transform")})

    def weight_bits(self) -> set[int]:
        """The bits that weights may get."""
        schemes = map(parse_scheme, self.schemes())
        return {scheme.weight.type.bits for scheme in schemes if isinstance(scheme, Scheme)}

    def concerned(self, entries: Iterable[str]) -> tuple[str, ...]:
        """Those of the entries that are for weights of some scheme of the recipe."""
        bits = self.weight_bits()
        found = ((entry, listed(entry)) for entry in entries)
        return tuple(e for e, each in found if each.below is None or any(map(each.takes, bits)))

    def scheme_in_full(self) -> str:
        """The scheme with every default written out, `w8sca8u`."""
        return self.scheme if self.scheme == "float" else str(self._wish(self.scheme))

    def beside_scheme(self) -> list[str]:
        """What is asked of ranges and scales, in words: a scheme has no letters for it."""
        named = {"range": self.range, "activation range": self.activation_range}
        found = [f"{name} {r[0]:g},{r[1]:g}" for name, r in named.items() if r is not None]
        return found if self.scale == "free" else [*found, f"scale {self.scale}"]

    def suffix(self) -> str:
        """What an output is called by default: `int8` for w8a8, `w8` for weights only, `fp16`."""
        if self.scheme == "float":
            return "mixed"
        scheme = parse_scheme(self.scheme)
        if isinstance(scheme, Half):
            return str(scheme)
        kind = "w" if scheme.activation is None else "int" if self.mode == "static" else "dynamic"
        codes = scheme.weight.type
        number = f"l{codes.levels}" if codes.levels else str(codes.bits)
        return f"{kind}{number}{scheme.weight.letter}"

    def checked(self) -> Recipe:
        """The recipe itself, once all that it names is known to exist."""
        if self.method not in METHODS:
            raise UsageError(
                f"method {self.method!r} is not known",
                f"known: {', '.join(METHODS)}",
                did_you_mean(self.method, METHODS),
            )
        check_algorithms(self.algorithms)
        for rule in self.rules:
            check_pattern(rule.match)
        schemes = [self._wish(text) for text in self.schemes()]
        check_ranges(schemes)
        given = self.range or self.activation_range or self.scale != "free"
        if given and schemes and all(isinstance(scheme, Half) for scheme in schemes):
            raise UsageError(
                f"there is no scale in {schemes[0]}",
                "ranges and kinds of scales are of integers",
                "use another scheme,  or leave them out",
            )
        if self.mode == "dynamic" and (self.activation_range or self.scale == "pow2"):
            raise UsageError(
                "a range of activations, and scales that are powers of two, cannot be dynamic",
                "activations that are measured on every run have the scale of what was measured",
                "use  --mode static,  or leave them out",
            )
        for scheme in schemes:
            wide = (
                isinstance(scheme, Scheme) and scheme.activation and scheme.activation.type != UINT8
            )
            if self.mode == "dynamic" and wide:
                raise UsageError(
                    f"scheme {scheme} cannot be dynamic",
                    "activations that are measured on every run become uint8",
                    "use  a8,  or leave out  --mode dynamic",
                )
        plain = [isinstance(scheme, Half) or not scheme.activation for scheme in schemes]
        if self.mode == "dynamic" and all(plain):
            raise UsageError(
                f"scheme {self.scheme} leaves activations in float",
                "--mode dynamic says when activations are quantized",
                "use  --scheme w8a8,  or leave out  --mode dynamic",
            )
        halves = [scheme for scheme in schemes if isinstance(scheme, Half)]
        if not self.keep_io_types and {half.dtype for half in halves} != {"float16"}:
            raise UsageError(
                "inputs and outputs can only become float16",
                "--no-keep-io-types goes with the scheme fp16",
                "use  --scheme fp16,  or keep the types",
            )
        return self

    def toml(self) -> str:
        """The recipe as a file that `load_recipe` reads back."""
        lines = [
            f"{key} = {_toml(value)}"
            for key, value in self.model_dump(exclude={"rules", "data"}).items()
            if value is not None
        ]
        for rule in self.rules:
            lines += ["", "[[rules]]", f"match = {_toml(rule.match)}"]
            lines += [f"scheme = {_toml(rule.scheme)}"]
        if self.data is not None:
            table = self.data.model_dump(by_alias=True, exclude_defaults=True)
            lines += _tables("data", table)
        return "\n".join(lines) + "\n"


def presets() -> dict[str, dict[str, Any]]:
    """The recipes that come along, by name, from the fastest to the most accurate."""
    files = resources.files("qtool.presets")
    names = ("fast", "balanced", "accurate")
    return {name: tomllib.loads(files.joinpath(f"{name}.toml").read_text()) for name in names}


def preset(name: str) -> dict[str, Any]:
    """What the preset of that name sets.

    Raises:
        UsageError: there is none.
    """
    known = presets()
    if name not in known:
        raise UsageError(
            f"preset {name!r} is not known",
            f"known: {', '.join(known)}",
            did_you_mean(name, known),
        )
    return known[name]


def load_recipe(path: Path, base: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe, over a preset's values or those of the preset that it names.

    Raises:
        UsageError: not TOML, an unknown key, a value of the wrong kind.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}", str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML", str(error)) from error
    named = table.pop("preset", None)
    if base is None and named is not None:
        base = preset(str(named))
    try:
        recipe = Recipe.model_validate({**(base or {}), **table}).checked()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        inner = first["loc"][0] == "rules"
        known = [*Rule.model_fields] if inner else ["preset", *Recipe.model_fields]
        last, what = str(first["loc"][-1]), first["msg"].lower().replace("tuple", "list")
        raise UsageError(
            f"{path}: {key}: {what}",
            f"known keys: {', '.join(known)}",
            did_you_mean(last, known) if first["type"] in _MISNAMED else "",
        ) from error
    if recipe.data is None:
        return recipe
    # Files that the [data] table names lie beside the recipe.
    return recipe.model_copy(update={"data": recipe.data.within(path.resolve().parent)})


_MISNAMED = ("extra_forbidden", "missing")  # a key that is misspelt is the one and the other


def _tables(name: str, table: dict[str, Any]) -> list[str]:
    """A table and those inside it, each under its header."""
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = ["", f"[{name}]"]
    # Names of tensors are keys too, and may hold what a key that is not quoted may not.
    lines += [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if key not in inner]
    for key, value in inner.items():
        lines += _tables(f"{name}.{_toml(key)}", value)
    return lines


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped and JSON does not.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else str(value)
