"""Promise 6: memory during calibration does not grow with the number of samples."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import normal, save, weight
from tests.peak import peak_mb

ROOT = Path(__file__).parents[2]


def peak(model: Path, data: Path, count: int, output: Path) -> float:
    found = peak_mb(
        sys.executable, "-m", "qtool", "calibrate", str(model), "--data", str(data),
        "--samples", str(count), "-o", str(output),
    )  # fmt: skip
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(10, 300), (64, 2048)], ids=str)
def test_many_samples_take_no_more_memory_than_few(counts: tuple[int, int], tmp_path: Path) -> None:
    images = np.load(ROOT / "sample_models" / "digits_mobile" / "eval" / "image.npy")
    np.save(tmp_path / "image.npy", np.resize(images, (counts[1], *images.shape[1:])))
    model = ROOT / "sample_models" / "digits_mobile" / "model.onnx"
    few, many = (
        peak(model, tmp_path / "image.npy", count, tmp_path / f"{count}.calib") for count in counts
    )
    # Held in memory, the 30 observed tensors of 300 samples would take 190 MB.
    assert many - few < 20


@pytest.mark.slow
def test_large_tensors_are_not_held(tmp_path: Path) -> None:
    """Thirty tensors of 16 MB each, of which a run of the model holds few at once."""
    nodes = " ".join(f"a{i + 1} = Conv(a{i}, w{i}) " for i in range(30))
    graph = f"g (float[N,4,H,W] a0) => (float[N,4,H,W] a30) {{ {nodes} }}"
    model = save(tmp_path / "m.onnx", graph, **{f"w{i}": weight(4, 4, 1, 1) for i in range(30)})
    np.save(tmp_path / "large.npy", normal(2, 4, 1024, 1024))
    np.save(tmp_path / "small.npy", normal(2, 4, 8, 8))
    large, small = (
        peak(model, tmp_path / f"{size}.npy", 2, tmp_path / f"{size}.calib")
        for size in ("large", "small")
    )
    assert large - small < 440  # 480 MB of outputs, and what a run needs besides
