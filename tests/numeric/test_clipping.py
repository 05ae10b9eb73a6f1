"""The search for scales, on its own objective; and the pieces that it works in."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import qtool.numeric.pieces as taking_apart
from qtool.numeric.affine import QParams, dequantize, from_range, quantize
from qtool.numeric.clipping import clipped, covering
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor, reduce
from qtool.numeric.packing import packed
from qtool.numeric.pieces import columns, pieces
from qtool.numeric.types import IntType

Array = NDArray[np.float32]
SHAPES: list[tuple[tuple[int, ...], Granularity]] = [
    ((70, 33), PerBlock(0, 16)), ((33, 70), PerBlock(1, 32)), ((70, 33), PerChannel(1)),
    ((33, 70), PerChannel(0)), ((5, 7, 3, 3), PerChannel(1)), ((5, 7, 3), PerTensor()),
    ((2, 64, 8), PerBlock(2, 8)),
]  # fmt: skip


def drawn(*shape: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_t(4, shape)
        * np.exp(rng.standard_normal(shape[0]))[(...,) + (None,) * (len(shape) - 1)]
    ).astype(np.float32)


def errors(x: Array, params: QParams) -> Any:
    lost = (x - dequantize(quantize(x, params), params)).astype(np.float64)
    return reduce(lost**2, params.granularity, np.sum)


def full(x: Array, kind: IntType, grains: Granularity, *, symmetric: bool) -> QParams:
    low, high = (reduce(x, grains, f) for f in (np.min, np.max))
    return from_range(low, high, kind, symmetric=symmetric, granularity=grains)


@pytest.mark.parametrize(("shape", "grains"), SHAPES, ids=str)
@pytest.mark.parametrize("bits", [2, 3, 4, 6])
@pytest.mark.parametrize("letter", ["s", "negative", "u"])
def test_no_block_loses_more_than_with_its_full_range(
    shape: tuple[int, ...], grains: Granularity, bits: int, letter: str
) -> None:
    x, kind = drawn(*shape), IntType(bits, letter != "u")
    found = clipped(x, kind, grains, symmetric=letter != "u", negative=letter == "negative")
    plain = full(x, kind, grains, symmetric=letter != "u")
    before, after = errors(x, plain), errors(x, found)
    assert (after <= before * (1 + 1e-5)).all()
    assert after.sum() < before.sum()
    assert found.scale.shape == plain.scale.shape == found.zero_point.shape


def exact(x: Array, kind: IntType) -> float:
    """The least error of one block, by trying ten thousand scales of either sign."""
    tried = np.abs(x).max() / kind.half * np.geomspace(0.1, 1, 5000)
    scales = np.concatenate([tried, -tried])[:, None]
    codes = np.clip(np.rint(x / scales), kind.minimum, kind.maximum)
    return float(((x - codes * scales) ** 2).sum(1).min())


@pytest.mark.parametrize(("bits", "above"), [(2, 1.15), (3, 1.1), (4, 1.1)])
def test_the_scale_is_near_the_best_there_is(bits: int, above: float) -> None:
    kind, x = IntType(bits, True), drawn(64, 32, seed=1)
    found = errors(x, clipped(x, kind, PerChannel(0), symmetric=True, negative=True)).reshape(-1)
    least = np.array([exact(each, kind) for each in x])
    assert found.sum() < above * least.sum()
    assert np.median(found / least) < 1.05


def test_the_code_without_a_twin_is_for_the_largest_value() -> None:
    x = np.array([[1, 2, -7.9, 3], [1, -2, 7.9, 3]], np.float32)
    found = clipped(x, IntType(4, True), PerChannel(0), symmetric=True, negative=True)
    assert (np.sign(found.scale.reshape(-1)) == [1, -1]).all()
    codes = quantize(x, found)
    assert (codes[:, 2] == -8).all()
    assert np.abs(x - dequantize(codes, found)).max() < 0.15


def test_scales_above_zero_leave_it_out() -> None:
    x = drawn(16, 64)
    found = clipped(x, IntType(4, True), PerChannel(0), symmetric=True)
    assert (found.scale > 0).all()
    assert quantize(x, found).min() == -7
    assert found.type == IntType(4, True, 15)
    assert found.type.container == 4


@pytest.mark.parametrize("weight", [0.0, 1e-42, 1e-30, 1e37, 3e38])
@pytest.mark.parametrize("negative", [False, True])
def test_weights_at_the_ends_of_the_floats(weight: float, negative: bool) -> None:
    x = np.full((3, 40), weight, np.float32) * np.linspace(-1, 0.9, 40, dtype=np.float32)
    found = clipped(x, IntType(4, True), PerBlock(1, 16), symmetric=True, negative=negative)
    assert np.isfinite(found.scale).all() and found.scale.all()
    lost = dequantize(quantize(x, found), found).astype(np.float64) - x
    assert np.abs(lost).max() <= max(0.12 * weight, 1e-38)


@pytest.mark.parametrize(("shape", "grains"), SHAPES, ids=str)
def test_bytes_have_their_full_range(shape: tuple[int, ...], grains: Granularity) -> None:
    x, kind = drawn(*shape), IntType(8, True)
    one, other = covering(x, kind, grains, symmetric=True), full(x, kind, grains, symmetric=True)
    assert (one.scale == other.scale).all()
    assert one.type == kind and np.abs(quantize(x, one)).max() == 127


@pytest.mark.parametrize(("shape", "grains"), SHAPES, ids=str)
@pytest.mark.parametrize("values", [1, 50, 10**6])
def test_pieces_hold_every_value_once_and_whole_blocks(
    shape: tuple[int, ...], grains: Granularity, values: int
) -> None:
    x, seen = drawn(*shape), np.zeros(shape, int)
    largest = reduce(np.abs(x), grains, np.max)
    for piece in pieces(shape, grains, values):
        seen[piece.at] += 1
        inside = columns(x[piece.at], grains)
        np.testing.assert_array_equal(np.abs(inside).max(0), largest[piece.cells].reshape(-1))
    assert (seen == 1).all()
    if values == 1 and not isinstance(grains, PerTensor):
        assert len(pieces(shape, grains, values)) > 2


def test_threads_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kind = drawn(256, 160), IntType(4, True)
    monkeypatch.setattr(taking_apart.pieces, "__defaults__", (1000,))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(taking_apart, "_THREADS", threads)
        params = clipped(x, kind, PerBlock(0, 32), symmetric=True, negative=True)
        found.append((params.scale, quantize(x, params, np.int8)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("size", [0, 1, 5, 1000, 300_001])
@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "uint2"])
def test_codes_are_packed_as_the_standard_says(name: str, size: int) -> None:
    bits, signed = int(name[-1]), not name.startswith("u")
    kind = IntType(bits, signed)
    codes = np.random.default_rng(size).integers(kind.minimum, kind.maximum + 1, size)
    known = ir.tensor(codes.astype(getattr(ml_dtypes, name)), dtype=ir.DataType[name.upper()])
    assert packed(codes.astype(np.int8), bits).tobytes() == known.tobytes()
