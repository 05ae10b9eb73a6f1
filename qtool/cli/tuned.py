"""What `qtool tune` shows: where learning is, what it was worth, and whether that is enough."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qtool.cli.searched import interval

if TYPE_CHECKING:
    from pathlib import Path

    from qtool.cli.tuning import Asked, Parts
    from qtool.compare.truth.custom import Scorer
    from qtool.search.budget import Budget
    from qtool.tune.course import Progress
    from qtool.tune.examiner import Examiner
    from qtool.tune.tuning import Tuned
    from qtool.workflow import Job

_STAGES = {"activations": "activations, weights in float"}  # what is meant by a stage's name


class Telling:
    """Says what is done now and how far it is: in a bar, or in lines from time to time; and in a
    line for each stage that ended, and each time that it diverged."""

    def __init__(self, budget: Budget, bar: Any = None) -> None:
        from qtool.cli.console import paced

        self._budget, self._bar, self._due = budget, bar, paced()
        self._last: Progress | None = None
        self._first = ""  # loss of the stage's first epoch, if this run has seen it

    def say(self, what: str) -> None:
        """Something that has no epochs."""
        self._draw(what)

    def told(self, now: Progress) -> None:
        """An epoch has ended, or a stage is about to begin."""
        from qtool.cli.console import err, paced
        from qtool.cli.show import advice

        before = self._last
        if before is None or before.stage != now.stage:
            self.ended()
            self._due, self._first, before = paced(), "", None
        if before is not None and before.epoch == 0:
            self._first = f"{now.loss:.3g} -> "
        if now.restarts > (before.restarts if before else 0):
            advice(
                f"{now.stage}: epoch {now.epoch} diverged, with a loss of {now.loss:.3g}: what was "
                "best is restored, and goes on at a third of the rate"
            )
        self._last = now
        self._draw(now.stage, now)
        if self._bar is None and now.epoch and self._due(now.epoch / now.epochs):
            line = f"{now.stage}: epoch {now.epoch} of {now.epochs}, {self._worth(now)}"
            err.print(line, markup=False)

    def ended(self) -> None:
        """The stage that was told of last has ended, if there was one."""
        from qtool.cli.console import err

        last, self._last = self._last, None
        if last is not None:
            epochs = f"{last.epoch} epoch{'' if last.epoch == 1 else 's'}"
            name = _STAGES.get(last.stage, last.stage)
            err.print(f"  {name}: {epochs}, {self._worth(last, self._first)}", markup=False)

    def _worth(self, now: Progress, first: str = "") -> str:
        loss = f"loss {first}{now.loss:.3g}, " if now.epoch else ""
        return ", ".join([f"{loss}set apart {now.best.distance:.3g} at best", *self._lost(now)])

    def _lost(self, now: Progress) -> list[str]:
        """In the metric, where that is known."""
        lost = f"{self._budget.metric} lost {self._budget.shown(now.best.lost)}"
        return [] if math.isnan(now.best.lost) else [lost]

    def _draw(self, what: str, now: Progress | None = None) -> None:
        """In the bar; what has no epochs has one without an end."""
        bar = self._bar
        if bar is None:
            return
        if now is None or not now.epoch or not bar.task_ids:
            for task in list(bar.task_ids):
                bar.remove_task(task)
            bar.add_task(what, total=None, count="", worth="")
        if now is not None:
            count = f"{now.epoch}/{now.epochs} epochs"
            loss = [f"loss {now.loss:.3g}"] if now.epoch else []
            bar.update(
                bar.task_ids[0], description=what, completed=now.epoch, total=now.epochs,
                count=count, worth=", ".join([*loss, *self._lost(now)]),
            )  # fmt: skip


@contextmanager
def telling(budget: Budget) -> Iterator[Telling]:
    """What to tell: a live bar on a terminal, lines elsewhere."""
    from qtool.cli.console import err

    if err.quiet or not sys.stderr.isatty():
        told = Telling(budget)
        yield told
        told.ended()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=12),
        TextColumn("{task.fields[count]}"), TimeRemainingColumn(),
        TextColumn("{task.fields[worth]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        told = Telling(budget, bar)
        yield told
        told.ended()


def learned(
    asked: Asked,
    job: Job,
    samples: Parts,
    scorers: Sequence[Scorer],
    output: Path,
    *,
    requantize: bool,
) -> tuple[Tuned, Examiner]:
    """The best that was found, with what there is to say on the way; and who judged it.

    Raises:
        QtoolError: as `tune` and `layerwise` of `qtool.tune.tuning`.
    """
    from qtool.cli.console import doing, err
    from qtool.cli.show import advice
    from qtool.cli.tuning import identity
    from qtool.files import discard_folder, temporary_folder
    from qtool.search.making import Maker
    from qtool.tune import tuning
    from qtool.tune.course import kept_beside
    from qtool.tune.examiner import Examiner

    recipe, folder, kept = job.recipe, temporary_folder(), kept_beside(output)
    how = {"batch_size": samples.unit, "threads": job.threads}
    try:
        with doing() as say:
            say("judging the model itself")
            examiner = Examiner(
                job.path, samples.judged, folder, target=asked.target_drop,
                metric=asked.metric or "", scorers=scorers, **how,
            )  # fmt: skip
        maker = Maker(job.path, job.target, samples.learned, folder, requantize=requantize, **how)
        if asked.layerwise:
            _given(samples, "to measure on", examiner, recipe.seed)
            with doing() as say:
                found = tuning.layerwise(maker, recipe, examiner, say)
        else:
            learning, course = asked.from_what(samples.learned, examiner), asked.to_learn(recipe)
            said = (("the float model", learning.floats), ("labels", learning.labels))
            words = " and ".join(name for name, used in said if used)
            _given(samples, f"to learn from, by {words}", examiner, recipe.seed)

            def began(post: Tuned) -> None:
                _post_training(post, examiner)
                if post.replaced:
                    advice(f"{kept} was of another run, with other options or data: begins anew")
                if post.went_on:
                    err.print(f"going on with what {kept} has", markup=False)

            known = identity(maker, asked, recipe, samples, course, learning)
            with telling(examiner.budget) as tell:
                found = tuning.tune(
                    maker, recipe, examiner, course, learning, output=output, identity=known,
                    say=tell.say, began=began, told=tell.told,
                )  # fmt: skip
        _kept(found, examiner, layerwise=asked.layerwise)
    except KeyboardInterrupt:
        if not asked.layerwise:
            begun = "the same command goes on where this one was"
            advice(begun if kept.exists() else "no epoch has ended: nothing is kept to go on with")
        raise
    finally:
        discard_folder(folder)
    return found, examiner


def _given(samples: Parts, words: str, examiner: Examiner, seed: int) -> None:
    """What is learned from and judged on, and the target, as it was understood."""
    from qtool.cli.console import err

    budget = examiner.budget
    target = "" if examiner.target is None else f", target {budget.shown(budget.limit)}"
    err.print(
        f"{len(samples.learned)} samples {words}; {len(samples.judged)} to judge on, by "
        f"{examiner.budget.metric}{target} (seed {seed}): none is in both",
        markup=False,
    )


def _post_training(found: Tuned, examiner: Examiner) -> None:
    """What there is before anything is learned."""
    from qtool.cli.console import err

    budget, loss = examiner.budget, found.post.loss
    lost = f"{budget.shown(loss.value)} (95 % interval {interval(loss, budget)})"
    err.print(f"post-training: {budget.metric} lost {lost}", markup=False)


def _kept(found: Tuned, examiner: Examiner, *, layerwise: bool) -> None:
    """What each stage was worth, by what chooses and in the metric, and which one is written."""
    from qtool.cli.console import err

    if len(found.stages) < 2:
        return
    budget, by = examiner.budget, "noise over signal" if layerwise else "loss"
    each = [
        f"{name} {verdict.distance:.3g} ({budget.shown(verdict.lost)})"
        for name, verdict in found.stages
    ]
    best = found.best.verdict
    name = next(name for name, verdict in found.stages if verdict == best)
    head = f"{by} set apart (and {budget.metric} lost)"
    worse = any(verdict.better(best) for _, verdict in found.stages)
    why = f", what has less is surely worse in {budget.metric}" if worse else ""
    err.print(f"{head}: {', '.join(each)}: kept {name}{why}", markup=False)


def result(found: Tuned, examiner: Examiner, asked: Asked) -> bool:
    """The loss, on stdout; whether the target is met, if there is one."""
    from qtool.cli.console import err, out

    budget, loss, met = examiner.budget, found.best.loss, found.best.verdict.met
    count = len(examiner.apart)
    line = (
        f"{budget.metric} lost {budget.shown(loss.value)} (95 % interval {interval(loss, budget)}) "
        f"on the {count} samples that chose it"
    )
    limit = budget.shown(budget.limit)
    if asked.target_drop is None:
        out.print(line, markup=False)
        return True
    over = "over" if loss.value > budget.limit else "not surely inside"
    out.print(f"{line}: {'inside' if met else over} the target of {limit}", markup=False)
    if met and loss.high > budget.limit:
        err.print(
            f"note: with {count} samples even equal models may differ by "
            f"{budget.shown(examiner.doubt)}: give more to be sure",
            markup=False,
        )
    return met


def missed(found: Tuned, examiner: Examiner, asked: Asked) -> None:
    """Say that the target was not met, and what to try."""
    from qtool.cli.console import complain

    budget, loss = examiner.budget, found.best.loss
    where = f"on the {len(examiner.apart)} samples to judge on"
    why = f"what was kept loses {budget.shown(loss.value)}, and is written all the same"
    learns = "leave out  --layerwise" if asked.layerwise else "give more  --epochs"
    if loss.value <= budget.limit:
        most = f"so few samples tell no more than that it loses at most {budget.shown(loss.high)}"
        why = f"what was kept loses {budget.shown(loss.value)} on them, but {most}"
        learns = "give more samples to judge on, in  --eval"
    complain(
        f"the target of {budget.shown(budget.limit)} was not met {where}",
        why,
        f"fix: {learns},  more samples in  --data,  more bits in  --scheme,  or a higher  "
        "--target-drop",
    )
