"""A prepared model in torch, as its plan will have it: the same nodes, and fake quantization where
the rewrite will put Q/DQ. It computes the part that learns (`qtool.tune.cut`).

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

from qtool.numeric.affine import Codes, QParams, dequantize
from qtool.ops import OPS, constant
from qtool.passes.insert_qdq import FOLLOW
from qtool.plan.plan import Plan
from qtool.target import LOOKED_UP, MEASURED
from qtool.tune.biases import biases
from qtool.tune.cut import first_of, is_real, part_of
from qtool.tune.fake import FakeQuantizer, on_the_run, rounded
from qtool.tune.operators import run

Key = tuple[str, int]  # node name, input position


@dataclass(frozen=True)
class Held:
    """Activations whose scales are not learned, since a kernel or the user wants them, and those
    whose scales only shrink, since their quantizer stands for a clip."""

    fixed: frozenset[str] = frozenset()
    shrinks: frozenset[str] = frozenset()


NOT_HELD = Held()


class Net(nn.Module):
    """A model under a plan; under none it is all of the float model, and nothing is learned. It
    computes in float32, whatever floats the model has.

    Weights start as what their codes stand for, where codes were chosen. With `exact` weights and
    biases are floats, as they are and as they are computed with: only activations are quantized.

    Raises:
        ModelError: an operator that has no row.
    """

    def __init__(
        self,
        model: ir.Model,
        plan: Plan | None = None,
        held: Held = NOT_HELD,
        *,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self._graph, self._plan, self._exact = model.graph, plan or Plan(), exact
        self.part = part_of(model.graph, None if plan is None else first_of(model.graph, plan))
        self._constants: dict[str, Tensor] = {}
        for name, value in model.graph.initializers.items():
            if value.const_value is not None and value.const_value.dtype != ir.DataType.STRING:
                self._constants[name] = _tensor(value.const_value.numpy())
        self.weights, self.grids = nn.ParameterList(), nn.ModuleList()
        self._weight_of: dict[str, int] = {}  # initializer -> place
        self._grid_of: dict[Key | str, int] = {}  # input, or activation by name -> place
        self._coded: dict[str, Key] = {}  # initializer -> the first input that it is quantized for
        if plan is not None:
            self._learn(plan, held)

    def _learn(self, plan: Plan, held: Held) -> None:
        tied = {*plan.tied, *plan.tied.values()}
        for key, weight in plan.weights.items():
            fixed = key in tied or not weight.free
            self._put(key, weight.params, fixed=fixed, stored=True, half=weight.half)
            if key not in tied:
                codes = None if weight.rounded is None or self._exact else weight.rounded.codes
                self._free(weight.tensor, codes, weight.params)
                if weight.tensor in self._weight_of:
                    self._coded.setdefault(weight.tensor, key)
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
        # An operand's scale follows its values, and who is not learned would read them too.
        kept, inside = {each.tensor for each in plan.operands.values()}, set(self.part.nodes)
        for node in self.part.nodes:
            for value in biases(node):
                ours = inside.issuperset(use.node for use in value.uses())
                if ours and value.name not in kept:
                    self._free(value.name or "")

    def _put(self, key: Key, params: QParams, **how: bool) -> None:
        self._grid_of[key] = len(self.grids)
        self.grids.append(FakeQuantizer(params, **how))

    def _free(self, name: str, codes: Codes | None = None, params: QParams | None = None) -> None:
        if name in self._constants and self._constants[name].is_floating_point():
            values = self._constants.pop(name).clone()
            if codes is not None and params is not None:
                values = _tensor(dequantize(codes, params))
            self._weight_of[name] = len(self.weights)
            self.weights.append(nn.Parameter(values))

    def forward(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the part is given -> name and value of all that it makes."""
        values: dict[str, Tensor] = {**self._constants, **feeds}
        values |= {name: self.weights[place] for name, place in self._weight_of.items()}
        on_grid: dict[str, Tensor] = {}
        for node in self.part.nodes:
            given = [
                None if value is None else self._read(node, position, value, values, on_grid)
                for position, value in enumerate(node.inputs)
            ]
            for value, made in zip(node.outputs, run(node, given), strict=False):
                if value.name:
                    values[value.name] = made.float() if made.is_floating_point() else made
        for name in self.part.ends:
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
        if self._exact and (key in self._stored or name in self._followed):
            return x
        if node.op_type in FOLLOW and name in self._followed:
            key = self._followed[name]
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
    def _followed(self) -> dict[str, Key]:
        """Weight -> the reader whose codes those follow that read its squares."""
        apart = (*MEASURED, *LOOKED_UP)
        keys = [(k, w) for k, w in self._plan.weights.items() if w.encoding not in apart]
        return {weight.tensor: key for key, weight in reversed(keys)}

    @cached_property
    def _measured(self) -> set[Key]:
        """Inputs that are measured on every run."""
        return {(k[0], 0) for k, w in self._plan.weights.items() if w.encoding in MEASURED}

    def coded(self) -> list[nn.Parameter]:
        """The learned weights that have codes: all but biases; with `exact` none has."""
        return [] if self._exact else [self._weight(name) for name in self._coded]

    def smooth(self) -> list[nn.Parameter]:
        """Scales and biases behind which no activation is quantized to few bits: what they do to
        the ends is smooth."""
        ahead = {name for name in self.part.ends if not self._few(name)}
        found = list[nn.Parameter]()
        for node in reversed(self.part.nodes):
            if not any(value.name in ahead for value in node.outputs):
                continue
            for position, value in enumerate(node.inputs):
                name, key = (value.name if value else None) or "", (node.name or "", position)
                if key in self._grid_of:
                    found += self._grid(key).parameters()
                elif name in self._weight_of:
                    found.append(self._weight(name))
                elif not self._few(name):
                    ahead.add(name)
        return list({id(each): each for each in found if each.requires_grad}.values())

    def _few(self, name: str) -> bool:
        plan = self._plan.activations.get(name)
        return plan is not None and plan.few

    def slows(self, whether: bool) -> None:
        """Whether gradients of scales are made smaller."""
        for grid in self.grids:
            assert isinstance(grid, FakeQuantizer)
            grid.slows = whether

    def stored(self) -> list[Tensor]:
        """What the codes of each learned weight stand for; with `exact` the weights as they are."""
        found = [(self._weight(name), key) for name, key in self._coded.items()]
        return [x if self._exact else _made(self._grid(key), x) for x, key in found]

    @property
    def layers(self) -> tuple[str, ...]:
        """Float values inside where a layer with weights ends, or a sum of two values: blocks."""
        weighted = {key[0] for key in self._plan.weights}
        found = list[ir.Value]()
        for node in self.part.nodes:
            computed = [v for v in node.inputs if v is not None and constant(v) is None]
            sums = node.op_type == "Add" and len(computed) == 2
            if sums or node.name in weighted:
                found += node.outputs[:1]
        names = [value.name or "" for value in found if is_real(value)]
        return tuple(name for name in names if name and name not in self.part.ends)

    @cached_property
    def _stored(self) -> set[Key]:
        """Inputs that codes are stored for."""
        return {*self._plan.weights, *self._plan.biases, *self._plan.operands}

    def settle(self) -> None:
        """After a step: scales stay from 0."""
        for grid in self.grids:
            assert isinstance(grid, FakeQuantizer)
            grid.settle()

    def pull(self, part: float) -> None:
        """Weights move so much of the way to what their codes stand for."""
        if not self._exact:
            for name, key in self._coded.items():
                self._grid(key).pull(self._weight(name), part)

    def learned_constants(self) -> dict[str, NDArray[Any]]:
        """Initializer -> its values."""
        return {n: self.weights[i].detach().numpy().copy() for n, i in self._weight_of.items()}

    def codes(self, of: Key, values: NDArray[Any]) -> Codes:
        """The codes of a weight that has these values."""
        return self._grid(of).codes(values)

    def learned(self, of: Key | str) -> QParams:
        """The parameters of a weight, or of an activation by its name."""
        return self._grid(of).learned()

    def _weight(self, name: str) -> nn.Parameter:
        found: nn.Parameter = self.weights[self._weight_of[name]]
        return found

    def _grid(self, of: Key | str) -> FakeQuantizer:
        found = self.grids[self._grid_of[of]]
        assert isinstance(found, FakeQuantizer)
        return found


def _same(params: QParams) -> tuple[str, float, int]:
    return str(params.type), float(params.scale), int(params.zero_point)


def _made(grid: FakeQuantizer, x: Tensor) -> Tensor:
    made: Tensor = grid(x)
    return made


def _tensor(values: NDArray[Any]) -> Tensor:
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        return torch.from_numpy(values.astype(np.float32))
    return torch.from_numpy(np.array(values))
