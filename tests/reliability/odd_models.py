"""Odd models: those that work, and those that end in one error."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser

from tests.models import Array, normal, proto, weight

W, B = weight(24, 8), normal(8)
Model = onnx.ModelProto


def dense(nodes: str, **constants: Array) -> Model:
    used = {name: value for name, value in {"w": W, **constants}.items() if name in nodes}
    return proto(f"g (float[N,24] x) => (float[N,8] y) {{ {nodes} }}", **used)


def claims(*dims: int) -> Model:
    made = dense("y = MatMul(x, u)")
    made.graph.initializer.add(name="u", data_type=onnx.TensorProto.FLOAT, dims=dims)
    return made


def with_value(value: float, *, bias: bool = False) -> Model:
    w, b = W.copy(), B.copy()
    (b if bias else w[3])[2] = value
    return dense("y = Gemm(x, w, b)", w=w, b=b)


def sparse() -> Model:
    made = dense("y = MatMul(x, s)")
    values = onnx.numpy_helper.from_array(normal(2), "s")
    places = onnx.numpy_helper.from_array(np.array([3, 10]))
    made.graph.sparse_initializer.add(values=values, indices=places, dims=[24, 8])
    return made


def changed(change: Callable[[Model], object], nodes: str = "y = MatMul(x, w)") -> Model:
    made = dense(nodes)
    change(made)
    return made


def unknown_ranks() -> Model:
    made = dense("y = MatMul(x, w)")
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.ClearField("shape")
    return made


def function() -> Model:
    made: Model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 18, "my": 1]>
        g (float[N,24] x) => (float[N,8] y) { y = my.dense(x, w) }
        <opset_import: ["": 18], domain: "my">
        dense (a, b) => (c) { d = MatMul(a, b) c = Relu(d) }"""
    )
    made.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    return made


def maps(labels: str, kind: str) -> Model:
    return proto(
        f"""g (float[N,24] x) => (float[N,8] y, seq(map({kind},float[])) z) {{
        y = MatMul(x, w) z = ai.onnx.ml.ZipMap<{labels}>(y) }}""", extra='"ai.onnx.ml": 1', w=W
    )  # fmt: skip


def no_standard_operator() -> Model:
    graph = 'g (float[N,24] x) => (float[N,24] y) { y = ai.onnx.ml.Normalizer<norm="L1">(x) }'
    made = proto(graph, extra='"ai.onnx.ml": 1')
    del made.opset_import[0]
    return made


LOOP = """k = Constant<value = int64 {3}>() c = Constant<value = bool {1}>()
    z = Loop(k, c, x) <body = b (int64 i, bool go, float[N,24] a) => (bool on, float[N,24] a2) {
        on = Identity(go) a2 = MatMul(a, s) }> y = MatMul(z, w)"""
IF = """t = ReduceSum<keepdims=0>(x) z = Constant<value_float=0.0>() k = Greater(t, z)
    y = If(k) <then_branch = a () => (float[N,8] p) { p = MatMul(x, w) },
               else_branch = b () => (float[N,8] q) { q = MatMul(x, v) }>"""
COLLIDE = """x_q = Relu(x) x_dq = Relu(x_q) w_dq = MatMul(x_dq, w) w_q = Identity(w_dq)
    x_scale = Relu(w_q) w_scale = Relu(x_scale) y = Gemm(w_scale, w_zero_point)"""
GRAPH = "g (float[N,24] x) => (float[N,8] y, {}) {{ {} y = MatMul(x, w) }}"

