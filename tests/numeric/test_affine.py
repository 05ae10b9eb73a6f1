"""Affine quantization: its cases, its error bound, and the runtime's own codes, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from qtool.numeric.affine import (
    QParams,
    bias_params,
    dequantize,
    from_range,
    lowest,
    power_of_two,
    quantize,
)
from qtool.numeric.granularity import PER_TENSOR, Granularity, PerBlock, PerChannel, reduce, spread
from qtool.numeric.types import INT8, INT16, UINT8, UINT16, IntType
from tests.models import normal, proto, run

KINDS = (
    UINT8, INT8, UINT16, INT16, IntType(4, True), IntType(3, False), IntType(2, True),
    *(IntType.of_levels(n, s) for n in (3, 5, 10, 200, 255, 1000, 65535) for s in (True, False)),
)  # fmt: skip
GRANULARITIES: tuple[Granularity, ...] = (PER_TENSOR, PerChannel(1), PerBlock(0, 4))


def of(x: NDArray[Any], kind: IntType, symmetric: bool, where: Granularity) -> QParams:
    """Parameters that cover x."""
    low, high = reduce(x, where, np.min), reduce(x, where, np.max)
    if where == PER_TENSOR:
        low, high = low.reshape(()), high.reshape(())
    return from_range(low, high, kind, symmetric=symmetric, granularity=where)


@pytest.mark.parametrize(
    ("low", "high", "kind", "symmetric", "scale", "zero"),
    [
        (-1.27, 0.5, INT8, True, 0.01, 0),  # symmetric signed: codes -127 .. 127
        (-1.27, 0.5, UINT8, True, 0.01, 128),  # symmetric unsigned: zero in the middle
        (0, 2.55, UINT8, False, 0.01, 0),  # asymmetric, ReLU
        (-2.55, 0, UINT8, False, 0.01, 255),  # asymmetric, negative
        (1, 2.55, UINT8, False, 0.01, 0),  # 0 is always inside
        (-2.55, -1, UINT8, False, 0.01, 255),
        (-1, 1.55, UINT8, False, 0.01, 100),
        (-1, 1.55, INT8, False, 0.01, -28),
        (0, 0, UINT8, False, 1, 0),  # one point: the scale must be positive
        (0, 0, INT8, True, 1, 0),
    ],
)
def test_cases(
    low: float, high: float, kind: IntType, symmetric: bool, scale: float, zero: int
) -> None:
    found = from_range(np.array(low), np.array(high), kind, symmetric=symmetric)
    assert found.scale == np.float32(scale)
    assert found.zero_point == zero
    assert found.scale.shape == found.zero_point.shape == ()
    assert [found.scale.dtype.name, found.zero_point.dtype.name] == ["float32", "int32"]


@pytest.mark.parametrize("where", GRANULARITIES, ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_inside_the_range_at_most_half_a_step_is_lost(
    kind: IntType, symmetric: bool, where: Granularity
) -> None:
    x = normal(10, 3) * np.array([1e-3, 1, 1e3], np.float32)
    params = of(x, kind, symmetric, where)
    lost = np.abs(dequantize(quantize(x, params), params).astype(np.float64) - x)
    step = params.scale if where == PER_TENSOR else spread(params.scale, where, x.shape)
    # An asymmetric zero point is itself rounded, which moves both ends by up to half a step; and a
    # float32 product of a 16-bit code is off by up to 2^-24 of its 2^16 steps.
    bound = 0.5 if symmetric else 1.0
    assert (lost <= step * (bound + 2.0**-7)).all()
    inside = (quantize(x, params) > lowest(params)) & (quantize(x, params) < kind.maximum)
    assert (lost <= step * (0.5 + 2.0**-7))[inside].all()


@pytest.mark.parametrize("where", GRANULARITIES, ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_zero_is_exact(kind: IntType, symmetric: bool, where: Granularity) -> None:
    params = of(normal(10, 3) + 0.3, kind, symmetric, where)
    zeros = np.zeros((10, 3), np.float32)
    assert not dequantize(quantize(zeros, params), params).any()
    assert kind.minimum <= params.zero_point.min() <= params.zero_point.max() <= kind.maximum


@pytest.mark.parametrize("kind", [k for k in KINDS if k.signed], ids=str)
def test_symmetric_leaves_out_the_lowest_code_of_an_even_number(kind: IntType) -> None:
    params = from_range(np.array(-1.0), np.array(0.5), kind, symmetric=True)
    codes = quantize(np.array([-9, -1, 1, 9], np.float32), params)
    assert codes.tolist() == [-kind.maximum, -kind.maximum, kind.maximum, kind.maximum]
    assert lowest(params) == kind.minimum + (kind.codes % 2 == 0)
    assert not params.zero_point.any()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_there_are_no_more_codes_than_levels(kind: IntType, symmetric: bool) -> None:
    params = from_range(np.array(-1.0), np.array(2.0), kind, symmetric=symmetric)
    found = np.unique(quantize(np.linspace(-1e4, 1e4, 300_001, dtype=np.float32), params))
    assert kind.minimum <= found.min() <= found.max() <= kind.maximum
    assert len(found) <= kind.codes


def test_two_codes_hold_0_and_one_value_more() -> None:
    kind = IntType.of_levels(2, signed=False)
    params = from_range(np.array(-3.0), np.array(0.5), kind, symmetric=False)
    assert dequantize(quantize(np.array([-9, 0, 9], np.float32), params), params).tolist() == [
        -3.5, 0, 0,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="nothing but 0"):
        from_range(np.array(-3.0), np.array(3.0), kind, symmetric=True)


@pytest.mark.parametrize("value", [1e-38, 1e-20, 0.3, 0.5, 1.0, 1.5, 3.4e38])
def test_powers_of_two_are_exact_and_next_to_the_scale(value: float) -> None:
    scale = np.full((2, 3), value, np.float32)
    low, high = (power_of_two(scale, up=up) for up in (False, True))
    for found in (low, high):
        assert found.dtype == np.float32
        assert (np.frexp(found)[0] == 0.5).all()
        assert np.isfinite(found).all()
    if 2.0**-126 <= value < 2.0**127:
        assert (low <= scale).all() and (scale <= high).all()
        assert (high == (low if value in (0.5, 1.0) else 2 * low)).all()


@pytest.mark.parametrize("kind", [UINT8, IntType(8, False, 2)], ids=str)
@pytest.mark.parametrize("top", [1e-45, 1e-40, 1e-30, 1.0, 3.4e38])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_scale_is_positive_normal_and_finite(
    top: float, symmetric: bool, kind: IntType
) -> None:
    for low, high in ((-top, top), (0, top), (-top, 0)):
        if symmetric and not kind.half:
            continue
        params = from_range(np.array(low), np.array(high), kind, symmetric=symmetric)
        assert np.finfo(np.float32).tiny <= params.scale < np.inf


@pytest.mark.parametrize("kind", [UINT8, INT8, UINT16, INT16], ids=str)
@pytest.mark.parametrize("where", GRANULARITIES, ids=str)
def test_equals_onnxruntime_bit_for_bit(kind: IntType, where: Granularity) -> None:
    x = normal(64, 48, seed=3) * np.linspace(0.1, 5, 48, dtype=np.float32)
    params = of(x * np.float32(0.8), kind, False, where)  # so that some values are clipped
    ties = np.arange(-6, 6, dtype=np.float32) + np.float32(0.5)
    x[:12, 0] = ties * params.scale.reshape(-1)[0]  # and some lie between two codes
    shape = (-1,) if isinstance(where, PerChannel) else params.scale.shape
    block = f"axis={where.axis}" if isinstance(where, PerChannel | PerBlock) else "axis=1"
    block += f", block_size={where.size}" if isinstance(where, PerBlock) else ""
    made = proto(
        f"""g (float[64,48] x) => ({kind.onnx_name}[64,48] q, float[64,48] y) {{
            q = QuantizeLinear<{block}>(x, scale, zero)
            y = DequantizeLinear<{block}>(q, scale, zero)
        }}""",
        scale=params.scale.reshape(shape),
        zero=params.zero_point.astype(kind.onnx_name).reshape(shape),
    )
    onnx.checker.check_model(made, full_check=True)
    found = run(made.SerializeToString(), x=x)
    codes = quantize(x, params)
    assert (codes == found["q"]).all()
    assert (dequantize(codes, params) == found["y"]).all()


def test_a_bias_has_the_scale_of_the_products() -> None:
    weight = of(normal(4, 3), INT8, True, PerChannel(0))
    params = bias_params(np.array(0.5, np.float32), weight)
    assert params.granularity == PerChannel(0)
    assert (params.scale == np.float32(0.5) * weight.scale.reshape(-1)).all()
    assert not params.zero_point.any()
    single = bias_params(np.array(0.5, np.float32), of(normal(4, 3), INT8, True, PER_TENSOR))
    assert (single.granularity, single.scale.shape) == (PER_TENSOR, ())
