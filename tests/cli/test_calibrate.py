"""`qtool calibrate`, and what `quantize --calibration` refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open
from typer.testing import Result

from qtool.calibrate.file import load

Run = Callable[..., Result]


@pytest.fixture
def calib(qtool: Run, cnn: Path) -> Path:
    path = cnn / "model.calib"
    result = qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


def test_the_file_says_what_it_was_made_from(calib: Path) -> None:
    with safe_open(calib, framework="numpy") as file:
        header = json.loads(file.metadata()["qtool"])
    run = header["run"]
    assert header["format"] == 2
    assert header["samples"] == run["samples"] == run["blocks"] == 256
    assert (run["total"], run["seed"], run["batch_size"], run["counted"]) == (270, 0, 1, 2048)
    assert header["covers"] == [[0, 256]]
    assert (len(run["model"]), len(header["data"])) == (64, 32)
    assert header["fed"]["image"]["greatest"] == [1, 8, 8]
    assert run["declared"]["inputs"]
    assert set(run["versions"]) == {"qtool", "numpy", "onnx", "onnxruntime", "python"}


def test_two_runs_give_the_same_file(qtool: Run, cnn: Path, calib: Path) -> None:
    again = cnn / "again.calib"
    qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o", again)
    assert again.read_bytes() == calib.read_bytes()


def test_batches_and_the_order_of_files_do_not_change_the_statistics(
    qtool: Run, cnn: Path, calib: Path
) -> None:
    with safe_open(calib, framework="numpy") as one:
        counts = one.get_tensor("0.counts")
    other = cnn / "batched.calib"
    qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o", other,
          "--batch-size", 16)  # fmt: skip
    with safe_open(other, framework="numpy") as many:
        np.testing.assert_array_equal(many.get_tensor("0.counts"), counts)


def test_another_model_is_refused(qtool: Run, cnn: Path, calib: Path) -> None:
    mobile = cnn.parents[0] / "other.onnx"
    source = Path(__file__).parents[2] / "sample_models" / "digits_mobile" / "model.onnx"
    mobile.write_bytes(source.read_bytes())
    result = qtool("quantize", mobile, "--calibration", calib)
    assert result.exit_code == 4
    assert "another model" in result.stderr


def test_other_data_is_refused_where_data_is_given(qtool: Run, cnn: Path, calib: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--calibration", calib, "--data", cnn / "eval")
    assert result.exit_code == 2
    assert "fingerprints differ" in result.stderr
    same = qtool("quantize", cnn / "model.onnx", "--calibration", calib, "--data", cnn / "calib")
    assert same.exit_code == 0, same.stderr


def test_an_edit_is_noticed(qtool: Run, cnn: Path, calib: Path) -> None:
    with safe_open(calib, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {key: file.get_tensor(key) for key in list(file.keys())}
    arrays["0.range"] = arrays["0.range"] * 2
    calib.write_bytes(safetensors.numpy.save(arrays, metadata))
    result = qtool("quantize", cnn / "model.onnx", "--calibration", calib)
    assert result.exit_code == 4
    assert "damaged or was edited" in result.stderr


@pytest.mark.parametrize("count", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_every_flipped_byte_is_noticed(qtool: Run, cnn: Path, calib: Path, count: int) -> None:
    good = calib.read_bytes()
    for position in np.random.default_rng(count).integers(0, len(good), count):
        bad = bytearray(good)
        bad[position] ^= 0x10
        calib.write_bytes(bytes(bad))
        result = qtool("quantize", cnn / "model.onnx", "--calibration", calib)
        assert result.exit_code == 4, (position, result.stdout, result.stderr)


@pytest.mark.parametrize(
    "content", [b"", b"not at all", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "]
)
def test_what_is_no_calibration_file_is_named(qtool: Run, cnn: Path, content: bytes) -> None:
    path = cnn / "x.calib"
    path.write_bytes(content)
    result = qtool("quantize", cnn / "model.onnx", "--calibration", path)
    assert result.exit_code == 4
    assert "is not a calibration file" in result.stderr


def test_a_recipe_that_needs_more_tensors_says_so(qtool: Run, cnn: Path) -> None:
    path = cnn / "part.calib"
    qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o", path,
          "--exclude", "op:Gemm")  # fmt: skip
    result = qtool("quantize", cnn / "model.onnx", "--calibration", path)
    assert result.exit_code == 4
    assert "does not cover" in result.stderr


@pytest.fixture
def shards(qtool: Run, cnn: Path) -> list[Path]:
    made = []
    for number in (1, 2, 3):
        made.append(cnn / f"part{number}.calib")
        result = qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o", made[-1],
                       "--shard", f"{number}/3")  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert f"note: shard {number}/3 of these: {85 + number // 3} samples" in result.stderr
        assert "second half" not in result.stderr
    return made


def test_shards_merge_to_the_bytes_of_one_run(
    qtool: Run, cnn: Path, calib: Path, shards: list[Path]
) -> None:
    result = qtool("calibrate", "merge", *reversed(shards), "-o", cnn / "all.calib")
    assert result.exit_code == 0, result.stderr
    assert "256 samples" in result.stdout
    assert (cnn / "all.calib").read_bytes() == calib.read_bytes()


def test_a_missing_shard_is_an_error_unless_asked_for(
    qtool: Run, cnn: Path, calib: Path, shards: list[Path]
) -> None:
    some = cnn / "some.calib"
    result = qtool("calibrate", "merge", *shards[:2], "-o", some)
    assert result.exit_code == 4
    assert "170 of 256 samples; it lacks batches 171 to 256 of 256" in result.stderr
    assert not some.exists()
    assert qtool("calibrate", "merge", *shards[:2], "-o", some, "--partial").exit_code == 0
    assert "a part of one" in qtool("quantize", cnn / "model.onnx", "--calibration", some).stderr
    result = qtool("calibrate", "merge", some, shards[2], "-o", cnn / "all.calib")
    assert result.exit_code == 0, result.stderr
    assert (cnn / "all.calib").read_bytes() == calib.read_bytes()


def test_what_a_file_holds_cannot_be_chosen_afterwards(qtool: Run, cnn: Path, calib: Path) -> None:
    result = qtool("quantize", cnn / "model.onnx", "--calibration", calib, "--samples", 10)
    assert result.exit_code == 2
    assert "--samples and --seed choose from data" in result.stderr


def test_a_part_of_another_run_is_told(qtool: Run, cnn: Path, shards: list[Path]) -> None:
    load(shards[0]).save(cnn / "new.calib.part", force=True, note="of an interrupted run")
    result = qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o",
                   cnn / "new.calib", "--samples", 40)  # fmt: skip
    assert result.exit_code == 0
    assert "new.calib.part was of another run, or of other files" in result.stderr
    assert not (cnn / "new.calib.part").exists()


@pytest.mark.parametrize("kind", ["model", "shard", "folder", "text"])
def test_a_file_in_the_place_of_the_part_is_left_alone(
    qtool: Run, cnn: Path, shards: list[Path], kind: str
) -> None:
    part = cnn / "new.calib.part"
    if kind == "folder":
        part.mkdir()
    else:
        sources = {"model": cnn / "model.onnx", "shard": shards[0], "text": cnn / "qtool.toml"}
        part.write_bytes(sources[kind].read_bytes())
    before = part.read_bytes() if part.is_file() else b""
    model = part if kind == "model" else cnn / "model.onnx"
    result = qtool("calibrate", model, "--data", cnn / "calib", "-o", cnn / "new.calib")
    assert result.exit_code == 2, result.stderr
    assert "new.calib.part is" in result.stderr
    assert (part.read_bytes() if part.is_file() else b"") == before


@pytest.mark.parametrize("command", ["calibrate", "quantize"])
def test_a_sample_is_never_the_output(qtool: Run, cnn: Path, command: str) -> None:
    sample = next(path for path in sorted((cnn / "calib").rglob("*")) if path.suffix == ".png")
    before = sample.read_bytes()
    result = qtool(command, cnn / "model.onnx", "--data", cnn / "calib", "-o", sample, "-f",
                   "--samples", 1000)  # fmt: skip
    assert result.exit_code == 2
    assert "is an input" in result.stderr
    assert sample.read_bytes() == before


def test_a_model_without_anything_to_measure_is_told(qtool: Run, cnn: Path) -> None:
    result = qtool("calibrate", cnn / "model.onnx", "--data", cnn / "calib", "-o",
                   cnn / "none.calib", "--scheme", "w8")  # fmt: skip
    assert result.exit_code == 0
    assert "nothing in this model is quantized as asked" in result.stderr
