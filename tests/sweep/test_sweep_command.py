"""`qtool sweep` at the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from qtool.errors import install_command
from qtool.recipe import load_recipe
from qtool.sweep.judging import Bench
from tests.sweep import small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small.folder(tmp_path)


def sweep(folder: Path, *arguments: object) -> Result:
    command = ("sweep", folder / "model.onnx", "--data", folder / "data", "--placement", "all")
    return CliRunner().invoke(app, [str(each) for each in (*command, *arguments)])


def test_table_json_plot_markdown_and_models(folder: Path) -> None:
    more = ("--plot", folder / "p.png", "--plot", folder / "p.svg", "--markdown", folder / "t.md")
    result = sweep(folder, "--bits", "8,2", "--preset", "fast", "--keep", folder / "kept", *more)
    assert result.exit_code == 0, result.stderr
    assert "20 samples to calibrate on, 20 to judge on (seed 0); no sample is in both" in (
        result.stderr
    )
    assert {"float", "w8sca8u", "w2sca8u", "fast", "top1", "*"} <= set(result.stdout.split())
    found = json.loads((folder / "model.sweep.json").read_text())
    cells = found["cells"]
    assert [cell["name"] for cell in cells] == ["w8sca8u fast", "w2sca8u fast"]
    assert found["axes"] == {"preset": ["fast"], "bits": ["8", "2"]}
    assert found["metric"] == {"name": "top1", "unit": "pp", "better": "high"}
    files = [folder / "kept" / f"model.w{bits}sca8u-fast.onnx" for bits in (8, 2)]
    assert [cell["size"] for cell in cells] == [file.stat().st_size for file in files]
    assert not (folder / "model.sweep.json.part").exists()
    assert (folder / "p.png").stat().st_size > 10_000
    assert b"</svg>" in (folder / "p.svg").read_bytes()
    assert "| `w8sca8u fast` |" in (folder / "t.md").read_text()
    again = sweep(folder, "--bits", "8,2")
    assert again.exit_code == 2
    assert "-f overwrites it" in again.stderr


def test_labels_may_lie_elsewhere_and_other_ones_begin_anew(folder: Path) -> None:
    truth = folder / "truth.npy"
    (folder / "data" / "labels.npy").rename(truth)

    def run() -> dict[str, Any]:
        result = sweep(folder, "--bits", "8", "--labels", truth, "-f")
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads((folder / "model.sweep.json").read_text())
        return found

    first = run()
    assert first["metric"]["name"] == "top1"
    np.save(truth, (np.load(truth) + 1) % 10)
    second = run()
    assert second["reference"]["metrics"]["top1"] < first["reference"]["metrics"]["top1"]
    assert second["run"]["evaluation"]["truth"] != first["run"]["evaluation"]["truth"]


@pytest.mark.slow
def test_the_recipe_of_a_cell_makes_the_cell(folder: Path) -> None:
    assert sweep(folder, "--scheme", "w4b32a8", "--exclude", "op:Relu").exit_code == 0
    [cell] = json.loads((folder / "model.sweep.json").read_text())["cells"]
    recipe = cell["recipe"]
    lines = [f"{k} = {json.dumps(v)}" for k, v in recipe.items() if k != "rules"]
    rules = [
        f'[[rules]]\nmatch = "{r["match"]}"\nscheme = "{r["scheme"]}"' for r in recipe["rules"]
    ]
    (folder / "r.toml").write_text("\n".join([*lines, *rules]))
    loaded = load_recipe(folder / "r.toml")
    assert loaded.scheme == "w4sb32a8u"
    assert [(rule.match, rule.scheme) for rule in loaded.rules] == [("op:Relu", "float")]


def test_what_is_included_has_the_scheme_of_the_cell(folder: Path) -> None:
    given = (
        "--bits",
        "8,4",
        "--mode",
        "weights",
        "--tensor",
        "op:Relu=w8",
        "--include",
        "*MatMul*",
    )
    result = sweep(folder, *given, "--exclude", "nothing")
    assert result.exit_code == 3, result.stderr  # each cell says what matches nothing
    result = sweep(folder, *given[:4], "--include", "op:MatMul", "-f")
    assert result.exit_code == 0, result.stderr
    cells = json.loads((folder / "model.sweep.json").read_text())["cells"]
    assert [[rule["scheme"] for rule in cell["recipe"]["rules"]] for cell in cells] == [
        ["float", "w8sc"], ["float", "w4sc"],
    ]  # fmt: skip
    assert cells[0]["size"] > cells[1]["size"]


def test_the_list_measures_nothing(folder: Path) -> None:
    result = CliRunner().invoke(app, ["sweep", "nosuch.onnx", "--list", "--levels", "2,3"])
    assert result.exit_code == 0, result.stderr
    assert "wl3sca8u" in result.stdout
    assert "levels 2" in result.stdout
    assert "1 of 2 cells" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bits", "8", "--levels", "4"), "--bits and --levels are both given"),
        (("--workers", "2", "--cluster", "tcp://x:1"), "--workers and --cluster"),
        (("--plot", "x.gif"), ".png and .svg"),
        (("--metric", "topp1"), "did you mean 'top1'"),
        (("--bits", "2,3,4,5,6,7,8", "--limit", "3"), "--limit 7"),
        (("--plot", "{}/a.svg", "--markdown", "{}/a.svg"), "two results go to"),
        (("-o", "{}/model.onnx", "-f"), "is an input"),
        (("-o", "{}/data/x.npy", "-f"), "is an input"),
    ],
)
def test_bad_options_are_errors_before_any_cell(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr(Bench, "judge", None)
    result = sweep(folder, *(each.format(folder) for each in arguments))
    assert result.exit_code == 2, result.stderr
    assert words in result.stderr


@pytest.mark.parametrize(("model", "code"), [("nosuch.onnx", 3), (".", 3), ("data/x.npy", 3)])
def test_what_is_no_model_is_said(folder: Path, model: str, code: int) -> None:
    given = ("sweep", str(folder / model), "--data", str(folder / "data"))
    result = CliRunner().invoke(app, given)
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr


def test_without_matplotlib_it_is_said_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = sweep(folder, "--plot", folder / "p.png")
    assert result.exit_code == 5
    assert install_command("plot") in result.stderr


def test_where_nothing_works_it_is_told_and_written(folder: Path) -> None:
    result = sweep(folder, "--bits", "40", "--mode", "static", "--plot", folder / "p.svg")
    assert result.exit_code == 3
    assert "error: nothing came of any cell" in result.stderr
    assert "weights of 40 bits" in result.stderr
    [cell] = json.loads((folder / "model.sweep.json").read_text())["cells"]
    assert cell["recipe"] is None
    assert "nothing came of any cell" in (folder / "p.svg").read_text()


def test_models_may_be_kept_in_this_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = sweep(folder, "--bits", "8", "--mode", "weights", "--keep", ".")
    assert result.exit_code == 0, result.stderr
    assert (folder / "model.w8sc.onnx").is_file()


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Bench.judge, list[int]()

    def judge(*given: object, **options: object) -> object:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Bench, "judge", judge)
    result = sweep(folder, "--bits", "8,4,2")
    assert result.exit_code == 130
    assert "the same command goes on where this one was" in result.stderr
    result = sweep(folder, "--bits", "8,4,2")
    assert result.exit_code == 0, result.stderr
    assert "1 cell had been judged before" in result.stderr
    assert len(seen) == 4
