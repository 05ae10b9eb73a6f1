"""From a model and samples to a quantized model that was learned; torch is imported when it is due.

    post-training   ranges, codes and biases as `qtool quantize` chooses them, on the samples to
                    learn from; `--layerwise` tries what each preset does, and ends there
    learning        gradient descent from there on (`qtool.tune.study`)

The samples set apart judge it, as `qtool compare` does. It ends as soon as the target is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from qtool import model as models
from qtool import workflow
from qtool.errors import missing_extra
from qtool.recipe import Recipe, preset
from qtool.refine import Done, refine
from qtool.refine.samples import drawn, learned
from qtool.refine.state import State
from qtool.search.making import Maker
from qtool.tune.course import Course, Learning, Told, Verdict
from qtool.tune.examiner import Examiner, Found
from qtool.workflow import Job, Quantized

PRESETS = ("balanced", "accurate")  # what `--layerwise` tries after what was asked for


@dataclass(frozen=True)
class Tuned:
    """The best that was found, and the job that it is of; what post-training was worth, and each
    stage that was judged, by one measure. `went_on`: from where an interrupted run was; `replaced`:
    what was kept of another run."""

    job: Job
    quantized: Quantized
    post: Found
    best: Found
    stages: tuple[tuple[str, Verdict], ...] = ()
    went_on: bool = False
    replaced: bool = False


def layerwise(
    maker: Maker, recipe: Recipe, examiner: Examiner, say: Callable[[str], None] = lambda what: None
) -> Tuned:
    """The best of post-training: the recipe, then what other presets list; until one is enough.

    Raises:
        QtoolError: as making and comparing.
    """
    best: Tuned | None = None
    stages = list[tuple[str, Verdict]]()
    for name, each in _recipes(recipe):
        say(name)
        made = maker.make(maker.job(each))
        found = examiner.of(made.quantized.data)
        stages.append((name, found.verdict))
        if best is None or found.better(best.best):
            post = best.post if best else found
            best = Tuned(made.job, made.quantized, post, found)
        if found.verdict.met:
            break
    assert best is not None
    return replace(best, stages=tuple(stages))


def tune(
    maker: Maker,
    recipe: Recipe,
    examiner: Examiner,
    course: Course,
    learning: Learning,
    *,
    output: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda what: None,
    began: Callable[[Tuned], None] = lambda post: None,
    told: Told = lambda progress: None,
) -> Tuned:
    """Learn, from what post-training gives on.

    Args:
        maker: with the samples to learn from.
        output: where the result will be; beside it is kept what an interrupted run has learned,
            and `identity` is all that must agree for another run to go on from there.
        say: is told what is done now.
        began: is told what post-training was worth, before anything is learned.
        told: is told of each epoch.

    Raises:
        MachineError: torch is not installed.
        ModelError: an operator cannot be differentiated, or there is nothing to learn.
        DataError: a sample cannot be read or fed, or labels are about none of the outputs.
        UsageError: what was kept lies where another file is.
    """
    study = _torch()
    assert maker.data is not None
    journal = None
    if output is not None:
        journal = study.Journal(output, identity or {})
    job = maker.job(recipe)
    say("measuring ranges")
    ranges = maker.ranges(job)
    samples = drawn(maker.data, maker.batch_size, learned(recipe))
    begun = workflow.start(job, ranges, samples, maker.memory)
    study.require_rows(begun)  # before codes are chosen, which takes long
    refined, done = refine(begun, recipe.algorithms, say)
    made = _written(refined, done)
    post = examiner.of(made.data)
    first = Tuned(job, made, post, post)
    if journal is not None:
        first = replace(first, went_on=journal.went_on, replaced=journal.replaced)
    began(first)
    if post.verdict.met:
        return first
    say("preparing to learn")
    found = study.Study(
        job, begun, (refined, post), maker.data, examiner, course, learning,
        journal=journal, say=say, told=told,
    ).run()  # fmt: skip
    if found.state is not refined:
        made = _written(found.state, ())
    return replace(first, quantized=made, best=found.found, stages=found.stages)


def _written(state: State, done: tuple[Done, ...]) -> Quantized:
    return Quantized(models.serialize(state.quantized()), state.plan, done)


def _torch() -> ModuleType:
    try:
        from qtool.tune import study
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise missing_extra("qtool tune", "torch", "tune") from error
    return study


def _recipes(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    yield "as asked", recipe
    seen = [recipe]
    for name in PRESETS:
        named = preset(name)
        algorithms = tuple(named["algorithms"])
        other = recipe.model_copy(update={"algorithms": algorithms})
        if other not in seen:
            seen.append(other)
            yield name, other
