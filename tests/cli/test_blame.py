"""What a failed gate is blamed on, and that the command to try is one that there is."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from qtool.cli.blame import _TRY, blame, erring, pattern
from qtool.compare import run_file
from qtool.compare.result import Comparison, LayerError, Size
from qtool.compare.weights import Form, largest_weights
from qtool.patterns import Meant, matches
from tests.cli.conftest import SAMPLES

Run = Callable[..., Result]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
MLP = SAMPLES / "digits_mlp"


def layer(node: str, own: float, tensor: str = "t") -> LayerError:
    return LayerError(tensor, node, "Conv", own - 1, own, 40.0, None, False, 10)


def found(*layers: LayerError, model: Path = Path("m.onnx")) -> Comparison:
    return Comparison(model, model, Size(2, 1), layers=layers)


@given(NAMES | st.sampled_from(["op:Conv", "re:.*", "-x", "/a/b[0]", "*"]), NAMES)
def test_a_pattern_means_one_name(name: str, other: str) -> None:
    node = Meant(frozenset([name]), frozenset(["Conv"]))
    assert matches(pattern(name), node)
    another = Meant(frozenset([other]), frozenset([name[3:]]))
    # A name that is the pattern itself is meant too.
    assert matches(pattern(name), another) is (other in (name, pattern(name)))
    assert not pattern(name).startswith("-")


def test_the_worst_are_nodes_with_an_error_of_their_own_once_each() -> None:
    layers = (
        layer("", 10),
        layer("a", 20),
        layer("a", 21, "u"),
        layer("b", 30),
        layer("c", math.inf),
    )
    assert [each.node for each in erring(found(*layers))] == ["a", "b"]


def test_three_are_named_and_half_of_all_at_most_are_to_stay_float() -> None:
    layers = [layer(str(i), 20 + i) for i in range(9)]
    for count, excluded in ((9, 3), (6, 3), (3, 1), (2, 1)):
        named, command = blame("data", found(*layers[:count]), here=False)
        assert named.count("dB") == min(count, 3)
        assert command.count("--exclude") == excluded
    assert blame("data", found(layers[0]), here=False)[1].endswith("--scheme w8")
    assert len(blame("data", found(), here=False)) == 1


def test_names_are_quoted_for_the_shell_and_for_the_pattern_language() -> None:
    layers = layer("it's [0] *", 20.5), layer("b", 30)
    lines = blame("labels", found(*layers, model=Path("a b.onnx")), here=False)
    assert lines[0] == "the largest errors of their own: it's [0] * (20.5 dB), b (30.0 dB)"
    words = shlex.split(lines[1].removeprefix("try: "))
    assert words == [
        "qtool", "quantize", "a b.onnx", "--data", "DIR", "--exclude", "it's [[]0] [*]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A run with its layers, whose models are there."""
    model, folder = SAMPLES / "digits_cnn", tmp_path_factory.mktemp("judged")
    for arguments in (
        ("quantize", model / "model.onnx", "--data", model / "calib", "-o", folder / "c.onnx"),
        (
            "compare", model / "model.onnx", folder / "c.onnx", "--data", model / "eval",
            "--samples", "16", "--layers", "--json", folder / "run.json",
        ),
    ):  # fmt: skip
        assert CliRunner().invoke(app, [str(a) for a in arguments]).exit_code == 0
    return run_file.read(folder / "run.json")


