"""Presets: what comes along is a recipe, the default is one of them, and README shows them all."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

from qtool.algorithms import ALGORITHMS, needing_samples, of_stage
from qtool.cli.options import recipe_from, without_samples
from qtool.errors import UsageError
from qtool.passes import TRANSFORMS
from qtool.recipe import Recipe, load_recipe, presets
from qtool.refine import REFINEMENTS, SMOOTHERS

README = Path(__file__).parents[1] / "README.md"
PRESETS = Path(__file__).parents[1] / "qtool" / "presets"
each_preset = pytest.mark.parametrize("name", presets())


def test_every_file_in_the_folder_is_a_preset() -> None:
    assert {path.stem for path in PRESETS.glob("*.toml")} == set(presets())


def test_the_default_is_balanced() -> None:
    assert Recipe() == Recipe.model_validate(presets()["balanced"])


@each_preset
def test_readme_shows_what_it_lists(name: str) -> None:
    table = presets()[name]
    listed = ", ".join(f"`{each}`" for each in table["algorithms"])
    assert f"| `{name}` | `{table['method']}` | {listed} |" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_one_place_and_a_row_in_the_readme(name: str) -> None:
    stage = ALGORITHMS[name].stage
    places: dict[str, Collection[str]] = {
        "transform": {**TRANSFORMS, **SMOOTHERS},
        "refinement": REFINEMENTS,
    }
    assert all((name in table) == (stage == each) for each, table in places.items())
    assert (name in TRANSFORMS) <= (ALGORITHMS[name].needs == "nothing")
    assert f"| `{name}` | " in README.read_text(encoding="utf-8")


@each_preset
def test_command_line_over_recipe_over_preset(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('algorithms = ["masks"]\n')
    found = recipe_from(file, preset=name, seed=7)
    assert found.algorithms == ("masks",)
    assert (found.method, found.seed) == (presets()[name]["method"], 7)
    assert recipe_from(None, preset=name, method="entropy").method == "entropy"


@each_preset
def test_a_recipe_names_a_preset_and_is_saved_in_full(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(f'preset = "{name}"\n')
    found = load_recipe(file)
    assert found == recipe_from(None, preset=name)
    assert "preset" not in tomllib.loads(found.toml())


def test_an_unknown_preset_is_told_the_closest() -> None:
    with pytest.raises(UsageError) as caught:
        recipe_from(None, preset="acurate")
    assert "accurate" in caught.value.fix


SAMPLES = ("equalize", "smooth", "masks", "bias")


def test_without_samples_a_file_of_statistics_is_no_replacement() -> None:
    with pytest.raises(UsageError, match="smooth, bias need samples"):
        without_samples(Recipe(algorithms=SAMPLES), asked=True, calibrated=True)


@pytest.mark.parametrize(("asked", "calibrated"), [(False, True), (True, False), (False, False)])
def test_what_needs_samples_is_left_out_without(asked: bool, calibrated: bool) -> None:
    recipe = without_samples(Recipe(algorithms=SAMPLES), asked=asked, calibrated=calibrated)
    assert recipe.algorithms == ("equalize", "masks")


def test_names_by_stage_and_need_keep_their_order() -> None:
    assert of_stage(SAMPLES[::-1], "transform") == ("smooth", "equalize")
    assert needing_samples(SAMPLES) == ("smooth", "bias")
