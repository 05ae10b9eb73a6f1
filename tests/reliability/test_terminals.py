"""Names that hurt, and terminals that cannot show or take what is printed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qtool.cli.app import app
from tests.models import normal, proto, weight
from tests.reliability.conftest import COMMAND, ENVIRONMENT, SAMPLES, Shell

EVIL = "[red]\x1b[31m\n::error::<script>##[add-mask]x\u202e"
MODEL = SAMPLES / "digits_cnn" / "model.onnx"


SLOW_NAMES = [b"a\nb", "größe-模型".encode(), b"-x", b"with spaces"]


@pytest.mark.parametrize(
    "name",
    [
        b"\xff [red]\x1b[31m",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NAMES),
    ],
)
def test_paths(shell: Shell, tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / os.fsdecode(name + b".onnx")).write_bytes(MODEL.read_bytes())
    model = Path(os.fsdecode(b"./" + name + b".onnx"))
    # pathlib drops the "./" that keeps a dash from being an option
    done = shell("quantize", f"./{model}" if name == b"-x" else model, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / os.fsdecode(name + b".w8.onnx")).is_file()
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1


ASCII: dict[str, dict[str, str]] = {
    "by encoding": {"PYTHONIOENCODING": "ascii"},
    "by locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ASCII)
def test_ascii(shell: Shell, tmp_path: Path, how: str) -> None:
    data = SAMPLES / "digits_cnn" / "calib"
    commands = [("data", data, "--model", MODEL, "--samples", 4), ("quantize", "-h")]
    if how == "by encoding":
        (tmp_path / "模型.onnx").write_bytes(MODEL.read_bytes())
        commands += [("quantize", tmp_path / "模型.onnx")]
    for arguments in commands:
        done = shell(*arguments, env=ASCII[how])
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
        assert done.stderr.isascii()
    if how == "by encoding":
        assert r"Wrote" in done.stdout
        assert r"\u6a21\u578b.w8.onnx" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(shell: Shell, env: dict[str, str]) -> None:
    done = shell("inspect", MODEL, env=env)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["quantize", "-h"],
        pytest.param(["inspect", str(MODEL)], marks=pytest.mark.slow),
        pytest.param(["quantize", str(MODEL), "--dry-run"], marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_goes_away_or_never_was(arguments: list[str], tmp_path: Path) -> None:
    ends = [subprocess.run(["bash", "-c", '"$@" >&-', "-", *COMMAND, *arguments],
                           stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path)]  # fmt: skip
    assert ends[0].returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    ends.append(
        subprocess.run([*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE,
                       env=ENVIRONMENT, cwd=tmp_path)
    )  # fmt: skip
    os.close(writer)
    assert ends[1].returncode == 141
    assert all(b"Traceback" not in end.stderr and b"rror: " not in end.stderr for end in ends)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_stderr(cnn: Path) -> None:
    arguments = ["calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o", cnn / "o.calib"]
    command = ["bash", "-c", '"$@" 2>&-', "-", *COMMAND, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert done.returncode == 0
    assert done.stdout.startswith(b"Wrote ")


def test_names_in_a_model_cannot_steer_the_terminal(tmp_path: Path) -> None:
    made = proto("g (float[N,24] x) => (float[N,8] y) { a = Sigmoid(x) y = MatMul(a, w) }",
                 w=weight(24, 8))  # fmt: skip
    made.producer_name = EVIL
    made.graph.node[0].name, made.graph.node[1].name = EVIL + "0", EVIL
    made.graph.input[0].name = made.graph.node[0].input[0] = EVIL + "x"
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = EVIL + "N"
    model = tmp_path / "m.onnx"
    model.write_bytes(made.SerializeToString())
    data = tmp_path / "data.npz"
    np.savez(data, **{EVIL + "x": normal(40, 24)})
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, normal(40, 23))
    for arguments, code in (
        (("inspect", model, "-v"), 0),
        (("inspect", model, "--runtime"), 0),
        (("data", data, "--model", model), 0),
        (("quantize", model, "--data", data, "--dry-run"), 0),
        (("quantize", model, "--data", data, "-v", "--allow-larger"), 0),
        (("quantize", model, "--data", wrong, "-f"), 4),
        (("quantize", model, "--exclude", EVIL + "!", "-f"), 2),
        (("compare", model, model, "--data", data), 0),
        (("calibrate", model, "--data", data, "-o", tmp_path / f"{EVIL[:10]}.calib"), 0),
    ):
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        printed = done.stdout + done.stderr
        assert done.exit_code == code, printed
        assert "\x1b" not in printed
        assert "\u202e" not in printed
        assert "##[" not in printed, "GitHub's runner obeys it anywhere in a line"
        assert not any(line.lstrip().startswith("::error::") for line in printed.splitlines()), (
            printed
        )
