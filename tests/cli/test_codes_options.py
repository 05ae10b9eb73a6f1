"""The options of `qtool quantize` that say which codes there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import Result

from qtool.cli.codes import Mapping, Scale
from qtool.cli.options import recipe_from
from qtool.errors import UsageError

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        ({"levels": 10}, "wl10scal256u"),
        ({"levels": 16}, "w4sca8u"),
        ({"levels": 300}, "wl300scal300u"),
        ({"levels": 2, "symmetric": False}, "wl2uca8u"),
        ({"bits": 10}, "w10sca10u"),
        ({"bits": 6, "symmetric": True}, "w6sca8s"),
        ({"symmetric": True}, "w8sca8s"),
        ({"symmetric": False}, "w8uca8u"),
        ({"scheme": "w4b32a6", "symmetric": False}, "w4ub32a6u"),
        ({"scheme": "w8ua8", "symmetric": False}, "w8uca8u"),
        ({"levels": 16, "weight_range": "-8,8"}, "w4sta8u"),
        ({"scale": Scale.POW2}, "w8sca8u"),
    ],
)
def test_what_they_ask_for(options: dict[str, object], scheme: str) -> None:
    recipe = recipe_from(None, **options)  # type: ignore[arg-type]
    assert recipe.scheme_in_full() == scheme.replace("al256u", "a8u")
    assert recipe.scale == ("pow2" if "scale" in options else "free")


def test_a_recipe_gives_way_and_its_rules_do_not(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('scheme = "w8ua8s"\nrange = [-1, 1]\n[[rules]]\nmatch = "a"\nscheme = "w4u"\n')
    recipe = recipe_from(file, symmetric=True, weight_range="-2,2", tensor=["b=w4", "c=w4u"])
    assert recipe.scheme_in_full() == "w8sta8s"
    assert recipe.range == (-2.0, 2.0)
    assert [rule.scheme for rule in recipe.rules] == ["w4u", "w4s", "w4u"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 1}, "weights of 1 level"),
        ({"levels": 65537}, "weights of 65537 levels"),
        ({"levels": 2}, "symmetric around 0, hold nothing but 0"),
        ({"levels": 4, "bits": 2}, "--bits and --levels are both given"),
        ({"levels": 4, "scheme": "w2"}, "--levels and --scheme are both given"),
        ({"bits": 4, "scheme": "w2"}, "--bits and --scheme are both given"),
        ({"bits": 17}, "weights of 17 bits"),
        ({"scheme": "w8u", "symmetric": True}, "--symmetric and --scheme w8u contradict"),
        ({"scheme": "w8a8s", "symmetric": False}, "--asymmetric and --scheme w8a8s contradict"),
        ({"scheme": "fp16", "mapping": Mapping.KMEANS}, "of no use with fp16"),
        ({"weight_range": "8,-8"}, "range = 8,-8"),
        ({"weight_range": "1,2"}, "range = 1,2"),
        ({"weight_range": "nan,1"}, "range = nan,1"),
        ({"weight_range": "1"}, "--range '1'"),
        ({"weight_range": "a,b"}, "--range 'a,b'"),
        ({"weight_range": "-1,2"}, "is not symmetric around 0"),
        ({"activation_range": "0,1,2"}, "--activation-range '0,1,2'"),
        ({"activation_range": "0,6", "with_data": False}, "where activations stay float"),
    ],
)
def test_what_cannot_be_is_one_clear_error(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_from(None, **options)  # type: ignore[arg-type]
    assert words in caught.value.what
    assert caught.value.why or caught.value.fix


def test_levels_and_a_range_as_a_person_gives_them(qtool: Run, cnn: Path, tmp_path: Path) -> None:
    options = ("--levels", "16", "--range", "-8,8", "--scale", "free")
    output, saved = tmp_path / "out.onnx", tmp_path / "found.toml"
    result = qtool("quantize", cnn / "model.onnx", *options, "-o", output, "--save-recipe", saved)
    assert result.exit_code == 0, result.stderr
    assert "weights only (w4st, range -8,8)" in result.stderr
    stored = onnx.load(output).graph.initializer
    steps = [onnx.numpy_helper.to_array(t) for t in stored if t.name.endswith("_scale")]
    assert {float(each) for each in steps} == {float(np.float32(8 / 7))}
    again = tmp_path / "again.onnx"
    assert qtool("quantize", cnn / "model.onnx", "--recipe", saved, "-o", again).exit_code == 0
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.slow
def test_everything_at_once_on_data(qtool: Run, cnn: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    result = qtool(
        "quantize", cnn / "model.onnx", "--data", cnn / "calib", "--scheme", "wl100al50",
        "--asymmetric", "--scale", "pow2", "--activation-range", "-1,7", "--preset", "fast",
        "-o", output,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "(wl100ucal50u, activation range -1,7, scale pow2)" in result.stderr
    stored = onnx.load(output).graph.initializer
    steps = [onnx.numpy_helper.to_array(t) for t in stored if t.name.endswith("_scale")]
    assert steps
    assert all((np.frexp(each)[0] == 0.5).all() for each in steps)
    assert qtool("inspect", output, "--runtime").exit_code == 0
    judged = qtool("compare", cnn / "model.onnx", output, "--data", cnn / "eval", "--layers")
    assert judged.exit_code == 0, judged.stderr
