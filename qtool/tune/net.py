"""A prepared model in torch, as its plan will have it: the same nodes, and fake quantization where
the rewrite will put Q/DQ.

Learned are the weights of the plan with their scales and levels, biases, and the scales of
activations; one scale serves all tensors that the plan gives the scale of one source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtool.numeric.affine import QParams
from qtool.ops import OPS, constant
from qtool.plan.plan import Plan
from qtool.target import MEASURED
from qtool.tune.fake import FakeQuantizer, on_the_run, rounded
from qtool.tune.operators import require_rows, run

Key = tuple[str, int]  # node name, input position
_BIASES = {"GRU": (3,), "LSTM": (3,), "RNN": (3,), "LayerNormalization": (1, 2)}


@dataclass(frozen=True)
class Held:
    """Activations whose scales are not learned, since a kernel or the user wants them, and those
    whose scales only shrink, since their quantizer stands for a clip."""

    fixed: frozenset[str] = frozenset()
    shrinks: frozenset[str] = frozenset()


NOT_HELD = Held()


class Net(nn.Module):
    """A model under a plan; under none it is the float model, and nothing is learned.

    Raises:
        ModelError: an operator that has no row.
    """

    def __init__(self, model: ir.Model, plan: Plan | None = None, held: Held = NOT_HELD) -> None:
        super().__init__()
        self._graph, self._plan = model.graph, plan or Plan()
        require_rows(model.graph)
        self._constants: dict[str, Tensor] = {}
        for name, value in model.graph.initializers.items():
            if value.const_value is not None and value.const_value.dtype != ir.DataType.STRING:
                self._constants[name] = _tensor(value.const_value.numpy())
        self.weights, self.grids = nn.ParameterList(), nn.ModuleList()
        self._weight_of: dict[str, int] = {}  # initializer -> place
        self._grid_of: dict[Key | str, int] = {}  # input, or activation by name -> place
        if plan is not None:
            self._learn(plan, held)

    def _learn(self, plan: Plan, held: Held) -> None:
        tied = {*plan.tied, *plan.tied.values()}
        for key, weight in plan.weights.items():
            self._put(key, weight.params, fixed=key in tied or not weight.free)
            if key not in tied:
                self._free(weight.tensor)
        for key, operand in plan.operands.items():
            self._put(key, operand.params, fixed=True)
        known: dict[tuple[str, float, int], int] = {}
        for name, tensor in plan.activations.items():
            params, same = tensor.params, _same(tensor.params)
            if same not in known:
                known[same] = len(self.grids)
                alike = {n for n, t in plan.activations.items() if _same(t.params) == same}
                fixed, shrinks = bool(alike & held.fixed), bool(alike & held.shrinks)
                self.grids.append(FakeQuantizer(params, fixed=fixed, shrinks=shrinks))
            self._grid_of[name] = known[same]
        for node in self._graph:
            for value in _biases(node):
                self._free(value.name or "")

    def _put(self, key: Key, params: QParams, *, fixed: bool) -> None:
        self._grid_of[key] = len(self.grids)
        self.grids.append(FakeQuantizer(params, fixed=fixed))

    def _free(self, name: str) -> None:
        if name in self._constants and self._constants[name].is_floating_point():
            self._weight_of[name] = len(self.weights)
            self.weights.append(nn.Parameter(self._constants.pop(name).clone()))

    def forward(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name -> value of every output, and of every other value that was made on the way."""
        values: dict[str, Tensor] = {**self._constants, **feeds}
        values |= {name: self.weights[place] for name, place in self._weight_of.items()}
        on_grid: dict[str, Tensor] = {}
        for node in self._graph:
            given = [
                None if value is None else self._read(node, position, value, values, on_grid)
                for position, value in enumerate(node.inputs)
            ]
            for value, made in zip(node.outputs, run(node, given), strict=False):
                if value.name:
                    values[value.name] = made
        for value in self._graph.outputs:
            name = value.name or ""
            plan = self._plan.activations.get(name)
            if plan is not None and plan.readers is None:
                values[name] = self._quantized(name, values[name], on_grid)
        return values

    def _read(
        self,
        node: ir.Node,
        position: int,
        value: ir.Value,
        values: Mapping[str, Tensor],
        on_grid: dict[str, Tensor],
    ) -> Tensor:
        name, key = value.name or "", (node.name or "", position)
        x = values[name]
        if key in self._grid_of:
            return _made(self._grid(key), x)
        if key in self._plan.biases:
            step = self._step(node)
            return rounded(x / step) * step
        if key in self._measured:
            return on_the_run(x)
        plan = self._plan.activations.get(name)
        if plan is not None and (plan.readers is None or key in plan.readers):
            return self._quantized(name, x, on_grid)
        return x

    def _step(self, node: ir.Node) -> Tensor:
        """What one of a bias stands for, in integers: a step of the input times one of the weight,
        which is an activation where the weight is computed."""
        place = OPS[node.op_type].weights[0]
        x, weight = node.inputs[0], node.inputs[place]
        assert x is not None and weight is not None
        key = node.name or "", place
        by = self._grid(key if key in self._grid_of else weight.name or "").scale
        step = self._grid(x.name or "").scale * by
        return step.reshape(-1) if by.dim() else step

    def _quantized(self, name: str, x: Tensor, on_grid: dict[str, Tensor]) -> Tensor:
        if name not in on_grid:
            on_grid[name] = _made(self._grid(name), x)
        return on_grid[name]

    @cached_property
    def _measured(self) -> set[Key]:
        """Inputs that are measured on every run."""
        return {(k[0], 0) for k, w in self._plan.weights.items() if w.encoding in MEASURED}

    @property
    def outputs(self) -> list[str]:
        """The names of the model's outputs."""
        return [value.name or "" for value in self._graph.outputs]

    def settle(self) -> None:
        """After a step: scales stay from 0."""
        for grid in self.grids:
            assert isinstance(grid, FakeQuantizer)
            grid.settle()

    def learned_constants(self) -> dict[str, NDArray[Any]]:
        """Initializer -> its values."""
        return {n: self.weights[i].detach().numpy().copy() for n, i in self._weight_of.items()}

    def learned(self, of: Key | str) -> QParams:
        """The parameters of a weight, or of an activation by its name."""
        return self._grid(of).learned()

    def _grid(self, of: Key | str) -> FakeQuantizer:
        found = self.grids[self._grid_of[of]]
        assert isinstance(found, FakeQuantizer)
        return found


def _same(params: QParams) -> tuple[str, float, int]:
    return str(params.type), float(params.scale), int(params.zero_point)


def _made(grid: FakeQuantizer, x: Tensor) -> Tensor:
    made: Tensor = grid(x)
    return made


def _biases(node: ir.Node) -> list[ir.Value]:
    """Constants that are learned beside weights: biases, wherever exporters put them."""
    spec = OPS.get(node.op_type)
    positions = _BIASES.get(node.op_type, ())
    if spec is not None and spec.bias is not None:
        positions = (*positions, spec.bias)
    found = [node.inputs[i] for i in positions if i < len(node.inputs)]
    if node.op_type == "Add":
        found = [v for v in node.inputs if v is not None and len(v.shape or ()) == 1]
    return [value for value in found if value is not None and constant(value) is not None]


def _tensor(values: NDArray[Any]) -> Tensor:
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        return torch.from_numpy(values.astype(np.float32))
    return torch.from_numpy(np.array(values))
