"""A model of a gigabyte of MatMul weights to 4 bits, by qtool and by onnxruntime.

    python -m tests.benchmarks.gigabyte [--layers 16] [--width 4096] [--turns 3] [--scratch DIR]

Each in a process of its own, in turns: `qtool quantize --scheme w4b32`, which searches for scales,
opens the result again, checks and runs it, and MatMulNBitsQuantizer (blocks of 32, symmetric),
which writes it. The weights lie inside the model file or beside it. Reported are the best of the
turns in seconds per GB, the peak of anonymous memory (RssAnon: what is mapped from files can be
dropped, and is not counted) and of all memory, the size of the file, and the SQNR of the first
layer's weights, as it gives them for unit vectors.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from qtool.runtime import Session
from tests.models import sqnr

ORT = """
import logging, sys
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
import onnx
logging.disable(logging.CRITICAL)
made = MatMulNBitsQuantizer(onnx.load(sys.argv[1]), block_size=32, is_symmetric=True)
made.process()
made.model.save_model_to_file(sys.argv[2], False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--scheme", default="w4b32")
    parser.add_argument("--scratch", type=Path, help="a folder with three times the model's size")
    asked = parser.parse_args()
    gigabytes = asked.layers * asked.width**2 * 4 / 1e9
    print(f"{gigabytes:.2f} GB of weights")
    print(
        f"{'weights':9}{'by':14}{'s per GB':>9}{'anonymous':>11}{'peak':>9}{'file':>10}{'SQNR':>10}"
    )
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        for where in ("inside", "beside"):
            path, out = Path(folder) / f"{where}.onnx", Path(folder) / "q.onnx"
            write(path, asked.layers, asked.width, beside=where == "beside")
            ends = [str(path), "-o", str(out), "--scheme", asked.scheme, "-f", "-q"]
            qtool = [sys.executable, "-m", "qtool", "quantize", *ends]
            ways = {"qtool": qtool, "onnxruntime": [sys.executable, "-c", ORT, str(path), str(out)]}
            found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
            said = {}
            for _ in range(asked.turns):
                for way, command in ways.items():
                    found[way].append(timed(command))
                    if way not in said:
                        said[way] = out.stat().st_size, quality(path, out, asked.width)
            for way, runs in found.items():
                seconds, anonymous, peak = (min(each) for each in zip(*runs, strict=True))
                size, ratio = said[way]
                used = f"{seconds / gigabytes:9.1f}{anonymous:8.0f} MB{peak:6.0f} MB"
                print(f"{where:9}{way:14}{used}{size / 1e6:7.1f} MB{ratio:7.2f} dB", flush=True)
            path.unlink()


def write(path: Path, layers: int, width: int, *, beside: bool) -> None:
    """A chain of MatMul and Tanh, weights of a normal distribution with a few outliers."""
    rng, nodes, weights, last = np.random.default_rng(0), [], [], "x"
    for i in range(layers):
        w = rng.standard_normal((width, width), dtype=np.float32) / np.float32(np.sqrt(width))
        w[:, rng.integers(width, size=4)] *= 8
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"a{i}"], name=f"m{i}"))
        last = "y" if i == layers - 1 else f"t{i}"
        nodes.append(helper.make_node("Tanh", [f"a{i}"], [last], name=f"n{i}"))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path, save_as_external_data=beside, location=f"{path.stem}.bin")


def timed(command: list[str]) -> tuple[float, float, float]:
    """Seconds, peak of anonymous memory and of all memory in MB of a command that must succeed."""
    start, anonymous, peak = time.perf_counter(), 0.0, 0.0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while child.poll() is None:
        with suppress(OSError, KeyError, ValueError):
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            held = dict(line.split(":", 1) for line in lines)
            anonymous = max(anonymous, int(held["RssAnon"].split()[0]) / 1e3)
            peak = max(peak, int(held["VmHWM"].split()[0]) / 1e3)
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    if child.returncode:
        assert child.stderr is not None
        raise SystemExit(f"{' '.join(command)}\n{child.stderr.read().decode()}")
    return seconds, anonymous, peak


def quality(path: Path, made: Path, width: int) -> float:
    """SQNR in dB of the first layer's weights, row by row, by what a small input makes of them."""
    rows = np.random.default_rng(1).choice(width, 64, replace=False)
    x = np.zeros((64, width), np.float32)
    x[np.arange(64), rows] = 1
    float_one, stored = (first_layer(each) for each in (path, made))
    return float(sqnr(float_one.run({"x": x})["a0"], stored.run({"x": x})["a0"]))


def first_layer(path: Path) -> Session:
    """The model as far as the first product, with the weights that this takes inside."""
    model = onnx.load(str(path))
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    kept, wanted = list[onnx.NodeProto](), ["a0"]
    while wanted:
        if (node := makers.get(wanted.pop())) is not None and node not in kept:
            kept.insert(0, node)
            wanted += node.input
    used = {name for node in kept for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    out = helper.make_tensor_value_info("a0", TensorProto.FLOAT, None)
    part = helper.make_graph(kept, "first", list(graph.input), [out], weights)
    made = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    return Session(made.SerializeToString())


if __name__ == "__main__":
    main()
