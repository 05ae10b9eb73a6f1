"""docs/operators.md says what the tables say; `python -m tests.test_operators_page` writes it."""

from __future__ import annotations

from pathlib import Path

from qtool.ops import OPS, OpSpec
from qtool.target import Target, load_target

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
HEAD = """# Operators

Written from `qtool/ops.py` and `qtool/targets/cpu.toml` by `python -m tests.test_operators_page`.

`inputs` and `weights` are positions, counted from 0: inputs are what is quantized as activations,
weights what has scales of its own where it is constant. What `shares` has one scale for what goes
in and what comes out. `static` is what `--target cpu` makes of the operator with data:

- **integers**: an integer kernel, from codes to codes
- **integers, or to float**: the same, and it can end in float where nothing behind wants codes
- **on codes**: values are moved as they are, under one scale; places are looked for in codes
- **float**: no integer kernel; it stays as it is, and no Q/DQ is put around it

A kernel is taken where it pays: between others, or where weights are multiplied. `--placement all`
takes every one. Some nodes stay float all the same, with the reason that `qtool inspect` names: a
Softmax at the end, whose 8 bits would be coarse; a Resize that interpolates; a computed bias.

`weights alone` is how weights are stored without data, or where there is no kernel. `--mode
dynamic` multiplies Gemm and MatMul in integers, with `--contrib` LSTM too:
[recurrent.md](recurrent.md). Operators that are not here (Shape, Cast, comparisons, those of other
domains) are left as they are. If, Loop and Scan: what is in their bodies counts for itself.
Identity, and Dropout out of training, are taken out.
"""
COLUMNS = (
    "operator", "inputs", "weights: a scale for each", "shares", "static", "weights alone",
)  # fmt: skip
KERNELS = {
    "closed": "integers",
    "open": "integers, or to float",
    "moves": "on codes",
    "reads": "on codes",
}
STORED = {
    "fused": "packed (MatMulNBits), or unpacked at load",
    "cast-mul": "unpacked at load",
    "gathered": "looked up as integers, or unpacked at load",
    "dq": "DequantizeLinear",
}
AXES = {
    "Conv": "output channel",
    "ConvTranspose": "output channel",
    "Gather": "row of the table",
    "Gemm": "column, or block of it",
    "MatMul": "column, or block of it",
    "GRU": "gate and unit",
    "LSTM": "gate and unit",
    "RNN": "unit",
}


def _row(name: str, spec: OpSpec, target: Target) -> str:
    data = "all" if spec.data is None else ", ".join(map(str, spec.data))
    weights = ", ".join(map(str, spec.weights))
    parts = (
        name,
        data if not spec.weights or spec.data != spec.weights else "",
        f"{weights}: {AXES[name]}" if spec.weights else "",
        "yes" if spec.shares else "",
        KERNELS.get(target.integer.get(name, ""), "float"),
        STORED.get(target.weights.get(name, ""), ""),
    )
    return f"| {' | '.join(parts)} |"


def page() -> str:
    target = load_target("cpu")
    header = f"\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"
    return HEAD + header + "\n".join(_row(name, OPS[name], target) for name in sorted(OPS)) + "\n"


def test_the_page_is_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_weight_says_what_has_a_scale() -> None:
    assert set(AXES) == {name for name, spec in OPS.items() if spec.weights}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
