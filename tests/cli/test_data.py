"""`qtool data`: what a person reads before the first run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.models import save

Run = Callable[..., Result]
SAMPLES = Path(__file__).parents[2] / "sample_models"

IMAGES = "g (float[N,3,4,4] x) => (float[N,3,4,4] y) { y = Relu(x) }"
VECTORS = "g (float[N,2] x) => (float[N,2] y) { y = Relu(x) }"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of white and black images in the class folders cat and dog."""
    for name, number in itertools.product(("cat", "dog"), range(3)):
        path = tmp_path / "images" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        value = 255 if number else 0
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
    save(tmp_path / "m.onnx", IMAGES)
    return tmp_path / "images"


def vectors(folder: Path, labels: Any) -> Path:
    """A folder of whole sets, x.npy and labels.npy, and a model for it beside."""
    (folder / "set").mkdir(exist_ok=True)
    count = len(np.asarray(labels))
    np.save(folder / "set" / "x.npy", np.arange(2 * count, dtype=np.float32).reshape(count, 2))
    np.save(folder / "set" / "labels.npy", labels)
    save(folder / "m.onnx", VECTORS)
    return folder / "set"


def shown(qtool: Run, folder: Path, *more: object) -> list[str]:
    result = qtool("data", folder, "--model", folder.parent / "m.onnx", *more)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize("name", ["digits_cnn", "digits_mobile", "text_transformer"])
def test_no_line_is_wider_than_100_columns(qtool: Run, name: str) -> None:
    folder = SAMPLES / name
    result = qtool("data", folder / "calib", "--model", folder / "model.onnx")
    assert result.exit_code == 0 and not result.stderr
    assert max(map(len, result.stdout.splitlines())) < 100


def test_images_with_named_classes(qtool: Run, images: Path) -> None:
    (images / "qtool.toml").write_text('[data.inputs.x]\ncolor = "bgr"\nscale = 0.5\n')
    assert shown(qtool, images) == [
        "used 6 of 6 files, float32 (3, 4, 4), range 0 … 127.5",
        "the model takes x float32 (N, 3, 4, 4)",
        'declared for x: color = "bgr", scale = 0.5',
        "labels: 2 classes: 0 cat × 3, 1 dog × 3",
        "examples:",
        "  cat/0.png, label 0 cat",
        "    x float32 (3, 4, 4), range 0 … 0: 0 0 0 0 0 0 …",
        "  cat/2.png, label 0 cat",
        "    x float32 (3, 4, 4), range 127.5 … 127.5: 127.5 127.5 127.5 127.5 127.5 127.5 …",
        "  dog/2.png, label 1 dog",
        "    x float32 (3, 4, 4), range 127.5 … 127.5: 127.5 127.5 127.5 127.5 127.5 127.5 …",
    ]


def test_classes_that_the_choice_left_out(qtool: Run, images: Path) -> None:
    lines = shown(qtool, images, "--samples", 1)
    assert lines[0].startswith("used 1 of 6 files (seed 0)")
    assert any(line.startswith("labels: 1 of 2 classes: ") for line in lines)
    assert "example:" in lines


def test_the_text_behind_the_ids(qtool: Run) -> None:
    folder = SAMPLES / "text_transformer"
    result = qtool("data", folder / "calib", "--model", folder / "model.onnx", "--seed", 1)
    lines = result.stdout.splitlines()
    texts = (folder / "calib" / "texts.txt").read_text(encoding="utf-8").splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith("  texts.txt[")]
    assert len(places) == 3
    for place in places:
        number = int(lines[place].split("[")[1].split("]")[0])
        assert lines[place + 1] == f'    "{texts[number]}"'
        assert lines[place + 2].startswith("    input_ids int64 (")
        assert lines[place + 3].startswith("    attention_mask int64 (")
    assert lines[3:6] == [
        "the model takes",
        "  input_ids int64 (batch, sequence)",
        "  attention_mask int64 (batch, sequence)",
    ]


def test_long_texts_and_names_are_cut(qtool: Run, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "texts.txt").write_text("a" * 200 + "\n" + "ba\n")
    (folder / "vocabulary.txt").write_text("a\nb\n")
    (folder / "qtool.toml").write_text('[data.inputs.x]\nvocabulary = "vocabulary.txt"\n')
    (folder / "labels.csv").write_text(f"file,label\ntexts.txt[0],{'c' * 50}\ntexts.txt[1],d\n")
    save(tmp_path / "m.onnx", "g (int64[N,T] x) => (int64[N,T] y) { y = Abs(x) }")
    lines = shown(qtool, folder)
    assert f"labels: 2 classes: 0 {'c' * 28} … × 1, 1 d × 1" in lines
    assert f'    "{"a" * 92} …' in lines and '    "ba"' in lines
    assert "    x int64 (2,) 1 0" in lines


