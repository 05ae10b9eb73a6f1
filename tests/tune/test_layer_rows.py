"""Rows of layers, beside onnxruntime, and their gradients by differences."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx_ir as ir
import torch

from qtool.errors import ModelError
from qtool.tune.operators.layers import LAYERS
from tests.models import Array, normal
from tests.tune.rows import Case, apart, assert_as_the_runtime, case, gradients_checked

LINE, PLANE, CUBE = normal(2, 4, 7), normal(1, 4, 5, 6), normal(1, 2, 4, 3, 5)
PIXELS = normal(1, 1, 3, 4)
BIAS, SCALE = normal(4, seed=3), normal(4, seed=4)
SPREAD = np.abs(normal(4, seed=5)) + np.float32(0.5)  # variances
SAME = [f'auto_pad = "SAME_{end}"' for end in ("UPPER", "LOWER")]
SQUARE = "kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1"

Q, K, V = normal(1, 4, 3, 2), normal(1, 2, 5, 2, seed=1), normal(1, 2, 5, 3, seed=2)
FLAT = normal(1, 3, 8), normal(1, 5, 4, seed=1), normal(1, 5, 6, seed=2)
PAST = normal(1, 2, 2, 2, seed=3), normal(1, 2, 2, 3, seed=4)
SEEN = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 1]], bool)  # one query sees nothing


def pooled(operator: str) -> list[Case]:
    """Strides, pads, dilations; what is left at the end by floor and ceil; one to three axes."""
    found = [
        ("kernel_shape = [3]", LINE),
        ("kernel_shape = [3], strides = [2], pads = [0, 1], ceil_mode = 1", LINE),
        ("kernel_shape = [2, 3], pads = [1, 0, 0, 2]", PLANE),
        ("kernel_shape = [2, 2], strides = [3, 2], pads = [1, 1, 1, 1], ceil_mode = 1", PLANE),
        ("kernel_shape = [2, 2], dilations = [2, 3]", PLANE),
        ('kernel_shape = [2, 3], auto_pad = "VALID", strides = [2, 1]', PLANE),
        *((f"kernel_shape = [2, 3], {same}, strides = [2, 2]", PLANE) for same in SAME),
        ("kernel_shape = [2, 2, 3], strides = [1, 2, 2]", CUBE),
    ]
    return [case(f"{operator} <{how}>", x, opset=22) for how, x in found]


def conv(how: str, *inputs: Array, operator: str = "Conv") -> Case:
    return case(f"{operator} <{how}>" if how else operator, *inputs, opset=22)


def transposed(how: str, *inputs: Array) -> Case:
    return conv(how, *inputs, operator="ConvTranspose")


PRODUCTS = [
    case("Gemm", PLANE[0, 0], normal(6, 3), normal(3)),
    case("Gemm", PLANE[0, 0], normal(6, 3)),
    case("Gemm <beta = 0.0>", PLANE[0, 0], normal(6, 3), normal(3)),
    case("Gemm <transA = 1, transB = 1, alpha = 0.5, beta = 2.0>",
         normal(6, 5), normal(3, 6), normal(5, 1)),
    case("MatMul", PLANE, normal(4, 6, 3)),
    case("MatMul", normal(6), normal(2, 6, 3)),
    case("MatMul", PLANE, normal(6)),
    case("MatMul", normal(5), normal(5, seed=1)),
    apart(case("MatMul", np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2))),
    case('Einsum <equation = "bij, bjk -> bik">', normal(2, 3, 4), normal(2, 4, 2)),
    case('Einsum <equation = "...i,i">', normal(2, 3, 4), normal(4)),
    case('Einsum <equation = "bii->bi">', normal(2, 3, 3)),
]  # fmt: skip
CONVOLUTIONS = [
    conv("", LINE, normal(3, 4, 2)),
    conv("pads = [2, 1], strides = [2], dilations = [3]", LINE, normal(3, 4, 2), normal(3)),
    conv("pads = [1, 1, 1, 1], strides = [2, 2], group = 2", PLANE, normal(6, 2, 3, 3)),
    conv("pads = [0, 1, 2, 1], group = 4", PLANE, normal(4, 1, 2, 3), BIAS),
    conv('auto_pad = "VALID"', PLANE, normal(2, 4, 2, 3)),
    *(conv(f"{same}, strides = [2, 1]", PLANE, normal(2, 4, 2, 4)) for same in SAME),
    *(conv(f"{same}, strides = [3, 3]", PLANE, normal(2, 4, 1, 2)) for same in SAME),
    conv("pads = [1, 0, 1, 0, 0, 1], strides = [2, 1, 1]", CUBE, normal(3, 2, 2, 2, 3)),
    transposed("", LINE, normal(4, 3, 2)),
    transposed("strides = [3], pads = [1, 0], output_padding = [2]", LINE, normal(4, 3, 2)),
    transposed("strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1], group = 2",
               PLANE, normal(4, 2, 3, 3), BIAS),
    transposed("dilations = [2, 1], pads = [0, 1, 2, 1]", PLANE, normal(4, 2, 2, 3), normal(2)),
    # wider than the products reach: there is the bias alone
    transposed("strides = [3, 2], output_shape = [16, 14]", PLANE, normal(4, 2, 3, 3), normal(2)),
    *(transposed(f"strides = [2, 2], output_shape = [9, 12], {same}", PLANE, normal(4, 2, 2, 3))
      for same in SAME),
    *(transposed(f"{same}, strides = [2, 3]", PLANE, normal(4, 2, 3, 2)) for same in SAME),
    transposed("strides = [2, 1, 2], pads = [1, 0, 0, 0, 1, 0]", CUBE, normal(2, 3, 2, 3, 2)),
]  # fmt: skip
POOLS = [
    *(c for op in ("AveragePool", "MaxPool", "LpPool") for c in pooled(op)),
    case(f"AveragePool <{SQUARE}>", PLANE),
    case(f"AveragePool <{SQUARE}, strides = [2, 2], ceil_mode = 1>", normal(1, 2, 6, 6)),
    apart(case("MaxPool <kernel_shape = [2, 2], pads = [1, 1, 0, 0]>",
               (PLANE * 40).astype(np.int8), opset=22)),
    case("LpPool <kernel_shape = [2, 2], p = 3>", PLANE, opset=22),
    *(case(f"Global{kind}Pool", x, opset=21) for kind in ("Average", "Max", "Lp")
      for x in (LINE, PLANE)),
    case("GlobalLpPool <p = 3>", LINE, opset=21),
]  # fmt: skip
NORMALIZATIONS = [
    case("BatchNormalization", PLANE, SCALE, BIAS, BIAS, SPREAD, opset=15),
    case("BatchNormalization <epsilon = 0.1>", PLANE[:, :, 0, 0], SCALE, BIAS, BIAS, SPREAD,
         opset=15),
    case("InstanceNormalization", PLANE, SCALE, BIAS),
    case("InstanceNormalization <epsilon = 0.1>", LINE, SCALE, BIAS),
    case("GroupNormalization <num_groups = 2>", PLANE, SCALE[:2], BIAS[:2], opset=18),
    case("GroupNormalization <num_groups = 2, epsilon = 0.1>", PLANE, SCALE, BIAS, opset=21),
    case("LayerNormalization", LINE, normal(7), normal(7, seed=1), outputs=3),
    case("LayerNormalization <axis = 1, epsilon = 0.1>", LINE, normal(4, 7)),
    case("LayerNormalization <axis = -2>", PLANE, normal(6), normal(5, 1)),
    case("RMSNormalization", LINE, normal(7)),
    case("RMSNormalization <axis = 1, epsilon = 0.1>", LINE, normal(7)),
    case("LpNormalization", LINE, opset=22),
    case("LpNormalization <axis = 1, p = 1>", LINE, opset=22),
    case("LRN <size = 3>", PLANE),
    case("LRN <size = 1, alpha = 0.5, beta = 0.6, bias = 2.0>", PLANE),
    case("MeanVarianceNormalization", PLANE),
    case("MeanVarianceNormalization <axes = [1, -1]>", PLANE),
]  # fmt: skip
ATTENTION = [
    case("Attention", Q, K, V),
    case("Attention <q_num_heads = 4, kv_num_heads = 2, scale = 0.4>", *FLAT),
    case("Attention <is_causal = 1>", Q, K, V),
    case("Attention", Q, K, V, SEEN),
    case("Attention <is_causal = 1>", Q, K, V, SEEN),
    case("Attention", Q, K, V, normal(4, 3, 5)),
    case("Attention <is_causal = 1>", Q, K, V, None, *PAST, outputs=3),
    case("Attention <is_causal = 1>", Q, K, V, None, None, None, np.array([4]), opset=24),
    case("Attention <left_window_size = 1, right_window_size = 2>", Q, K, V, opset=25),
    case("Attention <is_causal = 1, left_window_size = 1>", Q, K, V, None, *PAST, outputs=3,
         opset=25),
    *(case(f"Attention <softcap = 1.5, qk_matmul_output_mode = {mode}>",
           Q, K, V, normal(3, 7), *PAST, outputs=4) for mode in range(4)),
]  # fmt: skip


def resized(
    how: str, x: Array, *factors: float, sizes: tuple[int, ...] = (), roi: Array = None
) -> Case:
    """By factors or to sizes."""
    given = (np.array(factors, np.float32),) if factors else (None, np.array(sizes))
    return case(f"Resize <{how}>" if how else "Resize", x, roi, *given, opset=19)


PLACES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDED = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
CROP = 'coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 7.0'
ROI = np.array([0, 0, -0.1, 0.2, 1, 1, 0.8, 1.2], np.float32)
SAMPLING = [
    *(resized(f'mode = "{mode}", coordinate_transformation_mode = "{place}"', PIXELS, *by)
      for mode in ("nearest", "linear", "cubic") for place in PLACES
      for by in ((1, 1, 2.6, 0.7), (1, 1, 2, 3))),
    *(resized(f'nearest_mode = "{how}"', PIXELS, sizes=(1, 1, 7, 3)) for how in ROUNDED),
    apart(resized("", (PIXELS * 40).astype(np.int8), 1, 1, 2, 1.5)),
    resized('mode = "linear"', LINE, 1, 1, 0.1),  # to nothing
    resized('mode = "linear", axes = [-1, 2]', PIXELS, sizes=(7, 3)),
    *(resized(f'axes = [3, 2], keep_aspect_ratio_policy = "not_{way}"', PIXELS, sizes=(7, 3))
      for way in ("larger", "smaller")),
    *(resized(f'mode = "{mode}", antialias = 1', PIXELS, 1, 1, 0.45, 0.7)
      for mode in ("linear", "cubic")),
    resized('mode = "linear", antialias = 1', PIXELS, 1, 1, 1.1, 0.7),  # 3.3 rows are 3
    resized("", PIXELS, 1, 1, 1.1, 1.1),
    resized('mode = "cubic", exclude_outside = 1, cubic_coeff_a = -0.5', PIXELS, 1, 1, 1.5, 0.7),
    *(resized(f'mode = "{mode}", {CROP}', PIXELS, 1, 1, *by, roi=ROI)
      for mode in ("nearest", "linear", "cubic") for by in ((1.6, 0.7), (1, 0.2))),
    resized('mode = "linear"', CUBE, sizes=(1, 2, 3, 5, 4)),
    *(case(f'GridSample <mode = "{mode}", padding_mode = "{pad}", align_corners = {align}>',
           normal(1, 2, 4, 3), normal(1, 3, 2, 2, seed=1), opset=20)
      for mode in ("linear", "nearest", "cubic") for pad in ("zeros", "border", "reflection")
      for align in (0, 1)),
    *(case(f'GridSample <mode = "{mode}">', normal(1, 2, 4, 3), normal(1, 3, 2, 2, seed=1),
           opset=16) for mode in ("bilinear", "bicubic")),
    *(case(f'GridSample <mode = "{mode}">', CUBE, normal(1, 2, 2, 2, 3), opset=20)
      for mode in ("linear", "nearest")),
]  # fmt: skip
CASES = [*PRODUCTS, *CONVOLUTIONS, *POOLS, *NORMALIZATIONS, *ATTENTION, *SAMPLING]


def test_every_row_has_a_case() -> None:
    assert {c.operator for c in CASES} == set(LAYERS)


@pytest.mark.parametrize("found", CASES, ids=str)
def test_as_the_runtime(found: Case) -> None:
    assert_as_the_runtime(LAYERS, found.model(), found.feeds())


@pytest.mark.parametrize("operator", LAYERS)
def test_gradients(operator: str) -> None:
    cases = [c for c in CASES if c.operator == operator and c.smooth]
    # the factors of Resize are no paths of values
    checked = [gradients_checked(LAYERS, c, first=operator == "Resize") for c in cases]
    assert checked and all(checked)


# 0 everywhere, as behind a Relu: a root has an infinite slope there
FLAT_ONES = {
    "LpPool": "kernel_shape = [2, 2]", "GlobalLpPool": "p = 2", "LpNormalization": "axis = 1",
    "MeanVarianceNormalization": "axes = [2, 3]",
}  # fmt: skip


@pytest.mark.parametrize("operator", FLAT_ONES)
def test_no_gradient_is_nan_where_all_is_zero(operator: str) -> None:
    (node,) = ir.from_proto(case(f"{operator} <{FLAT_ONES[operator]}>", PLANE).model()).graph
    x = torch.zeros(PLANE.shape, requires_grad=True)
    LAYERS[operator](node, x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_a_query_that_sees_nothing_has_no_gradient() -> None:
    (node,) = ir.from_proto(case("Attention", Q, K, V, SEEN).model()).graph
    q, k, v = (torch.from_numpy(each.copy()).requires_grad_() for each in (Q, K, V))
    LAYERS["Attention"](node, q, k, v, torch.from_numpy(SEEN))[0].square().sum().backward()
    assert q.grad is not None
    assert (q.grad[:, :, 1] == 0).all()
    assert (q.grad[:, :, [0, 2]] != 0).all()


REFUSED = [
    (conv("", normal(1, 2, 2, 2, 2, 2), normal(1, 2, 1, 1, 1, 1)), "4 spatial axes"),
    (case("MaxPool <kernel_shape = [2]>", LINE, outputs=2), "Indices"),
    (case('LpPool <kernel_shape = [1], strides = [2], auto_pad = "SAME_UPPER">', LINE), "auto_pad"),
    (case("BatchNormalization <training_mode = 1>", PLANE, SCALE, BIAS, BIAS, SPREAD),
     "training_mode"),
    (resized('mode = "linear"', (PIXELS * 40).astype(np.int8), 1, 1, 2, 2), "mode"),
    (resized('mode = "spline"', PIXELS, 1, 1, 2, 2), "mode = 'spline'"),
    (case('GridSample <mode = "cubic">', CUBE, normal(1, 2, 2, 2, 3)), "cubic"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "said"), REFUSED, ids=str)
def test_what_a_row_cannot_do_is_said(found: Case, said: str) -> None:
    (node,) = ir.from_proto(found.model()).graph
    inputs = [None if each is None else torch.from_numpy(each) for each in found.inputs]
    with pytest.raises(ModelError, match=said) as raised:
        LAYERS[node.op_type](node, *inputs)
    assert found.operator in raised.value.what
