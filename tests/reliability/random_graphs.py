"""Random small graphs: operators of all kinds one after another, with constants as operands, shared
weights, nodes without names, several outputs, some of them in the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tests.models import Array

T = TypeVar("T")
Shape = tuple[int, ...]  # the first axis is the batch, and 1 here


class Draw(Protocol):
    """Where choices come from: of hypothesis, which makes a failing graph small."""

    def __call__(self, options: Sequence[T], /) -> T: ...


@dataclass
class Graph:
    """A graph that grows; `values` are (name, shape) of what may be read."""

    draw: Draw
    opset: int
    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: list[tuple[str, Shape]] = field(default_factory=list)
    made: int = 0

    def name(self) -> str:
        self.made += 1
        return f"v{self.made}"

    def chance(self) -> bool:
        return self.draw([False, True])

    def constant(self, values: Array) -> str:
        """An initializer or the output of a Constant; one of before where the values are those."""
        values = np.asarray(values)
        for name, old in self.constants.items():
            if old.dtype == values.dtype and np.array_equal(old, values):
                return name
        name = self.name()
        self.constants[name] = values
        return name

    def weight(self, *shape: int, inputs: int) -> str:
        """Of few seeds, so that several nodes come to share one."""
        random = np.random.default_rng(self.seed + self.draw([0, 1]))
        values = random.normal(size=shape) / np.sqrt(inputs)
        return self.constant(values.astype(np.float32))

    def numbers(self, *shape: int) -> str:
        random = np.random.default_rng(self.seed + 7)
        return self.constant(random.normal(size=shape).astype(np.float32))

    def whole(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node, with a name or without; the name of its first output."""
        made = [self.name() for _ in range(outputs)]
        name = f"node_{self.made}" if self.chance() else ""
        self.nodes.append(
            onnx.helper.make_node(operator, list(inputs), made, name=name, **attributes)
        )
        return made[0]

    def beside(self, shape: Shape) -> str:
        """What can be added to a tensor of that shape: an activation, or a constant."""
        alike = [name for name, other in self.values if other == shape]
        if alike and self.chance():
            return self.draw(alike)
        channels = (shape[1], *[1] * (len(shape) - 2))
        return self.numbers(*self.draw([(), (1,), channels, shape[1:]]))


Made = tuple[str, Shape] | None
Maker = Callable[[Graph, str, Shape], Made]