@pytest.mark.parametrize(
    ("labels", "summary", "example"),
    [
        ([3, 1, 3], "labels: 2 classes: 1 × 1, 3 × 2", "label 3"),
        ([5, 5, 5], "labels: 1 class: 5 × 3", "label 5"),
        ([0.25, -1 / 3, 2], "labels: numbers from -0.3333 to 2", "label 0.25"),
    ],
)
def test_labels(qtool: Run, tmp_path: Path, labels: object, summary: str, example: str) -> None:
    lines = shown(qtool, vectors(tmp_path, labels))
    assert summary in lines
    assert f"  x.npy[0], {example}" in lines


def test_many_classes_are_wrapped_and_counted(qtool: Run, tmp_path: Path) -> None:
    lines = shown(qtool, vectors(tmp_path, np.arange(40) + 10**6))
    start = next(place for place, line in enumerate(lines) if line.startswith("labels: 40 classes"))
    text = " ".join(line.strip() for line in lines[start : lines.index("examples:")])
    listed = [f"{number} × 1" for number in range(10**6, 10**6 + 12)]
    assert text == f"labels: 40 classes: {', '.join([*listed, 'and 28 more'])}"
    assert max(map(len, lines)) < 100


def test_labels_that_are_arrays(qtool: Run, tmp_path: Path) -> None:
    lines = shown(qtool, vectors(tmp_path, np.arange(24, dtype=np.float32).reshape(3, 2, 4) / 8))
    assert "labels: float32 (2, 4), range 0 … 2.875" in lines
    assert "  x.npy[1], label 1 1.125 1.25 1.375 1.5 1.625 …" in lines


def test_fewer_samples_than_examples(qtool: Run, tmp_path: Path) -> None:
    lines = shown(qtool, vectors(tmp_path, [0, 1]))
    assert [line for line in lines if line.startswith("  x.npy")] == [
        "  x.npy[0], label 0",
        "  x.npy[1], label 1",
    ]


def test_pixels_that_are_fed_unscaled_are_noted(qtool: Run, images: Path) -> None:
    model = images.parent / "m.onnx"
    note = qtool("data", images, "--model", model).stderr.splitlines()
    assert note[0] == "note: x is fed as it is stored, 0 … 255: no scale, mean or std is declared"
    assert max(map(len, note)) < 100
    (images / "qtool.toml").write_text("\n".join(note[2:4]))
    result = qtool("data", images, "--model", model)
    assert not result.stderr and "range 0 … 1\n" in result.stdout
    (images / "qtool.toml").write_text("[data.inputs.x]\nmean = 0\n")
    assert not qtool("data", images, "--model", model).stderr


def test_the_note_names_inputs_as_toml_does(qtool: Run, images: Path) -> None:
    model = save(images.parent / "m.onnx", IMAGES.replace("(x)", "(p)").replace(" x)", " p)"))
    content = model.read_bytes().replace(b"\n\x01p", b"\n\x01.")
    assert content != model.read_bytes()
    model.write_bytes(content)
    note = qtool("data", images, "--model", model).stderr.splitlines()
    assert note[2] == '    [data.inputs."."]'


@pytest.mark.parametrize("kind", ["zeros and ones", "integer model", "small", "flat"])
def test_what_is_no_picture_is_not_noted(qtool: Run, tmp_path: Path, kind: str) -> None:
    values = np.full((5, 3, 4, 4), {"zeros and ones": 1, "small": 100}.get(kind, 200))
    values[0] = 0
    graph = IMAGES.replace("float", "uint8").replace("Relu", "Identity")
    np.save(tmp_path / "x.npy", values.astype(np.float32 if kind == "small" else np.uint8))
    save(tmp_path / "m.onnx", graph if kind == "integer model" else IMAGES)
    if kind == "flat":
        np.save(tmp_path / "x.npy", np.arange(200, 210, dtype=np.uint8).reshape(5, 2))
        save(tmp_path / "m.onnx", VECTORS)
    result = qtool("data", tmp_path / "x.npy", "--model", tmp_path / "m.onnx")
    assert result.exit_code == 0 and "note" not in result.stderr, result.stderr


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pixels_in_arrays_are_noted_too(qtool: Run, tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "x.npy", np.arange(5 * 48).reshape(5, 3, 4, 4).astype(dtype))
    save(tmp_path / "m.onnx", IMAGES)
    note = qtool("data", tmp_path / "x.npy", "--model", tmp_path / "m.onnx").stderr
    assert "stored, 0 … 239" in note


def test_a_constant_input_is_noted(qtool: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((5, 3, 4, 4), 0.5, np.float32))
    save(tmp_path / "m.onnx", IMAGES)
    note = qtool("data", tmp_path / "x.npy", "--model", tmp_path / "m.onnx").stderr
    assert note == "note: x is 0.5 in all samples: is that the right data?\n"


def test_what_is_scaled_twice_is_noted(qtool: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 240, dtype=np.float32).reshape(5, 3, 4, 4))
    (tmp_path / "qtool.toml").write_text("[data.inputs.x]\nscale = 0.00392156862745098\n")
    save(tmp_path / "m.onnx", IMAGES)
    note = qtool("data", tmp_path / "x.npy", "--model", tmp_path / "m.onnx").stderr
    assert note.startswith("note: x is fed in the range 0 … 0.003922: are scale, mean or std of")
