"""The rewrite: carries out a plan, and decides nothing.

activation  x -> QuantizeLinear -> DequantizeLinear -> the readers that the plan names
            (a Clip in front of the one, or between them, where the codes are fewer than those
            of the ONNX type)
weight      W -> integers -> DequantizeLinear -> its node, and who reads the squares of W
            (or Cast -> DequantizeLinear, or Cast -> Mul, or Cast -> Gather in a book -> Mul)
bias        b -> int32    -> DequantizeLinear -> its node

What is multiplied in integers with activations measured on the run is in `insert_dynamic` and
`insert_lstm`, a table that is looked up in `insert_gathered`. All that is written here computes in
float32; where the model does not, `retype` casts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import Codes, Floats, QParams, dequantize, lowest
from qtool.numeric.granularity import PerBlock, PerChannel
from qtool.numeric.scheme import Half, Wish
from qtool.numeric.types import IntType
from qtool.ops import OPS
from qtool.passes.edit import add_initializer, array, drop_unused, insert_behind, require_own_names
from qtool.passes.look_up import restored
from qtool.passes.writer import Writer, onnx_type
from qtool.plan.guards import Guard
from qtool.plan.plan import Plan, TensorPlan, WeightPlan
from qtool.target import LOOKED_UP, MEASURED, UNPACKED

# What tells something of a weight that is multiplied tells it of what that became (`delicate`).
FOLLOW = {"ReduceSumSquare"}
_Place = tuple[ir.Graph | ir.Function | None, Guard | None]


def least_opset_of(scheme: Wish) -> int:
    """The first opset whose QuantizeLinear and DequantizeLinear know the types and blocks."""
    if isinstance(scheme, Half):
        return 13
    containers = {scheme.weight.type.container}
    if scheme.activation is not None:
        containers.add(scheme.activation.type.container)
    if 2 in containers:
        return 25
    return 21 if containers & {4, 16} or scheme.weight.block else 13


class InsertQDQ(ir.passes.InPlacePass):
    """Write the Q/DQ nodes of a plan into a prepared model."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def requires(self, model: ir.Model) -> None:
        """The plan refers to nodes and values by name."""
        require_own_names(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        self._graph, self._write = graph, Writer(graph)
        self._followed = False
        self._stored: list[list[ir.Node]] = []  # what restores weights that are only stored
        nodes = {node.name or "": node for node in graph.all_nodes()}
        values = {v.name: v for node in graph.all_nodes() for v in node.outputs}
        values |= {v.name: v for each in model.graphs() for v in each.inputs}
        chosen = (self.plan.weights, self.plan.biases, self.plan.operands)
        constants = [item for each in chosen for item in each.items()]
        for (name, position), weight in constants:
            if weight.encoding not in (*MEASURED, *LOOKED_UP):
                self._constant(nodes[name], position, weight)
        for made in self._stored:
            self._bring_home(made)
        for name, tensor in (*self.plan.activations.items(), *self.plan.moved.items()):
            self._activation(values[name], tensor)
        if self._followed:  # who reads the squares may stand in front of who reads the weight
            graph.sort()
        return ir.passes.PassResult(model, modified=True)

    def _activation(self, value: ir.Value, tensor: TensorPlan) -> None:
        # Taken before Q is made: its own reading of the value must stay.
        uses = sorted(value.uses(), key=lambda use: (use.node.name or "", use.idx))
        if tensor.readers is not None:
            uses = [use for use in uses if (use.node.name, use.idx) in tensor.readers]
        is_output = tensor.readers is None and value.is_graph_output()
        write, home = self._write, value.graph
        assert home is not None
        params = write.params(value.name or "", tensor.params, keep_zero=True)
        before, behind = self._clips(value, tensor, moved=_has_moved(value, params))
        read = value if before is None else before.outputs[0]
        quantized = write.node("QuantizeLinear", [read, *params], f"{value.name}_q")
        if behind is not None:
            behind.replace_input_with(0, quantized.outputs[0])
        last = behind or quantized
        insert_behind(self._graph, value, [n for n in (before, quantized, behind) if n])
        # Codes are made once, where the value is; each body that reads it restores them for itself,
        # since the runtime looks for integers within one graph. So does who must stay in float.
        restored: dict[_Place, ir.Value] = {}
        guards = [self.plan.guarded.get((node.name or "", position)) for node, position in uses]
        places = [(node.graph, guard) for (node, _), guard in zip(uses, guards, strict=True)]
        for graph, guard in dict.fromkeys([*([(home, None)] if is_output else []), *places]):
            assert isinstance(graph, ir.Graph)
            codes, given, along = last.outputs[0], params, {}
            if guard is not None:
                repeated = _repeated(tensor.params, *guard)
                given = write.params(f"{value.name}_along", repeated, keep_zero=True)
                along = _attributes(repeated)
            made = write.node("DequantizeLinear", [codes, *given], f"{value.name}_dq", along)
            if graph is home:
                graph.insert_after(last, made)
            else:
                graph.insert_before(graph.node(0), made)
            out = restored[graph, guard] = made.outputs[0]
            out.type, out.shape = value.type, value.shape
        for (node, position), place in zip(uses, places, strict=True):
            node.replace_input_with(position, restored[place])
        if is_output:
            write.stand_in(value, restored[home, None], "float", home)

    def _clips(
        self, value: ir.Value, tensor: TensorPlan, *, moved: bool
    ) -> tuple[ir.Node | None, ir.Node | None]:
        """What keeps a tensor within its codes where the ONNX type has more of them: a node in
        front of the quantizer, or one behind it whose input is to be the codes.

        quantize(clip(x, (lowest - z) s, (highest - z) s))  =  clip(quantize(x), lowest, highest)
        """
        params = tensor.params
        if params.type.fills or moved:
            return None, None
        ends = [np.asarray(code, np.int32) for code in (lowest(params), params.type.maximum)]
        write, names = self._write, [f"{value.name}_{end}" for end in ("low", "high")]
        if tensor.clips == "codes":
            bounds = [write.constant(n, e, params.type) for n, e in zip(names, ends, strict=True)]
            return None, write.node("Clip", [value, *bounds], f"{value.name}_clip")
        reals = [dequantize(end, params) for end in ends]
        bounds = [write.constant(n, r) for n, r in zip(names, reals, strict=True)]
        return write.node("Clip", [value, *bounds], f"{value.name}_clip"), None

    def _constant(self, node: ir.Node, position: int, plan: WeightPlan) -> None:
        value = node.inputs[position]
        assert value is not None
        make = self._cast_mul if plan.encoding in UNPACKED else self._dequantize
        outputs = make(plan, value)
        assert isinstance(node.graph, ir.Graph)
        node.graph.insert_before(node, outputs)
        result = outputs[-1].outputs[0]
        result.type, result.shape = value.type, value.shape
        node.replace_input_with(position, result)
        for reader, place in tuple(value.uses()):
            if reader.op_type in FOLLOW and reader.graph is node.graph:
                reader.replace_input_with(place, result)
                self._followed = True
        drop_unused(self._graph, value)

    def _dequantize(self, plan: WeightPlan, value: ir.Value) -> list[ir.Node]:
        """DequantizeLinear, behind a Cast to 8 bits where the kernels take no narrower codes."""
        codes = plan.stored(array(value))
        # The runtime packs a weight only where nobody else reads what it is stored as.
        own, write = plan.form == "stored", self._write
        stored = write.constant(f"{plan.tensor}_q", codes, plan.params.type, own=own)
        nodes, params = [], plan.params
        if plan.encoding == "cast-dq":
            params = replace(params, type=IntType(8, params.type.signed))
            nodes.append(write.cast(stored, onnx_type(params.type), f"{plan.tensor}_cast"))
            stored = nodes[0].outputs[0]
        scale, *zero = write.params(
            plan.tensor, params, keep_zero=plan.zero_point, own=own, half=plan.half
        )
        if plan.half:
            nodes.append(write.widened(scale))
            scale = nodes[-1].outputs[0]
        inputs = [stored, scale, *zero]
        made = [
            *nodes,
            write.node("DequantizeLinear", inputs, f"{plan.tensor}_dq", _attributes(params)),
        ]
        if plan.form == "stored":
            self._stored.append(made)
        return made

    def _bring_home(self, made: list[ir.Node]) -> None:
        """Let a body hold what it restores: the runtime packs it there, and looks nowhere else.

        Codes that other graphs read too stay, and are restored in the main graph.
        """
        body, codes = made[-1].graph, made[-1].inputs[0]
        assert isinstance(body, ir.Graph) and codes is not None
        if body is self._graph:
            return
        if len({use.node.graph for use in codes.uses()}) > 1:
            body.remove(made)
            self._graph.insert_before(self._graph.node(0), made)
            return
        for node in made:
            for position, value in enumerate(node.inputs):
                if value is not None and value.const_value is not None:
                    name = self._write.name(value.name or "")
                    copied = add_initializer(body, name, value.const_value)
                    node.replace_input_with(position, copied)
                    drop_unused(self._graph, value)

    def _cast_mul(self, plan: WeightPlan, value: ir.Value) -> list[ir.Node]:
        """(cast(q) - zero_point) * scale, which the runtime folds once, when it loads.

        Of several blocks along an axis, each becomes an axis of its own, and back: the last one is
        filled up, and cut again.
        """
        name, params, codes = plan.tensor, plan.params, plan.stored(array(value))
        scale, zero, shape = params.scale, params.zero_point, codes.shape
        split = _split(codes, params) if isinstance(params.granularity, PerBlock) else None
        if split is not None:
            codes, scale, zero, filled = split
        stored = self._write.constant(f"{name}_q", codes, params.type)
        nodes = restored(self._write, name, stored, params, codes.ndim)

        def then(op: str, suffix: str, *constants: NDArray[Any]) -> None:
            value = nodes[-1].outputs[0]
            inputs = [self._write.constant(f"{name}_{suffix}", each) for each in constants]
            nodes.append(self._write.node(op, [value, *inputs], f"{name}_{suffix}"))

        def then_widened(op: str, suffix: str, constant: ir.Value) -> None:
            value, wide = nodes[-1].outputs[0], self._write.widened(constant)
            nodes.extend((wide, self._write.node(op, [value, wide.outputs[0]], f"{name}_{suffix}")))

        if not params.symmetric and zero.size >= _ZEROS:
            then_widened(
                "Sub", "zero_point", self._write.constant(f"{name}_zero", zero, params.type)
            )
        elif not params.symmetric:
            then("Sub", "zero_point", zero.astype(np.float32))
        if plan.half:
            short = self._write.constant(f"{name}_half", scale.astype(np.float16))
            then_widened("Mul", "scale", short)
        elif params.book is None or scale.ndim:
            then("Mul", "scale", scale)
        if split is not None:
            then("Reshape", "joined", np.array(filled))
            if filled != shape:
                then("Slice", "cut", np.zeros(len(shape), np.int64), np.array(shape))
        return nodes


_ZEROS = 128  # that are smaller as integers behind a Cast than as floats


def _repeated(params: QParams, axis: int, length: int) -> QParams:
    """The parameters of a tensor, given for each index of an axis."""
    scale, zero = (np.full(length, each) for each in (params.scale, params.zero_point))
    return QParams(params.type, scale, zero, PerChannel(axis))


def _has_moved(value: ir.Value, params: list[ir.Value]) -> bool:
    """Whether it is codes restored with these parameters, and moved: none of them is new. Behind a
    Clip onnxruntime 1.31 would lose the type of signed codes that it moves."""
    node = value.producer()
    if node is None or node.op_type not in OPS or not OPS[node.op_type].shares:
        return False
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    return (
        source is not None
        and source.op_type == "DequantizeLinear"
        and list(source.inputs[1:]) == params
    )


def _split(codes: Codes, params: QParams) -> tuple[Codes, Floats, Codes, tuple[int, ...]] | None:
    """Codes, scales and zero points with each block along an axis of its own, and the filled-up
    shape; None where one block is the whole axis."""
    assert isinstance(params.granularity, PerBlock)
    axis, size = params.granularity.axis, params.granularity.size
    cells = params.scale.shape[axis]
    if cells == 1:
        return None
    fill = [(0, cells * size - codes.shape[axis] if i == axis else 0) for i in range(codes.ndim)]
    filled = np.pad(codes, fill)
    shape = (*codes.shape[:axis], cells, size, *codes.shape[axis + 1 :])
    scale = np.expand_dims(params.scale, axis + 1)
    zero = np.expand_dims(params.zero_point, axis + 1)
    return filled.reshape(shape), scale, zero, filled.shape


def _attributes(params: QParams) -> dict[str, int]:
    if isinstance(params.granularity, PerChannel):
        return {"axis": params.granularity.axis}
    if isinstance(params.granularity, PerBlock):
        return {"axis": params.granularity.axis, "block_size": params.granularity.size}
    return {}
