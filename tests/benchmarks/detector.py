"""A detector at 8 bits: boxes in pixels and scores up to 1 that meet in one Concat.

    python -m tests.benchmarks.detector

mAP of digits_detector as it is; as qtool quantizes it; the same with one scale over the Concat, by
a QuantizeLinear and a DequantizeLinear at the output; and as onnxruntime's quantizer does it.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from qtool.compare.judge import compare
from qtool.data import open_dataset
from qtool.runtime import Session
from tests.benchmarks.forms import FORMS, SAMPLES, judged_on, made
from tests.benchmarks.peers import theirs

NAME = "digits_detector"


def share_a_scale(path: Path, output: Path) -> None:
    """One 8-bit scale for all of the output, from the values that it has on calib/."""
    session = Session(path)
    data = open_dataset(SAMPLES / NAME / "calib", session.signature)
    values = [next(iter(session.run(batch).values())) for batch in data.batches(1)]
    low, high = min(0.0, min(v.min() for v in values)), max(v.max() for v in values)
    scale = np.float32((high - low) / 255)
    model = onnx.load(path)
    (out,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["joined" if name == out.name else name for name in node.output]
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(scale), "joined_scale"),
            numpy_helper.from_array(np.array(np.rint(-low / scale), np.uint8), "joined_zero"),
        ]
    )
    params = ["joined_scale", "joined_zero"]
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["joined", *params], ["joined_q"]),
            helper.make_node("DequantizeLinear", ["joined_q", *params], [out.name]),
        ]
    )
    onnx.save(model, output)


def main() -> None:
    logging.disable(logging.WARNING)
    reference = SAMPLES / NAME / "model.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ours = made(NAME, FORMS["w8a8"], folder / "ours.onnx")
        share_a_scale(ours, folder / "shared.onnx")
        data = open_dataset(SAMPLES / NAME / "calib", Session(reference).signature)
        theirs(reference, data, folder / "theirs.onnx", folder)
        files = {
            "float": reference,
            "qtool": ours,
            "qtool, one scale over the Concat": folder / "shared.onnx",
            "onnxruntime's quantizer": folder / "theirs.onnx",
        }
        for name, path in files.items():
            size = path.stat().st_size / reference.stat().st_size
            score = compare(reference, path, judged_on(NAME)).scores["mAP"].candidate
            print(f"{name:34} mAP {100 * score:6.2f}  size {size:.3f}")


if __name__ == "__main__":
    main()
