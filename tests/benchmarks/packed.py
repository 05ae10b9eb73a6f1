"""A weight behind DequantizeLinear, which the runtime multiplies packed, over the float matrix.

    python -m tests.benchmarks.packed [--seconds 0.5]

Time of MatMulNBits over MatMul by shape of the matrix (inputs x outputs) and rows fed. `contracted`
and `values` under [fuses] in qtool/targets/cpu.toml come from this table: a matrix is packed where
packing wins, or loses at most 5 %, for any number of rows.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from qtool import workflow
from qtool.compare import latency
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import normal, save, weight

SHAPES = (
    (64, 64), (96, 384), (64, 4096), (128, 2048), (256, 256), (256, 512), (384, 384), (512, 512),
    (2048, 128), (4096, 64), (1024, 1024), (768, 3072),
)  # fmt: skip
ROWS = (1, 2, 8, 32, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each pair of sessions")
    options = parser.parse_args()
    latency.SECONDS = options.seconds
    asked = load_target("cpu")
    always = replace(asked, fuses=replace(asked.fuses, contracted=1, values=1))
    print(f"{'matrix':>12} {'scheme':8}{'packed':8}" + "".join(f"{n:>4} rows" for n in ROWS))
    with tempfile.TemporaryDirectory() as scratch:
        path, packed = Path(scratch) / "m.onnx", Path(scratch) / "q.onnx"
        for inputs, outputs in SHAPES:
            graph = f"g (float[N,{inputs}] x) => (float[N,{outputs}] y) {{ y = MatMul(x, w) }}"
            save(path, graph, w=weight(outputs, inputs).T.copy())
            for scheme in ("w8", "w4b32"):
                recipe = Recipe(scheme=scheme)
                chosen = workflow.build(workflow.open_job(path, recipe, asked), None).plan
                made = workflow.build(workflow.open_job(path, recipe, always), None)
                packed.write_bytes(made.data)
                sessions = Session(path, threads=1), Session(packed, threads=1)
                ratios = [
                    latency.measure(
                        *sessions, [{"x": normal(rows, inputs)}], batch_size=1, threads=1
                    ).ratio
                    for rows in ROWS
                ]
                used = {w.encoding for w in chosen.weights.values()} == {"dq"}
                print(f"{inputs:>5} x{outputs:>5} {scheme:8}{'yes' if used else 'no':8}"
                      + "".join(f"{ratio:9.2f}" for ratio in ratios), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
