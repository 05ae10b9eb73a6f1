"""A copy of a model of the same function whose residual channels differ a hundredfold.

    python -m tests.benchmarks.skewed MODEL OUTPUT

Each channel of each residual stream is multiplied by 10^uniform(-1, 1), seeded, in all that writes
it, and divided again in all that reads it: real MobileNets look like this.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qtool import model as models
from qtool.ops import constant
from qtool.passes import prepare
from qtool.passes.streams import Stream, apply, streams


def skewed(model: Path, output: Path, seed: int = 0) -> int:
    """Write the copy of `model`; how many streams were skewed."""
    made = prepare(models.load(model))
    found = [stream for stream in streams(made.graph) if is_residual(stream)]
    for index, stream in enumerate(found):
        apply(stream, factors(stream, seed + index), "skewed")
    models.stamp(made)
    output.write_bytes(models.serialize(made))
    return len(found)


def factors(stream: Stream, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What the stream is divided by: between 0.1 and 10, 1 where it cannot be."""
    found = 10 ** np.random.default_rng(seed).uniform(-1, 1, len(stream.free))
    return np.where(stream.free, found, 1.0)


def is_residual(stream: Stream) -> bool:
    """Whether two activations are added in it."""
    return any(_adds(value.producer()) for value in stream.values)


def _adds(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Add" and not any(map(constant, node.inputs))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    print(f"{skewed(options.model, options.output)} residual streams skewed")


if __name__ == "__main__":
    main()
