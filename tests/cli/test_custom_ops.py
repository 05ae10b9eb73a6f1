"""Models with operators that only a library of their own knows: left alone, all else quantized."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnxruntime_extensions import get_library_path
from typer.testing import Result

from qtool import runtime
from qtool.compare import footprint
from qtool.compare.footprint_child import pack
from tests.models import as_run, normal, operators, save, weight

Run = Callable[..., Result]
LIBRARY = Path(get_library_path())
OPS = ("--custom-ops", LIBRARY)
FIX = "fix: --custom-ops LIB  names the shared library that has it"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What one test loads, the next does not have."""
    yield
    runtime.use_libraries(())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """m.onnx, in which a custom operator stands between two layers, and 40 samples in calib/."""
    model(tmp_path / "m.onnx")
    (tmp_path / "calib").mkdir()
    for i in range(40):
        np.save(tmp_path / "calib" / f"{i:02}.npy", normal(4, 8, 8, seed=i))
    return tmp_path


def model(path: Path, opset: int = 21) -> Path:
    """x -> Conv -> NegPos, which gives min(x, 0) and max(x, 0) -> Gemm -> y; one weight is large"""
    return save(
        path,
        """g (float[N,4,8,8] x) => (float[N,40] y) {
            a = Conv<pads=[1,1,1,1]>(x, w, b)
            n, p = ai.onnx.contrib.NegPos(a)
            s = Softmax(n)
            t = Add(s, p)
            f = Flatten(t)
            y = Gemm(f, v, c)
        }""",
        opset=opset, extra='"ai.onnx.contrib": 1',
        w=weight(8, 4, 3, 3), b=normal(8) / 4, v=weight(40, 512).T.copy(), c=normal(40) / 4,
    )  # fmt: skip


def library(folder: Path, name: str, source: str) -> Path:
    """A shared library of some C."""
    (folder / "made.c").write_text(source)
    made = folder / name
    done = subprocess.run(["cc", "-shared", "-fPIC", "-o", made, folder / "made.c"])
    return made if done.returncode == 0 else pytest.skip("there is no C compiler")


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("opset", [7, 9, 12, 17, 21])
def test_layers_before_and_behind_run_in_integers(qtool: Run, folder: Path, opset: int) -> None:
    path, made = model(folder / "m.onnx", opset), folder / "out.onnx"
    done = qtool("quantize", path, "--data", folder / "calib", *OPS, "-o", made)
    assert done.exit_code == 0, done.stderr
    assert "1 NegPos" in done.stderr
    assert {"QLinearConv", "NegPos", "QGemm"} <= set(operators(as_run(made.read_bytes(), folder)))
    gate = ("--gate", "sqnr >= 30dB")
    done = qtool("compare", path, made, "--data", folder / "calib", *OPS, *gate)
    assert done.exit_code == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (("--bits", 4), {"int4"}),
        (("--mode", "dynamic"), {"int8"}),
        (("--scheme", "fp16"), {"float16"}),
        (("--scheme", "fp16", "--target", "portable", "--no-keep-io-types"), {"float16"}),
    ],
)
def test_every_other_form_leaves_it_alone_too(
    qtool: Run, folder: Path, options: tuple[object, ...], kinds: set[str]
) -> None:
    made = folder / "out.onnx"
    done = qtool("quantize", folder / "m.onnx", *options, *OPS, "-o", made)
    assert done.exit_code == 0, done.stderr
    shown = qtool("inspect", made, "--runtime", *OPS)
    assert shown.exit_code == 0, shown.stderr
    assert kinds <= set(re.findall(r"\w+", shown.stdout))
    assert "1 NegPos" in shown.stdout


def test_the_same_ranges_by_workers_and_by_shards(qtool: Run, folder: Path) -> None:
    given = ("calibrate", folder / "m.onnx", "--data", folder / "calib", "-q", *OPS, "-o")
    for name, more in (("a", ()), ("1", ("--shard", "1/2")), ("2", ("--shard", "2/2"))):
        assert qtool(*given, folder / name, *more).exit_code == 0
    assert (
        qtool("calibrate", "merge", folder / "1", folder / "2", "-o", folder / "b").exit_code == 0
    )
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    done = qtool("quantize", folder / "m.onnx", "--calibration", folder / "a", *OPS)
    assert done.exit_code == 0, done.stderr


@pytest.mark.slow
def test_workers_load_it_too(qtool: Run, folder: Path) -> None:
    given = ("calibrate", folder / "m.onnx", "--data", folder / "calib", "-q", *OPS, "-o")
    assert qtool(*given, folder / "a").exit_code == 0
    done = qtool(*given, folder / "b", "--workers", 2)
    assert done.exit_code == 0, done.stderr
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


