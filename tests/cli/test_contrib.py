"""`quantize --contrib`: the runtime's own operators, asked for and written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from typer.testing import CliRunner

from qtool.cli.app import app
from qtool.recipe import load_recipe
from tests.models import normal, save, weight
from tests.recurrent import BATCH, STEPS, WIDTH, saved

NOTE = "a table of 4 bits takes 8 in memory; with --contrib it takes 4"


def test_what_a_table_takes_is_told_and_contrib_is_kept_in_the_recipe(tmp_path: Path) -> None:
    graph = "g (int64[N,4] i) => (float[N,4,100] y) { y = Gather(w, i) }"
    path = save(tmp_path / "m.onnx", graph, w=normal(10_600, 100, seed=5))
    out, saved = tmp_path / "q.onnx", tmp_path / "r.toml"
    run = ["quantize", str(path), "--scheme", "w4b32", "-o", str(out), "-f"]
    plain = CliRunner().invoke(app, run)
    assert plain.exit_code == 0
    assert NOTE in plain.output
    assert {node.domain for node in onnx.load(out).graph.node} == {""}

    asked = CliRunner().invoke(app, [*run, "--contrib", "--save-recipe", str(saved)])
    assert asked.exit_code == 0
    assert NOTE not in asked.output
    assert "contrib = true" in saved.read_text()
    assert load_recipe(saved).contrib
    written = out.read_bytes()
    assert {node.op_type for node in onnx.load(out).graph.node} >= {"GatherBlockQuantized"}

    again = ["quantize", str(path), "--recipe", str(saved), "-o", str(out), "-f"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert out.read_bytes() == written


def test_an_lstm_says_how_it_could_run_in_integers_and_what_that_saves(tmp_path: Path) -> None:
    path, out, recipe = saved(tmp_path / "m.onnx"), tmp_path / "q.onnx", tmp_path / "r.toml"
    run = ["quantize", str(path), "--mode", "dynamic", "-o", str(out), "-f"]
    plain = CliRunner().invoke(app, run)
    assert plain.exit_code == 0
    assert "its dynamic kernel is the runtime's own, taken with --contrib: 1 LSTM" in plain.output
    assert "note: 1 LSTM: smaller on disk, same time and memory" in plain.output

    asked = CliRunner().invoke(app, [*run, "--contrib", "--save-recipe", str(recipe)])
    assert asked.exit_code == 0
    assert "quantized 1 layer: 1 w8sca8u dynamic" in asked.output
    assert "note: 1 LSTM: smaller on disk, but no faster than float" in asked.output
    assert [node.op_type for node in onnx.load(out).graph.node] == ["DynamicQuantizeLSTM"]

    dry = CliRunner().invoke(app, ["quantize", str(path), "--recipe", str(recipe), "--dry-run"])
    assert dry.exit_code == 0
    assert "gates" in dry.output
    found = CliRunner().invoke(app, ["inspect", str(out)])
    assert found.exit_code == 0
    assert "1 com.microsoft.DynamicQuantizeLSTM" in " ".join(found.output.split())

    gate = ["compare", str(path), str(out), "--gate", "size.ratio <= 0.01"]
    failed = CliRunner().invoke(app, gate)
    assert failed.exit_code == 1
    assert "--mode dynamic --contrib --bits 4" in failed.output


def test_the_first_line_gives_no_reason_that_is_not_that_of_a_recurrent_layer(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path / "m.onnx", "GRU")
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", x=normal(STEPS, BATCH, WIDTH))
    data = ["--data", str(tmp_path / "data"), "--scheme", "w8a8"]
    for more in (["--mode", "dynamic"], data):
        run = ["quantize", str(path), "-o", str(tmp_path / "q.onnx"), "-f", *more]
        result = CliRunner().invoke(app, run)
        assert result.exit_code == 0, result.output
        assert result.output.splitlines()[0] == "m.onnx: weights only (w8sca8u) for cpu"
        assert "kernel for" in result.output


def test_what_one_sample_is_worth_is_told_as_what_was_learned(tmp_path: Path) -> None:
    graph = "g (float[N,24] x) => (float[N,16] y) { y = MatMul(x, w) }"
    path = save(tmp_path / "m.onnx", graph, w=weight(24, 16))
    for count in (1, 2):
        data = tmp_path / str(count)
        data.mkdir()
        np.save(data / "x.npy", normal(count, 24))
        run = ["quantize", str(path), "--scheme", "w4", "--data", str(data), "-f"]
        result = CliRunner().invoke(app, [*run, "--allow-larger"])
        assert result.exit_code == 0, result.output
        assert "  gptq: outputs " in result.output
        assert ("on what it learned from" in result.output) is (count == 1)
