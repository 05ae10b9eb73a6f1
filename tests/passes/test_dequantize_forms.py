"""Dequantization form by form: what weights become, what stays, and what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool.errors import ModelError
from qtool.passes.dequantize import dequantize
from qtool.quantized import kind_of
from tests.models import Array, build, normal, operators, run, sqnr

OWN = '"com.microsoft": 1, "com.ms.internal.nhwc": 1'
X = normal(6, 32, seed=1)


def codes(kind: str, *shape: int, seed: int = 2) -> Array:
    """Random codes over the whole range of a type."""
    dtype = getattr(ml_dtypes, kind, None) or np.dtype(kind)
    known: Any = ml_dtypes.iinfo  # it has no types
    limits = known(dtype)
    found = np.random.default_rng(seed).integers(int(limits.min), int(limits.max) + 1, shape)
    return found.astype(dtype)


def scales(*shape: int, kind: Any = np.float32) -> Array:
    return (np.random.default_rng(3).uniform(0.5, 1.5, shape) / 128).astype(kind)


def same(before: ir.Model, after: ir.Model, least: float = 100, **feeds: Array) -> None:
    """Same signature; outputs are as near as `least` dB."""
    assert models.signature(after) == models.signature(before)
    models.check(models.serialize(after))
    expected, found = run(before, **feeds), run(after, **feeds)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert found[name].dtype == value.dtype
        assert sqnr(value, found[name]) > least


WEIGHTS: dict[str, tuple[str, dict[str, Array]]] = {
    **{
        f"{kind} {granularity}": (
            f"d = DequantizeLinear<{attributes}>(w, s, z) y = MatMul(x, d)".replace("<>", ""),
            {"w": codes(kind, 32, 8), "s": scales(*shape), "z": codes(kind, *shape, seed=5)},
        )
        for kind in ("int8", "uint8", "int4", "uint4", "int16", "uint16")
        for granularity, attributes, shape in (
            ("per tensor", "", ()),
            ("per channel", "axis=1", (8,)),
            ("per row", "axis=-2", (32,)),
            ("per block", "axis=0, block_size=16", (2, 8)),
        )
    },
    "no zero point": ("d = DequantizeLinear(w, s) y = MatMul(x, d)",
                      {"w": codes("int8", 32, 8), "s": scales()}),
    "int2": ("d = DequantizeLinear<axis=0, block_size=16>(w, s) y = MatMul(x, d)",
             {"w": codes("int2", 32, 8), "s": scales(2, 8)}),
    "a scale of 16 bits": (
        "d = DequantizeLinear<axis=1>(w, s) f = Cast<to=1>(d) y = MatMul(x, f)",
        {"w": codes("int8", 32, 8), "s": scales(8, kind=np.float16)},
    ),
    "a scale that is cast": (
        "t = Cast<to=1>(s) d = DequantizeLinear<axis=1>(w, t) y = MatMul(x, d)",
        {"w": codes("int8", 32, 8), "s": scales(8, kind=np.float16)},
    ),
    "a bias": (
        "d = DequantizeLinear(w, s) e = DequantizeLinear<axis=0>(b, t) y = Gemm(x, d, e)",
        {"w": codes("int8", 32, 8), "s": scales(), "b": codes("int16", 8).astype(np.int32),
         "t": scales(8)},
    ),
    "int4 behind Cast": (
        "c = Cast<to=3>(w) d = DequantizeLinear<axis=1>(c, s) y = MatMul(x, d)",
        {"w": codes("int4", 32, 8), "s": scales(8)},
    ),
    "Cast -> Mul": ("c = Cast<to=1>(w) d = Mul(c, s) y = MatMul(x, d)",
                    {"w": codes("int4", 32, 8), "s": scales(1, 8)}),
    "Cast -> Sub -> Mul of blocks, filled up": (
        """c = Cast<to=1>(w) u = Sub(c, z) m = Mul(u, s) j = Reshape(m, joined)
           d = Slice(j, none, shape) y = MatMul(x, d)""",
        {"w": codes("int4", 3, 12, 8), "z": codes("int4", 3, 1, 8).astype(np.float32),
         "s": scales(3, 1, 8), "joined": np.array([36, 8]), "none": np.array([0, 0]),
         "shape": np.array([32, 8])},
    ),
    "codes that are moved": (
        "t = Transpose(w) d = DequantizeLinear<axis=1>(t, s) y = MatMul(x, d)",
        {"w": codes("int8", 8, 32), "s": scales(8)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name: str) -> None:
    nodes, constants = WEIGHTS[name]
    before = build(f"g (float[N,32] x) => (float[N,8] y) {{ {nodes} }}", opset=25, **constants)
    assert (kind := kind_of(before)) and kind.name == "QDQ"
    after = dequantize(before)
    assert operators(after) in (["MatMul"], ["Gemm"])
    assert {v.dtype for v in after.graph.initializers.values() if v.uses()} == {ir.DataType.FLOAT}
    same(before, after, x=X)


def test_a_weight_that_is_only_rounded_is_taken_as_it_is() -> None:
    w = normal(32, 8)
    before = build(
        """g (float[N,32] x) => (float[N,8] y) { q = QuantizeLinear(w, s, z)
           d = DequantizeLinear(q, s, z) y = MatMul(x, d) }""",
        w=w, s=np.float32(np.abs(w).max() / 127), z=np.int8(0),
    )  # fmt: skip
    after = dequantize(before)
    assert operators(after) == ["MatMul"]
    (kept,) = [v.const_value for v in after.graph.initializers.values() if v.uses()]
    assert kept is not None and (kept.numpy() == w).all()
    same(before, after, 35, x=X)


TABLES: dict[str, tuple[str, dict[str, Array]]] = {
    "a scale for all": ("e = Gather(w, i) y = DequantizeLinear(e, s, z)",
                        {"s": scales(), "z": np.uint8(7)}),
    "a scale per row": (
        "e = Gather(w, i) c = Cast<to=1>(e) t = Gather(s, i) y = Mul(c, t)",
        {"s": scales(32, 1)},
    ),
    "a scale and a zero point per row": (
        """e = Gather(w, i) c = Cast<to=1>(e) t = Gather(s, i) u = Gather(z, i) d = Sub(c, u)
           y = Mul(d, t)""",
        {"s": scales(32, 1), "z": codes("uint8", 32, 1).astype(np.float32)},
    ),
    "one scale behind Cast": (
        "e = Gather(w, i) c = Cast<to=1>(e) d = Sub(c, z) y = Mul(d, s)",
        {"s": scales(), "z": np.float32(120)},
    ),
    "blocks": (
        """e = Gather(w, i) t = Gather(s, i) u = Gather(z, i)
           y = DequantizeLinear<axis=2, block_size=4>(e, t, u)""",
        {"s": scales(32, 2), "z": codes("uint8", 32, 2)},
    ),
    "moved twice": ("f = Gather(w, p) e = Gather(f, i) y = DequantizeLinear(e, s, z)",
                    {"s": scales(), "z": np.uint8(7), "p": np.arange(31, -1, -1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_a_table(name: str) -> None:
    nodes, constants = TABLES[name]
    model = build(
        f"g (int64[N,T] i) => (float[N,T,8] y) {{ {nodes} }}",
        w=codes("uint8", 32, 8), **constants,
    )  # fmt: skip
    after = dequantize(model)
    assert set(operators(after)) == {"Gather"}
    same(model, after, i=np.array([[3, 1, 31], [0, 5, 5]]))


def test_what_the_model_takes_and_gives_in_integers_stays() -> None:
    model = build(
        """g (uint8[N,32] x) => (uint8[N,8] y, int64[N] best) { d = DequantizeLinear(x, s, z)
           e = DequantizeLinear(w, s) m = MatMul(d, e) y = QuantizeLinear(m, t, z)
           best = ArgMax<axis=1, keepdims=0>(y) }""",
        s=np.float32(0.02), t=np.float32(0.5), z=np.uint8(128), w=codes("int8", 32, 8),
    )  # fmt: skip
    after = dequantize(model)
    assert sorted(operators(after)) == ["ArgMax", "DequantizeLinear", "MatMul", "QuantizeLinear"]
    assert models.signature(after) == models.signature(model)
    x = codes("uint8", 40, 32)
    expected, found = run(model, x=x), run(after, x=x)
    assert (found["y"] == expected["y"]).all()
    best = np.take_along_axis(found["y"], found["best"][:, None], 1)
    assert (best[:, 0] == found["y"].max(1)).all()  # of equal codes the one with the larger value


def test_inside_a_body() -> None:
    model = build(
        """g (float[N,32] x, bool c) => (float[N,8] y) { q = QuantizeLinear(x, s, z)
           y = If(c) <then_branch = t () => (float[N,8] p) {
                          d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, s)
                          m = MatMul(d, e) r = QuantizeLinear(m, u, z)
                          p = DequantizeLinear(r, u, z) },
                      else_branch = e () => (float[N,8] o) {
                          f = DequantizeLinear(w, s) o = MatMul(x, f) }> }""",
        s=np.float32(0.03), u=np.float32(0.9), z=np.uint8(128), w=codes("int8", 32, 8),
    )  # fmt: skip
    after = dequantize(model)
    assert kind_of(after) is None
    for choice, least in ((True, 30), (False, 100)):
        same(model, after, least, x=X, c=np.array(choice))


def test_a_function_is_looked_into() -> None:
    made = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "my": 1]>
           g (float[N,32] x) => (float[N,8] y) { y = my.dense(x, w, s) }
           <opset_import: ["": 21], domain: "my"> dense (a, b, c) => (d) {
               e = DequantizeLinear(b, c) d = MatMul(a, e) }"""
    )
    for name, values in (("w", codes("int8", 32, 8)), ("s", scales())):
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    model = ir.from_proto(made)
    assert kind_of(model)
    after = dequantize(model)
    assert operators(after) == ["MatMul"]
    same(model, after, x=X)