def convolution(g: Graph, x: str, shape: Shape) -> Made:
    channels, sides = shape[1], shape[2:]
    if not sides:
        return None
    kernel = [g.draw([1, 2]) if side > 1 else 1 for side in sides]
    group = g.draw([1, channels])
    made = channels if group > 1 else g.draw([1, 4, 9])
    inputs = [x, g.weight(made, channels // group, *kernel, inputs=int(np.prod(kernel)) * channels)]
    if g.chance():
        inputs.append(g.numbers(made))
    same = g.chance()
    attributes: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if same else {}
    sizes = sides if same else [s - k + 1 for s, k in zip(sides, kernel, strict=True)]
    return g.node("Conv", *inputs, group=group, **attributes), (1, made, *sizes)


def transposed_convolution(g: Graph, x: str, shape: Shape) -> Made:
    if len(shape) < 3:
        return None
    made, sides = g.draw([2, 5]), shape[2:]
    weight = g.weight(shape[1], made, *[2] * len(sides), inputs=shape[1])
    return g.node("ConvTranspose", x, weight), (1, made, *[s + 1 for s in sides])


def dense(g: Graph, x: str, shape: Shape) -> Made:
    """Gemm of a matrix, MatMul of anything else; a bias in one of its forms."""
    inputs, made = shape[-1], g.draw([1, 6, 16])
    bias = g.draw([None, (made,), (1, made), (), (1,)])
    more = [] if bias is None else [g.numbers(*bias)]
    if len(shape) == 2 and g.chance():
        turned = g.draw([0, 1])
        weight = g.weight(*((made, inputs) if turned else (inputs, made)), inputs=inputs)
        scaled = g.draw([1.0, 0.5])
        return g.node("Gemm", x, weight, *more, transB=turned, alpha=scaled), (1, made)
    result = g.node("MatMul", x, g.weight(inputs, made, inputs=inputs))
    if more:
        pair = [result, *more]
        result = g.node("Add", *(pair[::-1] if g.chance() else pair))
    return result, (*shape[:-1], made)


def attention(g: Graph, x: str, shape: Shape) -> Made:
    if len(shape) < 3:
        return None
    axes = list(range(len(shape)))
    turned = g.node("Transpose", x, perm=[*axes[:-2], axes[-1], axes[-2]])
    scores = g.node("MatMul", x, turned)
    scores = g.node("Div", scores, g.constant(np.float32(np.sqrt(shape[-1]))))
    return g.node("MatMul", g.node("Softmax", scores, axis=-1), x), shape


def recurrent(g: Graph, x: str, shape: Shape) -> Made:
    if len(shape) != 3:
        return None
    operator, gates = g.draw([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    steps = g.node("Transpose", x, perm=[1, 0, 2])
    weights = [g.weight(1, gates * 4, size, inputs=size) for size in (shape[2], 4)]
    hidden = g.node(operator, steps, *weights, hidden_size=4)
    return g.node("Transpose", hidden, perm=[2, 0, 1, 3]), (1, shape[1], 1, 4)


def arithmetic(g: Graph, x: str, shape: Shape) -> Made:
    pair = [x, g.beside(shape)]
    operator = g.draw(["Add", "Mul", "Sub", "Max", "Min", "Sum", "Mean"])
    return g.node(operator, *(pair[::-1] if g.chance() else pair)), shape


def quotient(g: Graph, x: str, shape: Shape) -> Made:
    return g.node("Div", x, g.constant(np.float32(g.draw([0.5, -3, 7])))), shape


def alone(g: Graph, x: str, shape: Shape) -> Made:
    operators = ["Relu", "LeakyRelu", "Sigmoid", "Tanh", "Erf", "Abs", "HardSigmoid", "Identity"]
    return g.node(g.draw(operators), x), shape


def clip(g: Graph, x: str, shape: Shape) -> Made:
    bounds = g.draw([(0, 6), (-1, 1), (-0.3, 0.7), (0, 1e9)])
    return g.node("Clip", x, *(g.constant(np.float32(each)) for each in bounds)), shape


def softmax(g: Graph, x: str, shape: Shape) -> Made:
    return g.node("Softmax", x, axis=len(shape) - 1), shape


def norm(g: Graph, x: str, shape: Shape) -> Made:
    n = shape[1]
    random = np.random.default_rng(g.seed + 3)
    some = [random.normal(size=n).astype(np.float32) for _ in range(2)]
    spread = np.linspace(0.5, 2, n, dtype=np.float32)
    names = [g.constant(each) for each in (spread, *some, spread)]
    return g.node("BatchNormalization", x, *names), shape


def pool(g: Graph, x: str, shape: Shape) -> Made:
    if len(shape) < 4 or min(shape[2:]) < 2:
        return None
    operator = g.draw(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"])
    if operator.startswith("Global"):
        return g.node(operator, x), (*shape[:2], *[1] * (len(shape) - 2))
    sizes = [side - 1 for side in shape[2:]]
    return g.node(operator, x, kernel_shape=[2] * len(sizes)), (*shape[:2], *sizes)


def reduction(g: Graph, x: str, shape: Shape) -> Made:
    operator = g.draw(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
    axis, kept = len(shape) - 1, g.chance() or len(shape) < 3
    if g.opset >= (13 if operator == "ReduceSum" else 18):
        result = g.node(operator, x, g.whole(axis), keepdims=int(kept))
    else:
        result = g.node(operator, x, axes=[axis], keepdims=int(kept))
    return result, (*shape[:-1], *([1] if kept else []))


def flatten(g: Graph, x: str, shape: Shape) -> Made:
    made = (1, int(np.prod(shape)))
    if g.chance():
        return g.node("Flatten", x), made
    return g.node("Reshape", x, g.whole(-1, made[1])), made


def transposition(g: Graph, x: str, shape: Shape) -> Made:
    axes = [0, *range(len(shape) - 1, 0, -1)]
    return g.node("Transpose", x, perm=axes), tuple(shape[axis] for axis in axes)


def part(g: Graph, x: str, shape: Shape) -> Made:
    if shape[1] < 2:
        return None
    kind, made = g.draw(["Slice", "Split", "Gather"]), (1, shape[1] - 1, *shape[2:])
    if kind == "Slice":
        return g.node("Slice", x, g.whole(1), g.whole(shape[1]), g.whole(1)), made
    if kind == "Gather":
        chosen = g.whole(*reversed(range(1, shape[1])))
        return g.node("Gather", x, chosen, axis=1), made
    if g.opset < 13:
        first = g.node("Split", x, outputs=2, axis=1, split=[shape[1] - 1, 1])
    else:
        first = g.node("Split", x, g.whole(shape[1] - 1, 1), outputs=2, axis=1)
    g.values.append((f"v{g.made}", (1, 1, *shape[2:])))
    return first, made


def join(g: Graph, x: str, shape: Shape) -> Made:
    alike = [name for name, other in g.values if other == shape]
    return g.node("Concat", x, g.draw(alike), axis=1), (1, 2 * shape[1], *shape[2:])


def padding(g: Graph, x: str, shape: Shape) -> Made:
    sides = [0] * (2 * len(shape) - 1) + [1]
    return g.node("Pad", x, g.whole(*sides)), (*shape[:-1], shape[-1] + 1)


def larger(g: Graph, x: str, shape: Shape) -> Made:
    if len(shape) != 4:
        return None
    roi = "" if g.opset >= 13 else g.constant(np.zeros(0, np.float32))
    scales = g.constant(np.array([1, 1, 2, 1], np.float32))
    made = g.node("Resize", x, roi, scales, coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor")  # fmt: skip
    return made, (*shape[:2], 2 * shape[2], shape[3])


MAKERS: tuple[Maker, ...] = (
    convolution, convolution, dense, dense, dense, arithmetic, arithmetic, alone, alone, clip, norm,
    pool, reduction, flatten, transposition, part, join, padding, larger, quotient, softmax,
    attention, recurrent, transposed_convolution,
)  # fmt: skip
INPUTS: tuple[Shape, ...] = ((1, 4, 5, 6), (1, 8, 4, 4), (1, 5, 8), (1, 12))


def graph(draw: Draw, steps: int) -> tuple[onnx.ModelProto, Shape]:
    """A model of one input "x" and that many operators or groups of them, and its input's shape.

    The batch axis is open, or 1.
    """
    g = Graph(draw, draw([11, 12, 13, 15, 17, 18, 20, 21, 22]), draw([0, 100]))
    shape, batch = draw(INPUTS), "N" if draw([False, True]) else 1
    g.values.append(("x", shape))
    for _ in range(steps):
        name, at = g.values[-1] if draw([True, True, False]) else draw(g.values)
        made = draw(MAKERS)(g, name, at)
        if made is not None and np.prod(made[1]) <= 2000:
            g.values.append(made)
    if not g.nodes:
        g.values.append((g.node("Relu", "x"), shape))
    read = {name for node in g.nodes for name in node.input}
    last = g.values[-1]
    outputs = [v for v in g.values[1:-1] if v[0] not in read or draw([False, False, True])]
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, *of[1:]])
        for name, of in ((g.values[0]), *dict.fromkeys((last, *outputs)))
    ]
    constants = [onnx.numpy_helper.from_array(v, name) for name, v in g.constants.items()]
    made_graph = onnx.helper.make_graph(g.nodes, "g", infos[:1], infos[1:], constants)
    opsets = [onnx.helper.make_opsetid("", g.opset)]
    model = onnx.helper.make_model(made_graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model, shape
