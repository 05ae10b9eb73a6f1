"""`quantize --contrib`: the runtime's own operators, asked for and written down."""

from __future__ import annotations

from pathlib import Path

import onnx
from typer.testing import CliRunner

from qtool.cli.app import app
from qtool.recipe import load_recipe
from tests.models import normal, save
from tests.recurrent import saved

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