def test_values_that_are_outputs_keep_their_names() -> None:
    model = build(
        """g (float[N,32] x) => (float[N,32] a, float[N,32] b, float[N,32] d, float[N,32] e) {
           a = Add(x, x) q = QuantizeLinear(a, s, z) b = DequantizeLinear(q, s, z)
           r = QuantizeLinear(x, s, z) d = DequantizeLinear(r, s, z)
           e = DequantizeLinear(r, s, z) }""",
        s=np.float32(0.05), z=np.uint8(128),
    )  # fmt: skip
    same(model, dequantize(model), 35, x=X)


REFUSED = {
    "y = com.microsoft.MulInteger(q, z, q, z)": "MulInteger",
    "r = MatMulInteger(q, w, z) y = Cast<to=1>(r)": None,
    "p, t, u = DynamicQuantizeLinear(x) r = MatMulInteger(p, w, u) y = Cast<to=1>(r)": "scale",
    "y = com.microsoft.MatMulNBits<K=32, N=8, bits=4, block_size=32>(x, b, s, , i)": "g_idx",
    "y = com.microsoft.MatMulNBits<K=32, N=9, bits=4, block_size=32>(x, b, s)": "do not fit",
    "y = com.microsoft.MatMulNBits<K=32, N=8, bits=4, block_size=32>(x, q, s)": "computed",
    "y = com.ms.internal.nhwc.QLinearConv(q, s, z, w, s, z, s, z)": "no rule",
}


