"""The axes of a grid, a row each: what a value may be, and what it makes of a recipe.

They are applied in the order of the table, the scheme first. A value that means nothing is an error
at once; one that does not go with the others is the reason why there is no such cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from qtool.errors import UsageError, did_you_mean
from qtool.numeric.letters import mapped
from qtool.numeric.ranges import METHODS
from qtool.numeric.scheme import MAPPINGS, Half, parse_scheme
from qtool.recipe import Recipe, preset, presets

Values = Mapping[str, tuple[str, ...]]
"""Axis -> its values, as they were given."""


@dataclass(frozen=True)
class Axis:
    """`read` gives a value's text in its one form; `change` the recipe that has it.

    Both raise UsageError. `told`: the scheme in full says it, so a cell's name need not.
    """

    read: Callable[[str], str]
    change: Callable[[Recipe, str], Recipe]
    told: bool = False


def read_axes(texts: Mapping[str, str | None]) -> Values:
    """`{"bits": "8,4"}` -> `{"bits": ("8", "4")}`, in the order of `texts`; None is no axis.

    Raises:
        UsageError: an axis without values, a value that it cannot have, or two axes for one thing.
    """
    found = {name: _read(name, text) for name, text in texts.items() if text is not None}
    for pair in _EITHER:
        if len(both := [name for name in pair if name in found]) > 1:
            raise UsageError(
                f"--{both[0]} and --{both[1]} are both given",
                "both say which codes weights have",
                "keep one of them",
            )
    return found


def _read(name: str, text: str) -> tuple[str, ...]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise UsageError(
            f"--{name} {text!r} lacks a value", "values stand between commas", "take out the comma"
        )
    try:
        values = [AXES[name].read(item) for item in items]
    except UsageError as error:
        raise UsageError(f"--{name} {text!r}: {error.what}", error.why, error.fix) from error
    return tuple(dict.fromkeys(values))


def changed(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """The recipe with a value of each axis.

    Raises:
        UsageError: there is no such recipe.
    """
    for name, axis in AXES.items():
        if name in values:
            recipe = axis.change(recipe, values[name])
    return recipe.checked()


# w8sca8u -> the codes, sign or mapping, and place of weights, the codes and sign of activations
_PIECES = re.compile(r"w(l?\d+)([sukpq])(c|t|b\d+|g\d+)(?:a(l?\d+)([su]))?")


def _split(recipe: Recipe) -> dict[str, str | None]:
    """The scheme's pieces: `w`, `ws`, `where`, `a`, `as_`."""
    match = _PIECES.fullmatch(recipe.scheme) or _PIECES.fullmatch(recipe.scheme_in_full())
    if match is None:
        raise UsageError(f"{recipe.scheme} has no integers of which anything could be changed")
    return dict(zip(("w", "ws", "where", "a", "as_"), match.groups(), strict=True))


def _pieces(recipe: Recipe, **new: str | None) -> Recipe:
    """The recipe whose scheme has other pieces; `changed` sees whether there is such a scheme, once
    all are there."""
    p = _split(recipe) | new
    tail = f"a{p['a']}{p['as_'] or 'u'}" if p["a"] else ""
    return recipe.model_copy(update={"scheme": f"w{p['w']}{p['ws']}{p['where']}{tail}"})


def _bits(recipe: Recipe, value: str) -> Recipe:
    """As `quantize --bits`: activations are float or have 8 bits, and as many as the weights."""
    old = _split(recipe)["a"]
    more = old is not None and not old.startswith("l") and int(old) < int(value)
    return _pieces(recipe, w=value, a=value if more else old)


def _levels(recipe: Recipe, value: str) -> Recipe:
    """As `quantize --levels`: activations have as many from 257 on, where they are quantized."""
    old = _split(recipe)["a"]
    return _pieces(recipe, w=f"l{value}", a=f"l{value}" if old and int(value) > 256 else old)


def _activation_bits(recipe: Recipe, value: str) -> Recipe:
    return _pieces(recipe, a=None if value == "float" else value)


def _symmetry(recipe: Recipe, value: str) -> Recipe:
    weights, activations = SYMMETRY[value]
    if (own := str(_split(recipe)["ws"])) not in "su":  # levels of a codebook lie where they lie
        weights = own
    return _pieces(recipe, ws=weights, as_=activations)


def _mapping(recipe: Recipe, value: str) -> Recipe:
    """As `quantize --mapping`: with a codebook activations are float."""
    return recipe.model_copy(update={"scheme": mapped(recipe.scheme, value)})


