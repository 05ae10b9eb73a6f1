"""One tiny model for each operator of the table, in which it lies between operators that run in
integers; and the way from such a model to its quantized form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qtool import workflow
from qtool.data import open_dataset
from qtool.recipe import Recipe
from qtool.target import load_target
from tests.models import Array, normal, save, weight

# the parts that cases are made of: x -> a Conv of 8 channels -> the operator -> an anchor
HEAD = "a = Conv<pads=[1,1,1,1]>(x, w, b)"
CONSTANTS: dict[str, Array] = {
    "w": weight(8, 4, 3, 3, seed=1),
    "b": normal(8, seed=2) / 4,
    "v": weight(8, 8, 1, 1, seed=3),
    "u": weight(8, 8, 1, 1, seed=4),
    "v2": weight(8, 2, 1, 1, seed=5),
    "v4": weight(8, 4, 1, 1, seed=6),
    "v16": weight(8, 16, 1, 1, seed=7),
    "line": weight(8, 8, 1, seed=8),
    "turned": weight(8, 8, 2, 2, seed=9),
    "matrix": weight(8, 512, seed=10).T.copy(),
    "bias": normal(8, seed=11) / 4,
}


@dataclass(frozen=True)
class Case:
    """The nodes behind HEAD, the shape of y, and constants of its own."""

    nodes: str
    shape: str = "N,8,8,8"
    constants: dict[str, Array] = field(default_factory=dict)

    def save(self, path: Path) -> Path:
        """The model as a file; only constants that it uses."""
        words = set(HEAD.replace("(", " ").replace(")", " ").replace(",", " ").split())
        words |= set(self.nodes.replace("(", " ").replace(")", " ").replace(",", " ").split())
        used = {n: c for n, c in {**CONSTANTS, **self.constants}.items() if n in words}
        graph = f"g (float[N,4,8,8] x) => (float[{self.shape}] y) {{ {HEAD} {self.nodes} }}"
        return save(path, graph, **used)


def ints(*values: int) -> Array:
    """int64 constants: axes, shapes, repeats."""
    return np.array(values)


# (directions, gates x hidden, inputs or hidden)
RECURRENT: dict[str, Array] = {
    "steps": ints(-1, 8, 8),
    "lw": weight(2, 64, 8, seed=12), "lr": weight(2, 64, 16, seed=13),
    "gw": weight(1, 48, 8, seed=14), "gr": weight(1, 48, 16, seed=15),
    "rw": weight(1, 16, 8, seed=16), "rr": weight(1, 16, 16, seed=17),
}  # fmt: skip

CASES: dict[str, Case] = {
    "Conv": Case("y = Conv(a, v)"),
    "ConvTranspose": Case("t = ConvTranspose(a, turned) y = Conv(t, v)", "N,8,9,9"),
    "Gemm": Case("f = Flatten(a) y = Gemm(f, matrix, bias)", "N,8"),
    "MatMul": Case("f = Flatten(a) y = MatMul(f, matrix)", "N,8"),
    "GRU": Case("f = Reshape(a, steps) h, y = GRU<hidden_size=16>(f, gw, gr)", "1,8,16", RECURRENT),
    "LSTM": Case(
        'f = Reshape(a, steps) h, y = LSTM<hidden_size=16, direction="bidirectional">(f, lw, lr)',
        "2,8,16", RECURRENT,
    ),
    "RNN": Case("f = Reshape(a, steps) h, y = RNN<hidden_size=16>(f, rw, rr)", "1,8,16", RECURRENT),
    "Add": Case("c = Conv(a, v) t = Add(c, a) y = Conv(t, u)"),
    "Mul": Case("c = Conv(a, v) t = Mul(c, a) y = Conv(t, u)"),
    "Concat": Case("c = Conv(a, v) t = Concat<axis=1>(c, a) y = Conv(t, v16)"),
    "AveragePool": Case("t = AveragePool<kernel_shape=[3,3]>(a) y = Conv(t, v)", "N,8,6,6"),
    "GlobalAveragePool": Case("t = GlobalAveragePool(a) y = Conv(t, v)", "N,8,1,1"),
    "LeakyRelu": Case("t = LeakyRelu(a) y = Conv(t, v)"),
    "Sigmoid": Case("t = Sigmoid(a) y = Conv(t, v)"),
    "Relu": Case("t = Relu(a) y = Conv(t, v)"),
    "Clip": Case(
        "t = Clip(a, low, high) y = Conv(t, v)",
        constants={"low": np.float32(0), "high": np.float32(6)},
    ),
    "DepthToSpace": Case("t = DepthToSpace<blocksize=2>(a) y = Conv(t, v2)", "N,8,16,16"),
    "Expand": Case(
        "p = GlobalAveragePool(a) t = Expand(p, wide) y = Conv(t, v)",
        "N,8,4,4",
        {"wide": ints(1, 8, 4, 4)},
    ),
    "Flatten": Case("t = Flatten(a) y = Gemm(t, matrix, bias)", "N,8"),
    "Gather": Case(
        "t = Gather<axis=1>(a, chosen) y = Conv(t, v4)", constants={"chosen": ints(6, 0, 3, 5)}
    ),
    "MaxPool": Case("t = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a) y = Conv(t, v)", "N,8,4,4"),
    "ReduceMax": Case(
        "t = ReduceMax(a, over) y = Conv(t, v)", "N,8,1,1", {"over": ints(2, 3)}
    ),
    "ReduceMin": Case(
        "t = ReduceMin(a, over) y = Conv(t, v)", "N,8,1,1", {"over": ints(2, 3)}
    ),
    "Reshape": Case("t = Reshape(a, to) y = Conv(t, v)", "N,8,4,16", {"to": ints(-1, 8, 4, 16)}),
    "Resize": Case(
        "t = Resize<mode=\"nearest\">(a, , scales) y = Conv(t, v)", "N,8,16,16",
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "Slice": Case(
        "t = Slice(a, one, five, over) y = Conv(t, v)", "N,8,4,8",
        {"one": ints(1), "five": ints(5), "over": ints(2)},
    ),
    "Split": Case(
        "p, q = Split<axis=1, num_outputs=2>(a) c = Conv(p, v4) d = Conv(q, v4) y = Add(c, d)"
    ),
    "Squeeze": Case(
        "m = ReduceMax(a, over) t = Squeeze(m, over) y = Conv(t, line)", "N,8,8", {"over": ints(3)}
    ),
    "Tile": Case("t = Tile(a, times) y = Conv(t, v)", "N,8,16,8", {"times": ints(1, 1, 2, 1)}),
    "Transpose": Case("t = Transpose<perm=[0,1,3,2]>(a) y = Conv(t, v)"),
    "Unsqueeze": Case(
        "m = ReduceMax<keepdims=0>(a, over) t = Unsqueeze(m, over) y = Conv(t, v)",
        "N,8,8,1", {"over": ints(3)},
    ),
}  # fmt: skip


def quantized(path: Path, recipe: Recipe, samples: Array | None) -> workflow.Quantized:
    """The model at `path`, measured on the samples of its one input unless it needs none."""
    job = workflow.open_job(path, recipe, load_target("cpu"), threads=1)
    calibration = None
    if samples is not None:
        file = path.with_suffix(".npy")
        np.save(file, samples)
        calibration = workflow.measure(job, open_dataset(file, job.signature), batch_size=8)
    return workflow.build(job, calibration)
