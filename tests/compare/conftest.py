"""Models of one node and folders of arrays, so that a test shows all that is compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from qtool import model
from qtool.data import Dataset, open_dataset
from tests.compare.shell import Case

Array = NDArray[Any]
Build = Callable[..., Path]
Feed = Callable[..., Dataset]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """build("name", "graph (…) => (…) {…}") writes name.onnx."""

    def build(name: str, graph: str) -> Path:
        text = f'<ir_version: 10, opset_import: ["": 21, "ai.onnx.ml": 3]>\n{graph}'
        proto = onnx.parser.parse_model(text)
        onnx.checker.check_model(proto, full_check=True)
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return build


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    """feed(path of the model, samples, labels=None) writes a folder and opens it."""

    def feed(path: Path, samples: list[Array] | Array, labels: Any = None) -> Dataset:
        folder = tmp_path / "data"
        folder.mkdir()
        for i, sample in enumerate(samples):
            np.save(folder / f"{i:04}.npy", sample)
        if labels is not None:
            np.save(folder / "labels.npy", np.asarray(labels))
        return open_dataset(folder, model.signature(model.load(path)))

    return feed


@pytest.fixture
def case(build: Build, tmp_path: Path) -> Case:
    return Case(build, tmp_path)
