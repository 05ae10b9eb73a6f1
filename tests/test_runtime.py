"""The one door to onnxruntime: signatures, errors in our words, probes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qtool.errors import DataError, ModelError
from qtool.runtime import CPU_FEATURES, Session, cpu_features, probe
from qtool.signature import Signature, TensorSpec
from tests.models import normal, proto, save, weight

GRAPH = "g (float[N,64] x) => (float[N,8] y) { y = MatMul(x, w) }"


def session(graph: str, extra: str = "") -> Session:
    return Session(proto(graph, extra=extra).SerializeToString(), threads=1)


@pytest.mark.parametrize(
    "dtype",
    ["float", "double", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32",
     "int64", "uint64", "bool"],
)  # fmt: skip
def test_the_signature_has_numpys_names_and_a_probe_fits(dtype: str) -> None:
    graph = f"g ({dtype}[N,2] x) => ({dtype}[M,2] y) {{ y = Identity(x) }}"
    loaded = session(graph)
    name = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    assert loaded.signature.inputs == (TensorSpec("x", name, ("N", 2)),)
    found = loaded.run(probe(loaded.signature))
    assert found["y"].dtype == np.dtype(name)
    assert found["y"].tolist() == [[1, 1]]


def test_texts() -> None:
    loaded = session("g (string[2] x) => (string[2] y) { y = Identity(x) }")
    assert loaded.signature.inputs[0].dtype == "str"
    assert loaded.run(probe(loaded.signature))["y"].tolist() == ["a", "a"]


def test_a_scalar_and_an_unknown_dimension() -> None:
    loaded = session("g (float x, float[?] z) => (float y, float[?] u) { y = Neg(x) u = Neg(z) }")
    assert [s.shape for s in loaded.signature.inputs] == [(), (None,)]
    assert loaded.run(probe(loaded.signature))["y"] == -1


@pytest.mark.parametrize("kind", ["seq(float[2])", "bfloat16[2]"])
def test_what_cannot_be_probed_is_an_error_of_the_run(kind: str) -> None:
    loaded = session(f"g ({kind} x) => ({kind} y) {{ y = Identity(x) }}")
    with pytest.raises((DataError, ModelError)):
        loaded.run(probe(loaded.signature))


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "x"),
        ({"z": normal(1, 64)}, "z"),
        ({"x": normal(1, 64), "z": normal(1)}, "z"),
        ({"x": normal(1, 64).astype(np.float64)}, "double"),
        ({"x": normal(64)}, "ank"),
        ({"x": normal(1, 63)}, "63"),
    ],
)
def test_feeds_that_do_not_fit(feeds: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    loaded = Session(save(tmp_path / "m.onnx", GRAPH, w=weight(64, 8)), threads=1)
    with pytest.raises(DataError) as caught:
        loaded.run(feeds)
    assert words in caught.value.why


def test_a_kernel_that_fails_is_the_models_fault() -> None:
    graph = "g (float[N] x, float[M] i) => (float[K] y) { y = Add(x, i) }"
    with pytest.raises(ModelError) as caught:
        session(graph).run({"x": normal(3), "i": normal(2)})
    assert "Add" in caught.value.why


def test_an_index_out_of_range_is_the_datas_fault() -> None:
    graph = "g (float[N] x, int64[M] i) => (float[K] y) { y = Gather(x, i) }"
    with pytest.raises(DataError) as caught:
        session(graph).run({"x": normal(2), "i": np.array([7])})
    assert "idx=7" in caught.value.why


def test_an_operator_that_nobody_knows(tmp_path: Path) -> None:
    graph = "g (float[N] x) => (float[N] y) { y = my.domain.Foo(x) }"
    path = save(tmp_path / "m.onnx", graph, extra='"my.domain": 1')
    with pytest.raises(ModelError) as caught:
        Session(path)
    assert str(path) in caught.value.what
    assert "'Foo' of domain 'my.domain'" in caught.value.what
    assert "--custom-ops LIB" in caught.value.fix


def test_bytes_that_are_no_model() -> None:
    with pytest.raises(ModelError, match="cannot load the model"):
        Session(b"no model")


def test_the_optimized_graph_is_saved_on_demand(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GRAPH, w=weight(64, 8))
    Session(path, optimized=tmp_path / "o.onnx")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.onnx", "o.onnx"]


def test_nothing_is_written_to_the_error_stream(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError):
        session("g (float[N] x) => (float[N] y) { y = NoSuch(x) }")
    assert capfd.readouterr() == ("", "")


def test_a_probe_depends_on_the_signature_alone() -> None:
    signature = Signature(
        (TensorSpec("x", "int64", ("N", 3)), TensorSpec("u", "float32", None)), ()
    )
    assert probe(signature)["x"].tolist() == [[1, 1, 1]]
    assert probe(signature)["u"].shape == ()


def test_features_are_those_of_the_cpu() -> None:
    found = cpu_features()
    if not Path("/proc/cpuinfo").exists():
        assert found is None
        return
    assert found
    text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    assert all((name in found) == (f" {name}" in text) for name in CPU_FEATURES)


def test_telemetry_is_off() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
