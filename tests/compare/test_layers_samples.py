"""Layers of the sample models as they are quantized, and what the pass over them takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qtool import model as models
from qtool.cli.app import app
from qtool.compare.layers import Layers, compare_layers
from qtool.compare.layers.form import in_one_form
from qtool.compare.layers.run import Feeding, opened
from qtool.compare.layers.study import Study
from qtool.data import Dataset, open_dataset
from qtool.numeric.metrics import Errors
from qtool.passes import prepare, transform
from qtool.runtime import Session
from tests.models import normal, save, weight
from tests.peak import peak_mb

SAMPLES = Path(__file__).parents[2] / "sample_models"


def quantized(name: str, folder: Path, *options: str) -> tuple[Path, Path, Dataset]:
    """A sample, its quantized form, and 24 samples for both."""
    source, output = SAMPLES / name / "model.onnx", folder / "quantized.onnx"
    arguments = ["quantize", str(source), "-o", str(output), "-q", *options]
    if not options or options[0] == "--recipe":
        arguments += ["--data", str(SAMPLES / name / "calib"), "--samples", "64"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    data = open_dataset(SAMPLES / name / "eval", models.signature(models.load(source)))
    return source, output, data.choose(24, 0)


def layers(pair: tuple[Path, Path, Dataset]) -> Layers:
    return compare_layers(*pair, threads=1)


def deviation(pair: tuple[Path, Path, Dataset]) -> tuple[float, float]:
    """SQNR in dB of the candidate's outputs within the merged graph, held against its own run, and
    of its own run, held against the reference's."""
    reference, candidate, data = pair
    loaded = models.load(reference), models.load(candidate)
    signatures = models.signature(loaded[0]), models.signature(loaded[1])
    study = Study(*in_one_form(*loaded), Feeding(data, 1, *signatures), 1)
    study.prepare()
    merged, _ = study.merged(study.gains)
    outputs = [
        (spec.name, merged.output(merged.candidate.values[spec.name]))
        for spec in signatures[1].outputs
    ]
    together = opened(merged, 1)
    alone, exact = Session(candidate, threads=1), Session(reference, threads=1)
    inside, own = Errors(), Errors()
    for _, batch in study.feeding.batches():
        found, expected = batch.run(together), alone.run(batch.feeds)
        truth = exact.run(batch.feeds)
        for name, output in outputs:
            inside = inside.add(expected[name], found[output])
            own = own.add(truth[name], expected[name])
    return inside.sqnr_db, own.sqnr_db


@pytest.mark.parametrize(
    "name",
    [
        "digits_cnn",
        "digits_mlp",
        pytest.param("digits_mobile", marks=pytest.mark.slow),
        pytest.param("digits_detector", marks=pytest.mark.slow),
        pytest.param("text_lstm", marks=pytest.mark.slow),
    ],
)
def test_the_candidate_computes_what_it_computes_alone(name: str, tmp_path: Path) -> None:
    inside, own = deviation(quantized(name, tmp_path))
    assert inside == np.inf, "to the last bit"
    assert own < 80


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--mode", "dynamic"]], ids=str)
def test_floats_between_integers_differ_by_rounding(options: list[str], tmp_path: Path) -> None:
    """Kernels that fuse floats round in another order, and now and then a code tips over."""
    inside, own = deviation(quantized("text_transformer", tmp_path, *options))
    assert inside > own + 15


def test_rows_of_a_sample(tmp_path: Path) -> None:
    found = layers(quantized("digits_cnn", tmp_path))
    own = [row.own_db for row in found.errors]
    assert own == sorted(own)
    rows = {row.tensor: row for row in found.errors}
    assert rows["logits"].node == "/17/Gemm"
    assert {r.node for r in found.errors if r.op_type == "Conv"} == {
        "/0/Conv", "/3/Conv", "/7/Conv", "/10/Conv",
    }  # fmt: skip
    for row in found.errors:
        # Amplitudes of the two parts, in and out of phase: the total lies between.
        parts = [10 ** (-db / 20) for db in (row.own_db, row.inherited_db)]
        total = 10 ** (-row.sqnr_db / 20)
        assert abs(parts[0] - parts[1]) * 0.999 <= total <= sum(parts) * 1.001, row
        assert (row.clipped is None) == (row.node in ("/0/Conv", "/17/Gemm"))  # they give floats
    assert not found.unmatched
    moved = [rows[name].own_db for name in ("/6/MaxPool_output_0", "/14/Flatten_output_0")]
    assert moved == [np.inf, np.inf]


