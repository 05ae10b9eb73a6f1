"""Dequantization of activations: what a pair of Q and DQ becomes, with codes moved between them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qtool.passes.dequantize import dequantize
from qtool.passes.dequantize.codes import MOVES
from qtool.quantized import kind_of
from tests.models import Array, build, normal, proto, run
from tests.passes.test_dequantize_forms import X, codes, same

PAIR = "q = QuantizeLinear({}, s, z) {} = DequantizeLinear(q, s, z)"


@pytest.mark.parametrize(
    ("before", "zero", "scale", "clip"),
    [
        ("h = Add(x, c)", np.uint8(0), 0.02, (0.0, 5.1)),  # a Relu may be left to the quantizer
        ("h = Add(x, c)", np.int8(-128), 6 / 255, (0.0, 6.0)),
        ("h = Add(x, c)", np.uint8(255), 0.02, (-5.1, 0.0)),
        ("h = Add(x, c)", np.uint8(128), 1 / 128, (-1.0, 127 / 128)),  # -1 .. 1
        ("h = Add(x, c)", np.int16(-32768), 1e-4, (0.0, 6.5535)),
        ("h = Add(x, c)", np.uint8(120), 0.03, None),  # measured
        ("h = Add(x, c)", np.int8(0), 0.03, None),
        ("h = Relu(x)", np.uint8(0), 0.02, None),  # between these bounds anyway
        ("r = Relu(x) h = Transpose(r)", np.uint8(0), 0.02, None),
        ("h = Sigmoid(x)", np.uint8(0), 1 / 255, None),
        ("h = Tanh(x)", np.uint8(128), 1 / 128, None),
        ("h = Softmax(x)", np.uint8(0), 1 / 256, None),
        ("h = Clip(x, c)", np.uint8(0), 0.02, None),
        ("h = Identity(x)", np.uint8(120), 0.03, None),
    ],
)
def test_a_pair_of_q_and_dq(
    before: str, zero: Array, scale: float, clip: tuple[float, float] | None
) -> None:
    model = build(
        f"g (float[N,32] x) => (float[A,B] y) {{ {before} {PAIR.format('h', 'd')} y = Neg(d) }}",
        s=np.float32(scale), z=zero, c=np.float32(0.0),
    )  # fmt: skip
    after = dequantize(model)
    clips = [n for n in after.graph if n.op_type == "Clip" and len(n.inputs) == 3]
    found = [[v.const_value.numpy() for v in n.inputs[1:] if v and v.const_value] for n in clips]
    assert len(found) == (clip is not None)
    if clip is not None:
        np.testing.assert_allclose(found[0], clip, rtol=1e-5, atol=1e-7)
        outside = np.array([[-9.0] * 32, [9.0] * 32], np.float32)
        same(model, after, 30, x=np.concatenate([X, outside]))
    else:
        same(model, after, 24, x=X.clip(-3, 3))


def test_bounds_along_an_axis() -> None:
    model = build(
        """g (float[N,4,5] x) => (float[N,4,5] y) { h = Add(x, x)
           q = QuantizeLinear<axis=1>(h, s, z) y = DequantizeLinear<axis=1>(q, s, z) }""",
        s=np.array([0.01, 0.02, 0.03, 0.04], np.float32), z=np.zeros(4, np.uint8),
    )  # fmt: skip
    same(model, dequantize(model), 35, x=normal(7, 4, 5))


# operator -> (nodes from q to m, constants); y = DequantizeLinear(m) unless they give y
MOVED: dict[str, tuple[str, dict[str, Array]]] = {
    "Concat": ("m = Concat<axis=1>(q, k, q)", {"k": codes("uint8", 6, 2, 4)}),
    "DepthToSpace": ("r = Reshape(q, f) m = DepthToSpace<blocksize=2>(r)",
                     {"f": np.array([6, 4, 2, 4])}),
    "Expand": ("m = Expand(q, f)", {"f": np.array([2, 6, 8, 4])}),
    "Flatten": ("m = Flatten(q)", {}),
    "Gather": ("m = Gather<axis=1>(q, f)", {"f": np.array([3, 1])}),
    "GatherElements": ("m = GatherElements(q, f)", {"f": np.array([[[3, 1]]])}),
    "GatherND": ("m = GatherND(q, f)", {"f": np.array([[3, 1]])}),
    "Identity": ("m = Identity(q)", {}),
    "Max": ("m = Max(q, k)", {"k": codes("uint8", 6, 1, 4)}),
    "MaxPool": ("r = Reshape(q, f) m = MaxPool<kernel_shape=[2,2], pads=[1,1,1,1]>(r)",
                {"f": np.array([6, 1, 8, 4])}),
    "Min": ("m = Min(q, k)", {"k": codes("uint8", 6, 1, 4)}),
    "Pad": ("m = Pad(q, f, k)", {"f": np.array([0, 1, 0, 0, 2, 0]), "k": np.uint8(77)}),
    "Pad without a value": ("m = Pad(q, f)", {"f": np.array([0, 1, 0, 0, 2, 0])}),
    "Pad at the edge": ('m = Pad<mode="edge">(q, f)', {"f": np.array([0, 1, 0, 0, 2, 0])}),
    "ReduceMax": ("m = ReduceMax(q, f)", {"f": np.array([1])}),
    "ReduceMin": ("m = ReduceMin(q, f)", {"f": np.array([1])}),
    "Reshape": ("m = Reshape(q, f)", {"f": np.array([4, -1])}),
    "Resize": ('m = Resize<mode="nearest">(q, , f)', {"f": np.array([1, 2, 2], np.float32)}),
    "Slice": ("m = Slice(q, f, t)", {"f": np.array([1, 2, 0]), "t": np.array([4, 5, 3])}),
    "SpaceToDepth": ("r = Reshape(q, f) m = SpaceToDepth<blocksize=2>(r)",
                     {"f": np.array([6, 1, 8, 4])}),
    "Split": ("a, b = Split<axis=1, num_outputs=2>(q) m = Concat<axis=2>(b, a)", {}),
    "Squeeze": ("u = Unsqueeze(q, f) m = Squeeze(u, f)", {"f": np.array([1])}),
    "Tile": ("m = Tile(q, f)", {"f": np.array([1, 2, 1])}),
    "Transpose": ("m = Transpose<perm=[0,2,1]>(q)", {}),
    "Unsqueeze": ("m = Unsqueeze(q, f)", {"f": np.array([1])}),
    "Where": ("m = Where(c, q, k)", {"c": normal(6, 8, 4) > 0, "k": codes("uint8", 6, 8, 4)}),
}  # fmt: skip


def test_every_mover_has_a_case() -> None:
    assert set(MOVES) <= set(MOVED)


@pytest.mark.parametrize("name", MOVED)
def test_codes_that_are_moved(name: str) -> None:
    nodes, constants = MOVED[name]
    made = proto(
        f"""g (float[6,8,4] x) => (float[A] y) {{ h = Add(x, x) q = QuantizeLinear(h, s, z)
            {nodes} y = DequantizeLinear(m, s, z) }}""",
        s=np.float32(0.04), z=np.uint8(120), **constants,
    )  # fmt: skip
    made.graph.output[0].type.tensor_type.ClearField("shape")
    model = ir.from_proto(made)
    x = normal(6, 8, 4)
    expected = run(model, x=x)["y"]
    after = dequantize(model)
    assert kind_of(after) is None
    found = run(after, x=x)["y"]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 0.0201
