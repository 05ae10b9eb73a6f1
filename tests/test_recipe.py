"""Recipes: what is read, written back, refused, and which rule wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qtool.data import Declaration
from qtool.errors import UsageError
from qtool.numeric.scheme import Scheme
from qtool.patterns import Meant
from qtool.recipe import Recipe, Rule, load_recipe

RULES = (
    Rule(match="op:Conv", scheme="float"),
    Rule(match="head/*", scheme="w4b32"),
    Rule(match="re:^head/.*_2$", scheme="w8a16"),
)


def node(name: str, operator: str) -> Meant:
    return Meant(frozenset([name]), frozenset([operator]))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    return f"{caught.value.what}\n{caught.value.why}\n{caught.value.fix}"


ROUND = {
    "defaults": Recipe(),
    "all": Recipe(scheme="w4b32", method="minmax", algorithms=(), rules=RULES, samples=7, seed=-3),
    "quotes": Recipe(rules=(Rule(match='a"b\\c', scheme="w8"),)),
    "a regular expression": Recipe(rules=(Rule(match=r"re:\d+\.\w", scheme="w8"),)),
    "lines and control characters": Recipe(rules=(Rule(match="a\n\t\x01\x7fb", scheme="w8"),)),
    "ranges and scales": Recipe(
        scheme="wl10al200", range=(-8.0, 8.0), activation_range=(-1e-7, 1e22), scale="pow2"
    ),
    "letters beyond ASCII": Recipe(rules=(Rule(match="größe/層/😀", scheme="w8"),)),
}


@pytest.mark.parametrize("name", ROUND)
def test_reading_inverts_writing(name: str, tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, ROUND[name].toml())) == ROUND[name]


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "")) == Recipe()


def test_a_known_key_with_a_wrong_value_is_not_compared_with_itself(tmp_path: Path) -> None:
    message = refused(written(tmp_path, 'algorithms = "bias"'))
    assert "algorithms: input should be a valid list" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('shceme = "w8"', "'scheme'"),
        ('[[rules]]\nmacth = "a"\nscheme = "w8"', "'match'"),
        ('methods = "mse"', "'method'"),
    ],
)
def test_an_unknown_key_is_named_with_the_closest(tmp_path: Path, text: str, words: str) -> None:
    message = refused(written(tmp_path, text))
    assert words in message.split("did you mean", 1)[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scheme = 8", "scheme"),
        ("samples = 0", "samples"),
        ('scheme = "w8" "x"', "is not TOML"),
        ('scheme = "int8"', "is not a scheme"),
        ('[[rules]]\nmatch = "a"\nscheme = "w99"', "99"),
        ('method = "mesh"', "'mse'"),
        ('algorithms = ["equalise"]', "'equalize'"),
        ('algorithms = ["bias", "bias"]', "listed twice"),
        ('preset = "balance"', "'balanced'"),
        ('[[rules]]\nmatch = "a"', "rules.0.scheme"),
        ("range = [8, -8]", "range = 8,-8"),
        ("range = [0, 0]", "range = 0,0"),
        ("range = [1, 2]", "holds 0"),
        ("range = [nan, 1]", "range = nan,1"),
        ("range = [-inf, inf]", "range = -inf,inf"),
        ("range = [-1, 2]", "range = -1,2  is not symmetric"),
        ('scheme = "w8a8s"\nactivation_range = [0, 6]', "is not symmetric around 0"),
        ("range = [-1]", "range"),
        ("range = 8", "range"),
        ('scale = "pow3"', "scale"),
        ('mode = "dynamic"\nscale = "pow2"', "cannot be dynamic"),
        ('mode = "dynamic"\nactivation_range = [-1, 1]', "cannot be dynamic"),
        ('scheme = "fp16"\nscale = "pow2"', "no scale"),
        ('scheme = "bf16"\nrange = [-1, 1]', "no scale"),
        ('[[rules]]\nmatch = "re:("\nscheme = "w8"', "pattern 're:(' is no regular expression"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "none.toml")
    assert "cannot read" in refused(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'method = "\xe9"')
    assert "is not TOML" in refused(tmp_path / "latin.toml")


def test_the_last_rule_wins() -> None:
    recipe = Recipe(scheme="w8", rules=RULES)
    assert str(recipe.scheme_of(node("body/1", "MatMul"))) == "w8sc"
    assert recipe.scheme_of(node("body/1", "Conv")) == "kept in float as asked"
    assert str(recipe.scheme_of(node("head/1", "Conv"))) == "w4sb32"
    assert str(recipe.scheme_of(node("head/1_2", "Conv"))) == "w8sca16u"
    reverse = Recipe(rules=RULES[::-1])
    assert reverse.scheme_of(node("head/1_2", "Conv")) == "kept in float as asked"


def test_the_method_reaches_the_activations() -> None:
    scheme = Recipe(scheme="w8a8", method="minmax").scheme_of(node("a", "Conv"))
    assert isinstance(scheme, Scheme)
    assert scheme.activation is not None
    assert scheme.activation.method == "minmax"


def test_weights_only_leaves_float_and_rules_as_they_are() -> None:
    found = Recipe(scheme="w8a8", rules=RULES, samples=3).weights_only()
    assert (found.scheme, found.samples) == ("w8sc", 3)
    assert [r.scheme for r in found.rules] == ["float", "w4sb32", "w8sc"]
    assert [r.match for r in found.rules] == [r.match for r in RULES]
    assert found.weights_only() == found


@pytest.mark.parametrize(
    ("scheme", "suffix", "full"),
    [("w8a8", "int8", "w8sca8u"), ("w8", "w8", "w8sc"), ("w4b32", "w4", "w4sb32"),
     ("float", "mixed", "float"), ("wl10", "wl10", "wl10sc"), ("wl200ta8", "intl200", "wl200sta8u"),
     ("wl256a6", "int8", "w8sca6u")],
)  # fmt: skip
def test_what_an_output_is_called(scheme: str, suffix: str, full: str) -> None:
    assert Recipe(scheme=scheme).suffix() == suffix
    assert Recipe(scheme=scheme).scheme_in_full() == full


@pytest.mark.parametrize(
    ("choices", "word"),
    [
        ({"scheme": "w8", "mode": "dynamic"}, "activations in float"),
        ({"scheme": "fp16", "mode": "dynamic"}, "activations in float"),
        ({"scheme": "w8a16", "mode": "dynamic"}, "cannot be dynamic"),
        ({"scheme": "w8", "keep_io_types": False}, "only become float16"),
        ({"scheme": "bf16", "keep_io_types": False}, "only become float16"),
    ],
)
def test_choices_that_contradict_each_other(choices: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe(**choices).checked()
    assert word in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("choices", "suffix"),
    [({"scheme": "fp16"}, "fp16"), ({"scheme": "w4a8", "mode": "dynamic"}, "dynamic4")],
)
def test_modes_and_halves_make_the_round_trip(
    choices: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    recipe = Recipe(**choices).checked()
    assert recipe.suffix() == suffix
    assert load_recipe(written(tmp_path, recipe.toml())) == recipe


def test_the_example_in_the_docstring_is_a_recipe(tmp_path: Path) -> None:
    import qtool.recipe

    text = (qtool.recipe.__doc__ or "").split("\n\n", 1)[1]
    assert load_recipe(written(tmp_path, text)).rules[0].match == "op:Softmax"


def test_a_data_table_makes_the_round_trip(tmp_path: Path) -> None:
    table = {"samples": "whole", "inputs": {"a b": {"from": "images", "mean": [0.5, 1.0]}}}
    recipe = Recipe(data=Declaration.model_validate(table))
    found = load_recipe(written(tmp_path, recipe.toml()))
    assert found.data is not None
    assert found.data.model_dump(by_alias=True, exclude_defaults=True) == table