def test_equalization_alone_is_no_error(tmp_path: Path) -> None:
    source, candidate = SAMPLES / "digits_mobile" / "model.onnx", tmp_path / "even.onnx"
    candidate.write_bytes(models.serialize(transform(prepare(models.load(source)), ("equalize",))))
    data = open_dataset(SAMPLES / "digits_mobile" / "eval", Session(source).signature)
    found = compare_layers(source, candidate, data.choose(12, 0), threads=1)
    assert sum(row.rescaled for row in found.errors) >= 12
    assert all(row.own_db > 100 and row.sqnr_db > 90 for row in found.errors)


@pytest.mark.slow
def test_equalized_layers_are_as_good_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text("algorithms = []\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "even.toml").write_text('algorithms = ["equalize"]\n')
    recipe = ["--recipe", str(tmp_path / "even.toml")]
    even = layers(quantized("digits_mobile", tmp_path, *recipe))
    recipe = ["--recipe", str(tmp_path / "plain.toml")]
    plain = layers(quantized("digits_mobile", tmp_path / "plain", *recipe))
    assert sum(row.rescaled for row in even.errors) >= 12
    assert not any(row.rescaled for row in plain.errors)
    assert even.errors[0].own_db > 34 > 26 > plain.errors[0].own_db
    left, right = ({r.tensor: r for r in each.errors} for each in (even, plain))
    assert left.keys() == right.keys()
    # The layers that equalization leaves alone are the same ones.
    assert left["hardtanh_2"].own_db == pytest.approx(right["hardtanh_2"].own_db, abs=0.1)
    assert left["logits"].sqnr_db > right["logits"].sqnr_db + 20


@pytest.mark.slow
def test_a_mask_is_no_error(tmp_path: Path) -> None:
    found = layers(quantized("text_transformer", tmp_path))
    assert not found.unmatched
    assert all(row.sqnr_db > 20 for row in found.errors)
    assert all(row.node for row in found.errors)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["w8", "w4b32", "fp16"])
def test_weights_alone(scheme: str, tmp_path: Path) -> None:
    found = layers(quantized("digits_mobile", tmp_path, "--scheme", scheme))
    assert not found.unmatched
    lossy = {row.op_type for row in found.errors if row.own_db < 100}
    assert lossy == {"Conv", "Gemm"}
    assert all(row.clipped is None for row in found.errors)


LAYERS = """
import sys
from pathlib import Path
from qtool import model
from qtool.compare.layers import compare_layers
from qtool.data import open_dataset
reference, candidate, data, count = sys.argv[1:]
used = open_dataset(Path(data), model.signature(model.load(Path(reference)))).choose(int(count), 0)
assert compare_layers(Path(reference), Path(candidate), used, threads=1).errors
"""


def peak(reference: Path, candidate: Path, data: Path, count: int) -> float:
    arguments = [str(each) for each in (reference, candidate, data, count)]
    found = peak_mb(sys.executable, "-c", LAYERS, *arguments)
    assert found is not None
    return found


@pytest.mark.slow
def test_many_samples_take_no_more_memory_than_few(tmp_path: Path) -> None:
    reference, candidate, _ = quantized("digits_mobile", tmp_path)
    images = np.load(SAMPLES / "digits_mobile" / "eval" / "image.npy")
    np.save(tmp_path / "image.npy", np.resize(images, (400, *images.shape[1:])))
    few, many = (peak(reference, candidate, tmp_path / "image.npy", n) for n in (20, 400))
    assert many - few < 20


@pytest.mark.slow
def test_large_tensors_are_not_held(tmp_path: Path) -> None:
    """Thirty tensors of 16 MB each in three models, of which a run holds few at once."""
    nodes = " ".join(f"a{i + 1} = Conv(a{i}, w{i}) " for i in range(30))
    graph = f"g (float[N,4,H,W] a0) => (float[N,4,H,W] a30) {{ {nodes} }}"
    paths = [
        save(
            tmp_path / f"{seed}.onnx",
            graph,
            **{
                f"w{i}": weight(4, 4, 1, 1) + 0.01 * normal(4, 4, 1, 1, seed=seed)
                for i in range(30)
            },
        )
        for seed in (2, 3)
    ]
    np.save(tmp_path / "large.npy", normal(1, 4, 1024, 1024))
    np.save(tmp_path / "small.npy", normal(1, 4, 8, 8))
    large, small = (
        peak(paths[0], paths[1], tmp_path / f"{size}.npy", 1) for size in ("large", "small")
    )
    assert large - small < 200, "90 of them would take 1,440 MB"
