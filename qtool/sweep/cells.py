"""The cells of a grid: each a recipe of its own, or the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from qtool.errors import UsageError
from qtool.numeric.scheme import Scheme, parse_scheme
from qtool.recipe import Recipe, Rule
from qtool.sweep.axes import AXES, Values, changed

MOST = 200
"""Cells of a grid that nobody has allowed to be larger."""


@dataclass(frozen=True)
class Failure:
    """Why there is no such cell, or nothing came of it: as `QtoolError` says it."""

    what: str
    why: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Cell:
    """A recipe of the grid, or `impossible`; `values` are those of the axes that first made it."""

    name: str
    values: Mapping[str, str]
    recipe: Recipe | None = field(repr=False)
    impossible: Failure | None = None

    @property
    def key(self) -> str:
        """Equal for recipes that make the same file of a model."""
        if self.recipe is None:
            return ""
        return key_of(self.recipe) + (f" mixed {self.mixed:g}" if self.mixed else "")

    @property
    def mixed(self) -> float | None:
        """Bits of a weight on average, where they are chosen layer by layer."""
        value = self.values.get("mixed", "none")
        return None if value == "none" else float(value)

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name.replace(":", "_"))


def grid(
    base: Recipe, axes: Values, rules: Sequence[Rule] = (), following: Sequence[int] = ()
) -> list[Cell]:
    """Every combination of values once, in the order in which they were given.

    Args:
        rules: come last in each recipe; those at the places `following` have its scheme.
    """
    found: dict[str, Cell] = {}
    for each in product(*axes.values()):
        values = dict(zip(axes, each, strict=True))
        cell = _cell(base, values, rules, following)
        found.setdefault(cell.key or repr(values), cell)
    return _told_apart(list(found.values()))


def _told_apart(cells: Sequence[Cell]) -> list[Cell]:
    """The cells; of those with one name, which rules of the recipe make differ, each has in its
    name the values that tell it from the others."""
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        alike.setdefault(cell.name, []).append(cell)

    def name(cell: Cell) -> str:
        others = alike[cell.name]
        differ = [a for a in cell.values if len({other.values[a] for other in others}) > 1]
        return " ".join([cell.name, *(f"{axis} {cell.values[axis]}" for axis in differ)])

    return [replace(cell, name=name(cell)) for cell in cells]


def check_limit(cells: Sequence[Cell], limit: int | None) -> None:
    """Refuse what would take hours by oversight.

    Raises:
        UsageError: there are more cells than `MOST`, or than the limit that was given.
    """
    most = MOST if limit is None else limit
    if len(cells) > most:
        raise UsageError(
            f"the grid has {len(cells)} cells",
            f"more than {most} are not begun unless asked for",
            f"leave out values, or add  --limit {len(cells)};  --list  shows them",
        )


def key_of(recipe: Recipe) -> str:
    """The recipe in full as JSON, without what makes no difference in it."""
    schemes = [parse_scheme(text) for text in recipe.schemes()]
    ranged = [s for s in schemes if isinstance(s, Scheme) and s.activation is not None]
    update: dict[str, Any] = {"scheme": recipe.scheme_in_full()}
    if not ranged or recipe.mode == "dynamic":
        update |= {"method": "", "activation_range": None}
    if not any(isinstance(scheme, Scheme) for scheme in schemes):
        update |= {"range": None, "scale": "free"}
    return recipe.model_copy(update=update).model_dump_json(exclude={"data"})


def _cell(
    base: Recipe, values: Mapping[str, str], rules: Sequence[Rule], following: Sequence[int]
) -> Cell:
    try:
        recipe = changed(base, values)
        own = [
            Rule(match=rule.match, scheme=recipe.scheme) if place in following else rule
            for place, rule in enumerate(rules)
        ]
        recipe = recipe.model_copy(update={"rules": (*recipe.rules, *own)}).checked()
    except UsageError as error:
        name = " ".join(f"{axis} {value}" for axis, value in values.items())
        return Cell(name, values, None, Failure(error.what, error.why, error.fix))
    return Cell(_name(recipe, values), values, recipe)


def _name(recipe: Recipe, values: Mapping[str, str]) -> str:
    """The scheme in full, and what else the axes say that it does not."""
    scheme = recipe.scheme_in_full()
    words = ["rules" if scheme == "float" else scheme]  # float is the original
    if recipe.mode == "dynamic":
        words.append("dynamic")
    for axis, value in values.items():
        if AXES[axis].told or axis == "mode" or value in ("auto", "free", "none"):
            continue
        if axis in ("method", "activation-range") and ("a" not in scheme or "dynamic" in words):
            continue  # there is nothing of which it could be said
        words.append(_SHORT.get(axis, "{}").format(value))
    return " ".join(words)


_SHORT = {"mixed": "mixed {}", "range": "weights {}", "activation-range": "activations {}"}
