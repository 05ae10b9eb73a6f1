"""Sparse tensors are read as what they stand for, doubles once; or both are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime as ort
import pytest

from qtool import model as models
from qtool import workflow
from qtool.errors import ModelError
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, normal, proto

DIMS = [24, 8]
Place = Callable[[onnx.SparseTensorProto], onnx.ModelProto]


def sparse(values: Array, indices: Array, dims: list[int]) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(
        values=onnx.numpy_helper.from_array(np.asarray(values), "s"),
        indices=onnx.numpy_helper.from_array(np.asarray(indices)), dims=dims,
    )  # fmt: skip


def initializer(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    made = proto("g (float[N,24] x) => (float[N,8] y) { y = MatMul(x, s) }")
    made.graph.sparse_initializer.append(tensor)
    return made


def constant(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    made = proto("g (float[N,24] x) => (float[N,8] y) { y = MatMul(x, s) }")
    made.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["s"], sparse_value=tensor))
    return made


def body(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    made = proto(
        """g (float[N,24] x) => (float[N,8] y) { c = Constant<value_int=1>() k = Cast<to=9>(c)
        y = If(k) <then_branch = t () => (float[N,8] p) { p = MatMul(x, s) },
                   else_branch = e () => (float[N,8] q) { q = MatMul(x, s2) }> }""",
        s2=np.zeros(DIMS, np.float32),
    )
    made.graph.node[2].attribute[0].g.sparse_initializer.append(tensor)
    return made


def load(tensor: onnx.SparseTensorProto, place: Place, folder: Path) -> Any:
    path = folder / "m.onnx"
    path.write_bytes(place(tensor).SerializeToString())
    return models.load(path)


FLAT = np.sort(np.random.default_rng(0).choice(24 * 8, 40, replace=False))
FORMS: dict[str, Array] = {
    "flat": FLAT,
    "coordinates": np.stack(np.unravel_index(FLAT, DIMS), 1),
    "int32": FLAT.astype(np.int32),
}


@pytest.mark.parametrize("place", [initializer, constant, body])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_both_forms_of_indices(form: str, place: Place, dtype: Any, tmp_path: Path) -> None:
    if place is not initializer and (dtype is np.float16 or form == "int32"):
        pytest.skip("one place is enough for it, or the runtime wants int64 there")
    tensor, x = sparse(normal(40).astype(dtype), FORMS[form], DIMS), normal(5, 24).astype(dtype)
    read = load(tensor, place, tmp_path)
    if dtype is np.float16:
        (value,) = [v.const_value for v in read.graph.initializers.values()]
        dense = np.zeros(24 * 8, dtype)
        dense[FLAT] = normal(40).astype(dtype)
        assert (value.numpy() == dense.reshape(DIMS)).all()
        return
    expected = Session(tmp_path / "m.onnx", threads=1).run({"x": x})["y"]
    assert np.abs(expected).max() > 1
    found = Session(models.serialize(read), threads=1).run({"x": x})["y"]
    assert (found == expected).all()


@pytest.mark.parametrize("place", [initializer, constant])
def test_they_are_quantized_and_a_note_says_how_they_are_stored(
    place: Place, tmp_path: Path
) -> None:
    load(sparse(normal(40), FLAT, DIMS), place, tmp_path)
    job = workflow.open_job(tmp_path / "m.onnx", Recipe(scheme="w8"), load_target("cpu"))
    assert job.notes == ("sparse tensors are stored dense: s",)
    workflow.check_preparation(job, None)
    made = workflow.build(job, None)
    assert made.plan.weights
    x = normal(5, 24)
    expected, found = (Session(m).run({"x": x})["y"] for m in (tmp_path / "m.onnx", made.data))
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_none_and_all(tmp_path: Path) -> None:
    for count in (0, 24 * 8):
        tensor = sparse(normal(count), np.arange(count), DIMS)
        read = load(tensor, initializer, tmp_path)
        (value,) = [v.const_value for v in read.graph.initializers.values()]
        assert (value.numpy().reshape(-1)[:count] == normal(count)).all()
        assert value.numpy().shape == (24, 8)


TWO = np.ones(2, np.float32)
BAD: dict[str, tuple[onnx.SparseTensorProto, str, bool]] = {  # whether the runtime refuses it too
    "too large an index": (sparse(TWO, [3, 192], DIMS), "out of range", True),
    "a negative index": (sparse(TWO, [-1, 3], DIMS), "out of range", True),
    "too large a coordinate": (sparse(TWO, [[0, 3], [1, 8]], DIMS), "out of range", True),
    "more values than indices": (sparse(TWO, [3], DIMS), "is damaged", True),
    "more indices than values": (sparse(TWO, [1, 2, 3], DIMS), "is damaged", True),
    "coordinates of another rank": (sparse(TWO, [[1, 2, 3], [4, 5, 6]], DIMS), "is damaged", True),
    "indices in three axes": (sparse(TWO, [[[1], [2]]], DIMS), "is damaged", True),
    "float indices": (sparse(TWO, [1.0, 2.0], DIMS), "is damaged", True),
    "values in two axes": (sparse(TWO[None], [1], DIMS), "is damaged", True),
    "unsorted": (sparse(TWO, [10, 3], DIMS), "out of order", False),
    "twice the same": (sparse(TWO, [3, 3], DIMS), "out of order", False),
    "unsorted coordinates": (sparse(TWO, [[1, 2], [0, 3]], DIMS), "out of order", False),
    "2^40 rows": (sparse(TWO, [3, 10], [2**40, 8]), "too large", True),
    "2^80 elements": (sparse(TWO, [3, 10], [2**40, 2**40]), "too large", True),
    "more than 2 GB": (sparse(TWO, [3, 10], [2**16, 2**14]), "too large", True),
    "negative dims": (sparse(TWO, [3, 10], [-24, -8]), "has no size", True),
}


@pytest.mark.parametrize("place", [initializer, constant])
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sparse_tensor_is_named(name: str, place: Place, tmp_path: Path) -> None:
    tensor, words, refused = BAD[name]
    with pytest.raises(ModelError) as caught:
        load(tensor, place, tmp_path)
    assert caught.value.what.startswith("sparse tensor 's'")
    assert words in caught.value.what
    options = ort.SessionOptions()
    options.log_severity_level = 4
    data = (tmp_path / "m.onnx").read_bytes()
    if refused:
        with pytest.raises(Exception, match=r"parse|dimension|byte|indices|overflow"):
            ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def test_values_that_lie_elsewhere_or_are_cut_short(tmp_path: Path) -> None:
    tensor = sparse(TWO, [3, 10], DIMS)
    tensor.values.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelError, match="lies in another file"):
        load(tensor, initializer, tmp_path)
    tensor = sparse(TWO, [3, 10], DIMS)
    tensor.values.dims[0] = 2**40
    with pytest.raises(ModelError, match="is cut short"):
        load(tensor, initializer, tmp_path)
    tensor = sparse(TWO, [3, 10], DIMS)
    tensor.values.raw_data = tensor.values.raw_data[:5]
    with pytest.raises(ModelError, match="cannot be read"):
        load(tensor, initializer, tmp_path)


@pytest.mark.parametrize("factor", [1, 2])
def test_initializers_of_one_name(factor: int, tmp_path: Path) -> None:
    w, x = normal(24, 8), normal(5, 24)
    made = proto("g (float[N,24] x) => (float[N,8] y) { y = MatMul(x, w) }", w=w)
    made.graph.initializer.append(onnx.numpy_helper.from_array(w * factor, "w"))
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    if factor > 1:
        with pytest.raises(ModelError, match="two initializers are named 'w'"):
            models.load(path)
        return
    found = Session(models.serialize(models.load(path))).run({"x": x})["y"]
    np.testing.assert_allclose(found, x @ w, rtol=0, atol=1e-5)
