"""The images reader, the only module that imports PIL."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from qtool.data.column import Found, Request, one_per_file
from qtool.data.declaration import InputDeclaration
from qtool.data.files import File

# By name, because PIL also opens formats that run other programs (EPS) or code of little use.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# One channel of more than 8 bits, which PIL would cut to 8 when it converts.
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def open_images(request: Request) -> Found:
    """One image a file, for one input."""
    spec = request.one_input()
    declared = request.declared(spec)

    def read(file: File) -> NDArray[Any]:
        return read_image(file, declared)

    return Found({spec.name: one_per_file(request.files, read, layout="NHWC")})


def read_image(file: File, declared: InputDeclaration) -> NDArray[Any]:
    """Decoded, turned upright, resized and cropped: (height, width, channels), uint8 if 8 bits.

    Raises DataError for anything that is not a whole image of one of `FORMATS`.
    """
    with file.open() as stream, warnings.catch_warnings():
        # PIL remarks on odd metadata; at 179 million pixels it refuses an image as a bomb.
        warnings.simplefilter("ignore")
        try:
            opened = Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"it is none of {', '.join(FORMATS)}") from None
        with opened:
            image = _in_color(ImageOps.exif_transpose(opened), declared.color)
            image = _resized(image, declared)
            if declared.crop:
                image = _cropped(image, *declared.crop)
            pixels = np.array(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return pixels[:, :, ::-1] if declared.color == "bgr" else pixels


def _in_color(image: Image.Image, color: str) -> Image.Image:
    if image.mode in DEEP_MODES:
        if color != "gray":
            raise ValueError(f'it has one deep channel ({image.mode}): declare color = "gray"')
        return image if image.mode == "F" else image.convert("I")
    return image.convert("L" if color == "gray" else "RGB")


def _resized(image: Image.Image, declared: InputDeclaration) -> Image.Image:
    if not declared.resize:
        return image
    if isinstance(declared.resize, list):
        height, width = declared.resize
    else:
        # shorter -> resize, longer -> int(longer * resize / shorter), as torchvision rounds it
        shorter = min(image.size)
        width, height = (int(side * declared.resize / shorter) for side in image.size)
    return image.resize((width, height), INTERPOLATIONS[declared.interpolation])


def _cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    if height > image.height or width > image.width:
        raise ValueError(
            f"{image.height} x {image.width} (height x width) is smaller than crop = "
            f"[{height}, {width}]: declare a larger resize"
        )
    # half of the margin, rounded half to even, as torchvision does
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
