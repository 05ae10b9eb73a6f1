"""Labels where a map names the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.data import open_dataset
from qtool.model import load, signature
from qtool.tune.columns import columns_of
from tests.models import build, normal, save


@pytest.mark.parametrize(
    ("keys", "outputs", "columns"),
    [
        ('classlabels_strings = ["c", "a", "b"]', "", [1, 2, 0, 1]),
        ('classlabels_strings = ["c", "a"]', "", [1, -1, 0, 1]),
        ("classlabels_int64s = [2, 1, 0]", "", [2, 1, 0, 2]),
        ('classlabels_strings = ["c", "a", "b"]', "float[N,3] s, ", [0, 1, 2, 0]),
    ],
)
def test_labels_follow_the_order_of_the_map(
    keys: str, outputs: str, columns: list[int], tmp_path: Path
) -> None:
    graph = f"""g (float[N,3] x) => ({outputs}float[N,3] z) {{
        s = Softmax(x) z = ai.onnx.ml.ZipMap <{keys}> (s) }}"""
    model = build(graph, extra='"ai.onnx.ml": 3')
    data = tmp_path / "data"
    for i, name in enumerate("abca"):
        (data / name).mkdir(parents=True, exist_ok=True)
        np.save(data / name / f"{i}.npy", normal(1, 3, seed=i)[0])
    save(tmp_path / "m.onnx", "g (float[N,3] x) => (float[N,3] y) { y = Softmax(x) }")
    found = open_dataset(data, signature(load(tmp_path / "m.onnx")))
    order = [name[0] for name in found.names]
    assert sorted(order) == sorted("abca")
    wanted = dict(zip("abca", columns, strict=True))
    made = columns_of(model.graph, found)
    assert made is not None
    assert made.tolist() == [wanted[name] for name in order]
