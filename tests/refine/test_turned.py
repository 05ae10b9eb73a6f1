"""Transposed convolutions as layers: columns are what the kernel, turned around, multiplies."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import build, normal, run, weight
from tests.refine.test_rounding import layer_of

TURNED = {
    "plain": ("", (2, 3, 4, 5), (3, 4, 3, 2)),
    "strides, pads": ("strides=[2,3], pads=[1,0,2,1]", (2, 3, 4, 5), (3, 4, 3, 3)),
    "more behind": ("strides=[2,2], output_padding=[1,0]", (1, 3, 4, 5), (3, 2, 4, 4)),
    "dilations": ("strides=[2,1], dilations=[2,3]", (2, 3, 4, 3), (3, 2, 2, 3)),
    "cut": ("strides=[2,2], pads=[3,0,1,2]", (2, 3, 4, 5), (3, 4, 2, 1)),
    "one axis": ("strides=[3]", (2, 3, 5), (3, 4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("case", TURNED)
def test_columns_times_weights_are_the_transposed_convolution(case: str) -> None:
    attributes, shape, kernel = TURNED[case]
    x, w = normal(*shape), weight(*kernel)
    sizes, ranks = ",".join(map(str, shape)), ",".join("N" * len(shape))
    text = f"g (float[{sizes}] x) => (float[{ranks}] y) {{ y = ConvTranspose<{attributes}>(x, w) }}"
    model = build(text.replace("<>", ""), w=w)
    expected = run(model, x=x)["y"].swapaxes(0, 1)
    layer = layer_of(model, w)
    found = layer.matrices(layer.weight) @ layer.forms[0].columns([x], 10**6)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)
    whole = np.arange(w.size).reshape(w.shape).astype(np.int32)
    np.testing.assert_array_equal(layer.restored(layer.matrices(whole)), whole)


@pytest.mark.parametrize("attributes", ["group=3", 'auto_pad="SAME_UPPER", strides=[2,2]'])
def test_transposed_convolutions_that_are_left_out(attributes: str) -> None:
    text = f"g (float[1,3,4,4] x) => (float[N,C,H,W] y) {{ y = ConvTranspose<{attributes}>(x, w) }}"
    with pytest.raises(ValueError, match="not enough values"):
        layer_of(build(text, w=weight(3, 2, 3, 3)), weight(3, 2, 3, 3))
