"""Gradient descent makes the file better, ends where it should, and gives one result by seed."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from qtool import model as models
from qtool.data.dataset import Dataset
from qtool.recipe import Recipe
from qtool.refine.state import State
from qtool.refine.taps import Taps
from qtool.tune import learn
from qtool.tune.course import Course, Progress, Verdict
from qtool.tune.learn import Learner
from qtool.tune.losses import Loss
from qtool.tune.net import Net
from qtool.workflow import Job
from tests.models import normal, save, sqnr, weight
from tests.tune.nets import lessons_of, net_of, started, written

MLP = """g (float[N,12] x) => (float[N,6] y) {
    a = MatMul(x, w1) b = Add(a, c1) h = Relu(b) m = MatMul(h, w2) y = Add(m, c2) }"""
COURSE = Course(epochs=12, batch_size=16, rate=0.01)


def mlp(folder: Path) -> tuple[Path, Path]:
    path = save(
        folder / "m.onnx", MLP,
        w1=weight(12, 40), c1=normal(40, seed=5) / 4,
        w2=weight(40, 6, seed=2), c2=normal(6, seed=6),
    )  # fmt: skip
    mixed = normal(12, 12, seed=7)
    np.save(folder / "x.npy", (normal(120, 12, seed=8) @ mixed).astype(np.float32))
    return path, folder / "x.npy"


class Classroom:
    """A net, samples to learn from, and others to judge on."""

    def __init__(self, job: Job, state: State, data: Dataset, course: Course = COURSE) -> None:
        self.job, self.state, self.net = job, state, net_of(job, state)
        self.loss = Loss(self.net.part.ends, self.net.layers)
        self._apart = lessons_of(job, state, data.take(range(90, 120)), self.net)
        lessons = lessons_of(job, state, data.take(range(90)), self.net)
        self.learner = Learner(self.net, lessons, self.loss, self.judge, course)

    def judge(self, net: Net, *_: Any) -> Verdict:
        with torch.no_grad():
            (lesson,) = self._apart.batches(64)
            return Verdict(float(self.loss.of(net, lesson)))

    def file(self) -> bytes:
        return models.serialize(written(self.job, self.state, self.net))


@pytest.mark.parametrize("scheme", ["w2", "w3", "w2k", "w2b16", "w3a8"])
def test_learning_beats_the_nearest_codes(scheme: str, tmp_path: Path) -> None:
    path, rows = mlp(tmp_path)
    job, state, data = started(path, rows, Recipe(scheme=scheme, placement="all"))
    here, again = Classroom(job, state, data), Classroom(job, state, data)
    first = here.judge(here.net)
    best = here.learner.run()
    again.learner.run()
    assert here.file() == again.file(), "a seed gives one result"
    assert best.distance < first.distance
    assert here.judge(here.net).distance == best.distance, "the net ends as it was best"
    x = np.load(rows)[90:]
    real, before, after = (
        Taps(model, ["y"], threads=1).run({"x": x})["y"]
        for model in (job.model, state.quantized(), models.parse(here.file()))
    )
    assert sqnr(real, after) > sqnr(real, before) + 1


def test_another_seed_gives_another_result(tmp_path: Path) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    found = []
    for seed in (0, 1):
        here = Classroom(job, state, data, Course(epochs=2, seed=seed))
        here.learner.run()
        found.append(here.file())
    assert found[0] != found[1]


def test_a_run_goes_on_from_any_epoch_to_the_same_bits(tmp_path: Path) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    whole, kept = Classroom(job, state, data), list[dict[str, Any]]()
    expected = whole.learner.run(keep=kept.append)
    path = tmp_path / "snapshot"
    for snapshot in (kept[0], kept[4], kept[-1]):
        torch.save(snapshot, path)
        torch.manual_seed(9)
        for source in (snapshot, torch.load(path, weights_only=True)):
            again = Classroom(job, state, data)
            again.learner.load(source)
            assert again.learner.run().distance == expected.distance
            assert again.file() == whole.file()


@pytest.mark.parametrize("rate", [1e4, math.inf])
def test_what_diverges_ends_as_it_was_best(rate: float, tmp_path: Path) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    here = Classroom(job, state, data, Course(epochs=6, rate=rate))
    first = {name: each.clone() for name, each in here.net.state_dict().items()}
    told = list[Progress]()
    here.learner.judge = lambda *_: Verdict(1.0)
    here.learner.run(told.append)
    assert told[-1].restarts > 0
    assert [progress.epoch for progress in told] == list(range(len(told)))
    assert all((each == first[name]).all() for name, each in here.net.state_dict().items())


def test_what_diverges_once_still_learns(tmp_path: Path) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    here = Classroom(job, state, data, Course(epochs=20, batch_size=16, rate=2.0))
    first, told = here.judge(here.net), list[Progress]()
    found = here.learner.run(told.append)
    assert told[-1].restarts > 0
    assert found.distance < first.distance
    assert here.judge(here.net).distance == found.distance


def test_the_target_ends_it(tmp_path: Path) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    met = iter([False, False, True])
    here = Classroom(job, state, data, Course(epochs=9))
    told = list[Progress]()
    here.learner.judge = lambda *_: Verdict(1.0, met=next(met))
    assert here.learner.run(told.append).met
    assert told[-1].epoch == 2


def test_no_gain_ends_it(tmp_path: Path) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    here = Classroom(job, state, data, Course(epochs=9, patience=3))
    told = list[Progress]()
    here.learner.judge = lambda *_: Verdict(1.0)
    here.learner.run(told.append)
    assert told[-1].epoch == 3


def test_one_lucky_epoch_is_not_what_is_kept(tmp_path: Path) -> None:
    """Of 30 epochs the last two say together what learning is worth."""
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w2"))
    here = Classroom(job, state, data, Course(epochs=30))
    given = iter([1.0, 0.4, *[0.9] * 10, 0.6, 0.6, *[0.9] * 30])
    told = list[Progress]()
    here.learner.judge = lambda *_: Verdict(next(given))
    assert here.learner.run(told.append).distance == pytest.approx(0.6)
    gains = [now.epoch for before, now in pairwise(told) if now.best != before.best]
    assert gains == [1, 2, 13], "(1 + 0.4) / 2, (0.4 + 0.9) / 2, 0.6: not 0.4"


def test_at_the_end_weights_stand_in_the_middle_of_their_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, state, data = started(*mlp(tmp_path), Recipe(scheme="w3"))

    def beside() -> float:
        """How far from the middle the last average is, over the size of a weight."""
        here = Classroom(job, state, data, Course(epochs=60, batch_size=16, rate=0.02))
        here.learner.run()
        here.net.load_state_dict(here.learner.state()["average"])
        ended = [each.detach().clone() for each in here.net.coded()]
        here.net.pull(1.0)
        pairs = zip(ended, (each.detach() for each in here.net.coded()), strict=True)
        return max(float((x - y).norm() / y.norm()) for x, y in pairs)

    pulled = beside()
    monkeypatch.setattr(learn, "_PULL", 0.0)
    free = beside()
    assert pulled < 0.7 * free