def _granularity(recipe: Recipe, value: str) -> Recipe:
    """Blocks of so many values, or with a g a codebook for so many channels."""
    own = value if value.startswith("g") else f"b{value}"
    return _pieces(recipe, where={"tensor": "t", "channel": "c"}.get(value, own))


def _mode(recipe: Recipe, value: str) -> Recipe:
    return recipe.weights_only() if value == "weights" else _with("mode")(recipe, value)


def _preset(recipe: Recipe, value: str) -> Recipe:
    given = preset(value)
    return Recipe.model_validate({**recipe.model_dump(exclude={"data"}), **given}).model_copy(
        update={"data": recipe.data}
    )


def _mixed(recipe: Recipe, value: str) -> Recipe:
    """The recipe as it is, if it has integers."""
    if value != "none" and all(isinstance(parse_scheme(s), Half) for s in recipe.schemes()):
        raise UsageError(f"{recipe.scheme} has no bits that could be chosen layer by layer")
    return recipe


def _with(key: str) -> Callable[[Recipe, str], Recipe]:
    return lambda recipe, value: recipe.model_copy(update={key: value})


def _range(key: str) -> Callable[[Recipe, str], Recipe]:
    def change(recipe: Recipe, value: str) -> Recipe:
        ends = None if value == "auto" else tuple(map(float, value.split(":")))
        return recipe.model_copy(update={key: ends})

    return change


def _one_of(known: Iterable[str], also: str = "") -> Callable[[str], str]:
    """One of these words; `also` is a pattern of others."""

    def read(text: str) -> str:
        words = list(known)
        word = text.lower()
        if word not in words and not (also and re.fullmatch(also, word)):
            numbers = " or a number" if also else ""
            raise UsageError(
                f"{text!r} is none of its values",
                f"they are {', '.join(words)}{numbers}",
                did_you_mean(word, words),
            )
        return word

    return read


def _count(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise UsageError(f"{text!r} is no number", "values are whole numbers between commas")
    return str(int(text))


def _ends(text: str) -> str:
    if text.lower() == "auto":
        return "auto"
    try:
        low, high = (float(end) for end in text.split(":"))
    except ValueError:
        raise UsageError(
            f"{text!r} is no range", "a range is LO:HI, or auto: what is measured", "try  -8:8,auto"
        ) from None
    return ":".join(repr(end).removesuffix(".0") for end in (low, high))


def _average(text: str) -> str:
    if text.lower() == "none":
        return "none"
    if not re.fullmatch(r"\d{1,2}(\.\d+)?", text) or not 2 <= float(text) <= 16:
        raise UsageError(
            f"{text!r} is no average of bits",
            "2 to 16 bits a weight on average, or none: the same for all layers",
            "try  --mixed 4.5,none",
        )
    return f"{float(text):g}"


def _scheme(text: str) -> str:
    return str(parse_scheme(text))


SYMMETRY = {"symmetric": ("s", "s"), "asymmetric": ("u", "u"), "mixed": ("s", "u")}
"""Weights and activations: signed and symmetric around 0, or unsigned with a zero point."""

AXES: dict[str, Axis] = {
    "preset": Axis(_one_of(presets()), _preset),
    "scheme": Axis(_scheme, _with("scheme"), told=True),
    "bits": Axis(_count, _bits, told=True),
    "levels": Axis(_count, _levels, told=True),
    "mapping": Axis(_one_of(MAPPINGS.values()), _mapping, told=True),
    "activation-bits": Axis(_one_of(["float"], also=r"\d{1,3}"), _activation_bits, told=True),
    "symmetry": Axis(_one_of(SYMMETRY), _symmetry, told=True),
    "granularity": Axis(_one_of(["tensor", "channel"], r"g?\d{1,6}"), _granularity, told=True),
    "mode": Axis(_one_of(["static", "dynamic", "weights"]), _mode),
    "method": Axis(_one_of(METHODS), _with("method")),
    "range": Axis(_ends, _range("range")),
    "activation-range": Axis(_ends, _range("activation_range")),
    "scale": Axis(_one_of(["free", "pow2"]), _with("scale")),
    # Which layer gets how many bits is found when the cell is made.
    "mixed": Axis(_average, _mixed),
}
_EITHER = (("scheme", "bits"), ("scheme", "levels"), ("bits", "levels"))

DEFAULT: Values = {"bits": ("8", "4", "3", "2"), "mode": ("static", "weights")}
"""The grid where none is asked for."""
