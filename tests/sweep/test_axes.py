"""The table of axes: what each value makes of a recipe, and what is no value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qtool.cli import sweep as command
from qtool.errors import UsageError
from qtool.recipe import Recipe, Rule, preset
from qtool.sweep.axes import AXES, DEFAULT, changed, read_axes
from qtool.sweep.cells import check_limit, grid

# axis -> (value, what the recipe has then); a test fails for a row of the table without a case.
CASES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "preset": [("fast", {"method": "minmax", "algorithms": tuple(preset("fast")["algorithms"])})],
    "scheme": [("W4B32", {"scheme": "w4sb32"}), ("fp16", {"scheme": "fp16"})],
    "bits": [("4", {"scheme": "w4sca8u"}), ("16", {"scheme": "w16sca16u"})],
    "levels": [("10", {"scheme": "wl10sca8u"}), ("300", {"scheme": "wl300scal300u"})],
    "mapping": [
        ("kmeans", {"scheme": "w8kc"}),
        ("log2", {"scheme": "w8pc"}),
        ("quantile", {"scheme": "w8qc"}),
        ("linear", {"scheme": "w8sca8u"}),
    ],
    "activation-bits": [("4", {"scheme": "w8sca4u"}), ("float", {"scheme": "w8sc"})],
    "symmetry": [
        ("symmetric", {"scheme": "w8sca8s"}),
        ("asymmetric", {"scheme": "w8uca8u"}),
        ("Mixed", {"scheme": "w8sca8u"}),
    ],
    "granularity": [
        ("tensor", {"scheme": "w8sta8u"}),
        ("channel", {"scheme": "w8sca8u"}),
        ("32", {"scheme": "w8sb32a8u"}),
    ],
    "mode": [("weights", {"scheme": "w8sc"}), ("dynamic", {"mode": "dynamic"})],
    "method": [("entropy", {"method": "entropy"})],
    "range": [("-8:8", {"range": (-8.0, 8.0), "scheme": "w8sta8u"}), ("auto", {"range": None})],
    "activation-range": [("0:6", {"activation_range": (0.0, 6.0)})],
    "scale": [("pow2", {"scale": "pow2"}), ("free", {"scale": "free"})],
    "mixed": [("4.50", {}), ("none", {})],  # found when the cell is made
}
BASE = Recipe()


@pytest.mark.parametrize("axis", AXES)
def test_each_axis_changes_what_it_says_and_nothing_else(axis: str) -> None:
    for text, expected in CASES[axis]:
        [value] = read_axes({axis: text})[axis]
        recipe = changed(BASE, {axis: value})
        found = recipe.model_dump() | {"scheme": recipe.scheme_in_full()}
        before = BASE.model_dump() | {"scheme": BASE.scheme_in_full()}
        assert found == before | expected


def test_each_axis_is_an_option() -> None:
    text = Path(command.__file__).read_text(encoding="utf-8")
    options = re.findall(r"_axis\(\s*\"([a-z-]+)\"", text)
    assert sorted(options) == sorted(AXES)
    given = re.findall(r"\"([a-z-]+)\": [a-z_]+,?", text.split("read_axes(")[1])
    assert sorted(given) == sorted(AXES)


@pytest.mark.parametrize(
    ("axis", "text", "words"),
    [
        ("bits", "8,x", "'x' is no number"),
        ("bits", "8,,4", "lacks a value"),
        ("levels", "", "lacks a value"),
        ("scheme", "w8z", "is not a scheme"),
        ("method", "minmx", "did you mean 'minmax'"),
        ("symmetry", "symetric", "did you mean"),
        ("preset", "acurate", "did you mean 'accurate'"),
        ("mode", "statik", "did you mean 'static'"),
        ("granularity", "chanel", "did you mean 'channel'"),
        ("range", "-8", "LO:HI"),
        ("scale", "pow3", "did you mean 'pow2'"),
        ("activation-bits", "flaot", "did you mean 'float'"),
    ],
)
def test_what_is_no_value_is_an_error_that_names_it(axis: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_axes({axis: text})
    assert f"--{axis}" in caught.value.what
    assert words in f"{caught.value.what} {caught.value.why} {caught.value.fix}"


def test_two_axes_for_the_codes_of_weights_are_refused() -> None:
    for other in ("levels", "scheme"):
        with pytest.raises(UsageError, match="both given"):
            read_axes({"bits": "8", other: "w8" if other == "scheme" else "8"})


def test_cells_that_are_one_recipe_are_one() -> None:
    axes = read_axes({"bits": "8,4", "mode": "static,weights", "method": "mse,minmax"})
    names = [cell.name for cell in grid(BASE, axes)]
    # Without activations there is nothing that a method could range.
    assert names == [
        "w8sca8u mse", "w8sca8u minmax", "w8sc", "w4sca8u mse", "w4sca8u minmax", "w4sc",
    ]  # fmt: skip
    axes = read_axes({"symmetry": "symmetric,mixed", "activation-bits": "float"})
    assert [cell.name for cell in grid(BASE, axes)] == ["w8sc"]
    assert len(grid(BASE, read_axes({"levels": "16,16,256"}))) == 2


def test_what_cannot_be_is_a_cell_with_the_reason() -> None:
    axes = read_axes({"levels": "2,3", "symmetry": "mixed,asymmetric"})
    cells = {cell.name: cell for cell in grid(BASE, axes)}
    assert list(cells) == ["levels 2 symmetry mixed", "wl2uca8u", "wl3sca8u", "wl3uca8u"]
    failure = cells["levels 2 symmetry mixed"].impossible
    assert failure is not None
    assert "hold nothing but 0" in failure.what
    axes = read_axes({"bits": "40", "mode": "static"})
    assert [cell.impossible is None for cell in grid(BASE, axes)] == [False]
    halves = grid(BASE, read_axes({"scheme": "fp16,w8", "mixed": "4.5"}))
    assert [cell.impossible is None for cell in halves] == [False, True]
    axes = read_axes({"activation-bits": "16", "mode": "dynamic"})
    [cell] = grid(BASE, axes)
    assert cell.impossible is not None
    assert "dynamic" in cell.impossible.what


def test_names_and_slugs_tell_cells_apart() -> None:
    texts = {
        "preset": "fast,balanced", "scheme": "w8a8,w4b32,fp16", "mode": "static,dynamic",
        "range": "-8:8,-4:8,auto", "scale": "free,pow2", "mixed": "none,4.5",
    }  # fmt: skip
    cells = grid(BASE, read_axes(texts))
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({cell.slug for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[\w.-]+", cell.slug) for cell in cells)


def test_cells_that_rules_alone_make_differ_have_names_of_their_own() -> None:
    rules = (Rule(match="op:Gemm", scheme="w8a8"),)
    base = Recipe(scheme="w8", rules=rules)
    for axes in ({"method": "mse,minmax"}, {"mode": "static,weights", "scale": "free,pow2"}):
        cells = grid(base, read_axes(axes))
        assert len(cells) == (2 if len(axes) == 1 else 4)
        assert len({cell.name for cell in cells}) == len({cell.slug for cell in cells})
        assert len({cell.name for cell in cells}) == len(cells)
    assert [cell.name for cell in grid(base, read_axes({"method": "mse,minmax"}))] == [
        "w8sc method mse", "w8sc method minmax",
    ]  # fmt: skip
    floats = grid(Recipe(scheme="float", rules=rules), read_axes({"scale": "free,pow2"}))
    assert [cell.name for cell in floats] == ["rules", "rules pow2"]  # float is the original


def test_a_range_keeps_all_its_digits() -> None:
    [cell] = grid(BASE, read_axes({"range": "-0.123456789:0.123456789"}))
    assert cell.recipe is not None
    assert cell.recipe.range == (-0.123456789, 0.123456789)
    assert read_axes({"range": "-8:8.50"}) == {"range": ("-8:8.5",)}


def test_large_grids_are_asked_for() -> None:
    cells = grid(BASE, {**DEFAULT, "method": ("mse", "minmax")})
    check_limit(cells * 10, None)
    with pytest.raises(UsageError, match="cells") as caught:
        check_limit(cells * 20, None)
    assert "--limit 240" in caught.value.fix
    check_limit(cells * 20, 240)
