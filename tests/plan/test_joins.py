"""What a Concat alone reads has the scale of its result, so that its codes are copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qtool.plan.decide as decide
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.workflow import Quantized
from tests.cases import quantized
from tests.models import as_run, normal, operators, save, sqnr, weight

PLAIN = Recipe(algorithms=())
WEIGHTS = {n: weight(8, 8, 1, 1, seed=i) for i, n in enumerate("wu")}
WEIGHTS |= {
    "w": WEIGHTS["w"] * 5,
    "v": weight(8, 16, 1, 1, seed=3),
    "k": weight(8, 24, 1, 1, seed=4),
}
ENDS = {"low": np.float32(0), "high": np.float32(6)}
SAMPLES = normal(64, 8, 6, 6)


def made(folder: Path, nodes: str, outputs: str = "float y") -> Quantized:
    graph = f"g (float[N,8,6,6] x) => ({outputs}) {{ {nodes} }}"
    words = set(graph.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {n: values for n, values in {**WEIGHTS, **ENDS}.items() if n in words}
    return quantized(save(folder / "m.onnx", graph, **used), PLAIN, SAMPLES)


def scales(found: Quantized, *names: str) -> list[tuple[float, int]]:
    params = [found.plan.activations[name].params for name in names]
    return [(float(p.scale), int(p.zero_point)) for p in params]


# nodes that end in `c = Concat`, and which of the tensors share its scale, or do not
SHARED = {
    "two layers": ("a = Conv(x, w) b = Conv(x, u) c = Concat<axis=1>(a, b)", "ab", ""),
    "through a pool": (
        "a = Conv(x, w) b = Conv(x, u) p = MaxPool<kernel_shape=[1,1]>(b) c = Concat<axis=1>(a, p)",
        "abp", "",
    ),
    "a clamp that fits": (
        "a = Conv(x, w) r = Relu(a) b = Conv(x, u) s = Relu(b) c = Concat<axis=1>(r, s)", "rs", "",
    ),
    "a clamp that does not": (
        "a = Conv(x, w) b = Conv(x, u) s = Relu(b) c = Concat<axis=1>(a, s)", "a", "s",
    ),
    "a Clip that does not": (
        "a = Conv(x, w) b = Conv(x, u) s = Clip(b, low, high) c = Concat<axis=1>(a, s)", "a", "s",
    ),
    "read by others too": (
        "a = Conv(x, w) b = Conv(x, u) c = Concat<axis=1>(a, b) o = Conv(b, w)", "a", "b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_who_shares(name: str, tmp_path: Path) -> None:
    nodes, shared, own = SHARED[name]
    outputs = "float y, float o" if "o =" in nodes else "float y"
    found = made(tmp_path, f"{nodes} y = Conv(c, v)", outputs)
    assert set(scales(found, *shared)) == set(scales(found, "c"))
    assert not set(scales(found, *own)) & set(scales(found, "c"))
    kernels = operators(as_run(found.data, tmp_path))
    assert "QLinearConcat" in kernels
    assert not {"Conv", "Relu", "Clip", "Concat"} & set(kernels)


def test_of_two_in_a_row_the_last_counts(tmp_path: Path) -> None:
    nodes = """a = Conv(x, w) b = Conv(x, u) c = Concat<axis=1>(a, b)
        e = Conv(x, w) d = Concat<axis=1>(c, e) y = Conv(d, k)"""
    found = made(tmp_path, nodes)
    assert len(set(scales(found, "a", "b", "c", "d"))) == 1


def test_an_output_of_the_model_keeps_its_own(tmp_path: Path) -> None:
    nodes, _, _ = SHARED["two layers"]
    found = made(tmp_path, f"{nodes} y = Conv(c, v)", "float y, float b")
    assert scales(found, "b") != scales(found, "c")
    assert scales(found, "a") == scales(found, "c")


def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, _, _ = SHARED["two layers"]
    quality = []
    for folder in (tmp_path / "shared", tmp_path / "own"):
        folder.mkdir()
        found = made(folder, f"{nodes} y = Conv(c, v)")
        reference = Session(folder / "m.onnx").run({"x": SAMPLES})["y"]
        quality.append(sqnr(reference, Session(found.data).run({"x": SAMPLES})["y"]))
        monkeypatch.setattr(decide, "joined", lambda *given: [])
    assert quality[0] >= quality[1]
