"""What `qtool tune` is given: samples to learn from and to judge on, how to learn, its files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtool.cli import options as o

if TYPE_CHECKING:
    from qtool.data import Dataset
    from qtool.recipe import Recipe
    from qtool.search.making import Maker
    from qtool.signature import Signature
    from qtool.tune.course import Course, Learning
    from qtool.tune.examiner import Examiner

SHARES = (0.8, 0.2)  # to learn from, and to judge on, where nothing else is given
_FEW_LEARNED, _FEW_JUDGED = 64, 100


class LearnFrom(StrEnum):
    """What says what is right."""

    FLOAT = "float"
    LABELS = "labels"
    BOTH = "both"


@dataclass(frozen=True)
class Asked:
    """The options of learning as they were given."""

    data: str
    labels: Path | None
    judged: str | None
    target_drop: str | None
    metric: str | None
    scorers: tuple[str, ...]
    learn_from: LearnFrom | None
    course: Mapping[str, float | None]  # fields of Course by their options
    layerwise: bool

    def check(self, recipe: Recipe) -> None:
        """Refuse what means nothing before any file is read.

        Raises:
            UsageError: a number is out of range, or something does not go with the rest.
            MachineError: torch is needed and not installed.
        """
        from qtool.errors import UsageError
        from qtool.search.budget import parse_amount

        if self.target_drop is not None:
            parse_amount(self.target_drop, "--target-drop")
        for option, low in (("--learning-rate", "more than 0"), ("--weight-decay", "0 or more")):
            number = self.course[option]
            small = number is not None and (number <= 0 if low == "more than 0" else number < 0)
            if number is not None and (small or not math.isfinite(number)):
                raise UsageError(f"{option} {number:g}", f"it is a number of {low}")
        if recipe.mode == "dynamic":
            raise UsageError(
                "qtool tune goes with activations that are measured beforehand, or stay float",
                "the mode is dynamic: there are no scales of activations to learn",
                "leave out  --mode",
            )
        if set(recipe.schemes()) <= {"fp16", "bf16"}:
            raise UsageError(
                "qtool tune learns codes and scales of integers",
                f"{recipe.scheme} has none",
                "give a scheme of integers, such as  --scheme w4a8",
            )
        if self.layerwise:
            given = [option for option, value in self.course.items() if value is not None]
            given += ["--learn-from"] if self.learn_from is not None else []
            if given:
                raise UsageError(
                    f"{', '.join(given)} and --layerwise are given",
                    "layer by layer nothing is learned by gradients",
                    "leave out one or the other",
                )
        else:
            check_torch()

    def to_learn(self, recipe: Recipe) -> Course:
        """How to learn: what was given, over the defaults."""
        from qtool.tune.course import Course

        names = {"--epochs": "epochs", "--learning-rate": "rate", "--weight-decay": "decay",
                 "--patience": "patience"}  # fmt: skip
        given = {names[o]: value for o, value in self.course.items() if value is not None}
        seed = recipe.seed % 2**63  # generators take no negative ones
        return replace(Course(seed=seed), **given)  # type: ignore[arg-type]

    def from_what(self, learned: Dataset, examiner: Examiner) -> Learning:
        """What to learn from; labels too, if they are about an output and the metric about them.

        Raises:
            UsageError: labels are asked for, and there are none.
            DataError: labels that were given are about no output.
        """
        from qtool.errors import UsageError
        from qtool.tune.course import Learning

        asked, labels = self.learn_from, learned.labels
        if asked is None:
            asked = LearnFrom.FLOAT
            if labels is not None and _fit(labels, examiner):
                asked = LearnFrom.BOTH
            elif examiner.apart.labels is not None and examiner.float.labelled is None:
                self._unused(examiner.float.notes)
        if asked is not LearnFrom.FLOAT and labels is None:
            raise UsageError(
                f"--learn-from {asked.value} needs labels, and {self.data} has none",
                "they lie in class folders, labels.csv, labels.npy or a column",
                "give  --labels FILE,  or  --learn-from float",
            )
        return Learning(asked is not LearnFrom.LABELS, asked is not LearnFrom.FLOAT)

    def _unused(self, notes: Sequence[str]) -> None:
        """Labels are about no output: an error where they were asked for by name."""
        from qtool.cli.show import advice
        from qtool.errors import DataError

        if self.labels is not None and not self.scorers:
            fix = "classes are whole numbers from 0 on, of an integer type; or leave out  --labels"
            raise DataError(f"--labels {self.labels} is about no output", "; ".join(notes), fix)
        for note in notes:
            advice(note)


def check_torch() -> None:
    """MachineError where torch is not installed; it is not imported."""
    from importlib.util import find_spec

    from qtool.errors import MachineError, missing_extra

    if find_spec("torch") is None:
        error = missing_extra("qtool tune", "torch", "tune")
        other = "--layerwise,  which learns nothing by gradients"
        raise MachineError(error.what, error.why, f"{error.fix},  or  {other}")


def _fit(labels: Any, examiner: Examiner) -> bool:
    """Whether they are classes that an output has scores of, or numbers that it should be; and the
    metric is a score: who asks for agreement or SQNR wants what the float model says."""
    from qtool.cli.show import advice

    found = examiner.float
    if examiner.budget.metric not in found.scores:
        return False
    if labels.dtype.kind == "f":
        if labels.ndim == 2 and ((labels.max(1) == 1) & (abs(labels).sum(1) == 1)).all():
            advice("labels are rows with one 1: learned as numbers; for classes give the index")
        return "mse" in found.scores
    return labels.ndim == 1 and any(each.kind == "classes" for each in found.outputs)


@dataclass(frozen=True)
class Parts:
    """Samples that share none: to learn from, and to judge on."""

    learned: Dataset
    judged: Dataset
    unit: int  # samples in a run


def parts(asked: Asked, signature: Signature, recipe: Recipe, on_bad_file: o.BadFile) -> Parts:
    """The samples of --data and --eval in two parts, which fill batches where they must; all there
    are, unless the recipe says how many.

    Raises:
        DataError: there are too few.
    """
    from qtool.data.split import alike, split
    from qtool.errors import DataError

    most = recipe.samples if "samples" in recipe.model_fields_set else sys.maxsize
    every = o.open_chosen(asked.data, signature, recipe, on_bad_file, most, asked.labels)
    copies = 0
    if asked.judged is None:
        groups = alike(every)
        learned, judged = split(every, SHARES, recipe.seed, groups)
        repeat = f", {len(groups)} without copies" if len(groups) < len(every) else ""
    else:
        judged = o.open_chosen(asked.judged, signature, recipe, on_bad_file, sys.maxsize)
        rows = sorted(row for group in alike(every, judged) for row in group)
        copies = len(every) - len(rows)
        learned = every.take(rows)
        repeat = f"; {copies} of {len(every)} hold what is judged on" if copies else ""
    unit = max(1, signature.without(every.states).batch)
    learned, judged = (
        part.take(range(len(part) // unit * unit)) if len(part) % unit else part
        for part in (learned, judged)
    )
    if not (len(learned) and len(judged)):
        batches = f", in batches of {unit}" if unit > 1 else ""
        limited = "samples" in recipe.model_fields_set and len(every) == recipe.samples
        raise DataError(
            "there are too few samples to learn from some and to judge on others",
            f"there are {len(every)}{batches}{repeat}",
            "use more with  --samples"
            if limited
            else "give more that differ in  --data,  or others in  --eval DIR",
        )
    if copies:
        from qtool.cli.show import advice

        advice(f"left out {copies} samples that repeat or follow one to judge on")
    return Parts(learned, judged, unit)


def few(samples: Parts, *, layerwise: bool) -> Iterator[str]:
    """What to say of data that is too little to trust."""
    learned, judged = len(samples.learned), len(samples.judged)
    if learned < _FEW_LEARNED and not layerwise:
        yield (
            f"{_few(learned)} to learn from: what is learned may hold for them alone; "
            f"give {_FEW_LEARNED} or more"
        )
    if judged < _FEW_JUDGED:
        moves = f"{100 / judged:.2g}" if judged > 1 else "100"
        yield (
            f"{_few(judged)} to judge on: each moves a share by {moves} pp; "
            f"give {_FEW_JUDGED} or more"
        )


def _few(count: int) -> str:
    return f"{count} samples are few" if count > 1 else f"{count} sample is little"


def check_places(
    output: Path, asked: Asked, inputs: Sequence[Path], *, force: bool, samples: Parts | None = None
) -> None:
    """Refuse an output that is there, or an input; the same of what is kept beside it meanwhile.

    Raises:
        UsageError: as said.
        MachineError: no such folder, or no permission to write there.
    """
    from qtool.files import check_output
    from qtool.tune.course import kept_beside

    every = [*inputs, *(Path(text.rpartition(":")[0]) for text in asked.scorers)]
    every += [asked.labels] if asked.labels else []
    for data in (samples.learned, samples.judged) if samples else ():
        every += set(data.paths())
    check_output(output, force=force, inputs=every)
    if not asked.layerwise:
        check_output(kept_beside(output), force=True, inputs=every)


def identity(
    maker: Maker, asked: Asked, recipe: Recipe, samples: Parts, course: Course, learning: Learning
) -> dict[str, Any]:
    """All that must be the same for what was learned to be worth something."""
    from importlib.metadata import PackageNotFoundError, version

    import qtool
    from qtool import model as models
    from qtool.compare.truth.custom import digest_of
    from qtool.data.truth import truth_of
    from qtool.runtime import VERSION

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = None
    used = {"learned": samples.learned, "judged": samples.judged}
    return {
        "qtool": qtool.__version__,
        "onnxruntime": VERSION,
        "torch": torch,
        "model": models.digest(models.load(maker.path)),
        "recipe": recipe.toml(),
        "target": maker.target.name,
        "course": asdict(course),
        "learning": asdict(learning),
        "batch_size": maker.batch_size,
        "threads": maker.threads,
        "target_drop": asked.target_drop,
        "metric": asked.metric,
        "scorers": [digest_of(text) for text in asked.scorers],
        **{name: data.fingerprint for name, data in used.items()},
        "truth": {name: truth_of(data) for name, data in used.items()},
    }
