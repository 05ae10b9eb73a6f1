"""One tiny model for each operator of the table, in which it lies between operators that run in
integers; and the way from such a model to its quantized form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from qtool import workflow
from qtool.data import open_dataset
from qtool.recipe import Recipe
from qtool.target import Paying, Target, load_target
from tests.models import Array, normal, save, weight

# The CPU's kernels for models of any size: those of tests are so small that integers pay for few.
KERNELS = replace(load_target("cpu"), pays=Paying(inputs=0, pairs=0, depthwise=0, products=0))

# the parts that cases are made of: x -> a Conv of 8 channels -> the operator -> an anchor
HEAD = "a = Conv<pads=[1,1,1,1]>(x, w, b)"
CONSTANTS: dict[str, Array] = {
    "w": weight(8, 4, 3, 3, seed=1),
    "b": normal(8, seed=2) / 4,
    "v": weight(8, 8, 1, 1, seed=3),
    "u": weight(8, 8, 1, 1, seed=4),
    "v2": weight(8, 2, 1, 1, seed=5),
    "v4": weight(8, 4, 1, 1, seed=6),
    "v1": weight(8, 1, 1, 1, seed=18),
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
    opset: int = 21

    def save(self, path: Path) -> Path:
        """The model as a file; only constants that it uses."""
        words = set(HEAD.replace("(", " ").replace(")", " ").replace(",", " ").split())
        words |= set(self.nodes.replace("(", " ").replace(")", " ").replace(",", " ").split())
        used = {n: c for n, c in {**CONSTANTS, **self.constants}.items() if n in words}
        graph = f"g (float[N,4,8,8] x) => (float[{self.shape}] y) {{ {HEAD} {self.nodes} }}"
        return save(path, graph, opset=self.opset, **used)


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
    # products of activations
    "Attention": Case(
        "f = Reshape(a, steps) t = Attention<q_num_heads=2, kv_num_heads=2>(f, f, f)"
        "n = Reshape(t, back) y = Conv(n, v)", constants={**RECURRENT, "back": ints(-1, 8, 8, 8)},
        opset=23,
    ),
    "Einsum": Case('t = Einsum<equation="nchw,nkhw->nckh">(a, a) y = Conv(t, v)'),
    # arithmetic
    **{op: Case(f"c = Conv(a, v) t = {op}(c, a) y = Conv(t, u)")
       for op in ("Max", "Mean", "Min", "Sub", "Sum")},
    "Div": Case("t = Div(a, two) y = Conv(t, v)", constants={"two": np.float32(2)}),
    "Mod": Case("t = Mod<fmod=1>(a, two) y = Conv(t, v)", constants={"two": np.float32(2)}),
    "Pow": Case("t = Pow(a, two) y = Conv(t, v)", constants={"two": np.float32(2)}),
    "PRelu": Case("t = PRelu(a, slope) y = Conv(t, v)", constants={"slope": normal(8, 1, 1)}),
    "Where": Case(
        "s = ReduceSum(x, over) m = Greater(s, half) c = Conv(a, v) t = Where(m, c, a)"
        "y = Conv(t, u)", constants={"half": np.float32(0.5), "over": ints(1)},
    ),
    # one in, one out
    **{op: Case(f"t = {op}(a) y = Conv(t, v)") for op in (
        "Abs", "Celu", "Cos", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Mish",
        "Neg", "Selu", "Sin", "Softmax", "Softplus", "Softsign", "Tanh",
        "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Trilu",
    )},
    "Exp": Case("s = Sigmoid(a) t = Exp(s) y = Conv(t, v)"),
    "Swish": Case("t = Swish(a) y = Conv(t, v)", opset=24),
    **{op: Case(f"e = Exp(a) t = {op}(e) y = Conv(t, v)") for op in ("Log", "Reciprocal", "Sqrt")},
    # pools and reductions
    "GlobalLpPool": Case("t = GlobalLpPool(a) y = Conv(t, v)", "N,8,1,1"),
    "GlobalMaxPool": Case("t = GlobalMaxPool(a) y = Conv(t, v)", "N,8,1,1"),
    "LpPool": Case("t = LpPool<kernel_shape=[3,3]>(a) y = Conv(t, v)", "N,8,6,6"),
    "CumSum": Case("t = CumSum(a, last) y = Conv(t, v)", constants={"last": np.array(3)}),
    **{op: Case(f"t = {op}(a, over) y = Conv(t, v)", "N,8,8,1", {"over": ints(3)}) for op in (
        "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMean", "ReduceSum", "ReduceSumSquare",
    )},
    "ReduceProd": Case("s = Sigmoid(a) t = ReduceProd(s, over) y = Conv(t, v)", "N,8,8,1",
                       {"over": ints(3)}),
    "ReduceLogSum": Case("e = Exp(a) t = ReduceLogSum(e, over) y = Conv(t, v)", "N,8,8,1",
                         {"over": ints(3)}),
    # normalizations
    "BatchNormalization": Case(
        "r = Relu(a) t = BatchNormalization(r, g, g, zero, g) y = Conv(t, v)",
        constants={"g": np.ones(8, np.float32), "zero": np.zeros(8, np.float32)},
    ),
    "GroupNormalization": Case(
        "t = GroupNormalization<num_groups=2>(a, g, g) y = Conv(t, v)",
        constants={"g": np.ones(8, np.float32)},
    ),
    "InstanceNormalization": Case("t = InstanceNormalization(a, g, g) y = Conv(t, v)",
                                  constants={"g": np.ones(8, np.float32)}),
    "LRN": Case("t = LRN<size=3>(a) y = Conv(t, v)"),
    "LayerNormalization": Case("t = LayerNormalization(a, g) y = Conv(t, v)",
                               constants={"g": np.ones(8, np.float32)}),
    "RMSNormalization": Case("t = RMSNormalization(a, g) y = Conv(t, v)",
                             constants={"g": np.ones(8, np.float32)}, opset=23),
    # places
    # the value there: of two that are nearly equal, either may be found
    **{op: Case(f"i = {op}<axis=1>(a) y = GatherElements<axis=1>(a, i)", "N,1,8,8")
       for op in ("ArgMax", "ArgMin")},
    "TopK": Case("t, i = TopK<axis=1>(a, four) y = Conv(t, v4)", constants={"four": ints(4)}),
    # values moved about
    "Compress": Case("t = Compress<axis=1>(a, even) y = Conv(t, v4)",
                     constants={"even": np.array([True, False] * 4)}),
    "GatherElements": Case(
        "i = ArgMax<axis=1>(a) t = GatherElements<axis=1>(a, i) y = Conv(t, v1)"
    ),
    "GatherND": Case("t = GatherND(a, first) y = Conv(t, v)", "2,8,8,8",
                     {"first": np.array([[0], [1]])}),
    "Pad": Case("t = Pad<mode=\"reflect\">(a, sides) y = Conv(t, v)", "N,8,10,10",
                {"sides": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "ReverseSequence": Case(
        "t = ReverseSequence<batch_axis=1, time_axis=0>(a, long) y = Conv(t, v)",
        constants={"long": ints(8, 7, 6, 5, 4, 3, 2, 1)},
    ),
    "ScatterElements": Case(
        "i = ArgMax<axis=1>(x) m = ReduceMin(a, over)"
        "t = ScatterElements<axis=1>(a, i, m) y = Conv(t, v)", constants={"over": ints(1)},
    ),
    "ScatterND": Case(
        "c = Conv(a, v) g = Gather(c, zero) t = ScatterND(a, spot, g) y = Conv(t, v)",
        constants={"zero": ints(0), "spot": np.array([[0]])},
    ),
    "SpaceToDepth": Case("t = SpaceToDepth<blocksize=2>(a) d = DepthToSpace<blocksize=2>(t)"
                         "y = Conv(d, v)"),
    "GridSample": Case(
        "s = Slice(x, none, two, one) m = Transpose<perm=[0,2,3,1]>(s) grid = Tanh(m)"
        "t = GridSample(a, grid) y = Conv(t, v)",
        constants={"none": ints(0), "two": ints(2), "one": ints(1)},
    ),
}  # fmt: skip


def quantized(
    path: Path, recipe: Recipe, samples: Array | None, target: Target = KERNELS
) -> workflow.Quantized:
    """The model at `path`, measured on the samples of its one input unless it needs none."""
    job = workflow.open_job(path, recipe, target, threads=1)
    calibration = None
    if samples is not None:
        file = path.with_suffix(".npy")
        np.save(file, samples)
        calibration = workflow.measure(job, open_dataset(file, job.signature), batch_size=8)
    return workflow.build(job, calibration)
