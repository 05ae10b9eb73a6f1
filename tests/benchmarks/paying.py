"""From how much on integers are faster than float: what stands in `[pays]` of targets/cpu.toml.

    python -m tests.benchmarks.paying [first | depthwise | rows ...]

One sample at a time, one thread. Each line times a small network of which the layer in question is
a part: `integers/float` with all in integers, `kept/integers` with that layer kept in float, what
converts for it counted in. A layer pays where the last is above 1.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterable
from itertools import pairwise, product
from pathlib import Path

from qtool import workflow
from qtool.compare.latency import measure
from qtool.recipe import Recipe, Rule
from qtool.runtime import Session
from tests.cases import KERNELS
from tests.models import Array, normal, save, weight

SECONDS = 1.0
SIZES = ((3, 1, 32), (3, 2, 96), (5, 1, 28))  # kernel, stride, height and width


def case(label: str, graph: str, kept: Iterable[str], shape: tuple[int, ...], **c: Array) -> None:
    """Time it; in float are to be the nodes that give `kept`."""
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        model = save(folder / "model.onnx", graph, **c)
        rules = tuple(Rule(match=name, scheme="w8") for name in kept)
        files = {}
        for name, chosen in (("integers", ()), ("kept", rules)):
            recipe = Recipe(algorithms=(), rules=chosen)
            job = workflow.open_job(model, recipe, KERNELS, threads=1)
            files[name] = folder / f"{name}.onnx"
            files[name].write_bytes(workflow.dry_run(job).data)
        feeds = [{"x": normal(*shape)}]

        def ratio(before: Path, after: Path) -> float:
            left, right = Session(before, threads=1), Session(after, threads=1)
            found = measure(left, right, feeds, batch_size=1, threads=1, seconds=SECONDS)
            return found.ratio

        whole, part = ratio(model, files["integers"]), ratio(files["integers"], files["kept"])
    print(f"{label:44} integers/float {whole:5.2f}  kept/integers {part:5.2f}", flush=True)


def first() -> None:
    """A Conv that reads floats, and a 1x1 Conv behind it."""
    for inputs, outputs in product((1, 2, 3, 4, 6, 8), (8, 16, 32, 64)):
        for kernel, stride, size in SIZES:
            pad = kernel // 2
            out = (size + 2 * pad - kernel) // stride + 1
            graph = f"""g (float[1,{inputs},{size},{size}] x) => (float[1,32,{out},{out}] y) {{
                a = Conv<pads=[{pad},{pad},{pad},{pad}], strides=[{stride},{stride}]>(x, w, b)
                r = Relu(a) y = Conv(r, v, c) }}"""
            case(
                f"{inputs} -> {outputs} channels, k{kernel} s{stride}, {size}x{size}",
                graph, ["a"], (1, inputs, size, size),
                w=weight(outputs, inputs, kernel, kernel), b=normal(outputs),
                v=weight(32, outputs, 1, 1), c=normal(32),
            )  # fmt: skip


def depthwise() -> None:
    """A depthwise Conv that reads floats, and a 1x1 Conv behind it."""
    for channels, size, stride in product((8, 16, 24, 32, 48, 64, 96, 128), (12, 48), (1, 2)):
        out = size // stride
        taken, given = f"float[1,{channels},{size},{size}]", f"float[1,{channels},{out},{out}]"
        graph = f"""g ({taken} x) => ({given} y) {{
            a = Conv<pads=[1,1,1,1], strides=[{stride},{stride}], group={channels}>(x, w, b)
            r = Relu(a) y = Conv(r, v, c) }}"""
        case(
            f"depthwise {channels}, k3 s{stride}, {size}x{size}",
            graph, ["a"], (1, channels, size, size),
            w=weight(channels, 1, 3, 3), b=normal(channels),
            v=weight(channels, channels, 1, 1), c=normal(channels),
        )  # fmt: skip


def rows() -> None:
    """Gemms and nothing else: all of them in float, or none."""
    alone = list(product((32, 64, 128, 256, 512, 1024), (16, 64, 256, 1024)))
    chains = [(64, 128, 64, 10), (128,) * 4, (256, 256, 256), (784, 32, 10), (784, 128, 10)]
    for widths in [*alone, *chains]:
        constants: dict[str, Array] = {}
        nodes, last = "", "x"
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            constants[f"w{index}"] = weight(outputs, inputs, seed=index).T.copy()
            constants[f"b{index}"] = normal(outputs, seed=index)
            nodes += f"h{index} = Gemm({last}, w{index}, b{index}) r{index} = Relu(h{index}) "
            last = f"r{index}"
        nodes, _, _ = nodes.rpartition("r")
        result = f"h{len(widths) - 2}"
        graph = f"g (float[1,{widths[0]}] x) => (float[1,{widths[-1]}] {result}) {{ {nodes} }}"
        weights = sum(a * b for a, b in pairwise(widths))
        label = f"{'-'.join(map(str, widths))}, {weights} weights"
        case(label, graph, ["op:Gemm"], (1, widths[0]), **constants)


PARTS: dict[str, Callable[[], None]] = {"first": first, "depthwise": depthwise, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=[*PARTS])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for part in options.parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
