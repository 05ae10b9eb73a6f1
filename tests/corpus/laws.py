"""What must hold of outcomes, and the two files of what is known: exceptions and counts.

`exceptions.toml` excuses what breaks a law for a reason; one that excuses nothing any more is
stale. `left_float.toml` counts by operator what stays float where all that can be is quantized; the
counts may only fall.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qtool.model import ONNX_VERSION
from qtool.ops import OPS
from qtool.runtime import VERSION as RUNTIME_VERSION
from tests.corpus.judge import TARGET
from tests.corpus.outcome import Left, Outcome

EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
COUNTS = Path(__file__).with_name("left_float.toml")
LEAST_SQNR = 30.0  # dB, of 8 bits and more
_LEAST_OF = {"w4b32": 15.0}

# Whatever the case: no reason excuses these.
NEVER = ("traceback", "crash", "hang", "broken", "signature")


@dataclass(frozen=True)
class Violation:
    """A law that a case breaks: which, for which operator where it is about one, and the facts."""

    law: str
    outcome: Outcome
    operator: str
    reason: str

    def __str__(self) -> str:
        operator = f" {self.operator}:" if self.operator else ""
        return f"{self.law}: {self.outcome.case} ({self.outcome.recipe}):{operator} {self.reason}"


@dataclass(frozen=True)
class Excuse:
    """A table of `exceptions.toml`: globs that say what is excused, and the reason why."""

    law: str
    because: str
    case: str = "*"
    recipe: str = "*"
    operator: str = "*"
    reason: str = "*"

    def covers(self, violation: Violation) -> bool:
        return (
            self.law == violation.law
            and fnmatchcase(violation.outcome.case, self.case)
            and fnmatchcase(violation.outcome.recipe, self.recipe)
            and fnmatchcase(violation.operator, self.operator)
            and fnmatchcase(violation.reason, self.reason)
        )

    def __str__(self) -> str:
        parts = (self.case, self.recipe, self.operator, self.reason)
        return f"{self.law}: {' | '.join(parts)} ({self.because})"


def violations(outcome: Outcome) -> list[Violation]:
    """Every law that the outcome breaks.

    traceback, crash, hang, broken   it ended so (see `outcome.Status`)
    refused      the runtime takes the original, and we do not
    signature    inputs or outputs have changed
    sqnr         a float output lies below 30 dB (15 at 4 bits), or another one has changed
    float        a node stays float that has a row and a kernel: in `all` one of integers, in
                 recipes of weights alone one that has constant weights and a way to store them
    kernel       a node that the plan has in integers, and the runtime in float
    """
    found: list[Violation] = []

    def add(law: str, reason: str, operator: str = "") -> None:
        found.append(Violation(law, outcome, operator, reason))

    if outcome.status in (*NEVER, "refused"):
        add(outcome.status, outcome.detail)
    if outcome.signature:
        add("signature", outcome.signature)
    if outcome.sqnr is not None and outcome.sqnr < least_sqnr(outcome.recipe):
        add("sqnr", f"{outcome.sqnr:.1f} dB")
    if outcome.differs:
        add("sqnr", f"{', '.join(outcome.differs)} changed, no floats")
    for left in outcome.left:
        if _should(left, outcome.recipe):
            add("float", left.reason, left.operator)
    for operator, count in outcome.planned.items():
        seen = outcome.integer.get(operator, 0) + outcome.integer.get(f"QLinear{operator}", 0)
        floats = outcome.floating.get(operator, 0)
        if floats and not seen:
            add("kernel", f"{floats} of {count} run in float", operator)
    return found


def least_sqnr(recipe: str) -> float:
    """What float outputs must reach, in dB."""
    return _LEAST_OF.get(recipe, LEAST_SQNR)


def _should(left: Left, recipe: str) -> bool:
    spec = OPS.get(left.operator)
    if spec is None or not left.real:
        return False
    if recipe == "all":
        return left.operator in TARGET.integer
    return recipe.startswith("w") and left.weighty and left.operator in TARGET.weights


def exceptions(path: Path = EXCEPTIONS) -> list[Excuse]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    found = [Excuse(**each) for each in table["exceptions"]]
    for each in found:
        if each.law in NEVER:
            raise ValueError(f"{path.name} excuses what nothing excuses: {each}")
    return found


def sorted_out(
    outcomes: Iterable[Outcome], excused: Sequence[Excuse]
) -> tuple[list[Violation], list[Excuse]]:
    """The violations that no exception covers, and the exceptions that cover none."""
    used: set[Excuse] = set()
    left = []
    for violation in (v for outcome in outcomes for v in violations(outcome)):
        covering = [each for each in excused if each.covers(violation)]
        used.update(covering)
        if not covering:
            left.append(violation)
    return left, [each for each in excused if each not in used]


def left_float(outcomes: Iterable[Outcome], recipe: str = "all") -> dict[str, int]:
    """Operator -> nodes of reals that stay float under the recipe, over all cases and variants."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.recipe == recipe:
            for left in (each for each in outcome.left if each.real):
                counts[left.operator] += left.count
    return dict(sorted(counts.items()))


def known_counts(path: Path = COUNTS) -> dict[str, int]:
    """The counts on file, of the versions of onnx and onnxruntime that are on file with them."""
    counts: dict[str, int] = tomllib.loads(path.read_text(encoding="utf-8"))["left"]
    return counts


def versions() -> dict[str, str]:
    """Of what makes the cases and of what runs them: both decide what is counted."""
    return {"onnx": ONNX_VERSION, "onnxruntime": RUNTIME_VERSION}


def known_versions(path: Path = COUNTS) -> dict[str, str]:
    found: dict[str, str] = tomllib.loads(path.read_text(encoding="utf-8"))["versions"]
    return found


def risen(found: dict[str, int], known: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Operator -> (count on file, count now) where there are more now."""
    return {
        name: (known.get(name, 0), count)
        for name, count in found.items()
        if count > known.get(name, 0)
    }


def write_counts(found: dict[str, int], taken: dict[str, str], path: Path = COUNTS) -> None:
    """Put the counts, and the versions they were taken with, on file."""
    lines = [
        "# Nodes that stay float in the corpus where everything that can be is quantized, by",
        "# operator. They may only fall:  python -m tests.benchmarks.corpus --recipe all --update",
        "",
        "[versions]",
        *(f'{name} = "{version}"' for name, version in taken.items()),
        "",
        "[left]",
        *(f'"{name}" = {count}' for name, count in sorted(found.items())),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
