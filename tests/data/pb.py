"""Tensors as ONNX test data stores them, test_data_set_*/input_*.pb, and models that take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.numpy_helper

from qtool.data import open_dataset
from qtool.signature import Signature
from tests.data.folders import model

X = model(x=("N", 3))
TWO = Signature((*model(a=("N", 2)).inputs, *model(b=("N", 3), dtype="int64").inputs), ())
A, B = np.ones((4, 2), np.float32), np.full((4, 3), 7)


def tensor(array: Any, name: str = "") -> bytes:
    made = onnx.numpy_helper.from_array(np.asarray(array), name)
    data: bytes = made.SerializeToString()
    return data


def sequence() -> bytes:
    made = onnx.numpy_helper.from_list([rows(1), rows(1)], name="s")
    data: bytes = made.SerializeToString()
    return data


def save(folder: Path, **files: bytes) -> Path:
    """Each file as `name`.pb, in a folder that is made as needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.pb").write_bytes(content)
    return folder


def rows(count: int, start: float = 0) -> Any:
    return np.full((count, 3), start, np.float32) + np.arange(count, dtype=np.float32)[:, None]


def fed(folder: Path, signature: Signature = X) -> list[list[float]]:
    data = open_dataset(folder, signature)
    return [data.sample(index)["x"].tolist() for index in range(len(data))]
