"""Rows that compute, beside onnxruntime, and their gradients by differences."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from qtool.tune.operators.arithmetic import ARITHMETIC
from tests.models import Array, build, normal
from tests.tune.rows import Case, apart, assert_as_the_runtime, case, gradients_checked

X, Y, ROW = normal(2, 3, 4), normal(2, 3, 4, seed=1), normal(4, seed=2)
POSITIVE, INSIDE = np.abs(X) + np.float32(0.1), np.tanh(X) * np.float32(0.9)
ODD = np.array([-np.inf, -2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 30, np.inf, np.nan], np.float32)
TIES = np.array([[1, 3, 3], [2, 0, 0], [5, 5, 5]], np.float32)
NONE = np.zeros((2, 0, 3), np.float32)
WHOLE, OTHER = np.array([-7, -6, 5, 9], np.int64), np.array([2, -4, -3, 3], np.int64)
TRUE, MIXED = np.array([[True], [False]]), np.array([True, False])


def each(operators: str, *inputs: Array) -> list[Case]:
    return [case(operator, *inputs) for operator in operators.split()]


def reduced(operators: str, x: Array = X) -> list[Case]:
    """Axes as attribute and as input, none, all; kept and not; of a scalar, of integers."""
    found = []
    for op in operators.split():
        if op != "ReduceSum":  # its axes are an input as of opset 13
            found.append(case(f"{op} <axes = [-1, 0]>", x, opset=13))
        found += [
            case(op, x),
            case(f"{op} <keepdims = 0>", x, [-2]),
            case(op, x, [2, 0]),
            case(op, x, np.array([], np.int64)),
            case(f"{op} <noop_with_empty_axes = 1>", x),
            case(f"{op} <keepdims = 0>", x[0, 0, 0]),
            case(op, np.array([[3, 4], [6, 9]], np.int32), [1]),
        ]
    return found


FLIPPED = np.flip(ODD)
COMPARED = "Equal Greater GreaterOrEqual Less LessOrEqual"
VARIADIC = "Max Mean Min Sum"
WAYS = ("", " <exclusive = 1>", " <reverse = 1>", " <exclusive = 1, reverse = 1>")
PICKS = ("", " <axis = -1>", " <axis = 1, keepdims = 0>", " <axis = 1, select_last_index = 1>")

CASES: list[Case] = [
    *each("Abs Atan Asinh Ceil Cos Cosh Erf Exp Floor HardSwish Mish Neg Relu Round Sigmoid", X),
    *each("Sign Sin Sinh Softplus Softsign Tan Tanh", X),
    *each("Acos Asin Atanh", INSIDE),
    *each("Log Reciprocal Sqrt", POSITIVE),
    case("Acosh", POSITIVE + 1),
    *each("Abs Neg Relu Sign", WHOLE.astype(np.int32)),
    *map(apart, each("Ceil Floor Round Softplus Tanh", ODD)),
    *each("IsInf IsNaN", ODD),
    case("IsInf <detect_negative = 0>", ODD),
    case("IsInf <detect_positive = 0>", ODD),
    case("IsInf <detect_positive = 0, detect_negative = 0>", ODD),
    case("Not", MIXED),
    case("Celu", X),
    case("Celu <alpha = 2.0>", X),
    case("Elu", X),
    case("Elu <alpha = 0.5>", X),
    case("Gelu", X),
    case('Gelu <approximate = "tanh">', X),
    case("HardSigmoid", X * 3),
    case("HardSigmoid <alpha = 0.5, beta = 0.1>", X),
    case("LeakyRelu", X),
    case("LeakyRelu <alpha = 0.3>", X),
    case("Selu", X),
    case("Selu <alpha = 1.5, gamma = 0.7>", X),
    case("Swish <alpha = 1.7>", X, opset=24),
    case("ThresholdedRelu", X),
    case("ThresholdedRelu <alpha = 0.2>", X),
    *(case(f"{op}{at}", X) for op in ("Softmax", "LogSoftmax") for at in ("", " <axis = 1>")),
    # two or more, broadcast
    *(c for xs in ((X, Y), (X, ROW), (WHOLE, OTHER)) for c in each("Add Mul Sub", *xs)),
    case("Div", X, POSITIVE),
    case("Div", ROW, POSITIVE),
    case("Div", WHOLE, OTHER),
    *(c for xs in ((X, Y), (ODD, FLIPPED), (WHOLE, OTHER)) for c in each(COMPARED, *xs)),
    case("Equal", TRUE, MIXED),
    *each("And Or Xor", TRUE, MIXED),
    *each(VARIADIC, X),
    *each(VARIADIC, X, ROW, Y),
    *each("Max Min", WHOLE, OTHER),
    *map(apart, each("Max Min", ODD, np.float32(1))),
    case("Mod", WHOLE, OTHER),
    case("Mod <fmod = 1>", WHOLE, OTHER),
    case("Mod <fmod = 1>", X * 5, POSITIVE),
    case("Pow", POSITIVE, ROW),
    case("Pow", X, np.int64(2)),
    apart(case("Pow", X, np.float32(3))),  # by its exponent it has no gradient
    apart(case("Pow", X, np.float64(3))),
    case("Pow", WHOLE, np.int32(2)),
    apart(case("Pow", WHOLE, np.float32(2))),
    case("PRelu", X, ROW),
    case("Where", TRUE, ROW, X[0, :2]),
    case("Clip", X),
    case("Clip", X, np.float32(-0.5)),
    case("Clip", X, None, np.float32(0.5)),
    case("Clip", X, np.float32(-0.5), np.float32(0.5)),
    case("Clip", X, np.float32(0.5), np.float32(-0.5)),  # crossed
    case("Clip", WHOLE, np.int64(-6), np.int64(7)),
    # along an axis
    *(case(f"CumSum{how}", X, np.int64(axis)) for axis in (0, -2) for how in WAYS),
    case("CumSum", np.array([3, 4, -5], np.int32), np.int32(0)),
    case("CumProd", X, np.int64(1), opset=26),
    case("CumProd <exclusive = 1, reverse = 1>", X, np.int64(1), opset=26),
    *reduced("ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"),
    *reduced("ReduceSum ReduceSumSquare"),
    *reduced("ReduceLogSum", POSITIVE),
    *map(apart, each("ReduceMax ReduceMin ReduceProd ReduceSum", NONE, [1])),
    *(case(f"{op}{how}", TIES) for op in ("ArgMax", "ArgMin") for how in PICKS),
]
# what they give is no float
TOLD = "And ArgMax ArgMin Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor"
SMOOTH = [c for c in CASES if c.smooth and c.has_floats]


def test_every_row_has_a_case() -> None:
    assert {c.operator for c in CASES} == set(ARITHMETIC)
    assert {c.operator for c in SMOOTH} | set(TOLD.split()) == set(ARITHMETIC)


@pytest.mark.parametrize("found", CASES, ids=str)
def test_as_the_runtime(found: Case) -> None:
    assert_as_the_runtime(ARITHMETIC, found.model(), found.feeds())


@pytest.mark.parametrize("found", SMOOTH, ids=str)
def test_gradients(found: Case) -> None:
    assert gradients_checked(ARITHMETIC, found) == (found.operator not in TOLD.split())


@pytest.mark.parametrize(
    ("node", "x", "others"),
    [
        ("Pow", [-2.0, 0.0, 3.0], [2.0]),  # a negative base has no gradient by its exponent
        ("ReduceL2", [0.0, 0.0], []),
        ("Abs", [0.0], []),
        ("Softmax", [-np.inf, 1.0, 2.0], []),  # a mask
        ("ReduceLogSumExp", [-np.inf, 1.0], []),
        ("Softplus", [-1000.0, 1000.0], []),
        ("Sigmoid", [-1000.0, 1000.0], []),
        ("Mish", [-1000.0, 1000.0], []),
        ("Swish", [-1000.0, 1000.0], []),
        ('Gelu <approximate = "tanh">', [-1000.0, 1000.0], []),
        ("Celu", [1000.0], []),
        ("Elu", [1000.0], []),
        ("Selu", [1000.0], []),
    ],
)
def test_gradients_at_the_edge_are_finite(node: str, x: list[float], others: list[float]) -> None:
    names = ", ".join(["x", "e"][: 1 + len(others)])
    made = build(f"g ({names}) => (y) {{ y = {node} ({names}) }}", opset=24).graph.node(0)
    inputs = torch.tensor(x, requires_grad=True)
    ARITHMETIC[made.op_type](made, inputs, *map(torch.tensor, others)).sum().backward()
    assert inputs.grad is not None
    assert torch.isfinite(inputs.grad).all()
