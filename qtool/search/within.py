"""`--max-drop`, `--max-size`, `--target-bits`: the search for a plan inside all of them.

Sizes come first, since they are known without running anything: weights get fewer bits, those first
that spoil least, until the file is small enough. Then the ladder (`qtool.search.ladder`) is gone
down until the loss is inside the budget, as far as the size allows it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtool import workflow
from qtool.compare.judge import Progress, compare
from qtool.compare.result import Comparison
from qtool.compare.truth.custom import Scorer
from qtool.data.dataset import Dataset
from qtool.recipe import Recipe
from qtool.search.bounded import Trial, closest, descend, largest, taken_back
from qtool.search.budget import Budget, budget_for, loss_of
from qtool.search.journal import Journal
from qtool.search.ladder import filled, rungs, smaller, spaced
from qtool.search.making import Candidate, Maker
from qtool.search.noise import FLOAT, Choice, Noise, activations_of, weights_of_plans
from qtool.search.rules import Ruled, integers
from qtool.sensitivity.effects import effects_of
from qtool.workflow import Job

BITS = (2, 4, 8)
"""Bits that have a type of their own, and so a smaller file."""


@dataclass(frozen=True)
class Bounds:
    """What is asked for: each may be None. `metric` is "" for the best there is."""

    max_drop: str | None = None
    metric: str = ""
    max_size: int | None = None
    target_bits: float | None = None


@dataclass(frozen=True)
class Found:
    """The best candidate, how it was measured, and whether it is inside all bounds."""

    candidate: Candidate
    trial: Trial | None
    trials: tuple[Trial, ...]
    budget: Budget | None
    inside: bool
    fits: bool


class Within:
    """One search.

    Args:
        maker: makes candidates, on samples to calibrate on.
        recipe: what was asked for.
        selection: samples to choose on; None where no loss is bounded.
    """

    def __init__(
        self,
        maker: Maker,
        recipe: Recipe,
        bounds: Bounds,
        journal: Journal | None = None,
        selection: Dataset | None = None,
        *,
        scorers: Sequence[Scorer] = (),
        say: Callable[[str], None] = lambda what: None,
        step: Progress = lambda done, total: None,
        told: Callable[[Trial, Budget], None] = lambda trial, budget: None,
    ) -> None:
        self.maker, self.bounds, self.journal = maker, bounds, journal
        self.selection, self.say, self.step, self.told = selection, say, step, told
        self._scorers = scorers
        self.job = maker.job(recipe)
        self._ruled = Ruled(self.job)
        self.budget: Budget | None = None
        self.doubt = 0.0
        self.trials: dict[Choice, Trial] = {}
        self._best: dict[Choice, Candidate] = {}
        self._noise: Noise | None = None

    def run(self) -> Found:
        """Search.

        Raises:
            UsageError: the metric cannot be had, or the budget is not in its unit.
            QtoolError: as making and comparing.
        """
        most = self.bounds.max_size
        start, fits = self._sized(most)
        if most is not None and fits and (over := self._made(start).size - most) > 0:
            start, fits = self._sized(most - over)  # what was refined takes some bytes too
        if self.bounds.max_drop is None:
            made = self._made(start)
            fits = fits and (most is None or made.size <= most)
            return Found(made, None, (), None, fits, fits)
        assert self.selection is not None
        self._know_budget()
        found = descend(start, lambda: self._ladder(start), self._tried, self._back)
        if found is None:
            best = closest(list(self.trials.values()))
            found = next(choice for choice, trial in self.trials.items() if trial is best)
        trial, every = self.trials[found], tuple(self.trials.values())
        inside = trial.inside and fits
        return Found(self._made(found), trial, every, self.budget, inside, fits)

    # sizes

    def _sized(self, most: int | None) -> tuple[Choice, bool]:
        """The choice of least noise that is small enough, and whether there is one."""
        bits = self.bounds.target_bits
        if most is None and bits is None:
            return Choice(), True

        def fits(choice: Choice) -> bool:
            if bits is not None and self.noise.average_bits(choice) > bits:
                return False
            return most is None or self._size(choice) <= most

        if fits(Choice()):
            return Choice(), True
        choices = smaller(self.noise, BITS[0])
        index = largest(choices, fits)
        if index is None:
            return choices[0], False
        around = self._size(choices[index]) - self.noise.size(choices[index])

        def expected(choice: Choice) -> bool:
            size = self.noise.size(choice) + around
            small = bits is None or self.noise.average_bits(choice) <= bits
            return small and (most is None or size <= most)

        more = filled(self.noise, choices[index], expected)
        return (more if fits(more) else choices[index]), True

    def _size(self, choice: Choice) -> int:
        # Opened anew: few bits want a higher opset, and converting to it drops what nobody reads.
        return len(workflow.dry_run(self.maker.opened(self._ruled_job(choice).recipe)).data)

    # losses

    def _know_budget(self) -> None:
        """The budget in its metric, and how wide the interval of equal models is."""
        assert self.bounds.max_drop is not None
        self.say("judging the model against itself")
        same = self._compared(self.maker.path)
        self.budget = budget_for(self.bounds.max_drop, self.bounds.metric, same)
        self.doubt = max(0.0, loss_of(same, self.budget.metric).high)

    def _compared(self, path: Path) -> Comparison:
        assert self.selection is not None
        return self.judge(path, self.selection)

    def judge(self, path: Path, data: Dataset) -> Comparison:
        """A candidate held against the model, on these samples."""
        return compare(
            self.maker.path,
            path,
            data,
            batch_size=self.maker.batch_size,
            scorers=self._scorers,
            threads=self.maker.threads,
            progress=self.step,
        )

    def _tried(self, choice: Choice) -> Trial:
        """The choice made and measured, or as it was measured before."""
        if choice in self.trials:
            return self.trials[choice]
        assert self.budget is not None
        recipe = self._ruled_job(choice).recipe
        text = recipe.toml()
        if self.journal and (known := self.journal.trials.get(text)) is not None:
            self.trials[choice] = known
            self.told(known, self.budget)
            return known
        expected = math.nan if self._noise is None else self._noise.of(choice)
        self.say(f"choice {len(self.trials) + 1}: making and judging it")
        begin = time.perf_counter()
        made = self._made(choice)
        loss = loss_of(self._compared(made.path), self.budget.metric)
        small = self.bounds.max_size is None or made.size <= self.bounds.max_size
        inside = small and self.budget.holds(loss, self.doubt)
        share, bits = made.share_and_bits()
        trial = Trial(
            text, made.size, share, bits, loss, inside, time.perf_counter() - begin, expected
        )
        self.trials[choice] = trial
        if self.journal:
            self.journal.add(trial)
        self.told(trial, self.budget)
        return trial

    def _made(self, choice: Choice) -> Candidate:
        if choice not in self._best:
            self._best.clear()  # one at a time: each holds a model
            job = self.maker.job(self._ruled_job(choice).recipe)
            self._best[choice] = self.maker.make(job)
        return self._best[choice]

    # what is known of choices

    @property
    def noise(self) -> Noise:
        """Measured when it is first asked for."""
        if self._noise is None:
            self._noise = self._known_noise()
        return self._noise

    def _known_noise(self) -> Noise:
        self.say("measuring what each tensor does to the outputs")
        job, data = self.job, self.maker.data
        ranges = self.maker.ranges(job)
        plan = workflow.decided(job, ranges)
        effects = None
        if data is not None:
            effects = self.journal.effects if self.journal else None
        if data is not None and effects is None:
            effects = effects_of(
                job.model, job.sites, plan, data, batch_size=self.maker.batch_size, threads=1
            )
            if self.journal:
                self.journal.effects = effects
        nodes = {node for node, _ in plan.weights}
        others = {}
        for bits in BITS:
            schemes = {n: self._ruled.multiplied(n, bits) for n in nodes}
            made = self._ruled.with_schemes(schemes, ())
            others[bits] = workflow.decided(made, ranges)
        stored, asked, values = weights_of_plans(job.model.graph, plan, others, effects)
        heard = () if effects is None else activations_of(job, plan, effects, integers(job))
        return Noise(heard, stored, asked, values)

    def _ladder(self, start: Choice) -> list[Choice]:
        graph, units = self.job.model.graph, integers(self.job)
        every = rungs(graph, self.noise, units)
        if self.bounds.max_size is not None or self.bounds.target_bits is not None:
            # Bits are what the size allows; activations may still be given up.
            floats = dict.fromkeys(choice.floats for choice in every)
            every = [Choice(each, start.bits) for each in floats]
        return spaced(every, self.noise)

    def _back(self, choice: Choice) -> Choice | None:
        failed = [each for each, trial in self.trials.items() if not trial.inside]
        return taken_back(self.job.model.graph, self.noise, choice, failed, self.trials)

    # choices as recipes

    def _ruled_job(self, choice: Choice) -> Job:
        """The job under the rules that the choice comes to."""
        if choice == Choice():
            return self.job
        if choice.floats >= set(integers(self.job)) and not choice.bits:
            return self._ruled.stored()
        schemes = {}
        for node in self.noise.asked:
            bits = choice.bits.get(node)
            if bits == FLOAT:
                schemes[node] = "float"
            elif node in choice.floats:
                schemes[node] = self._ruled.kept(node, bits)
            elif bits is not None:
                schemes[node] = self._ruled.multiplied(node, bits)
        return self._ruled.with_schemes(schemes, choice.floats)
