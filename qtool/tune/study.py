"""From a plan to a better one: stages of learning, of which each starts where the last ended.

    activations   weights and biases are floats and learn to live with quantized activations, and
                  these learn their scales; then codes are chosen as `quantize` chooses them. Only
                  where activations have fewer than 8 bits: of more there is nothing to get used to
    codes         all is quantized, and all is learned: weights cross from code to code
    scales        codes are held, those that are best so far, and scales and biases are fitted

What a stage learned is kept if the loss on samples set apart says so, and the metric does not say
surely otherwise; `codes` starts from what was learned before it anyway. A file is made and examined
whenever that loss is the least so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from qtool.algorithms import listed, of_stage
from qtool.data.dataset import Dataset
from qtool.errors import DataError
from qtool.plan.plan import Plan
from qtool.refine import refine
from qtool.refine.samples import ROUNDERS
from qtool.refine.state import State
from qtool.tune.carry import carried, exact, held, unrounded
from qtool.tune.columns import columns_of
from qtool.tune.course import Course, Learning, Told, Verdict
from qtool.tune.cut import first_of, part_of
from qtool.tune.examiner import Examiner, Found
from qtool.tune.fit import fit
from qtool.tune.journal import Journal
from qtool.tune.learn import Learner
from qtool.tune.lessons import Lessons
from qtool.tune.losses import Loss, labelled, spread
from qtool.tune.net import Net
from qtool.workflow import Job

POST, ACTIVATIONS, CODES, SCALES = "post-training", "activations", "codes", "scales"
_AT_ONCE, _ENOUGH = 64, 384  # samples that are judged in one batch, and that tell enough
_LARGEST = 1e15  # beyond it are masks: the squares of their errors would be all there is


@dataclass(frozen=True)
class Studied:
    """The best state, what it is worth, and what post-training and each stage ended with."""

    state: State
    found: Found
    stages: tuple[tuple[str, Verdict], ...]


class Study:
    """One run of all stages.

    Args:
        job: the model as it is quantized.
        begun: the plan for it, and that plan refined on samples (`post`).
        data: samples to learn from.

    Raises:
        ModelError: an operator has no row, or there is nothing to learn.
        DataError: there is nothing to learn from in the labels.
    """

    def __init__(
        self,
        job: Job,
        begun: State,
        post: tuple[State, Found],
        data: Dataset,
        examiner: Examiner,
        course: Course,
        learning: Learning,
        *,
        journal: Journal | None = None,
        say: Callable[[str], None] = lambda what: None,
        told: Told = lambda progress: None,
    ) -> None:
        torch.set_num_threads(job.threads or 1)
        few = _few(begun.plan)
        self._course = replace(course, rate=course.rate / 10) if few else course
        self._job, self._begun, self._examiner = job, begun, examiner
        self._best, self._journal, self._say, self._told = post, journal, say, told
        self._held = held(job.model, job.sites, job.target)
        net = Net(begun.model, begun.plan, self._held)
        judged = (*net.part.given, *net.part.ends)
        taught = (*judged, *net.layers)
        unit = job.signature.without(data.states).batch
        labels, apart = (columns_of(job.model.graph, each) for each in (data, examiner.apart))
        self._lessons, self._apart = (
            Lessons(begun.model, each, names, truth if learning.labels else None, unit=unit)
            for each, names, truth in ((data, taught, labels), (examiner.apart, judged, apart))
        )
        within = self._lessons.within((*net.part.ends, *net.layers), _LARGEST)
        ends = tuple(name for name in net.part.ends if name in within) or net.part.ends
        layers = tuple(name for name in net.layers if name in within)
        self._loss = Loss(ends, layers, distils=learning.floats, classes=examiner.classes)
        if learning.labels and labels is not None:
            self._loss = self._with_labels(labels, course)
        self._test = self._tested(apart)
        self._stages: list[tuple[str, Verdict]] = []

    def run(self) -> Studied:
        """Learn, until the target is met or there is no stage left."""
        start, found = self._best
        net = Net(start.model, start.plan, self._held)
        verdict = replace(found.verdict, distance=self._distance(net))
        self._best = start, replace(found, verdict=verdict)
        self._stages.append((POST, verdict))
        for stage in _stages(start.plan):
            if self._best[1].verdict.met:
                break
            start = self._staged(stage, self._best[0] if stage == SCALES else start)
        return Studied(*self._best, tuple(self._stages))

    def _staged(self, stage: str, start: State) -> State:
        """Learn, keep what is better; the state that it ended with."""
        begun = self._begun if stage == ACTIVATIONS else start
        net = self._net_of(stage, begun)
        if stage == ACTIVATIONS:
            self._say("choosing codes again")
            now = unrounded(begun, net)
            now = replace(now, reference=exact(now).quantized())
            ended, _ = refine(now, _rounders(self._job.recipe.algorithms))
            ended = replace(ended, reference=None)
        else:
            ended = carried(begun, net, self._job.target)
        net = Net(ended.model, ended.plan, self._held)
        found = self._examined(ended, self._distance(net))
        self._stages.append((stage, found.verdict))
        if found.better(self._best[1]):
            self._best = ended, found
        return ended

    def _net_of(self, stage: str, begun: State) -> Net:
        """What a stage learns from a state on, or an interrupted run has learned."""
        net = Net(begun.model, begun.plan, self._held, exact=stage == ACTIVATIONS)
        known = self._journal.ended.get(stage) if self._journal else None
        if known is not None:
            net.load_state_dict(known)
        elif stage == SCALES:
            self._say("fitting scales and biases")
            fit(net, self._lessons, self._loss, self._course.batch_size)
        else:
            self._learned(stage, net, begun)
        return net

    def _distance(self, net: Net) -> float:
        """The loss on the samples set apart, and on mixtures of them where they are few: with few
        bits all wavers, since small changes turn many codes."""
        total, count, rng = 0.0, 0, np.random.default_rng(self._course.seed)
        with torch.no_grad():
            while True:
                mixed = count > 0
                for lesson in self._apart.batches(_AT_ONCE, rng if mixed else None, mixed=mixed):
                    total += float(self._test.of(net, lesson)) * len(lesson.plain)
                    count += len(lesson.plain)
                if not 0 < count < _ENOUGH or not self._apart.mixes:
                    return total / max(1, count)

    def _examined(self, state: State, distance: float) -> Found:
        found = self._examiner.of(state.quantized())
        return replace(found, verdict=replace(found.verdict, distance=distance))

    def _learned(self, stage: str, net: Net, begun: State) -> None:
        def judge(net: Net, least: float) -> Verdict:
            distance = self._distance(net)
            if stage == ACTIVATIONS or not distance < least:
                return Verdict(distance)  # floats are not what was asked for, however good they are
            return self._examined(carried(begun, net, self._job.target), distance).verdict

        learner = Learner(net, self._lessons, self._loss, judge, self._course, stage)
        journal = self._journal
        if journal is None:
            learner.run(self._told)
            return
        if journal.running is not None and journal.running[0] == stage:
            learner.load(journal.running[1])
        learner.run(self._told, lambda snapshot: journal.keep(stage, snapshot))
        journal.end(stage, net.state_dict())

    def _with_labels(self, labels: NDArray[np.generic], course: Course) -> Loss:
        name = self._about(self._lessons, labels)
        if not name:
            kind = f"labels of type {labels.dtype} and shape {labels.shape}"
            if labels.dtype.kind != "f" and labels.size:
                kind += f", {labels.min()} to {labels.max()},"
            raise DataError(
                f"{kind} cannot be learned from",
                "no output has a score for each class from 0 on, or a number for each label",
                "check the labels; --learn-from float  learns from the model itself",
            )
        return replace(self._loss, labelled=name, spread=spread(labels), decay=course.decay)

    def _about(self, lessons: Lessons, labels: NDArray[np.generic]) -> str:
        lesson = next(lessons.batches(2))
        return labelled(self._loss.ends, lesson.values, torch.from_numpy(labels))

    def _tested(self, labels: NDArray[np.generic] | None) -> Loss:
        """What samples set apart are judged by: the float model, if their labels are none, or about
        something else than those that are learned from."""
        test = replace(self._loss, layers=(), decay=0.0)
        name = "" if labels is None or not test.labelled else self._about(self._apart, labels)
        return test if name == test.labelled else replace(test, labelled="", distils=True)


def require_rows(begun: State) -> None:
    """ModelError where an operator between learned weights has no row."""
    part_of(begun.model.graph, first_of(begun.model.graph, begun.plan))


def _stages(plan: Plan) -> list[str]:
    """Those that there is something to learn in."""
    return [ACTIVATIONS, CODES, SCALES] if _few(plan) and plan.weights else [CODES, SCALES]


def _few(plan: Plan) -> bool:
    """Whether activations have fewer than 8 bits."""
    return any(tensor.few for tensor in plan.activations.values())


def _rounders(algorithms: Sequence[str]) -> list[str]:
    """Those of the recipe that choose codes, else the default's."""
    names = of_stage(algorithms, "refinement")
    return [name for name in names if listed(name).name in ROUNDERS] or ["gptq<8"]