@pytest.mark.parametrize("source", _TRY)
@pytest.mark.parametrize("here", [True, False])
def test_what_to_try_is_a_command_that_there_is(
    qtool: Run, judged: Comparison, source: str, here: bool
) -> None:
    *_, last = blame(source, judged, here=here)
    calib = str(SAMPLES / "digits_cnn" / "calib")
    command = shlex.split(last.removeprefix("try: ").replace("DIR", calib))
    tried = qtool(*command[1:], "--dry-run")
    assert tried.exit_code == 0, tried.stderr


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(
    ("sample", "excluded"),
    [
        ("digits_cnn", 3),
        pytest.param("text_lstm", 1, marks=pytest.mark.slow),
        pytest.param("text_transformer", 3, marks=pytest.mark.slow),
    ],
)
def test_following_the_advice_mends_the_worst_layers(
    qtool: Run, tmp_path: Path, sample: str, excluded: int
) -> None:
    model, candidate = SAMPLES / sample / "model.onnx", tmp_path / "c.onnx"
    data = ("--data", SAMPLES / sample / "calib", "--samples", 128)
    assert qtool("quantize", model, *data, "-o", candidate).exit_code == 0
    judging = ("compare", model, candidate, "--data", SAMPLES / sample / "eval", "--samples", 32)

    def sqnr_of(done: Result) -> float:
        (text,) = (t for t in done.stderr.splitlines() if t.startswith("  sqnr is "))
        return float(text.split()[2])

    before = qtool(*judging, "--gate", "sqnr >= 99dB")
    assert before.exit_code == 1
    (line,) = (t for t in before.stderr.splitlines() if t.startswith("  try: "))
    assert line.count("--exclude") == excluded
    command = shlex.split(line.removeprefix("  try: ").replace("DIR", str(data[1])))
    assert qtool(*command[1:], "--samples", 128).exit_code == 0
    assert sqnr_of(qtool(*judging, "--gate", "sqnr >= 99dB")) > sqnr_of(before)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(
    ("options", "form"),
    [
        (("--data", MLP / "calib", "--samples", 4), ("--data", "DIR")),
        (("--mode", "dynamic"), ("--mode", "dynamic")),
        (("--bits", 8), ("--scheme", "w8")),
        (("--bits", 4), ("--scheme", "w4")),
        (("--scheme", "w16"), ("--scheme", "w16")),
        (("--scheme", "fp16"), ("--scheme", "fp16")),
    ],
)
def test_another_try_is_of_the_same_form(
    qtool: Run, tmp_path: Path, options: tuple[Any, ...], form: tuple[str, ...]
) -> None:
    candidate = tmp_path / "c.onnx"
    made = qtool("quantize", MLP / "model.onnx", *options, "-o", candidate)
    assert made.exit_code == 0, made.stderr
    assert Form.of(candidate).options == form


def test_a_file_is_large_for_its_weights_in_float_or_for_all(qtool: Run, tmp_path: Path) -> None:
    model, candidate = SAMPLES / "digits_cnn" / "model.onnx", tmp_path / "c.onnx"
    first = max(onnx.load(model).graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest = largest_weights(model)
    assert (largest[0].name, largest[0].size) == (first.name, len(first.raw_data))
    assert len(largest) == 3
    assert qtool("quantize", model, "--exclude", "/15/Gemm", "-o", candidate).exit_code == 0
    kept = largest_weights(candidate)
    assert all(weight.in_float for weight in kept)
    assert qtool("quantize", model, "-o", candidate, "-f").exit_code == 0
    assert not any(weight.in_float for weight in largest_weights(candidate))


def test_size_names_weights_where_the_model_was_just_compared(tmp_path: Path) -> None:
    model = SAMPLES / "digits_cnn" / "model.onnx"
    named, command = blame("size", found(model=model), here=True)
    assert named.startswith("the largest weights in float: ")
    assert "kB)" in named
    assert blame("size", found(model=tmp_path / "gone.onnx"), here=False)[0].startswith("try: ")
    assert command.endswith("--data DIR --bits 4"), "never in the place of the reference"


def test_an_error_while_looking_for_layers_changes_nothing(
    qtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("qtool.compare.layers.compare_layers", fails)
    model, data = SAMPLES / "digits_mlp" / "model.onnx", SAMPLES / "digits_mlp" / "eval"
    arguments = ("compare", model, model, "--data", data, "--samples", 8, "--gate", "sqnr <= 1dB")
    done = qtool(*arguments)
    assert done.exit_code == 1
    assert "out of luck" not in done.stderr
    assert "try: qtool quantize" in done.stderr
    told = qtool(*arguments, "-v")
    assert told.exit_code == 1
    assert "note: no layers to blame: RuntimeError: out of luck" in told.stderr


def test_layers_are_looked_for_on_few_samples_and_kept_in_the_run(
    qtool: Run, tmp_path: Path
) -> None:
    folder, run = SAMPLES / "digits_mlp", tmp_path / "run.json"
    candidate = tmp_path / "c.onnx"
    assert qtool("quantize", folder / "model.onnx", "--bits", 4, "-o", candidate).exit_code == 0
    done = qtool(
        "compare", folder / "model.onnx", candidate, "--data", folder / "eval",
        "--gate", "sqnr >= 90dB", "--json", run,
    )  # fmt: skip
    assert done.exit_code == 1
    assert "the largest errors of their own: " in done.stderr
    assert "note: layers: on 32 samples" in done.stderr
    again = qtool("report", run)
    assert again.exit_code == 1
    assert "the largest errors of their own: " in again.stderr
    assert run_file.read(run).layers
