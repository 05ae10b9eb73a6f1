"""docs/operators.md says what the tables say; `python -m tests.test_operators_page` writes it."""

from __future__ import annotations

from pathlib import Path

from qtool.ops import OPS, OpSpec
from qtool.target import Target, load_target

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
HEAD = """# Operators

Written from `qtool/ops.py` and `qtool/targets/cpu.toml` by `python -m tests.test_operators_page`.

An operator without a row is left as it is. One with a row and no integer kernel stays float too,
and no Q/DQ is put around it; its weights can still be stored as integers. One with a kernel becomes
integers where that pays: between others that do. `--placement all` takes every kernel there is.
"""
COLUMNS = (
    "operator", "quantized inputs", "weights, a scale for each", "one scale for input and output",
    "cpu, static", "cpu, weights alone",
)  # fmt: skip
KERNELS = {
    "closed": "integers in and out",
    "open": "integers in, float or integers out",
    "moves": "integers as they are",
    "reads": "integers in",
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
