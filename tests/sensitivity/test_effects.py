"""What each tensor alone does: against exact figures, and where that is harder to say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from qtool import model as models
from qtool import workflow
from qtool.apart import open_model
from qtool.compare.layers import compare_layers
from qtool.data import open_dataset
from qtool.recipe import Recipe
from qtool.sensitivity.effects import Effects, effects_of
from qtool.sensitivity.ranking import ranking
from qtool.target import load_target
from qtool.workflow import Job
from tests import test_control_flow
from tests.data.stateful import CARRY, files, recurrent
from tests.models import Array, normal, save, weight
from tests.sensitivity.alone import alone, made

TWO = "g (float[N,16] x) => (float[N,8] y) { h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"
W, V = weight(16, 16), weight(16, 8, seed=2)
X = normal(24, 16, seed=3)


def exact(job: Job, model: object, x: Array) -> float:
    """Noise over power, over all samples, the mean of all outputs."""
    before = open_model(job.model, threads=1).run({"x": x})
    after = open_model(model, threads=1).run({"x": x})  # type: ignore[arg-type]
    shares = [((after[n] - y) ** 2).sum() / (y**2).sum() for n, y in before.items()]
    return float(np.mean(shares))


def test_of_two_sources_all_is_known_exactly(tmp_path: Path) -> None:
    """Each meets every sample then."""
    path = save(tmp_path / "m.onnx", TWO, w=W, v=V)
    job, plan, data = made(path, Recipe(scheme="w4"), X)
    effects = effects_of(job.model, job.sites, plan, data)
    assert len(effects.weights) == 2
    assert effects.runs == 2 * len(data)
    for key, found in effects.weights.items():
        assert found == pytest.approx(exact(job, alone(job, plan, key), X), rel=1e-4)


def test_activations_and_weights_add_up_to_the_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", TWO, w=W, v=V)
    job, plan, data = made(path, Recipe(scheme="w8a8"), np.tile(X, (8, 1)))
    candidate = tmp_path / "q.onnx"
    candidate.write_bytes(workflow.build(job, workflow.measure(job, data)).data)
    effects = effects_of(job.model, job.sites, plan, data, candidate=candidate)
    assert set(effects.activations) == set(job.sites.sources)
    assert 10 * abs(math.log10(effects.total / effects.whole)) < 1.5


def test_outputs_count_alike_whatever_their_size(tmp_path: Path) -> None:
    """The mean of both, though one is 1,000 times as loud; a label is no real number."""
    graph = """g (float[N,16] x) => (float[N,16] h, float[N,8] y, int64[N,1] label) {
        a = MatMul(x, w) h = Mul(a, loud) r = Relu(a) y = MatMul(r, v)
        label = ArgMax<axis=1>(y) }"""
    path = save(tmp_path / "m.onnx", graph, w=W, v=V, loud=np.float32(1000))
    job, plan, data = made(path, Recipe(scheme="w4"), X)
    effects = effects_of(job.model, job.sites, plan, data)
    of_w, of_v = effects.weights.values()
    model = alone(job, plan, next(iter(effects.weights)))
    before, after = (open_model(each, threads=1).run({"x": X}) for each in (job.model, model))
    shares = [((after[n] - before[n]) ** 2).sum() / (before[n] ** 2).sum() for n in "hy"]
    assert of_w == pytest.approx(np.mean(shares), rel=1e-4)
    assert of_w > of_v > 0


def test_no_output_of_real_numbers_is_not_known(tmp_path: Path) -> None:
    graph = "g (float[N,16] x) => (int64[N,1] y) { a = MatMul(x, w) y = ArgMax<axis=1>(a) }"
    job, plan, data = made(save(tmp_path / "m.onnx", graph, w=W), Recipe(scheme="w8"), X)
    effects = effects_of(job.model, job.sites, plan, data)
    assert [math.isnan(each) for each in effects.weights.values()] == [True]


def test_of_probabilities_the_logarithm_counts(tmp_path: Path) -> None:
    """So that the samples in doubt are not all that counts."""
    graph = TWO.replace("y = MatMul(r, v)", "z = MatMul(r, v) y = Softmax(z)")
    logs = graph.replace("Softmax", "LogSoftmax")
    found = []
    for name, text in (("soft", graph), ("log", logs)):
        path = save(tmp_path / f"{name}.onnx", text, w=W, v=V)
        job, plan, data = made(path, Recipe(scheme="w4"), X)
        found.append(effects_of(job.model, job.sites, plan, data).weights)
    assert found[0] == found[1]


def test_a_layer_made_bad_comes_first(tmp_path: Path) -> None:
    """A huge weight, that multiplies zeros, takes all codes for itself."""
    graph = "g (float[N,16] x) => (float[N,16] y) { "
    graph += "a = MatMul(x, w0) b = MatMul(a, w1) c = MatMul(b, w2) y = MatMul(c, w3) }"
    weights = {f"w{i}": weight(16, 16, seed=i) for i in range(4)}
    weights["w1"][:, 3], weights["w2"][3, 5] = 0, 40
    path = save(tmp_path / "m.onnx", graph, **weights)
    job, plan, data = made(path, Recipe(scheme="w8t"), X)
    effects = effects_of(job.model, job.sites, plan, data)
    layers = ranking(job, plan, effects)
    assert layers[0].node == _reader(job, "w2")
    assert layers[0].share > 0.8
    assert sum(layer.share for layer in layers) == pytest.approx(1)


def _reader(job: Job, name: str) -> str:
    return next(
        n.name or "" for n in job.model.graph if any(v and v.name == name for v in n.inputs)
    )


@pytest.mark.parametrize("name", test_control_flow.MODELS)
def test_models_with_bodies(name: str, tmp_path: Path) -> None:
    path, x = test_control_flow.stored(name, tmp_path)
    job, plan, data = made(path, Recipe(), x)
    effects = effects_of(job.model, job.sites, plan, data)
    known = [*effects.activations.values(), *effects.weights.values()]
    assert all(math.isfinite(each) and each >= 0 for each in known)
    assert max(known) > 0


def test_a_state_carries_noise_over(tmp_path: Path) -> None:
    """One source is on for a whole sequence: its noise grows from step to step."""
    job, effects = _recurrent(tmp_path, 4)
    assert all(each > 0 for each in effects.weights.values())
    assert len(effects.weights) == 3
    session = open_model(job.model, threads=1)
    assert "state_in" in {spec.name for spec in session.signature.inputs}


def test_a_sequence_is_cut_where_there_are_few(tmp_path: Path) -> None:
    _, effects = _recurrent(tmp_path, 1)
    assert effects.runs == 3
    assert all(math.isfinite(each) for each in effects.weights.values())


def _recurrent(folder: Path, sequences: int) -> tuple[Job, Effects]:
    path = recurrent(folder)
    job = workflow.open_job(path, Recipe(scheme="w4"), load_target("cpu"), threads=1)
    place = files(folder / "data", [normal(6, 3, seed=30 + i) for i in range(sequences)])
    assert CARRY in (place / "qtool.toml").read_text()
    data = open_dataset(place, job.signature)
    plan = workflow.build(job, None).plan
    return job, effects_of(job.model, job.sites, plan, data)


def test_own_errors_are_those_of_the_layer_and_its_clamp(tmp_path: Path) -> None:
    """Weights of four bits show before the clamp, the codes of what it gives behind it."""
    graph = """g (float[N,4,8,8] x) => (float[N,4,8,8] y) {
        a = Conv<pads=[1,1,1,1]>(x, k) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, l) }"""
    path = save(tmp_path / "m.onnx", graph, k=weight(4, 4, 3, 3), l=weight(4, 4, 3, 3, seed=2))
    job, plan, data = made(path, Recipe(scheme="w4"), normal(8, 4, 8, 8, seed=6))
    (tmp_path / "q.onnx").write_bytes(workflow.build(job, None).data)
    (tmp_path / "float.onnx").write_bytes(models.serialize(job.model))
    errors = compare_layers(tmp_path / "float.onnx", tmp_path / "q.onnx", data).errors
    effects = effects_of(job.model, job.sites, plan, data)
    own = {layer.node: layer.own_db for layer in ranking(job, plan, effects, errors)}
    assert set(own) == {"a", "y"}
    assert all(10 < each < 35 for each in own.values())
