"""Floats of other widths: which nodes leave them, and how exact a model of them can be."""

from __future__ import annotations

import numpy as np
import pytest

from qtool.numeric.half import narrowed
from qtool.plan.float_types import is_widened, tolerance
from qtool.target import Form
from tests.models import build, normal


@pytest.mark.parametrize(
    ("dtype", "form", "widened"),
    [
        ("float", "static", False), ("float16", "static", True), ("double", "static", True),
        ("float16", "dynamic", True), ("double", "dynamic", True),
        ("float16", "stored", False), ("double", "stored", True), ("bfloat16", "stored", False),
    ],
)  # fmt: skip
def test_what_is_widened(dtype: str, form: Form, widened: bool) -> None:
    model = build(f"g ({dtype}[N,8] x, {dtype}[8,8] w) => ({dtype}[N,8] y) {{ y = MatMul(x, w) }}")
    assert is_widened(model.graph.node(0), form) is widened


def test_the_coarsest_float_inside_sets_the_tolerance() -> None:
    graph = "g (float[N,8] x) => (float[N,8] y) { c = Cast<to=TO>(x) r = Neg(c) y = Cast<to=1>(r) }"
    found = [tolerance(build(graph.replace("TO", str(to)))) for to in (1, 11, 10, 16)]
    assert found == [1e-3, 1e-3, 2.0**-7, 2.0**-4]


def test_double_in_float32() -> None:
    x = np.array([1e300, -1e300, 1.0, np.inf, -np.inf, np.nan, 0.0])
    found = narrowed(x, "float32")
    most = np.finfo(np.float32).max
    np.testing.assert_array_equal(found, [most, -most, 1, np.inf, -np.inf, np.nan, 0])
    assert narrowed(np.array(1e-300), "float32") > 0  # alone, it keeps a division from zero
    values = normal(1000).astype(np.float64)
    np.testing.assert_array_equal(narrowed(values, "float32"), values.astype(np.float32))
