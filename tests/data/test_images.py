"""The images reader: formats, colours, EXIF, resizing and cropping, and files that hurt."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qtool.data import open_dataset
from tests.data.folders import declare, model, noise, refused, save_image

RGB = model(x=("N", 3, "H", "W"))
GRAY = model(x=("N", 1, "H", "W"))


def one(folder: Path, signature: Any = RGB) -> Any:
    return open_dataset(folder, signature).sample(0)["x"]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".tif", ".PNG"])
def test_lossless_formats(tmp_path: Path, suffix: str) -> None:
    pixels = noise(5, 7, 3)
    save_image(tmp_path / f"a{suffix}", pixels)
    sample = one(tmp_path)
    assert sample.dtype == np.float32
    np.testing.assert_array_equal(sample, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".gif"])
def test_lossy_formats(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((8, 8, 3), (200, 30, 60), np.uint8)
    save_image(tmp_path / f"a{suffix}", pixels)
    np.testing.assert_allclose(one(tmp_path), pixels.transpose(2, 0, 1), atol=8)


def test_gif_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (one(tmp_path) == 10).all()


def test_bgr(tmp_path: Path) -> None:
    pixels = noise(5, 7, 3)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, '[data.inputs.x]\ncolor = "bgr"\n')
    np.testing.assert_array_equal(one(tmp_path), pixels[:, :, ::-1].transpose(2, 0, 1))


def test_gray(tmp_path: Path) -> None:
    pixels = noise(5, 7, 3).astype(np.float64)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, '[data.inputs.x]\ncolor = "gray"\n')
    # ITU-R 601-2 luma, as PIL documents it for "L"
    luma = pixels @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(one(tmp_path, GRAY), luma[None], atol=1)


def test_gray_file_for_an_rgb_model(tmp_path: Path) -> None:
    pixels = noise(5, 7)
    save_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(one(tmp_path), np.stack([pixels] * 3))


def test_palette_and_alpha(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), (10, 20, 30, 128), np.uint8)
    save_image(tmp_path / "a.png", pixels)
    assert one(tmp_path)[:, 0, 0].tolist() == [10, 20, 30]
    palette = Image.fromarray(pixels[:, :, :3]).quantize(4)
    palette.save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert one(tmp_path)[:, 0, 0].tolist() == [10, 20, 30]


def test_sixteen_bits_keep_their_values(tmp_path: Path) -> None:
    deep = np.arange(0, 65536, 3277, dtype=np.uint16)[:20].reshape(4, 5)
    Image.fromarray(deep).save(tmp_path / "a.png")
    refused(tmp_path, GRAY, "a.png", 'color = "gray"')
    declare(tmp_path, '[data.inputs.x]\ncolor = "gray"\n')
    np.testing.assert_array_equal(one(tmp_path, GRAY), deep[None])


# EXIF orientation -> what a viewer does to the stored pixels
TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = noise(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    save_image(tmp_path / "a.png", pixels, exif=exif)
    expected = TURNS[orientation](pixels)
    np.testing.assert_array_equal(one(tmp_path), expected.transpose(2, 0, 1))


METHODS = {"nearest": 0, "bilinear": 2, "bicubic": 3, "lanczos": 1}


@pytest.mark.parametrize("method", METHODS)
def test_resize_to_height_and_width(tmp_path: Path, method: str) -> None:
    pixels = noise(20, 30, 3)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, f'[data.inputs.x]\nresize = [10, 12]\ninterpolation = "{method}"\n')
    expected = Image.fromarray(pixels).resize((12, 10), METHODS[method])
    np.testing.assert_array_equal(one(tmp_path), np.array(expected).transpose(2, 0, 1))


def test_resize_is_bilinear_if_nothing_is_said(tmp_path: Path) -> None:
    pixels = noise(2, 2, 3).astype(int)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, "[data.inputs.x]\nresize = [1, 1]\n")
    mean = pixels.mean((0, 1))
    np.testing.assert_allclose(one(tmp_path)[:, 0, 0], mean, atol=1)


@pytest.mark.parametrize(("size", "expected"), [((20, 31), (10, 15)), ((31, 20), (15, 10))])
def test_resize_the_shorter_side(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    save_image(tmp_path / "a.png", noise(*size, 3))
    declare(tmp_path, "[data.inputs.x]\nresize = 10\n")
    assert one(tmp_path).shape == (3, *expected)


@pytest.mark.parametrize(
    ("size", "top", "left"),
    [((10, 14), 2, 3), ((9, 13), 2, 2), ((6, 8), 0, 0), ((11, 11), 2, 2)],  # half to even
)
def test_centre_crop(tmp_path: Path, size: tuple[int, int], top: int, left: int) -> None:
    pixels = noise(*size, 3)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, "[data.inputs.x]\ncrop = [6, 8]\n")
    expected = pixels[top : top + 6, left : left + 8].transpose(2, 0, 1)
    np.testing.assert_array_equal(one(tmp_path), expected)


def test_crop_comes_after_resize(tmp_path: Path) -> None:
    pixels = noise(20, 20, 3)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, '[data.inputs.x]\nresize = 10\ncrop = [4, 4]\ninterpolation = "nearest"\n')
    np.testing.assert_array_equal(one(tmp_path), pixels[1::2, 1::2][3:7, 3:7].transpose(2, 0, 1))


def test_crop_larger_than_the_image(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", noise(5, 9, 3))
    declare(tmp_path, "[data.inputs.x]\ncrop = [6, 8]\n")
    refused(tmp_path, RGB, "a.png", "5 x 9", "smaller than crop = [6, 8]", "resize")


def test_channels_last_model(tmp_path: Path) -> None:
    pixels = noise(5, 7, 3)
    save_image(tmp_path / "a.png", pixels)
    declare(tmp_path, '[data.inputs.x]\nmodel_layout = "NHWC"\n')
    np.testing.assert_array_equal(one(tmp_path, model(x=("N", 5, 7, 3))), pixels)


def test_integer_model_gets_the_bytes(tmp_path: Path) -> None:
    pixels = noise(5, 7, 3)
    save_image(tmp_path / "a.png", pixels)
    sample = one(tmp_path, model(x=("N", 3, 5, 7), dtype="uint8"))
    assert sample.dtype == np.uint8 and sample.flags.c_contiguous
    np.testing.assert_array_equal(sample, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("wanted", "fix"),
    [
        (("N", 1, 5, 7), 'color = "gray"'),
        (("N", 3, 8, 9), "resize = [8, 9]"),
        (("N", 3, 8, "W"), "resize = [8, 7]"),
        (("N", 5, 7, 3), 'model_layout = "NHWC"'),
        (("N", 8, 9, 1), 'model_layout = "NHWC"  and  color = "gray"  and  resize = [8, 9]'),
        (("N", 4, 5, 7), "store arrays"),
        (("N", 105), "store arrays"),
    ],
)
def test_misfit_says_which_key_to_add(tmp_path: Path, wanted: Any, fix: str) -> None:
    save_image(tmp_path / "a.png", noise(5, 7, 3))
    error = refused(tmp_path, model(x=wanted), f'{tmp_path}/a.png does not fit input "x"', fix)
    assert "got (3, 5, 7) uint8, the model wants (N, " in error.why
    if "=" in fix:
        declare(tmp_path, "[data.inputs.x]\n" + fix.replace("  and  ", "\n"))
        open_dataset(tmp_path, model(x=wanted))


def test_gray_declared_for_an_rgb_model(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", noise(5, 7, 3))
    declare(tmp_path, '[data.inputs.x]\ncolor = "gray"\n')
    refused(tmp_path, RGB, "got (1, 5, 7)", 'color = "rgb"')


def test_sizes_that_differ_make_ragged_batches(tmp_path: Path) -> None:
    for number, height in enumerate((4, 4, 5, 5, 5, 4)):
        save_image(tmp_path / f"{number}.png", noise(height, 6, 3))
    shapes = [batch["x"].shape for batch in open_dataset(tmp_path, RGB).batches(2)]
    assert shapes == [(2, 3, 4, 6), (2, 3, 5, 6), (1, 3, 5, 6), (1, 3, 4, 6)]


# --- files that hurt ---------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size, with next to no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [13_400, 20_000, 2**31 - 1])
def test_bombs(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_of(side, side))
    refused(tmp_path, RGB, "cannot read", "a.png", "bomb")


def test_large_images_pass_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # a warning from here, an error from twice
    save_image(tmp_path / "a.png", noise(5, 5, 3))
    assert one(tmp_path).shape == (3, 5, 5)
    save_image(tmp_path / "a.png", noise(7, 7, 3))
    refused(tmp_path, RGB, "a.png", "bomb")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("content", [EPS, b"GIMP", b"\x0a\x05\x01\x08" + bytes(200)])
def test_other_formats_named_jpg(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    refused(tmp_path, RGB, "cannot read", "a.jpg", "none of PNG, JPEG")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF"])
def test_truncated_images(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(stream, kind)
    content = stream.getvalue()
    for part in (0.02, 0.5, 0.9):
        (tmp_path / "a.png").write_bytes(content[: int(len(content) * part)])
        refused(tmp_path, RGB, "a.png", "--on-bad-file skip")


def test_damaged_images_give_data_errors_only(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(noise(16, 16, 3)).save(stream, kind)
        for _ in range(20):
            content = bytearray(stream.getvalue())
            content[chance.integers(len(content) // 4)] ^= 1 << int(chance.integers(8))
            (tmp_path / "a.png").write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    open_dataset(tmp_path, RGB)
                except Exception as error:
                    assert type(error).__name__ == "DataError", error