@pytest.mark.slow
def test_layers_latency_and_the_command_to_try(
    qtool: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtool.compare.latency.SECONDS", 0.4)
    monkeypatch.setattr("qtool.compare.footprint.MOST_ROUNDS", 1)
    made = folder / "out.onnx"
    assert qtool("quantize", folder / "m.onnx", "--bits", 4, *OPS, "-o", made).exit_code == 0
    done = qtool(
        "compare", folder / "m.onnx", made, "--data", folder / "calib", *OPS, "--layers",
        "--latency", "--gate", "sqnr >= 90dB", "--json", folder / "run.json",
    )  # fmt: skip
    assert done.exit_code == 1, done.stderr
    found = json.loads((folder / "run.json").read_text())
    assert {layer["op_type"] for layer in found["layers"]} >= {"Conv", "NegPos", "Gemm"}
    assert "cannot be measured" not in done.stderr
    assert f"--custom-ops {LIBRARY}" in done.stderr


def test_a_process_that_measures_loads_it(folder: Path) -> None:
    packed = pack({"x": normal(1, 4, 8, 8)})
    said, _ = footprint._child("load", folder / "m.onnx", packed, 1)
    assert "NegPos" in said["error"]
    runtime.use_libraries([LIBRARY])
    said, _ = footprint._child("load", folder / "m.onnx", packed, 1)
    assert set(said) == {"load_ms"}


@pytest.mark.parametrize(
    "command",
    [
        ("quantize", "m.onnx"),
        ("quantize", "m.onnx", "--data", "calib"),
        ("calibrate", "m.onnx", "--data", "calib", "-o", "m.calib"),
        ("compare", "m.onnx", "m.onnx", "--data", "calib"),
        ("inspect", "m.onnx", "--runtime"),
    ],
)
def test_without_the_library_the_operator_is_named(
    command: tuple[str, ...], qtool: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert qtool(*command, *OPS, "-q" if command[0] != "inspect" else "-v").exit_code == 0
    for made in set(folder.iterdir()) - set(before):
        made.unlink()
    done = qtool(*command)  # what a command before it was given is gone
    assert done.exit_code == 3
    said = done.stderr.splitlines()
    what = "error: onnxruntime does not know operator 'NegPos' of domain 'ai.onnx.contrib', in"
    assert [line for line in said if line.startswith("error")] == [f"{what} m.onnx"]
    assert said[-1].strip() == FIX
    assert sorted(folder.iterdir()) == before


def test_inspect_shows_what_it_can_and_the_fix(qtool: Run, folder: Path) -> None:
    done = qtool("inspect", folder / "m.onnx")
    assert done.exit_code == 0
    assert "1 ai.onnx.contrib.NegPos" in done.stdout
    assert FIX in done.stdout


def test_in_a_process_of_its_own(folder: Path) -> None:
    command = [sys.executable, "-m", "qtool", "quantize", "m.onnx", "--data", "calib"]
    for more, code in (((), 3), (map(str, OPS), 0)):
        done = subprocess.run([*command, *more], cwd=folder, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert (folder / "m.int8.onnx").exists() is (code == 0)


def test_a_library_that_does_not_have_it(qtool: Run, folder: Path) -> None:
    save(
        folder / "m.onnx",
        "g (float[2] x) => (float[2] y) { y = my.own.Blub(x) }",
        extra='"my.own": 1',
    )
    done = qtool("quantize", folder / "m.onnx", *OPS, *OPS)
    assert done.exit_code == 3
    assert "'Blub' of domain 'my.own'" in done.stderr
    assert "none of the libraries given has it" in done.stderr


@pytest.mark.parametrize("domain", ["com.microsoft", ""])
def test_what_the_runtime_should_have_needs_no_library(
    qtool: Run, tmp_path: Path, domain: str
) -> None:
    name = f"{domain}.Blub" if domain else "Blub"
    graph = f"g (float[2] x) => (float[2] y) {{ y = {name}(x) }}"
    done = qtool("quantize", save(tmp_path / "m.onnx", graph, extra='"com.microsoft": 1'))
    assert done.exit_code == 3
    assert "Blub" in done.stderr
    assert "--custom-ops" not in done.stderr


def test_libraries_that_are_none(qtool: Run, folder: Path) -> None:
    (folder / "text.so").write_text("not a library")
    plain = library(folder, "plain.so", "int f() { return 1; }")
    cases = [
        (folder / "none.so", 2, "does not exist"),
        (folder / "calib", 2, "is no file"),
        (folder / "text.so", 5, "cannot load the custom-operator library"),
        (plain, 2, "is no library of custom operators"),
    ]
    for path, code, words in cases:
        done = qtool("quantize", folder / "m.onnx", "--custom-ops", path)
        assert done.exit_code == code, done.stderr
        assert words in done.stderr.splitlines()[0] and str(path) in done.stderr
        assert "fix: " in done.stderr
        assert not (folder / "m.w8.onnx").exists()


def test_a_bare_name_is_the_file_here_and_no_library_of_the_system(
    qtool: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = qtool("quantize", "m.onnx", "--custom-ops", "libc.so.6")
    assert done.exit_code == 2
    assert "does not exist" in done.stderr
    (folder / "own.so").symlink_to(LIBRARY)
    done = qtool("quantize", "m.onnx", "--custom-ops", "own.so")
    assert done.exit_code == 0, done.stderr
