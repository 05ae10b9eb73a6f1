"""Labels that are arrays, as the images that a decoder is to draw."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from qtool.cli.app import app
from qtool.compare import gates
from qtool.compare.judge import compare
from qtool.compare.run_file import as_dict
from qtool.compare.truth.targets import Targets

RNG = np.random.default_rng(11)
X = RNG.normal(size=(40, 3)).astype(np.float32)
W = RNG.normal(size=(3, 8)).astype(np.float32)
TARGETS = (X @ W + RNG.normal(scale=0.3, size=(40, 8)).astype(np.float32)).reshape(40, 2, 4)
GRAPH = """m (float[N,3] x) => (float[N,8] flat, float[N,2,4] y)
    <float[3,8] w = {WEIGHTS}, int64[3] s = {-1, 2, 4}> {
    flat = MatMul(x, w) y = Reshape(flat, s) }"""


def decoder(build: Any, name: str, factor: float) -> Path:
    weights = ", ".join(repr(float(value)) for value in (W * np.float32(factor)).ravel())
    path: Path = build(name, GRAPH.replace("WEIGHTS", weights))
    return path


def errors(factor: float) -> NDArray[Any]:
    """The mean squared error of each sample."""
    made = (X.astype(np.float64) @ (W * np.float32(factor))).reshape(40, 2, 4)
    return ((made - TARGETS) ** 2).mean(axis=(1, 2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_the_output_of_the_targets_shape_is_scored(build: Any, feed: Any, batch_size: int) -> None:
    reference, candidate = decoder(build, "reference", 1), decoder(build, "candidate", 0.9)
    found = compare(reference, candidate, feed(reference, X, TARGETS), batch_size=batch_size)
    assert (found.labelled, list(found.scores), found.notes) == ("y", ["mse"], ())
    mse, before, after = found.scores["mse"], errors(1), errors(0.9)
    assert mse.reference == pytest.approx(before.mean(), rel=1e-5)
    assert mse.candidate == pytest.approx(after.mean(), rel=1e-5)
    assert mse.drop == mse.candidate - mse.reference > 0
    assert mse.ratio == pytest.approx(after.mean() / before.mean(), rel=1e-5)
    assert mse.n == 40
    assert mse.ratio in mse.ratio_interval  # type: ignore[operator]
    assert mse.drop in mse.interval


def test_the_interval_is_of_the_same_resamples_for_both(build: Any, feed: Any) -> None:
    """Paired: the errors of both models go up and down together, and most of that cancels."""
    reference, candidate = decoder(build, "reference", 1), decoder(build, "candidate", 0.999)
    mse = compare(reference, candidate, feed(reference, X, TARGETS)).scores["mse"]
    assert mse.ratio_interval is not None
    width = mse.ratio_interval.high - mse.ratio_interval.low
    spread = errors(1).std() / errors(1).mean() / np.sqrt(40)
    assert width < 0.2 * 4 * spread


def test_gates_on_the_loss(build: Any, feed: Any) -> None:
    reference, candidate = decoder(build, "reference", 1), decoder(build, "candidate", 0.9)
    found = compare(reference, candidate, feed(reference, X, TARGETS))
    ratio = errors(0.9).mean() / errors(1).mean()
    texts = [f"mse.ratio <= {ratio * 1.001}", f"mse.ratio <= {ratio * 99.9}%", "mse.ratio <= 1.01"]
    results = gates.judge(map(gates.parse, [*texts, "mse <= 100", "mse.drop <= 0"]), found)
    assert [result.passed for result in results] == [True, False, False, True, False]
    assert [result.certain for result in results[:3]] == [False, False, True]


def test_a_folder_of_targets_through_the_commands(build: Any, feed: Any, tmp_path: Path) -> None:
    reference, candidate = decoder(build, "reference", 1), decoder(build, "candidate", 0.9)
    feed(reference, X, TARGETS)
    command = ["compare", reference, candidate, "--data", tmp_path / "data"]
    result = CliRunner().invoke(app, [*map(str, command), "--gate", "mse.ratio <= 1.01"])
    assert result.exit_code == 1, result.stderr
    ratio = errors(0.9).mean() / errors(1).mean()
    assert f"mse.ratio is {ratio:.4g} (95 % interval" in result.stderr
    assert "mse.ratio" in result.stdout
    run = json.loads(CliRunner().invoke(app, [*map(str, command), "--json", "-"]).stdout)
    assert run["scores"]["mse"]["ratio"] == pytest.approx(ratio, rel=1e-5)
    shown = CliRunner().invoke(app, ["data", str(tmp_path / "data"), "--model", str(reference)])
    assert shown.exit_code == 0, shown.stderr
    assert "labels: float32 (2, 4)" in shown.stdout


def test_equal_models_have_the_ratio_one(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,3] x) => (float[N,3] y) { y = Identity(x) }")
    exact = compare(reference, reference, feed(reference, X, X)).scores["mse"]
    assert (exact.reference, exact.candidate, exact.ratio) == (0, 0, 1)


def test_a_reference_without_error_makes_any_other_infinitely_worse(build: Any, feed: Any) -> None:
    graph = "m (float[N,3] x) => (float[N,3] y) <float k = {FACTOR}> { y = Mul(x, k) }"
    reference, candidate = (build(f, graph.replace("FACTOR", f)) for f in ("1", "1.5"))
    found = compare(reference, candidate, feed(reference, X, X))
    assert found.scores["mse"].ratio == np.inf
    assert as_dict(found)["scores"]["mse"]["ratio"] is None
    assert not gates.judge([gates.parse("mse.ratio <= 1e9")], found)[0].passed


def test_nan_fails_every_gate_on_the_loss(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,3] x) => (float[N,3] y) { y = Identity(x) }")
    candidate = build("candidate", "m (float[N,3] x) => (float[N,3] y) { y = Sqrt(x) }")
    found = compare(reference, candidate, feed(reference, X, X + 1))
    texts = ["mse <= 1e9", "mse.drop <= 1e9", "mse.ratio <= 1e9"]
    assert not any(result.passed for result in gates.judge(map(gates.parse, texts), found))


@pytest.mark.parametrize("shape", [(4, 2), (8, 1), (2, 4, 1)])
def test_targets_of_another_shape_are_said_to_be_unused(
    build: Any, feed: Any, shape: tuple[int, ...]
) -> None:
    reference = decoder(build, "reference", 1)
    found = compare(reference, reference, feed(reference, X, TARGETS.reshape(40, *shape)))
    assert (found.labelled, found.scores) == (None, {})
    sizes = ", ".join(map(str, shape))
    assert found.notes[0].endswith(f"they need a float output of shape (samples, {sizes})")


def test_outputs_of_integers_maps_and_changing_shapes_are_out() -> None:
    targets = np.ones((6, 2, 3), np.float32)
    for value in (np.ones((2, 2, 3), np.int64), [{1: 0.5}, {1: 0.5}], np.ones((2, 3, 2))):
        held = Targets(["y"], targets)
        for other in (targets[:2], value, targets[4:]):
            held.see({}, {"y": targets[:2]}, {"y": other}, 2)
        judged = held.judge()
        assert (judged.output, dict(judged.scores)) == (None, {})
        assert "(samples, 2, 3)" in judged.notes[0]


def test_the_first_output_that_fits_to_the_end_is_judged() -> None:
    targets = np.ones((4, 2, 3), np.float32)
    held = Targets(["x", "y"], targets)
    for x in (targets[:2], targets[:1]):
        values = {"x": x, "y": targets[:2] + 0.5}
        held.see({}, values, values, 2)
    assert held.judge().output == "y"
    assert held.judge().scores["mse"].reference == 0.25


def test_only_a_few_numbers_per_sample_are_kept() -> None:
    values = {"y": np.ones((8, 64, 1024), np.float32)}
    held = Targets(["y"], np.zeros((80, 64, 1024), np.float32))
    held.see({}, values, values, 8)
    tracemalloc.start()
    for _ in range(9):
        held.see({}, values, values, 8)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000
    assert peak < 6 * 8 * 64 * 1024, "one sample is widened to float64 at a time"
    assert held.judge().scores["mse"].reference == 1
    assert held.judge().scores["mse"].n == 80


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 9, 11), (9, 11, 3), (9, 9)])
def test_images_have_psnr_and_ssim_as_scikit_image_has(shape: tuple[int, ...]) -> None:
    images = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(7)
    targets = rng.random((5, *shape)).astype(np.float32)
    values = targets + rng.normal(size=targets.shape).astype(np.float32) * np.float32(0.1)
    axis = None if len(shape) == 2 else 0 if shape[0] < 7 else 2
    held = Targets(["y"], targets, (-1.0, 2.0))
    held.see({}, {"y": targets}, {"y": values}, 5)
    found = held.judge().scores
    pairs = list(zip(targets.astype(float), values.astype(float), strict=True))
    psnr = [images.peak_signal_noise_ratio(t, v, data_range=3) for t, v in pairs]
    ssim = [images.structural_similarity(t, v, data_range=3, channel_axis=axis) for t, v in pairs]
    assert found["psnr"].candidate == pytest.approx(np.mean(psnr))
    assert found["ssim"].candidate == pytest.approx(np.mean(ssim))
    assert (found["psnr"].reference, found["ssim"].reference) == (100, 1)
    assert (found["psnr"].unit, found["psnr"].better) == ("dB", "high")
    assert held.judge().notes == ()


def test_without_a_declared_range_the_targets_own_is_said() -> None:
    targets = np.linspace(0, 2, 200, dtype=np.float32).reshape(2, 1, 10, 10)
    held = Targets(["y"], targets)
    held.see({}, {"y": targets}, {"y": targets}, 2)
    assert "0 … 2" in held.judge().notes[0]
