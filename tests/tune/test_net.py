"""The model in torch is the file that its plan gives, and learning makes that file better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool import workflow
from qtool.data import open_dataset
from qtool.errors import ModelError
from qtool.recipe import Recipe
from qtool.refine.samples import drawn
from qtool.refine.state import State
from qtool.refine.taps import Taps
from qtool.target import load_target
from tests.models import build, normal, save, sqnr, weight

torch = pytest.importorskip("torch")
from qtool.tune.carry import carried, held  # noqa: E402
from qtool.tune.learn import Course, Progress, Verdict, learn, loss_of  # noqa: E402
from qtool.tune.lessons import Lessons  # noqa: E402
from qtool.tune.net import Net  # noqa: E402

SAMPLES = Path("sample_models")
TARGET = load_target("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def started(path: Path, data_folder: Path, recipe: Recipe) -> tuple[workflow.Job, State, Any]:
    job = workflow.open_job(path, recipe, TARGET, threads=1)
    data = open_dataset(data_folder, job.signature)
    few = data.choose(24, 0)
    calibration = workflow.measure(job, few) if job.sites.sources else None
    deciding, plan = workflow._decided(job, workflow._histograms(job, calibration))
    return job, State(job.model, plan, drawn(few), 1, deciding), data


def same(job: workflow.Job, state: State, data: Any) -> None:
    """Each value of the net is that of the file, run without fused kernels."""
    net = Net(job.model, state.plan, held(job.model, job.sites, TARGET))
    written = carried(state, net, TARGET).quantized()
    own = {v.name for node in written.graph for v in node.outputs}
    floats = [v for node in job.model.graph for v in node.outputs if v.dtype is ir.DataType.FLOAT]
    names = [v.name or "" for v in floats if v.name in own]
    assert len(names) >= 3
    feeds = next(data.batches(1))
    expected = Taps(written, names, threads=1).run(feeds)
    with torch.no_grad():
        found = net({name: torch.from_numpy(np.array(x)) for name, x in feeds.items()})
    for name in names:
        scale = max(1e-6, float(np.abs(expected[name]).max()))
        assert np.abs(found[name].numpy() - expected[name]).max() <= 2e-5 * scale, name


SLOW = [
    pytest.param(name, scheme, marks=pytest.mark.slow)
    for name in ("digits_cnn", "digits_mobile", "digits_decoder", "text_gru", "text_transformer")
    for scheme in ("w4a4", "w2a8", "w4k")
]


@pytest.mark.parametrize(
    ("name", "scheme"), [("digits_mlp", "w3a8"), ("digits_cnn", "w4a8"), ("text_lstm", "w4"), *SLOW]
)
def test_the_net_is_the_file(name: str, scheme: str) -> None:
    folder = SAMPLES / name
    job, state, data = started(folder / "model.onnx", folder / "calib", Recipe(scheme=scheme))
    same(job, state, data)


MLP = """g (float[N,12] x) => (float[N,6] y) {
    a = MatMul(x, w1) b = Add(a, c1) h = Relu(b) m = MatMul(h, w2) y = Add(m, c2) }"""


def mlp(folder: Path) -> tuple[Path, Path]:
    path = save(
        folder / "m.onnx", MLP,
        w1=weight(12, 40), c1=normal(40, seed=5) / 4,
        w2=weight(40, 6, seed=2), c2=normal(6, seed=6),
    )  # fmt: skip
    mixed = normal(12, 12, seed=7)
    np.save(folder / "x.npy", (normal(120, 12, seed=8) @ mixed).astype(np.float32))
    return path, folder / "x.npy"


@pytest.mark.parametrize("scheme", ["w2", "w3", "w2k", "w2b16"])
def test_learning_beats_the_nearest_codes(scheme: str, tmp_path: Path) -> None:
    path, rows = mlp(tmp_path)
    job, state, data = started(path, rows, Recipe(scheme=scheme))
    names = [*job.model.graph.outputs, *(n.outputs[0] for n in job.model.graph)]
    tapped = list(dict.fromkeys(v.name or "" for v in names))
    lessons = Lessons(job.model, data.take(range(90)), tapped, threads=1)
    apart = Lessons(job.model, data.take(range(90, 120)), tapped, threads=1)

    def judge(net: Net) -> Verdict:
        (lesson,) = apart.batches(64, np.random.default_rng(0))
        with torch.no_grad():
            return Verdict(float(loss_of(net, lesson)))

    def run() -> tuple[bytes, float]:
        net = Net(job.model, state.plan, held(job.model, job.sites, TARGET))
        done = learn(net, lessons, judge, Course(epochs=15, batch_size=16))
        return models.serialize(carried(state, net, TARGET).quantized()), done.best.loss

    data_, best = run()
    again, _ = run()
    assert data_ == again, "a seed gives one result"
    x = np.load(rows)[90:]
    real, before, after = (
        Taps(model, ["y"], threads=1).run({"x": x})["y"]
        for model in (job.model, state.quantized(), models.parse(data_))
    )
    assert sqnr(real, after) > sqnr(real, before) + 1
    assert best < judge(Net(job.model, state.plan)).loss


def test_what_diverges_ends_as_it_was_best(tmp_path: Path) -> None:
    path, rows = mlp(tmp_path)
    job, state, data = started(path, rows, Recipe(scheme="w2"))
    lessons = Lessons(job.model, data, ["y"], threads=1)
    net = Net(job.model, state.plan)
    first = {name: each.clone() for name, each in net.state_dict().items()}
    told: list[Progress] = []
    done = learn(net, lessons, lambda net: Verdict(1.0), Course(epochs=6, rate=1e4), told.append)
    assert done.restarts > 0
    assert all((each == first[name]).all() for name, each in net.state_dict().items())
    assert [progress.epoch for progress in told] == list(range(len(told)))


def test_the_target_ends_it(tmp_path: Path) -> None:
    path, rows = mlp(tmp_path)
    job, state, data = started(path, rows, Recipe(scheme="w2"))
    lessons = Lessons(job.model, data, ["y"], threads=1)
    met = iter([False, False, True])
    done = learn(
        Net(job.model, state.plan),
        lessons,
        lambda net: Verdict(1.0, met=next(met)),
        Course(epochs=9),
    )
    assert done.epoch == 2
    assert done.best.met


def test_an_operator_without_a_row_is_named() -> None:
    model = build("g (float[N,4] x) => (float[N,4] y) { a = Relu(x) y = my.own.Blub(a) }",
                  extra='"my.own": 1')  # fmt: skip
    with pytest.raises(ModelError, match=r"my\.own\.Blub"):
        Net(model)
