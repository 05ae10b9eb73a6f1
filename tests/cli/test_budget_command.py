"""`qtool quantize --max-drop`, `--max-size`, `--target-bits`, end to end on a small model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import Result

from qtool.cli.budget import Asked
from qtool.recipe import load_recipe
from qtool.runtime import Session
from qtool.search import within
from tests.models import normal, save, weight

Run = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """m.onnx, and data/ with samples and the labels that the model gives them."""
    graph = """g (float[N,8,6,6] x) => (float[N,5] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w0) b = Relu(a)
        c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(b, w1) d = Relu(c)
        e = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(d, w2) f = Relu(e)
        h = GlobalAveragePool(f) i = Flatten(h) y = Gemm(i, w3) }"""
    weights = {f"w{i}": weight(16, 16 if i else 8, 3, 3, seed=i) for i in range(3)}
    model = save(tmp_path / "m.onnx", graph, **weights, w3=weight(16, 5, seed=9))
    data = tmp_path / "data"
    data.mkdir()
    x = normal(240, 8, 6, 6)
    np.save(data / "x.npy", x)
    session = Session(model)
    np.save(data / "labels.npy", session.run({"x": x})["y"].argmax(1).astype(np.int64))
    return tmp_path


def journal(place: Path) -> Any:
    return json.loads((place / "out.search.json").read_text())


def told(place: Path) -> list[dict[str, Any]]:
    """The trials, but for how they compare with others that may follow."""
    return [{k: v for k, v in t.items() if k != "pareto"} for t in journal(place)["trials"]]


def quantize(qtool: Run, place: Path, *more: object) -> Result:
    fixed = ("--data", place / "data", "-o", place / "out.onnx", "--placement", "all")
    return qtool("quantize", place / "m.onnx", *fixed, *more)


def test_what_is_asked_for_is_enough(qtool: Run, place: Path) -> None:
    result = quantize(qtool, place, "--max-drop", "50pp")
    assert result.exit_code == 0, result.stderr
    assert "80 samples to calibrate on, 80 to choose by, 80 to report on" in result.stderr
    assert "inside the budget of 50 pp" in result.stdout
    found = journal(place)
    assert len(found["trials"]) == 1
    assert found["done"] is True
    assert found["report"]["metric"] == "top1"
    assert load_recipe(place / "out.toml").rules == ()


def test_segments_are_given_up_until_it_is_inside(qtool: Run, place: Path) -> None:
    result = quantize(qtool, place, "--max-drop", "0.001%", "--metric", "sqnr")
    found = journal(place)
    assert result.exit_code == (0 if found["report"]["met"] else 1), result.stderr
    trials = found["trials"]
    assert 2 <= len(trials) <= 12
    assert trials[0]["inside"] is False
    assert any(trial["pareto"] for trial in trials)
    assert trials[0]["loss"]["value"] > 1e-5
    assert trials[0]["loss"]["value"] > 4 * found["report"]["value"] / 3
    assert found["report"]["limit"] == pytest.approx(1e-5)
    # The recipe makes the same file again.
    recipe = load_recipe(place / "out.toml")
    assert recipe.rules or recipe.scheme == "w8sc"
    # and says what was chosen by a search
    assert (place / "out.toml").read_text() in [t["recipe"] for t in trials if t["inside"]]


@pytest.mark.slow
def test_nothing_is_good_enough_and_the_best_is_written(qtool: Run, place: Path) -> None:
    result = quantize(qtool, place, "--max-drop", "1e-12%", "--metric", "sqnr")
    assert result.exit_code == 1
    assert "no choice was surely inside the budget" in result.stderr
    trials = journal(place)["trials"]
    assert len(trials) <= 12
    chosen = next(t for t in trials if t["recipe"] == (place / "out.toml").read_text())
    assert chosen["loss"]["value"] == min(t["loss"]["value"] for t in trials)
    assert (place / "out.onnx").exists()
    again = quantize(qtool, place, "--max-drop", "1e-12%", "--metric", "sqnr", "-f", "--exit-zero")
    assert again.exit_code == 0


@pytest.mark.slow
def test_an_interrupted_search_goes_on(
    qtool: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = within.Within.judge
    count = 0

    def interrupted(self: within.Within, path: Path, data: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:  # the model itself, then two choices
            raise KeyboardInterrupt
        return judged(self, path, data)

    monkeypatch.setattr(within.Within, "judge", interrupted)
    options = ("--max-drop", "0.001%", "--metric", "sqnr")
    assert quantize(qtool, place, *options).exit_code != 0
    assert not (place / "out.onnx").exists()
    before = told(place)
    assert len(before) == 2
    monkeypatch.setattr(within.Within, "judge", judged)
    result = quantize(qtool, place, *options)
    assert result.exit_code in (0, 1), result.stderr
    assert "2 choices are known" in result.stderr
    assert told(place)[:2] == before
    # the same as without the interruption
    through = place / "through"
    through.mkdir()
    quantize(qtool, place, *options, "-o", through / "out.onnx")
    assert (through / "out.onnx").read_bytes() == (place / "out.onnx").read_bytes()


def test_the_recipe_that_is_read_is_not_written(qtool: Run, place: Path) -> None:
    own = place / "out.toml"
    own.write_text('scheme = "w4a8"\n')
    result = quantize(qtool, place, "--max-drop", "50pp", "--recipe", own, "-f")
    assert result.exit_code == 2, result.stderr
    assert own.read_text() == 'scheme = "w4a8"\n'
    other = quantize(qtool, place, "--max-drop", "50pp")  # no input, but there
    assert other.exit_code == 2
    assert "--save-recipe FILE" in other.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [("3MB", 3_000_000), ("1.5 kb", 1500), ("2KiB", 2048), ("1g", 10**9), ("4000", 4000)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert Asked(None, None, None, None, (), text, None).bounds().max_size == size


@pytest.mark.slow
def test_labels_may_lie_elsewhere(qtool: Run, place: Path) -> None:
    (place / "data" / "labels.npy").rename(place / "truth.npy")
    alone = quantize(qtool, place, "--max-drop", "50pp")
    assert journal(place)["report"]["metric"] == "agreement", alone.stderr
    options = ("--labels", place / "truth.npy", "-f")
    assert quantize(qtool, place, "--max-drop", "50pp", *options).exit_code == 0
    assert journal(place)["report"]["metric"] == "top1"
    judged = qtool(
        "compare", place / "m.onnx", place / "out.onnx", "--data", place / "data",
        "--labels", place / "truth.npy", "--gate", "top1 >= 90%",
    )  # fmt: skip
    assert judged.exit_code == 0, judged.stderr
    for name, said in (("none.npy", "does not exist"), ("m.onnx", "holds no labels")):
        result = quantize(
            qtool, place, "--max-drop", "50pp", "--labels", place / name, "-f"
        )  # fmt: skip
        assert result.exit_code == 4
        assert said in result.stderr


def test_another_search_does_not_take_its_place(qtool: Run, place: Path) -> None:
    (place / "out.search.json").write_text("{}")
    result = quantize(qtool, place, "--max-drop", "50pp")
    assert result.exit_code == 2
    assert "out.search.json exists" in result.stderr
    assert quantize(qtool, place, "--max-drop", "50pp", "-f").exit_code == 0


@pytest.mark.slow
def test_a_size_is_kept_by_fewer_bits(qtool: Run, place: Path) -> None:
    assert quantize(qtool, place).exit_code == 0
    before = (place / "out.onnx").stat().st_size
    most = before - 2000
    result = quantize(qtool, place, "--max-size", f"{most}", "-f")
    assert result.exit_code == 0, result.stderr
    size = (place / "out.onnx").stat().st_size
    assert most - 1500 < size <= most  # what fits is used
    kinds = {t.data_type for t in onnx.load(place / "out.onnx").graph.initializer}
    assert kinds & {onnx.TensorProto.INT4, onnx.TensorProto.INT2}
    small = quantize(qtool, place, "--max-size", "1kB", "-f", "-q")
    assert small.exit_code == 1
    assert "error: 1kB cannot be had" in small.stderr  # -q silences no error
    assert not (place / "out.search.json").exists()  # nothing was tried


def test_bits_are_chosen_to_an_average(qtool: Run, place: Path) -> None:
    result = qtool(
        "quantize", place / "m.onnx", "--target-bits", "4.5", "-o", place / "out.onnx",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    recipe = load_recipe(place / "out.toml")
    bits = {int(rule.scheme[1]) for rule in recipe.rules}
    assert len(bits | {8}) > 1
    weights = [t for t in onnx.load(place / "out.onnx").graph.initializer if t.name[:1] == "w"]
    width = {onnx.TensorProto.INT8: 8, onnx.TensorProto.INT4: 4, onnx.TensorProto.INT2: 2}
    coded = [(np.prod(t.dims), width[t.data_type]) for t in weights if t.data_type in width]
    values = sum(count for count, _ in coded)
    assert 3.5 < sum(count * bits for count, bits in coded) / values <= 4.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-drop", "0.5"), "--max-drop 0.5pp"),
        (("--max-drop", "x"), "is no budget"),
        (("--max-drop", "1pp", "--metric", "mse"), "'mse' cannot be had here"),
        (("--metric", "top1"), "--metric goes with --max-drop"),
        (("--max-size", "3 apples"), "is no size"),
        (("--max-size", "64"), "--max-size 64kB"),
        (("--target-bits", "1"), "2 to 32"),
        (("--max-drop", "1pp", "--dry-run"), "--dry-run are both given"),
        (("--max-drop", "1pp", "--optimize", "latency"), "--optimize are both given"),
        (("--max-drop", "1pp", "--mode", "dynamic"), "dynamic"),
    ],
)
def test_what_cannot_be_asked(qtool: Run, place: Path, options: tuple[str, ...], said: str) -> None:
    result = quantize(qtool, place, *options)
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert not (place / "out.onnx").exists()
