"""Rows of `qtool.tune.operators` beside onnxruntime: one node with its inputs, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
import torch

from qtool.runtime import Session
from tests.models import Array, proto

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other

Row: TypeAlias = Callable[..., Any]

_TYPES = {"float32": "float", "float64": "double"}  # numpy's names -> those of ONNX text
# what outputs may be off by, of the largest value
_WITHIN = {"float16": 2.0**-8, "float32": 1e-5, "float64": 1e-10}


@dataclass(frozen=True)
class Case:
    """`node` as ONNX text without its inputs: `Softmax <axis = 0>`; an input left out is None.

    `smooth`: gradients can be checked by differences around these inputs.
    """

    node: str
    inputs: tuple[Array, ...]
    outputs: int = 1
    opset: int = 23
    smooth: bool = True

    @property
    def operator(self) -> str:
        return self.node.split()[0]

    def __str__(self) -> str:
        shapes = ["-" if a is None else f"{a.dtype.name}{list(a.shape)}" for a in self.inputs]
        return f"{self.node} {' '.join(shapes)}".replace("::", ":")

    def feeds(self) -> dict[str, Array]:
        return {f"x{i}": array for i, array in enumerate(self.inputs) if array is not None}

    @property
    def has_floats(self) -> bool:
        return any(a.dtype.kind == "f" for a in self.feeds().values())

    def model(self) -> Any:
        """The node as a model in protobuf."""
        taken = ", ".join(
            f"{_TYPES.get(a.dtype.name, a.dtype.name)}[{','.join(map(str, a.shape))}] {name}"
            for name, a in self.feeds().items()
        )
        names = ", ".join("" if a is None else f"x{i}" for i, a in enumerate(self.inputs))
        given = ", ".join(f"y{i}" for i in range(self.outputs))
        graph = f"g ({taken}) => ({given}) {{ {given} = {self.node} ({names}) }}"
        return proto(graph, opset=self.opset)


def case(node: str, *inputs: Any, outputs: int = 1, opset: int = 23, smooth: bool = True) -> Case:
    """Numbers and lists become arrays: of int64, as shapes and indices are, or of float32."""
    return Case(node, tuple(map(_array, inputs)), outputs, opset, smooth)


def apart(found: Case) -> Case:
    """The same, of which gradients are not asked."""
    return replace(found, smooth=False)


def _array(value: Any) -> Array:
    if value is None or isinstance(value, np.ndarray | np.generic):
        return None if value is None else np.asarray(value)
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def run(rows: Mapping[str, Row], model: Any, feeds: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The outputs of a model, node by node."""
    made = model if isinstance(model, ir.Model) else ir.from_proto(model)
    known: dict[str, Any] = dict(feeds)
    for name, value in made.graph.initializers.items():
        assert value.const_value is not None
        known[name] = torch.from_numpy(np.array(value.const_value.numpy()))
    for node in made.graph:
        inputs = [known[str(v.name)] if v is not None and v.name else None for v in node.inputs]
        found = rows[node.op_type](node, *inputs)
        names = [str(value.name) for value in node.outputs]
        known.update(zip(names, found if isinstance(found, tuple) else (found,), strict=True))
    return {str(value.name): known[str(value.name)] for value in made.graph.outputs}


def assert_as_the_runtime(rows: Mapping[str, Row], model: Any, feeds: Mapping[str, Array]) -> None:
    """Equal names, types and shapes, values within the type's precision; inputs left alone."""
    expected = Session(model.SerializeToString(), threads=1, optimize=False).run(feeds)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in feeds.items()}
    found = {name: tensor.numpy() for name, tensor in run(rows, model, tensors).items()}
    assert list(found) == list(expected)
    for name, wanted in expected.items():
        assert found[name].dtype == wanted.dtype
        assert found[name].shape == wanted.shape
        within = _WITHIN.get(wanted.dtype.name, 0.0)
        finite = wanted[np.isfinite(wanted)] if within else wanted
        largest = float(np.abs(finite).max(initial=0)) if within else 0.0
        np.testing.assert_allclose(found[name], wanted, rtol=within, atol=within * largest)
    for name, array in feeds.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)


def gradients_checked(rows: Mapping[str, Row], found: Case, first: bool = False) -> bool:
    """Check the gradients of a case by differences, in double; False where there is none.

    Of all inputs that are floats, or of the `first` alone.
    """
    model = ir.from_proto(found.model())
    feeds = {name: torch.from_numpy(array.copy()) for name, array in found.feeds().items()}
    floats = [name for name, tensor in feeds.items() if tensor.is_floating_point()]
    floats = floats[:1] if first else floats

    def outputs(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = run(rows, model, {**feeds, **dict(zip(floats, values, strict=True))})
        return tuple(each for each in given.values() if each.requires_grad)

    inputs = [feeds[name].double().requires_grad_() for name in floats]
    if not outputs(*inputs):
        return False
    return torch.autograd.gradcheck(outputs, inputs)
