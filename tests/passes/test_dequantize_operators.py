"""Dequantization operator by operator: the float operator gives what the runtime's kernel gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from qtool.passes.dequantize import _RULES, dequantize
from qtool.passes.dequantize.products import INTEGER
from qtool.quantized import kind_of
from tests.models import Array, build, normal, operators, proto, run, sqnr
from tests.passes.test_dequantize_forms import codes, scales

S8 = {
    "xs": np.float32(0.03), "xz": np.uint8(120), "ys": np.float32(0.05), "yz": np.uint8(131),
}  # fmt: skip
DYNAMIC = "xq, xs, xz = DynamicQuantizeLinear(x)"
PAIR = "xq = QuantizeLinear(x, xs, xz)"
TWO = "(xq, xs, xz, b, bs, bz, ys, yz)"
BACK = "y = DequantizeLinear(r, ys, yz)"
BYTES = {"b": codes("uint8", 32), "bs": scales(), "bz": np.uint8(9)}
MANY = {"bs": scales(8), "bz": codes("int8", 8), "b": codes("int8", 32, 8)}
ONE = {"bs": scales(), "bz": np.int8(3), "b": codes("int8", 32, 8)}


@dataclass(frozen=True)
class Case:
    """Nodes from x to y, constants, the shape of x, and what is left of the operators."""

    nodes: str
    constants: dict[str, Array]
    left: tuple[str, ...]
    shape: tuple[int, ...] = (6, 32)
    least: float = 30.0
    feeds: dict[str, Array] = field(default_factory=dict)


def dense(op: str, extra: str = "", **constants: Array) -> Case:
    return Case(op, constants, tuple(extra.split()) or ("MatMul",))


def bits(count: int, *, zeros: str, size: int = 16, rows: int = 32, bias: bool = False) -> Case:
    """MatMulNBits of 8 columns; zero points left out, packed or in float."""
    blocks = -(-rows // size)
    constants: dict[str, Array] = {
        "w": codes("uint8", 8, blocks, size * count // 8), "s": scales(8 * blocks),
    }  # fmt: skip
    if zeros == "packed":
        constants["p"] = codes("uint8", 8 * -(-blocks * count // 8), seed=7)
    if zeros == "float":
        constants["p"] = normal(8, blocks) + np.float32(4)
    inputs = f"x, w, s, {'p' if zeros else ''}" + (", , c" if bias else "")
    if bias:
        constants["c"] = normal(8)
    attributes = f"K={rows}, N=8, bits={count}, block_size={size}"
    nodes = f"y = com.microsoft.MatMulNBits<{attributes}>({inputs.rstrip(', ')})"
    left = ("MatMul", "Add") if bias else ("MatMul",)
    return Case(nodes, constants, left, (6, rows), 100)


def table(kind: str, attributes: str, *, zeros: bool, width: int = 32, count: int = 4) -> Case:
    packed = width * count // 8 if kind == "uint8" else width
    constants: dict[str, Array] = {"w": codes(kind, 20, packed), "s": scales(20, 2)}
    if zeros:
        constants["p"] = codes(kind, 20, max(1, 2 * count // 8) if kind == "uint8" else 2, seed=7)
    inputs = "w, i, s, p" if zeros else "w, i, s"
    nodes = f"""i = Cast<to=7>(x)
        y = com.microsoft.GatherBlockQuantized<block_size=16, {attributes}>({inputs})"""
    feeds = {"x": np.array([[1, 19, 0], [3, 3, 7]], np.float32)}
    return Case(nodes, constants, ("Cast", "Gather"), (2, 3), 100, feeds)


EMBED = {
    **{f"{n}q": codes("uint8", rows, 16, seed=i) for i, (n, rows) in
       enumerate((("w", 20), ("p", 8), ("k", 2)))},
    "gq": codes("uint8", 16, seed=8), "bq": codes("uint8", 16, seed=9),
    **{f"{n}s": scales() for n in "wpkgb"}, **{f"{n}z": np.uint8(120) for n in "wpkgb"},
}  # fmt: skip
CASES: dict[str, Case] = {
    "QLinearConv": Case(
        f"{PAIR} r = QLinearConv<pads=[1,1,1,1]>(xq, xs, xz, w, ws, wz, ys, yz, c) {BACK}",
        {"w": codes("int8", 8, 4, 3, 3), "ws": scales(8) / 4, "wz": np.zeros(8, np.int8),
         "c": codes("int16", 8).astype(np.int32) // 32, **S8, "ys": np.float32(0.03)},
        ("Conv",), (2, 4, 6, 6),
    ),
    "QLinearMatMul": dense(
        f"{PAIR} r = QLinearMatMul(xq, xs, xz, b, bs, bz, ys, yz) {BACK}",
        **{**S8, **MANY, "ys": np.float32(0.2)},
    ),
    "QGemm": dense(
        f"{PAIR} r = com.microsoft.QGemm<transB=1>(xq, xs, xz, b, bs, bz, c, ys, yz) {BACK}",
        "Gemm", c=codes("int16", 8).astype(np.int32) // 8,
        **{**S8, **MANY, "b": codes("int8", 8, 32), "ys": np.float32(0.2)},
    ),
    "QGemm to float": dense(
        f"{PAIR} y = com.microsoft.QGemm<transA=1, alpha=0.5>(xq, xs, xz, b, bs, bz, c)",
        "Gemm", c=codes("int16", 8).astype(np.int32) // 8,
        **{**S8, **ONE, "b": codes("int8", 6, 8)},
    ),
    "QLinearAdd": dense(f"{PAIR} r = com.microsoft.QLinearAdd{TWO} {BACK}", "Add", **(S8 | BYTES)),
    "QLinearMul": dense(f"{PAIR} r = com.microsoft.QLinearMul{TWO} {BACK}", "Mul", **(S8 | BYTES)),
    "QLinearWhere": dense(
        f"""{PAIR} r = com.microsoft.QLinearWhere(c, xq, xs, xz, b, bs, bz, ys, yz) {BACK}""",
        "Where", c=normal(6, 32) > 0,
        **(S8 | BYTES),
    ),
    "QLinearConcat": dense(
        f"{PAIR} r = com.microsoft.QLinearConcat<axis=1>(ys, yz, xq, xs, xz, b, bs, bz) {BACK}",
        "Concat", **{**S8, "b": codes("uint8", 6, 4), "bs": scales(), "bz": np.uint8(9)},
    ),
    "QLinearAveragePool": Case(
        f"""{PAIR} r = com.microsoft.QLinearAveragePool<kernel_shape=[2,2], channels_last=1>
        (xq, xs, xz, ys, yz) {BACK}""",
        S8, ("Transpose", "AveragePool", "Transpose"), (2, 6, 6, 4), 25,
    ),
    "QLinearGlobalAveragePool": Case(
        f"""{PAIR} r = com.microsoft.QLinearGlobalAveragePool<channels_last=1>
        (xq, xs, xz, ys, yz) {BACK}""",
        {**S8, "ys": np.float32(0.005)}, ("Transpose", "GlobalAveragePool", "Transpose"),
        (2, 6, 6, 4),
    ),
    "QLinearLeakyRelu": dense(
        f"{PAIR} r = com.microsoft.QLinearLeakyRelu<alpha=0.2>(xq, xs, xz, ys, yz) {BACK}",
        "LeakyRelu", **S8,
    ),
    "QLinearSigmoid": dense(
        f"{PAIR} r = com.microsoft.QLinearSigmoid(xq, xs, xz, ys, yz) {BACK}", "Sigmoid",
        **{**S8, "ys": np.float32(1 / 256), "yz": np.uint8(0)},
    ),
    "QLinearSoftmax": dense(
        f"{PAIR} r = com.microsoft.QLinearSoftmax<opset=13>(xq, xs, xz, ys, yz) {BACK}",
        "Softmax", **{**S8, "ys": np.float32(1 / 256), "yz": np.uint8(0)},
    ),
    "QLinearSoftmax over several axes": Case(
        f"{PAIR} r = com.microsoft.QLinearSoftmax<opset=12, axis=1>(xq, xs, xz, ys, yz) {BACK}",
        {**S8, "ys": np.float32(1 / 256), "yz": np.uint8(0)},
        ("Flatten", "Shape", "Softmax", "Reshape"), (3, 4, 2), 25,
    ),
    "NhwcMaxPool": Case(
        f"{PAIR} r = com.microsoft.NhwcMaxPool<kernel_shape=[2,2]>(xq) {BACK}",
        {**S8, "ys": S8["xs"], "yz": S8["xz"]}, ("Transpose", "MaxPool", "Transpose"),
        (2, 6, 6, 4),
    ),
    "MatMulIntegerToFloat": dense(
        f"{DYNAMIC} y = com.microsoft.MatMulIntegerToFloat(xq, b, xs, bs, xz, bz, c)",
        "MatMul Add", c=normal(8), **MANY,
    ),
    "MatMulIntegerToFloat of codes": dense(
        f"{PAIR} y = com.microsoft.MatMulIntegerToFloat(xq, b, xs, bs, xz, bz)",
        **{**ONE, "xs": S8["xs"], "xz": S8["xz"]},
    ),
    "DynamicQuantizeMatMul": dense(
        "y = com.microsoft.DynamicQuantizeMatMul(x, b, bs, bz, c)", "MatMul Add", c=normal(8),
        **MANY,
    ),
    "MatMulInteger": dense(
        f"""{DYNAMIC} r = MatMulInteger(xq, b, xz, bz) f = Cast<to=1>(r) t = Mul(xs, bs)
        y = Mul(f, t)""", **MANY,
    ),
    "MatMulInteger, one factor by one": dense(
        f"""{DYNAMIC} r = MatMulInteger(xq, b, xz, bz) f = Cast<to=1>(r) t = Mul(xs, f)
        y = Mul(t, bs)""", **ONE,
    ),
    "MatMulInteger, a factor per row": dense(
        f"""{DYNAMIC} r = MatMulInteger(xq, b, xz, bz) f = Cast<to=1>(r) t = Mul(xs, rows)
        y = Mul(f, t)""", "MatMul Mul", rows=scales(6, 1), **{**ONE, "bs": scales()},
    ),
    "MatMulInteger of codes": dense(
        f"""{PAIR} r = MatMulInteger(xq, b, xz, bz) f = Cast<to=1>(r) y = Mul(f, bs)""",
        **{**MANY, "xs": S8["xs"], "xz": S8["xz"]},
    ),
    "ConvInteger": Case(
        f"""{DYNAMIC} r = ConvInteger<strides=[2,2]>(xq, w, xz, wz) f = Cast<to=1>(r)
        t = Mul(xs, ws) y = Mul(f, t)""",
        {"w": codes("uint8", 8, 4, 3, 3), "wz": np.uint8(128), "ws": scales(8, 1, 1)},
        ("Conv",), (2, 4, 7, 7),
    ),
    "MatMulNBits 2": bits(2, zeros=""),
    "MatMulNBits 4": bits(4, zeros="", bias=True),
    "MatMulNBits 4, packed zeros": bits(4, zeros="packed", rows=48),
    "MatMulNBits 4, float zeros": bits(4, zeros="float"),
    "MatMulNBits 4, a part of a block": bits(4, zeros="packed", rows=40),
    "MatMulNBits 8": bits(8, zeros="packed"),
    "GatherBlockQuantized int4": table("int4", "quantize_axis=1", zeros=True),
    "GatherBlockQuantized uint4": table("uint4", "quantize_axis=1", zeros=False),
    "GatherBlockQuantized 4 bits": table("uint8", "bits=4, quantize_axis=1", zeros=True),
    "GatherBlockQuantized 4 bits, no zeros": table("uint8", "bits=4, quantize_axis=-1",
                                                   zeros=False),
    "GatherBlockQuantized 8 bits": table("uint8", "bits=8, quantize_axis=1", zeros=True,
                                         count=8),
    "QAttention": Case(
        f"""{PAIR} y = com.microsoft.QAttention<num_heads=2>
        (xq, b, c, xs, bs, , xz, bz)""",
        {"xs": S8["xs"], "xz": S8["xz"], "b": codes("int8", 16, 48), "bs": scales(48),
         "bz": np.zeros(48, np.int8), "c": normal(48)},
        ("Attention",), (2, 5, 16),
    ),
    "QEmbedLayerNormalization": Case(
        """i = Cast<to=6>(x) j = Sub(i, i) y, m = com.microsoft.QEmbedLayerNormalization
        (i, j, wq, pq, kq, gq, bq, , ws, ps, ks, gs, bs, wz, pz, kz, gz, bz)""",
        EMBED, ("Cast", "EmbedLayerNormalization", "Sub"), (2, 4), 100,
        {"x": np.array([[1, 19, 0, 4], [3, 3, 7, 8]], np.float32)},
    ),
}  # fmt: skip
NO_KERNEL = {"QLinearReduceMean"}  # the runtime knows it by name alone
ELSEWHERE = {"DynamicQuantizeLSTM"}  # tests/passes/test_dequantize.py


def test_every_rule_has_a_case() -> None:
    cases = {name.split()[0].rstrip(",") for name in CASES}
    assert cases | NO_KERNEL | ELSEWHERE == {*_RULES, *INTEGER}


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_the_kernel_gives(name: str) -> None:
    case = CASES[name]
    dims = ",".join(map(str, case.shape))
    made = proto(
        f"g (float[{dims}] x) => (float[A] y) {{ {case.nodes} }}",
        opset=17 if "int4" not in name else 21, extra='"com.microsoft": 1', **case.constants,
    )  # fmt: skip
    made.graph.output[0].type.tensor_type.ClearField("shape")
    made.ir_version = 8 if "int4" not in name else 10
    for place, node in enumerate(made.graph.node):
        node.name = f"n{place}"
    model = ir.from_proto(made)
    assert kind_of(model) is not None
    feeds = case.feeds or {"x": normal(*case.shape, seed=4)}
    expected = run(model, **feeds)["y"]
    after = dequantize(model)
    assert kind_of(after) is None
    found = run(after, **feeds)["y"]
    assert found.shape == expected.shape
    assert sqnr(expected, found) > case.least
    assert sorted(op for op in operators(after) if op != "Clip") == sorted(case.left)
    # Patterns know a node by its name.
    name_of = {node.op_type: node.name for node in model.graph if node.op_type in name}
    kept = [node.op_type for node in after.graph if node.name in name_of.values()]
    assert len(kept) == 1 and kept[0] in case.left


@pytest.mark.parametrize("opset", [17, 18])
def test_an_operator_without_a_kernel_here(opset: int) -> None:
    mean = "com.microsoft.QLinearReduceMean<axes=[1, 2], keepdims=0>(xq, xs, xz, ys, yz)"
    made = build(
        f"g (float[2,4,6] x) => (float[2] y) {{ {PAIR} r = {mean} {BACK} }}",
        opset=opset, extra='"com.microsoft": 1', **S8,
    )  # fmt: skip
    after = dequantize(made)
    assert operators(after) == ["ReduceMean"]
    x = normal(2, 4, 6)
    np.testing.assert_allclose(run(after, x=x)["y"], x.mean((1, 2)), rtol=0, atol=1e-6)
