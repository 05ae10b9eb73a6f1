"""What the tests of standard operators for those of ai.onnx.ml share."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool import model as models
from qtool.passes import prepare
from tests.models import Array, build, normal, run

ROWS = 1000
FLOATS = normal(ROWS, 3) * np.float32(3)
FLOATS[:9] = np.vstack([np.zeros(3), np.eye(3), -np.eye(3), [[-1, -2, -3]], [[1, 0, -1]]])
TYPES = {"float32": "float", "float64": "double", "int64": "int64"}


def through(model: ir.Model) -> ir.Model:
    """The model as it is prepared for a target without ai.onnx.ml; it is valid."""
    made = prepare(model, standard=True)
    models.stamp(made)
    models.check(models.serialize(made))
    return made


def graph(body: str, x: Array, gives: str) -> ir.Model:
    """x -> y by a node, whose output has any shape."""
    axes = ",".join(["N", *map(str, x.shape[1:])]) if x.ndim > 1 else "N"
    text = f"g ({TYPES[x.dtype.name]}[{axes}] x) => ({gives} y) {{ y = ai.onnx.ml.{body} }}"
    return build(text, extra='"ai.onnx.ml": 2')


def same(before: ir.Model, after: ir.Model, x: Array) -> None:
    """Labels and types are equal, numbers to 1e-5 of the largest, and of 1."""
    expected, found = run(before, x=x), run(after, x=x)
    assert models.signature(after) == models.signature(before)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        if value.dtype.kind == "f":
            most = max(1.0, np.abs(value[np.isfinite(value)]).max(initial=0.0))
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * most, err_msg=name)
        else:
            assert (found[name] == value).all(), name
