"""Models whose interfaces differ in the width of floats."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from qtool.compare.interface import WIDTHS, Casts, check_readable, check_signatures
from qtool.compare.judge import compare
from qtool.errors import ModelError
from qtool.numeric import metrics
from qtool.signature import Signature, TensorSpec

RNG = np.random.default_rng(2)
X = RNG.normal(size=(30, 7)).astype(np.float32)
LABELS = X.argmax(axis=1)
TYPES = {"float16": ("float16", 10), "float32": ("float", 1), "float64": ("double", 11)}


def identity(build: Any, given: str, made: str, factor: float = 1) -> Any:
    """Multiplies in float32 between casts."""
    (one, _), (other, number) = TYPES[given], TYPES[made]
    graph = f"""m ({one}[N,7] x) => ({other}[N,7] y) <float k = {{{factor}}}> {{
        a = Cast<to=1>(x) b = Mul(a, k) y = Cast<to={number}>(b) }}"""
    return build(f"{given}_{made}_{factor}", graph)


def spec(dtype: str, name: str = "x") -> Signature:
    return Signature((TensorSpec(name, dtype, ("N", 7)),), (TensorSpec("y", dtype, ("N", 7)),))


@pytest.mark.parametrize(("left", "right"), list(product(WIDTHS, WIDTHS)))
def test_floats_of_all_widths_are_compared(build: Any, feed: Any, left: str, right: str) -> None:
    reference, candidate = identity(build, left, left), identity(build, right, right, 0.5)
    found = compare(reference, candidate, feed(reference, X, LABELS), batch_size=8)
    (y,) = found.outputs
    ours = X.astype(left).astype(np.float32).astype(left)
    theirs = (X.astype(left).astype(right).astype(np.float32) / 2).astype(right)
    assert y.sqnr_db == pytest.approx(metrics.sqnr_db(ours, theirs), rel=1e-9)
    assert y.sqnr_db == pytest.approx(20 * np.log10(2), abs=0.01)
    assert (y.kind, y.dtype, found.labelled) == ("classes", left, "y")
    assert found.scores["top1"].candidate == 1
    if left == right:
        assert found.notes == ()
    else:
        (note,) = found.notes
        assert f"input 'x' is {left} and {right}; output 'y' is {left} and {right}" in note


def test_only_what_differs_is_noted(build: Any, feed: Any) -> None:
    reference, candidate = (identity(build, "float32", y) for y in ("float32", "float16"))
    (note,) = compare(reference, candidate, feed(reference, X)).notes
    assert "output 'y' is float32 and float16" in note
    assert "input" not in note


@pytest.mark.usefixtures("brief")
def test_values_beyond_half_precision_are_fed_and_said(build: Any, feed: Any) -> None:
    reference, candidate = (identity(build, kind, kind) for kind in ("float32", "float16"))
    x = X.copy()
    x[3, 2], x[5, 0] = 1e5, -3.4e38
    found = compare(reference, candidate, feed(reference, x), latency=True)
    assert found.outputs[0].nonfinite == 2
    assert "input 'x': 2 values are too large for float16" in found.notes[1]
    assert found.latency is not None, "both were timed, each on what it takes"


def test_feeds_that_need_no_cast_are_not_copied() -> None:
    casts, x, k = Casts(spec("float32"), spec("float32")), np.ones(3), np.ones(3)
    assert casts({"x": x})["x"] is x
    two = Signature((*spec("float32").inputs, TensorSpec("k", "int64", (3,))), ())
    half = Signature((*spec("float16").inputs, TensorSpec("k", "int64", (3,))), ())
    fed = Casts(two, half)({"x": x, "k": k})
    assert fed["k"] is k
    assert fed["x"].dtype == np.float16


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("float32", "int32"), ("int32", "int64"), ("uint8", "int8"), ("float16", "bfloat16"),
        ("bfloat16", "float32"), ("str", "float32"), ("bool", "float32"),
        ("seq(float32)", "seq(float16)"), ("float32", "seq(float32)"),
        ("seq(map(int64,float32))", "seq(map(int64,float64))"),
    ],
)  # fmt: skip
def test_nothing_else_may_differ(left: str, right: str) -> None:
    with pytest.raises(ModelError, match="differ in input 'x'"):
        check_signatures(spec(left), spec(right))
    check_signatures(spec(left), spec(left))


@pytest.mark.parametrize("dtype", ["bfloat16", "tensor(float8e4m3fn)"])
def test_outputs_that_numpy_lacks_are_refused(dtype: str) -> None:
    with pytest.raises(ModelError, match="output 'y' cannot be read") as caught:
        check_readable(spec(dtype))
    assert dtype in caught.value.why


def test_bfloat16_is_refused_before_anything_runs_and_has_a_size(build: Any, feed: Any) -> None:
    graph = "m (float[N,7] x) => (bfloat16[N,7] y) { y = Cast<to=16>(x) }"
    reference = build("reference", graph)
    with pytest.raises(ModelError, match="cannot be read"):
        compare(reference, reference, feed(reference, X))
    assert compare(reference, reference).size.ratio == 1
