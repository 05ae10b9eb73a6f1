"""Damaged models: one bit flipped or the end cut off, at places that a seed chooses.

onnxruntime may abort on bad input, so mutants are tried in a process of their own, many in each.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.conftest import ENVIRONMENT, SAMPLES

TRY = """
import os, random, sys
from pathlib import Path
from typer.testing import CliRunner
from qtool.cli.app import app
from qtool.runtime import Session

good, seed, count = Path(sys.argv[1]).read_bytes(), *map(int, sys.argv[2:])
chance = random.Random(seed)
seen = set()
for _ in range(count):
    # Nodes and names lie at both ends of a file, weights between them.
    end = chance.choice([3_000, len(good)])
    at = chance.choice([chance.randrange(end), len(good) - 1 - chance.randrange(end)])
    bit = chance.randrange(9)
    cut = good[:at] if bit == 8 else good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
    print(f"byte {at}, bit {bit}", flush=True)  # the last line tells what crashed
    Path("m.onnx").write_bytes(cut)
    for arguments in ("inspect m.onnx", "quantize m.onnx -o o.onnx -f --allow-empty"):
        result = CliRunner().invoke(app, arguments.split())
        assert result.exit_code in (0, 3), (arguments, result.exit_code, result.stderr)
        said = result.stderr.splitlines()
        assert sum(line.startswith("error: ") for line in said) == (result.exit_code > 0), said
        seen.add(result.exit_code)
    if result.exit_code == 0:
        Session(Path("o.onnx"))
assert seen == {0, 3}
"""


def tried(folder: Path, name: str, seed: int, count: int) -> None:
    model = SAMPLES / name / "model.onnx"
    done = subprocess.run(
        [sys.executable, "-c", TRY, model, str(seed), str(count)],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1]}: {done.stderr[-2000:]}"
    assert len(done.stdout.splitlines()) == count


NAMES = ["digits_cnn", "digits_mobile", "text_transformer"]


@pytest.mark.slow
def test_30_mutants(tmp_path: Path) -> None:
    tried(tmp_path, "digits_cnn", seed=0, count=30)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_200_mutants(name: str, tmp_path: Path) -> None:
    tried(tmp_path, name, seed=1, count=200)
