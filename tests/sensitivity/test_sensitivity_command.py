"""`qtool sensitivity`: what it prints and writes, what it refuses, and that its advice is good."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from tests.models import save, weight

SAMPLES = Path(__file__).parents[2] / "sample_models"
Run = Callable[..., Result]


def qtool(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def told(*arguments: object) -> dict[str, Any]:
    result = qtool("sensitivity", *arguments, "--json", "-", "-q")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLES / "digits_mlp", tmp_path / "digits_mlp"))


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def test_what_it_prints_and_writes(mlp: Path) -> None:
    model, data, run = mlp / "model.onnx", mlp / "calib", mlp / "run.json"
    shown = qtool("sensitivity", model, "--data", data, "--scheme", "w4", "--json", run)
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    for word in ("worst first", "alone", "share", "own", "inherited", "all together:"):
        assert word in shown.stdout
    command = next(line for line in lines if line.startswith("try: qtool quantize "))
    assert "--scheme w4" in command
    assert "passes of the float model" in shown.stderr
    found = json.loads(run.read_text())
    assert list(found)[:3] == ["schema", "qtool", "onnxruntime"]
    noises = [layer["noise"] for layer in found["layers"]]
    assert noises == sorted(noises, reverse=True)
    assert all(math.isfinite(each) for each in numbers(found))
    assert command.split()[1:] == found["advice"]["command"]
    again = qtool("sensitivity", model, "--data", data, "--json", run)
    assert again.exit_code == 2
    assert "-f" in again.stderr


def test_the_same_bytes_whatever_the_files_are_called(mlp: Path) -> None:
    images = np.load(mlp / "calib" / "image.npy")[:40]
    texts = []
    for name, order in (("one", range(40)), ("other", range(39, -1, -1))):
        folder = mlp / name
        folder.mkdir()
        for place, index in enumerate(order):
            np.save(folder / f"{place:03}.npy", images[index])
        result = qtool(
            "sensitivity", mlp / "model.onnx", "--data", folder, "--json", "-", "-q", "--bits", 4
        )
        assert result.exit_code == 0, result.stderr
        texts.append(result.stdout)
    advice = [json.loads(text)["advice"]["command"] for text in texts]
    assert texts[0].replace(advice[0][4], "") == texts[1].replace(advice[1][4], "")


def test_it_needs_samples(mlp: Path) -> None:
    result = qtool("sensitivity", mlp / "model.onnx")
    assert result.exit_code == 2
    assert "--data DIR" in result.stderr


@pytest.mark.parametrize(
    ("scheme", "code", "words"), [("fp16", 2, "w8a8"), ("float", 3, "inspect")]
)
def test_without_integers_there_is_nothing_to_tell(
    scheme: str, code: int, words: str, mlp: Path
) -> None:
    result = qtool("sensitivity", mlp / "model.onnx", "--data", mlp / "calib", "--scheme", scheme)
    assert result.exit_code == code
    assert words in result.stderr


def test_what_was_chosen_is_in_the_command(mlp: Path) -> None:
    model, data = mlp / "model.onnx", mlp / "calib"
    given = ["--scheme", "w4", "--samples", "40", "--seed", "3", "--preset", "fast"]
    words = told(model, "--data", data, *given)["advice"]["command"]
    assert words[:5] == ["qtool", "quantize", str(model), "--data", str(data)]
    for option, value in zip(given[::2], given[1::2], strict=True):
        assert words[words.index(option) + 1] == value


def test_names_that_a_shell_or_a_glob_reads_otherwise(tmp_path: Path) -> None:
    """The command keeps the very layer in float that it means."""
    graph = "g (float[N,16] x) => (float[N,16] y) { h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"
    path = save(tmp_path / "m.onnx", graph, w=weight(16, 16), v=weight(16, 16, seed=2))
    loaded = onnx.load(path)
    for node, name in zip(loaded.graph.node, ("a[0] & 'b'", "r", "a[1] & 'b'"), strict=True):
        node.name = name
    onnx.save(loaded, path)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32))
    shown = qtool("sensitivity", path, "--data", tmp_path / "x.npy", "--scheme", "w4", "-q")
    assert shown.exit_code == 0, shown.stderr
    command = next(x for x in shown.stdout.splitlines() if x.startswith("try: "))
    words = shlex.split(command.removeprefix("try: "))
    made = qtool(*words[1:], "-o", tmp_path / "q.onnx", "--allow-larger")
    assert made.exit_code == 0, made.stderr
    assert "quantized 2 layers: 1 w" in made.stderr
    assert "1 w4sc" in made.stderr and "1 w8sc" in made.stderr


def followed(name: str, *options: str, folder: Path) -> tuple[float, float]:
    """The SQNR of the outputs on calib/ before the advice was followed, and after."""
    at, data = SAMPLES / name / "model.onnx", SAMPLES / name / "calib"
    words = told(at, "--data", data, *options)["advice"]["command"][1:]
    before = ["quantize", at, "--data", data, *options]
    found = list[float]()
    for command in (before, words):
        path = folder / f"{len(found)}.onnx"
        result = qtool(*command, "-o", path, "-q", "--allow-larger")
        assert result.exit_code == 0, result.stderr
        result = qtool("compare", at, path, "--data", data, "--json", "-", "-q")
        found.append(json.loads(result.stdout)["outputs"][0]["sqnr_db"])
    return found[0], found[1]


def test_the_advice_is_good(tmp_path: Path) -> None:
    before, after = followed("digits_mlp", "--scheme", "w4", "--preset", "fast", folder=tmp_path)
    assert after > before + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits_mlp", ("--scheme", "w4")),
        ("digits_cnn", ()),
        ("digits_cnn", ("--placement", "all", "--preset", "fast")),
        ("digits_mobile", ()),
        ("digits_mobile", ("--scheme", "w4")),
        ("digits_detector", ()),
        ("digits_detector", ("--placement", "all")),
        ("text_transformer", ()),
        ("text_transformer", ("--placement", "all")),
        ("text_lstm", ("--scheme", "w4")),
        ("text_gru", ()),
        ("digits_decoder", ()),
    ],
)
def test_it_is_good_for_all_samples(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    before, after = followed(name, *options, folder=tmp_path)
    assert after > before + 0.5