WORKS: dict[str, Callable[[], Model]] = {
    "one Identity": lambda: proto("g (float[N,24] x) => (float[N,24] y) { y = Identity(x) }"),
    "no node": lambda: proto("g (float[N,24] x) => (float[N,24] x) { }"),
    "an input that is an output": lambda: proto(GRAPH.format("float[N,24] x", ""), w=W),
    "a weight that is an output": lambda: proto(GRAPH.format("float[24,8] w", ""), w=W),
    "a weight behind Identity": lambda: proto(
        GRAPH.format("float[24,8] v", "v = Identity(w)"), w=W
    ),
    "weight of NaN": lambda: with_value(np.nan),
    "weight of Inf": lambda: with_value(np.inf),
    "weight of -Inf": lambda: with_value(-np.inf),
    "bias of NaN": lambda: with_value(np.nan, bias=True),
    "bias of Inf": lambda: with_value(np.inf, bias=True),
    "zeros": lambda: dense("y = Gemm(x, w, b)", w=W * 0, b=B * 0),
    "denormal weights": lambda: dense("y = MatMul(x, w)", w=np.full_like(W, 1e-45)),
    "the largest weights": lambda: dense("y = MatMul(x, w)", w=np.sign(W) * np.float32(3.4e38)),
    "no columns": lambda: proto("g (float[N,24] x) => (float[N,0] y) { y = MatMul(x, w) }",
                                w=W[:, :0]),
    "our names": lambda: dense(COLLIDE, w_zero_point=normal(8, 8)),
    "float16": lambda: proto("g (float16[N,24] x) => (float16[N,8] y) { y = MatMul(x, w) }",
                             w=W.astype(np.float16)),
    "double": lambda: proto("g (double[N,24] x) => (double[N,8] y) { y = MatMul(x, w) }",
                            w=W.astype(np.float64)),
    "bfloat16 weights": lambda: dense("c = Cast<to=1>(u) y = MatMul(x, c)",
                                      u=W.astype(ml_dtypes.bfloat16)),
    "sparse": sparse,
    "If": lambda: dense(IF, v=W * 2),
    "Loop": lambda: dense(LOOP, s=normal(24, 24) / 5),
    "a function": function,
    "an input left out": lambda: dense("c = Clip(x, , top) y = MatMul(c, w)", top=np.float32(1)),
    "nodes in any order": lambda: dense("y = Relu(z) z = MatMul(x, w)"),
    "unknown ranks": unknown_ranks,
    "maps by integer": lambda: maps("classlabels_int64s=[9,8,7,6,5,4,3,2]", "int64"),
    "maps by text": lambda: maps('classlabels_strings=["a","b","c","d","e","f","g",""]', "string"),
    "no standard operator": no_standard_operator,
    "2^40 rows in a batch": lambda: changed(
        lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].ParseFromString(
            onnx.TensorShapeProto.Dimension(dim_value=2**40).SerializeToString()
        )
    ),
}  # fmt: skip
FAILS: dict[str, tuple[Callable[[], Model], str]] = {
    "2^40 elements": (lambda: claims(2**40), "initializer 'u' is cut short"),
    "more than 2^63 elements": (lambda: claims(2**40, 2**40), "initializer 'u' is cut short"),
    "negative dims": (lambda: claims(-24, -8), "initializer 'u' has no size"),
    "two weights of one name": (
        lambda: changed(
            lambda m: m.graph.initializer.append(onnx.numpy_helper.from_array(-W, "w"))
        ),
        "two initializers are named 'w'",
    ),
    "two nodes of one name": (
        lambda: changed(
            lambda m: m.graph.node.extend([
                onnx.helper.make_node("Relu", ["y"], [each], name="n") for each in ("a", "b")
            ])
        ),
        "two nodes with same node name (n)",
    ),
    "a custom operator": (
        lambda: proto("g (float[N,24] x) => (float[N,8] y) { a = my.Thing(x) y = MatMul(a, w) }",
                      extra='"my": 1', w=W), "operator 'Thing' of domain 'my'",
    ),
    "bfloat16": (
        lambda: proto("g (bfloat16[N,24] x) => (bfloat16[N,8] y) { y = MatMul(x, w) }",
                      w=W.astype(ml_dtypes.bfloat16)), "no CPU kernel for MatMul",
    ),
    "a Constant of an unknown kind": (
        lambda: dense("c = Constant<value_bool=1>() y = MatMul(x, w)"),
        "'value_bool'",
    ),
    "a cycle": (lambda: dense("a = Add(b, x) b = Add(a, x) y = MatMul(a, w)"), "cycle"),
    "opset 999": (lambda: changed(lambda m: setattr(m.opset_import[0], "version", 999)), "999"),
    "IR 99": (lambda: changed(lambda m: setattr(m, "ir_version", 99)), "99"),
    "no opset": (lambda: changed(lambda m: m.ClearField("opset_import")), "opset"),
}  # fmt: skip