@pytest.mark.parametrize("nodes", REFUSED)
def test_what_cannot_be_dequantized_is_named(nodes: str) -> None:
    constants: dict[str, Array] = {
        "s": scales(8), "z": np.uint8(3), "w": codes("int8", 32, 8),
        "b": codes("uint8", 8, 1, 16), "i": np.zeros(32, np.int32),
    }  # fmt: skip
    used = {n: v for n, v in constants.items() if n in nodes.replace("(", " ").replace(",", " ")}
    model = build(
        f"g (float[N,32] x, uint8[N,32] q) => (float[N,8] y) {{ {nodes} }}", extra=OWN, **used
    )
    why = REFUSED[nodes]
    if why is None:
        same(model, dequantize(model), x=X, q=codes("uint8", 6, 32))
        return
    with pytest.raises(ModelError) as caught:
        dequantize(model)
    assert "cannot be dequantized" in caught.value.what
    assert why in f"{caught.value.what} {caught.value.why}"


@pytest.mark.parametrize(
    "graph",
    [
        """g (float[N,32] x) => (float[N,32] y) {
            m = DequantizeLinear(w, s, top) r = Relu(x) p = Mul(r, m) c = Clip(p, low) y = Add(c, x)
        }""",
        """g (float[N,32] x) => (float[N,32] y) {
            q = QuantizeLinear(x, one, top)
            p = com.microsoft.QLinearMul(q, one, top, w, s, top, s, top)
            y = DequantizeLinear(p, one, top)
        }""",
    ],
    ids=["QDQ", "QOperator"],
)
def test_a_mask_at_the_end_of_float32_stays_finite(graph: str) -> None:
    """Its scale was rounded up: 255 of them are more than there is, and 0 times that is NaN."""
    last = np.finfo(np.float32).max
    step = np.nextafter(np.float32(last / 255), np.float32(np.inf))
    assert 255 * float(step) > float(last)
    constants: dict[str, Array] = {
        "w": np.zeros((), np.uint8), "s": step, "top": np.uint8(255), "one": np.float32(1),
        "low": np.float32(-1),
    }  # fmt: skip
    used = {name: each for name, each in constants.items() if name in graph.replace(",", " ")}
    found = run(dequantize(build(graph, extra=OWN, **used)), x=np.zeros((2, 32), np.float32))
    assert (found["y"] == 0).all()
