"""What the data tests share: signatures, declarations, and the error that a folder gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qtool.data import Dataset, open_dataset
from qtool.errors import DataError
from qtool.signature import Signature, TensorSpec

Shape = tuple[int | str | None, ...]


def model(*, dtype: str = "float32", **inputs: Shape | None) -> Signature:
    """A model with these inputs, `model(x=("N", 3))`."""
    return Signature(tuple(TensorSpec(n, dtype, shape) for n, shape in inputs.items()), ())


def declare(folder: Path, text: str) -> None:
    (folder / "qtool.toml").write_text(text)


def save_arrays(folder: Path, arrays: dict[str, Any]) -> None:
    """Each array as `name`.npy, in folders that are made as needed."""
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)


def save_image(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def noise(*shape: int, seed: int = 0) -> Any:
    """uint8 values of every size."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def refused(path: Path, signature: Signature, *parts: str) -> DataError:
    """The error of opening and checking a folder; every part stands in its message."""
    with pytest.raises(DataError) as caught:
        opened: Dataset = open_dataset(path, signature)
        opened.check()
    contains(caught.value, *parts)
    return caught.value


def contains(error: DataError, *parts: str) -> None:
    message = "\n".join([error.what, error.why, error.fix])
    for part in parts:
        assert part in message, message


def floats(*shape: int) -> Any:
    return noise(*shape).astype(np.float32)


def save_npz(path: Path, compressed: bool = False, **arrays: Any) -> None:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)


def numbered(folder: Path, count: int) -> Dataset:
    """`count` files for input x, file i holding (i, i)."""
    save_arrays(folder, {f"{i:04}": np.full(2, i, np.float32) for i in range(count)})
    return open_dataset(folder, model(x=("N", 2)))
