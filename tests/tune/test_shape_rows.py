"""Rows that move, pick, place and make values, beside onnxruntime, and their gradients."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch")

import torch

from qtool.errors import ModelError
from qtool.tune.operators.shapes import SHAPES
from tests.models import Array, build, normal
from tests.tune.rows import Case, apart, assert_as_the_runtime, case, gradients_checked

X, FLAT, SQUARE = normal(2, 3, 4), normal(5), normal(4, 3, seed=1)
IMAGE = normal(2, 8, 2, 3)
TIES = (np.arange(800) % 3).reshape(2, 400).astype(np.float32)  # so many that torch mixes them
WHOLE = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
UPDATES = normal(2, 3, seed=3)
MOST = 2**63 - 1
MODES = ("reflect", "edge", "wrap")
REDUCTIONS = ("none", "add", "mul", "max", "min")


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def doubled(found: Case) -> Case:
    """The same of float64: the types of a cast stay as they are when gradients are checked."""
    inputs = tuple(a.astype(np.float64) if a.dtype == np.float32 else a for a in found.inputs)
    return Case(found.node, inputs, found.outputs, found.opset, found.smooth)


CASES: list[Case] = [
    *(case(f"Concat <axis = {axis}>", X, X + 1, X[:, :, :]) for axis in (0, -2)),
    case("Concat <axis = 0>", ints(1, 2), ints(3)),
    case("DepthToSpace <blocksize = 2>", IMAGE),
    case('DepthToSpace <blocksize = 2, mode = "CRD">', IMAGE),
    case("SpaceToDepth <blocksize = 2>", normal(2, 3, 4, 6)),
    case("Expand", SQUARE, ints(2, 1, 3)),
    case("Expand", X[:, :1], ints(3, 1)),
    *(case(f"Flatten{axis}", X) for axis in ("", " <axis = 0>", " <axis = 3>", " <axis = -1>")),
    case("Identity", X),
    case("Identity", WHOLE),
    case("Reshape", X, ints(4, -1)),
    case("Reshape", X, ints(0, 0, 2, -1)),
    apart(case("Reshape <allowzero = 1>", X[:0], ints(3, 0))),
    apart(case("Reshape", X[:0], ints(-1, 5))),
    case("Reshape", FLAT[:1], np.array([], np.int64)),
    *(case(f"Shape{part}", X) for part in (
        "", " <start = 1>", " <start = -2, end = -1>", " <start = -9, end = 9>",
        " <start = 2, end = 1>",
    )),
    case("Size", X),
    case("Split <axis = -1>", X, ints(1, 3), outputs=2),
    case("Split <axis = 1, num_outputs = 3>", X, outputs=3),
    case("Split <num_outputs = 3>", FLAT, outputs=3),
    case("Split", X, outputs=2, opset=13),
    case("Squeeze", X[:1, :, :1]),
    case("Squeeze", X[:1, :, :1], ints(-1)),
    case("Unsqueeze", X, ints(0, -1)),
    case("Unsqueeze", X, ints(3, 1)),
    case("Tile", X, ints(1, 2, 3)),
    case("Tile", X, ints(1, 0, 3)),
    case("Transpose", X),
    case("Transpose <perm = [1, 2, 0]>", X),
    case("Trilu", X),
    case("Trilu <upper = 0>", X, np.int64(1)),
    case("Trilu", WHOLE, np.int64(-1)),
    # by index
    case("Compress", X, np.array([False, True, True, False, True])),
    case("Compress <axis = -2>", X, np.array([True, False, True])),
    case("Gather", X, np.array([[1, -1], [0, -2]])),
    case("Gather <axis = -1>", X, np.int64(-1)),
    case("Gather <axis = 1>", WHOLE, np.array([2, 0], np.int32)),
    case("GatherElements <axis = -1>", X, np.array([[[0, -1]] * 3] * 2)),
    case("GatherElements", SQUARE, np.array([[3, -4, 1]])),
    case("GatherND", X, np.array([[[0, 1]], [[-1, -1]]])),
    case("GatherND", X, np.array([[0, 1, 2], [1, -1, -4]])),
    case("GatherND <batch_dims = 1>", X, np.array([[[0], [2]], [[-1], [1]]])),
    case("GatherND <batch_dims = 2>", X, np.array([[[0], [2], [3]], [[-1], [1], [1]]])),
    case("NonZero", np.array([[0, 2, 0], [1, 0, 3]], np.float32)),
    case("OneHot", np.array([1, -1, 7, 0]), ints(4), np.array([0.5, 2], np.float32)),
    case("OneHot <axis = 0>", np.array([[1, -4], [3, 0]]), np.int64(4), ints(0, 1)),
    case("Pad", X, ints(1, 0, 2, 0, 1, 3)),
    case("Pad", X, ints(1, -1, 0, 0, 0, -2), np.float32(0.5)),
    case("Pad", X, ints(2, 1), np.float32(-1), ints(-1)),
    case("Pad", WHOLE, ints(1, 0, 0, 0, 0, 1), np.int64(7)),
    *(case(f'Pad <mode = "{mode}">', X, ints(0, 2, 1, 1, 2, 3)) for mode in MODES[:2]),
    *(case(f'Pad <mode = "{mode}">', X, ints(2, 3), None, ints(2)) for mode in MODES),
    case("ReverseSequence", SQUARE, ints(1, 4, 3)),
    case("ReverseSequence <batch_axis = 0, time_axis = 1>", X, ints(2, 3)),
    *(case(f'ScatterElements <axis = 1, reduction = "{how}">', SQUARE,
        np.array([[0, -1]] * 2), UPDATES[:, :2]) for how in REDUCTIONS),
    case("ScatterElements", X, np.array([[[1, 0]]]), UPDATES[:1, :2].reshape(1, 1, 2)),
    *(case(f'ScatterElements <reduction = "{how}">', FLAT, ints(1, 1, -1), normal(3, seed=4))
        for how in REDUCTIONS[1:]),
    *(case(f'ScatterND <reduction = "{how}">', X, np.array([[0, 1], [1, -1]]),
        normal(2, 4, seed=5)) for how in REDUCTIONS),
    case("ScatterND", X, np.array([[1]]), normal(1, 3, 4, seed=5)),
    case('ScatterND <reduction = "add">', FLAT, np.array([[1], [1], [-1]]), normal(3, seed=4)),
    case("Slice", X, ints(1, 0), ints(3, 2), ints(2, -2)),
    case("Slice", X, ints(0, 1), ints(MOST, -1)),
    case("Slice", X, ints(-1, MOST), ints(-MOST - 1, -MOST), ints(0, 2), ints(-1, -3)),
    case("Slice", X, ints(-9, 1), ints(9, MOST), ints(1, 2), ints(2, 2)),
    case("Slice", X, ints(3), ints(1), ints(2)),
    case("TopK", X, ints(2), outputs=2),
    case("TopK <axis = 1, largest = 0>", X, ints(3), outputs=2),
    *(apart(case(f"TopK <largest = {so}>", TIES, ints(300), outputs=2)) for so in (0, 1)),
    # made
    *(apart(case(f"Cast <to = {to}>", X * 300)) for to in (1, 6, 7, 9, 10, 11)),
    apart(case("Cast <to = 3>", X * 50)),
    case("Cast <to = 1>", WHOLE),
    case("Cast <to = 1>", np.array([True, False])),
    doubled(case("Cast <to = 11>", X)),
    apart(case("CastLike", X, np.int32(0))),
    doubled(case("CastLike", X, FLAT)),
    case("Constant <value_float = 1.5>"),
    case("Constant <value_floats = [1.5, 2.5]>"),
    case("Constant <value_int = 3>"),
    case("Constant <value_ints = [3, 4]>"),
    case("Constant <value = float[2] {0.1, 2.0}>"),
    case("Constant <value = double {0.1}>"),
    case("Constant <value = bool[2] {1, 0}>"),
    case("ConstantOfShape", ints(2, 3)),
    case("ConstantOfShape <value = int64[1] {7}>", ints(2, 0)),
    case("ConstantOfShape <value = int32[1] {7}>", np.array([], np.int64)),
    case("Dropout", X),
    case("Dropout", X, np.float32(0.3), np.array(False), outputs=2),
    apart(case("Dropout", X, np.float32(0), np.array(True), outputs=2)),
    case("EyeLike", SQUARE),
    case("EyeLike <k = -1>", SQUARE.astype(np.int32)),
    case("EyeLike <dtype = 11, k = 2>", SQUARE),
    case("Range", np.float32(1.1), np.float32(5), np.float32(1.5)),
    case("Range", np.int64(10), np.int64(3), np.int64(-3)),
    case("Range", np.int32(3), np.int32(1), np.int32(1)),
]  # fmt: skip

# these have no input that they move, or read of it the shape alone
MADE = {"Constant", "ConstantOfShape", "EyeLike", "NonZero", "Shape", "Size"}


SMOOTH = [c for c in CASES if c.smooth and c.has_floats]


def test_every_row_has_a_case() -> None:
    assert {c.operator for c in CASES} == set(SHAPES)
    assert {c.operator for c in SMOOTH} | set(MADE) == set(SHAPES)


@pytest.mark.parametrize("found", CASES, ids=str)
def test_as_the_runtime(found: Case) -> None:
    assert_as_the_runtime(SHAPES, found.model(), found.feeds())


@pytest.mark.parametrize("found", SMOOTH, ids=str)
def test_gradients(found: Case) -> None:
    assert gradients_checked(SHAPES, found) == (found.operator not in MADE)


def node_of(graph: str) -> ir.Node:
    return build(graph).graph.node(0)


def test_narrow_floats() -> None:
    node = node_of("g (float[2] x) => (bfloat16[2] y) { y = Cast <to = 16> (x) }")
    found = SHAPES["Cast"](node, torch.tensor([1.0, 1.00390625]))
    assert found.dtype is torch.bfloat16
    assert found.tolist() == [1.0, 1.0]  # a half of the last bit, to even
    value = ir.tensor([1.0, -2.0], ir.DataType.BFLOAT16)
    found = SHAPES["Constant"](ir.node("Constant", [], {"value": value}))
    assert found.dtype is torch.bfloat16
    assert found.tolist() == [1.0, -2.0]


def test_crd_of_space_to_depth_undoes_that_of_depth_to_space() -> None:
    """Opset 28, which onnxruntime does not take yet."""
    image = torch.from_numpy(IMAGE)
    for mode in ("DCR", "CRD"):
        attributes = {"blocksize": 2, "mode": mode}
        there, back = (ir.node(op, [], attributes) for op in ("DepthToSpace", "SpaceToDepth"))
        spread = SHAPES["DepthToSpace"](there, image)
        assert torch.equal(SHAPES["SpaceToDepth"](back, spread), image)


@pytest.mark.parametrize(
    ("node", "inputs", "said"),
    [
        ("Cast <to = 8>", [torch.ones(2)], "Cast with type STRING"),
        ('Constant <value_string = "a">', [], "Constant with value_string"),
        ('Pad <mode = "odd">', [torch.ones(2), torch.ones(2)], "Pad with mode = 'odd'"),
        ("Dropout", [torch.ones(2), None, torch.tensor(True)], "Dropout with training_mode"),
        ("Range", [torch.tensor(1), torch.tensor(2), torch.tensor(0)], "Range with a delta of 0"),
    ],
)  # fmt: skip
def test_what_a_row_cannot_do(node: str, inputs: list[torch.Tensor | None], said: str) -> None:
    names = ", ".join(f"x{i}" for i in range(len(inputs)))
    made = node_of(f"g ({names}) => (y) {{ y = {node} ({names}) }}")
    with pytest.raises(ModelError, match=said):
        SHAPES[made.op_type](made, *inputs)
