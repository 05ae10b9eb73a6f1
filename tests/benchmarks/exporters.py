"""One CNN and one encoder as different exporters and opsets write them: the same once quantized?

    python -m tests.benchmarks.exporters [--model cnn] [--graphs]

Exported by TorchScript at opset 11, 13, 17 and 20, and by dynamo at 18, 21 and 25; w8a8 on the
same data. For each file: the opset that is in it, the weight matrices that are quantized (their
codes and scales, whichever way round they lie), the integer kernels after fusion, and the score.
Then each difference from the first file. Needs torch and onnxscript. The exit code is 1 where
exports differ: other matrices, other kernels, or a score off by more than one sample.

Two things are no difference. The exporters fold a batch normalization into the Conv before it by
different formulas, so that weights in the files differ in the last bits: scales may differ by
1e-6 of themselves, and one code in a thousand by one step, which is told. And what moves no value,
Flatten and Reshape, has one name.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qtool import model as models
from qtool import workflow
from qtool.children import silent
from qtool.data import open_dataset
from qtool.inspect import Running, running
from qtool.numeric.affine import quantize
from qtool.ops import OPS
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.benchmarks import exported_models
from tests.models import Array

EXPORTS = (
    *(("torchscript", opset) for opset in (11, 13, 17, 20)),
    *(("dynamo", opset) for opset in (18, 21, 25)),
)
MODELS = {"cnn": exported_models.cnn, "encoder": exported_models.encoder}


VIEWS = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Matrix:
    """A quantized weight: output channels first, the rest as one axis."""

    name: str
    form: str
    codes: Array
    scales: Array

    def steps_from(self, other: Matrix) -> int | None:
        """How many codes differ, by one step; None where it is another matrix."""
        if self.form != other.form or self.codes.shape != other.codes.shape:
            return None
        if not np.allclose(self.scales, other.scales, rtol=1e-6, atol=0):
            return None
        apart = np.abs(self.codes.astype(np.int64) - other.codes)
        differ = int((apart > 0).sum())
        return None if apart.max(initial=0) > 1 or differ > 1e-3 * apart.size + 1 else differ

    def __str__(self) -> str:
        return f"{self.codes.shape} {self.form} {self.name}"


@dataclass(frozen=True)
class Found:
    """One export, quantized."""

    name: str
    opset: int
    matrices: list[Matrix]
    runs: Running
    right: int
    right_float: int
    left: dict[str, Counter[str]]
    operators: Counter[str]


def export(
    module: torch.nn.Module, name: str, sample: Array, path: Path, how: str, opset: int
) -> None:
    """Write the model as one exporter writes it; the batch axis is dynamic."""
    options: dict[str, Any] = {"input_names": [name], "output_names": ["logits"]}
    if how == "dynamo":
        options |= {"dynamo": True, "external_data": False, "verbose": False}
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=1, max=4096)},)
    else:
        options |= {"dynamo": False, "dynamic_axes": {name: {0: "batch"}, "logits": {0: "batch"}}}
    with warnings.catch_warnings(), silent("torch", "onnxscript"):
        warnings.simplefilter("ignore")
        example = torch.from_numpy(sample[:2])
        torch.onnx.export(module, (example,), str(path), opset_version=opset, **options)


def examined(path: Path, label: str, name: str, calib: Array, judged: tuple[Array, Array]) -> Found:
    """Quantize the file on `calib`, and look at what came of it."""
    job = workflow.open_job(path, Recipe(), load_target("cpu"))
    data = path.with_name(f"{name}.npy")
    np.save(data, calib)
    workflow.check_preparation(job, {name: calib[:8]})
    measured = workflow.measure(job, open_dataset(data, job.signature), batch_size=16)
    quantized = workflow.build(job, measured)
    output = path.with_suffix(".int8.onnx")
    workflow.write(job, quantized, output, {name: calib[:1]}, force=True)
    nodes = {node.name: node for node in job.model.graph.all_nodes()}
    left: dict[str, Counter[str]] = {}
    for node, reason in quantized.plan.skipped.items():
        left.setdefault(nodes[node].op_type, Counter())[reason] += 1
    return Found(
        label,
        models.opset(models.load(path)),
        _matrices(job, quantized),
        running(output),
        _right(output, name, judged),
        _right(path, name, judged),
        left,
        Counter(node.op_type for node in nodes.values()),
    )


def _matrices(job: workflow.Job, quantized: workflow.Quantized) -> list[Matrix]:
    """Each quantized weight, in the order of the graph."""
    found = []
    nodes = {node.name: node for node in job.model.graph.all_nodes()}
    for (node_name, position), plan in quantized.plan.weights.items():
        node = nodes[node_name]
        value = node.inputs[position]
        spec = OPS[node.op_type]
        assert value is not None and value.const_value is not None and spec.channel is not None
        codes = quantize(value.const_value.numpy(), plan.params)
        codes = np.moveaxis(codes, spec.channel(node), 0)
        name = f"of {node.op_type} {node_name}"
        scales = plan.params.scale.reshape(-1)
        found.append(Matrix(name, plan.form, codes.reshape(len(codes), -1), scales))
    return found


def _right(path: Path, name: str, judged: tuple[Array, Array]) -> int:
    inputs, labels = judged
    session = Session(path, threads=1)
    logits = np.concatenate(
        [session.run({name: inputs[i : i + 100]})["logits"] for i in range(0, len(inputs), 100)]
    )
    return int((logits.argmax(1) == labels).sum())


def shown(found: Found, samples: int) -> None:
    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))

    print(
        f"\n{found.name}: opset {found.opset} in the file, {len(found.matrices)} matrices,", end=""
    )
    print(f" {found.right} of {samples} right ({found.right_float} in float)")
    print(f"  integers  {listed(found.runs.integer)}")
    print(f"  float     {listed(found.runs.floating)}")
    print(f"  Q/DQ      {listed(found.runs.conversions)}")
    for operator, reasons in sorted(found.left.items()):
        print(f"  left      {operator}: {'; '.join(f'{n} {r}' for r, n in reasons.items())}")


def differences(first: Found, other: Found) -> tuple[list[str], int]:
    """How one export differs from another, and how many codes do that lie one step apart."""
    found, steps = [], 0
    left = list(other.matrices)
    for matrix in first.matrices:
        close = ((each, matrix.steps_from(each)) for each in left)
        same = min(((n, i) for i, (_, n) in enumerate(close) if n is not None), default=None)
        if same is None:
            found.append(f"lacks  {matrix}")
        else:
            steps += same[0]
            del left[same[1]]
    found += [f"adds   {matrix}" for matrix in left]
    kernels = _kernels(first), _kernels(other)
    for name in sorted(kernels[0].keys() | kernels[1].keys()):
        if kernels[0][name] != kernels[1][name]:
            found.append(f"kernel {name}: {kernels[1][name]}, not {kernels[0][name]}")
    if abs(first.right - other.right) > 1:
        found.append(f"score  {other.right} right, not {first.right}")
    return found, steps


def _kernels(found: Found) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, count in found.runs.integer.items():
        counts["Reshape" if name in VIEWS else name] += count
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description="exports of one model, quantized")
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--graphs", action="store_true", help="print operators as exported")
    parser.add_argument("--keep", type=Path, help="write the files here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    differ = 0
    for kind in options.model or list(MODELS):
        module, name, calib, judged = MODELS[kind]()
        with tempfile.TemporaryDirectory() as scratch:
            folder = options.keep or Path(scratch)
            each = []
            for how, opset in EXPORTS:
                path = folder / f"{kind}.{how}.{opset}.onnx"
                export(module, name, calib, path, how, opset)
                each.append(examined(path, f"{kind} {how} {opset}", name, calib, judged))
                shown(each[-1], len(judged[1]))
                if options.graphs:
                    print(f"  prepared  {dict(each[-1].operators)}")
            for other in each[1:]:
                lines, steps = differences(each[0], other)
                differ += bool(lines)
                same = f"the same, {steps} codes one step apart" if steps else "the same"
                print(f"\n{other.name} against {each[0].name}: {'' if lines else same}")
                for line in lines:
                    print(f"  {line}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
