"""Values in place of their codes.

    dq(q(x, s, z), s, z)          =>  clip(x, (lowest - z) * s, (highest - z) * s)   1, 2
                                  =>  x                                              else
    dq(move(q(x, s, z)), s, z)    =>  move(the same)
    dq(dynamic_q(x))              =>  x               its range is that of x
    dq(move(codes), s, z)         =>  move(dq(codes, s, z))        of constant codes

1. The range ends at 0: a Relu or Relu6 may have been left to the quantizer.
2. The range is -1 to 1, for the same reason.
Not where x lies in that range anyway, or was not computed. Any other range was measured: what lay
beyond it was cut off by mistake, and is no more part of the float model than rounding is. To keep
all of these clips would also keep the runtime from fusing: an encoder was slower than in float.

`move` is any operator that moves values about, or chooses among them by their order. What reads
codes as integers, and what the graph itself takes or gives in integers, stays.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.dequantize.clamps import Known
from qtool.passes.dequantize.grid import Array, Grid, grid_of, limits, numbers, written_type
from qtool.passes.dequantize.maker import DOMAINS, Maker, put
from qtool.passes.edit import array

# operator -> the inputs that are values; None for all
MOVES: dict[str, tuple[int, ...] | None] = {
    "Concat": None, "DepthToSpace": (0,), "Expand": (0,), "Flatten": (0,), "Gather": (0,),
    "GatherElements": (0,), "GatherND": (0,), "Identity": (0,), "Max": None, "MaxPool": (0,),
    "Min": None, "Pad": (0, 2), "ReduceMax": (0,), "ReduceMin": (0,), "Reshape": (0,),
    "Resize": (0,), "Slice": (0,), "SpaceToDepth": (0,), "Split": (0,), "Squeeze": (0,),
    "Tile": (0,), "Transpose": (0,), "Unsqueeze": (0,), "Where": (1, 2),
}  # fmt: skip
_BY_ORDER = {"ArgMax", "ArgMin"}  # give the same of codes and of values


class RealValues(ir.passes.InPlacePass):
    """Takes Q, DQ and what lies between them out of a graph whose products are in float."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._make, self._known = Maker(model.graph), Known()
        self._real: dict[ir.Value, tuple[ir.Value, Grid]] = {}  # codes -> values
        self._moved: dict[ir.Value, ir.Node] = {}  # constant codes, moved -> by whom
        self._tables: dict[tuple[ir.Value, float, float], ir.Value] = {}
        self._changed = False
        self._visit(model.graph)
        return ir.passes.PassResult(model, modified=self._changed)

    def _visit(self, graph: ir.Graph) -> None:
        for node in list(graph):
            kind = node.op_type if node.domain in DOMAINS else ""
            if kind == "QuantizeLinear":
                self._quantize(node)
            elif kind == "DynamicQuantizeLinear":
                measured = Grid(None, None, 0, node)
                assert node.inputs[0] is not None
                self._real[node.outputs[0]] = node.inputs[0], measured
            elif kind == "DequantizeLinear":
                self._dequantize(node)
            elif kind == "Clip" and node.inputs[0] in self._real:
                self._clip(node)
            elif kind in MOVES:
                self._move(node)
            elif kind in _BY_ORDER and node.inputs[0] in self._real:
                node.replace_input_with(0, self._real[node.inputs[0]][0])
            self._known.see(node)
            for attr in node.attributes.values():
                for body in _graphs(attr):
                    self._visit(body)

    def _quantize(self, node: ir.Node) -> None:
        x, grid = node.inputs[0], grid_of(node)
        if x is None or grid is None:
            return
        kind = node.outputs[0].dtype or written_type(node)
        self._make.at = node
        self._real[node.outputs[0]] = self._clipped(x, grid, limits(kind)), grid

    def _clip(self, node: ir.Node) -> None:
        """Fewer codes than the ONNX type has: the bounds of the quantizer itself."""
        assert node.inputs[0] is not None
        x, grid = self._real[node.inputs[0]]
        ends = [constant(value) for value in (*node.inputs[1:3], None, None)[:2]]
        if grid.scale is None or None in ends:
            return
        lowest, highest = (float(numbers(t.numpy()).reshape(-1)[0]) for t in ends if t is not None)
        self._make.at = node
        self._real[node.outputs[0]] = self._clipped(x, grid, (lowest, highest)), grid

    def _dequantize(self, node: ir.Node) -> None:
        codes, old = node.inputs[0], node.outputs[0]
        assert codes is not None
        grid = self._grid_read(node)
        if grid is None:
            return
        if codes in self._moved and grid.scale is not None and grid.scale.size == 1:
            self._put(old, self._move_constant(codes, node, grid))
        elif codes in self._real and self._real[codes][1].same(grid):
            self._put(old, self._real[codes][0])

    def _put(self, old: ir.Value, new: ir.Value) -> None:
        producer, wanted = old.producer(), old.dtype
        assert producer is not None
        if wanted is not None and new.dtype is not None and wanted is not new.dtype:
            self._make.at = producer
            new = self._make.node("Cast", [new], f"{old.name}_cast", {"to": int(wanted)})
            new.type = ir.TensorType(wanted)
        put(old, new, self._make)
        self._changed = True

    def _grid_read(self, node: ir.Node) -> Grid | None:
        """The grid of a DequantizeLinear, that of DynamicQuantizeLinear included."""
        scale = node.inputs[1]
        producer = scale.producer() if scale is not None else None
        if producer is not None and producer.op_type == "DynamicQuantizeLinear":
            return Grid(None, None, 0, producer)
        return grid_of(node)

    def _clipped(self, x: ir.Value, grid: Grid, ends: tuple[float, float]) -> ir.Value:
        assert grid.scale is not None
        lowest, highest = ends
        zero, scale = numbers(grid.zero), numbers(grid.scale)
        low, high = (lowest - zero) * scale, (highest - zero) * scale
        step, (least, most) = float(scale.max()), self._known.of(x)
        below, above = least < low.max() - step, most > high.min() + step
        relu = (below and (zero == lowest).any()) or (above and (zero == highest).any())  # 1
        unit = np.abs(low + 1).max() <= step and np.abs(high - 1).max() <= step  # 2
        if x.producer() is None or not (relu or (unit and (below or above))):
            return x
        dtype = x.dtype.numpy() if x.dtype is not None else grid.scale.dtype
        if low.size > 1:
            return self._clipped_along(x, low, high, grid.axis, dtype)
        bounds = [
            self._make.constant(_cut(bound, dtype)[0], f"{x.name}_{name}")
            for bound, name in ((low, "low"), (high, "high"))
        ]
        made = self._make.node("Clip", [x, *bounds], f"{x.name}_clipped")
        made.type, made.shape = x.type, x.shape
        node = made.producer()
        assert node is not None
        self._known.see(node)
        return made

    def _clipped_along(
        self, x: ir.Value, low: Array, high: Array, axis: int, dtype: Any
    ) -> ir.Value:
        """Max and Min with bounds for each index along an axis."""
        behind = len(x.shape) - 1 - axis % len(x.shape) if x.shape is not None else 0
        for op, bound in (("Max", low), ("Min", high)):
            values = _cut(bound, dtype).reshape(-1, *[1] * behind)
            made = self._make.node(
                op, [x, self._make.constant(values, f"{x.name}_bound")], f"{x.name}_clipped"
            )
            made.type, made.shape = x.type, x.shape
            x = made
        return x

    # move(codes) => move(values), where all codes that it moves stand on one grid
    def _move(self, node: ir.Node) -> None:
        if node.op_type == "Resize" and _text(node, "mode", "nearest") != "nearest":
            return
        positions = MOVES[node.op_type]
        places = [
            i
            for i in (range(len(node.inputs)) if positions is None else positions)
            if i < len(node.inputs) and node.inputs[i] is not None
        ]
        values = [node.inputs[i] for i in places]
        known = [self._real[v] for v in values if v in self._real]
        fixed = [v for v in values if _is_codes(v) or v in self._moved]
        if not known:
            if values and len(fixed) == len(values) and node.op_type == "Gather":
                self._moved[node.outputs[0]] = node
            return
        grid = known[0][1]
        whole = grid.measured is not None or (grid.scale is not None and grid.scale.size == 1)
        constants = [v for v in values if v is not None and v not in self._real]
        if not whole or not all(each.same(grid) for _, each in known):
            return
        if constants and (grid.measured is not None or not all(map(_is_codes, constants))):
            return
        self._make.at = node
        inputs = list(node.inputs)
        for i in places:
            value = node.inputs[i]
            assert value is not None
            inputs[i] = self._real[value][0] if value in self._real else self._real_of(value, grid)
        if node.op_type == "Pad" and _text(node, "mode", "constant") == "constant":
            inputs += [None] * (3 - len(inputs))
            inputs[2] = inputs[2] or self._real_of(None, grid)
        self._copy(node, inputs, known[0][0].dtype, grid)

    def _copy(
        self, node: ir.Node, inputs: list[ir.Value | None], dtype: ir.DataType | None, grid: Grid
    ) -> None:
        name = self._make.write.name(f"{node.name}_real")
        made = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            dict(node.attributes),
            num_outputs=len(node.outputs),
            name=name,
        )
        assert node.graph is not None
        node.graph.insert_before(node, made)
        moved = len(node.outputs) if node.op_type == "Split" else 1
        for i, (old, new) in enumerate(zip(node.outputs, made.outputs, strict=True)):
            new.name = self._make.write.name(f"{old.name}_real") if old.name else ""
            new.shape = old.shape
            if i < moved:
                new.type = ir.TensorType(dtype) if dtype is not None else None
                self._real[old] = new, grid
        self._make.keep_name(node, made.outputs[0])
        self._known.see(made)

    def _real_of(self, codes: ir.Value | None, grid: Grid) -> ir.Value:
        """The values of constant codes; the one that Pad takes by itself is code 0."""
        assert grid.scale is not None
        stored = np.zeros((), np.int8) if codes is None else array(codes)
        real = (stored.astype(np.float64) - numbers(grid.zero)[0]) * float(
            grid.scale.reshape(-1)[0]
        )
        name = "padding" if codes is None else f"{codes.name}_dq"
        return self._make.constant(np.asarray(real, grid.scale.dtype), name)

    def _move_constant(self, codes: ir.Value, node: ir.Node, grid: Grid) -> ir.Value:
        """gather(table of codes, ids) and DQ behind it: gather(dq(table), ids), made once."""
        key = (codes, float(numbers(grid.scale)[0]), float(numbers(grid.zero)[0]))
        if key in self._tables:
            return self._tables[key]
        chain = [self._moved[codes]]
        while (source := chain[-1].inputs[0]) in self._moved:
            chain.append(self._moved[source])
        self._make.at = chain[-1]
        value = self._make.dequantized(source, *(*node.inputs[1:3], None)[:2])
        for mover in reversed(chain):
            self._make.at = mover
            made = self._make.node(
                "Gather",
                [value, *mover.inputs[1:]],
                f"{mover.name}_real",
                mover.attributes,
            )
            self._make.keep_name(mover, made)
            made.type, value = value.type, made
        self._tables[key] = value
        return value


def _cut(bounds: Array, dtype: Any) -> Array:
    """Bounds in a type of float; none beyond its last, which a scale rounded up would give."""
    known: Any = ml_dtypes.finfo  # it has no types
    last = float(known(dtype).max)
    return bounds.clip(-last, last).astype(dtype)


def _is_codes(value: ir.Value | None) -> bool:
    return constant(value) is not None and value is not None and value.dtype is not None


def _graphs(attr: ir.Attr) -> list[ir.Graph]:
    if attr.type is ir.AttributeType.GRAPH:
        return [attr.as_graph()]
    return list(attr.as_graphs()) if attr.type is ir.AttributeType.GRAPHS else []


def _text(node: ir.Node, name: str, default: str) -> str:
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_string()
