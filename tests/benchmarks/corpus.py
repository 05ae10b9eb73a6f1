"""The test models that the `onnx` package brings, each quantized and held against the laws.

    python -m tests.benchmarks.corpus [--kind node] [--only GLOB] [--recipe all,w8] [--jobs 2]

Each of 2,000 cases as it is, and with its other inputs as constants (see tests/corpus/cases.py),
under each recipe. Three tables: how cases end; what stays float and why, by operator; and each
breach of a law (tests/corpus/laws.py) that tests/corpus/exceptions.toml does not excuse.
`--schemes` takes w4b32, fp16 and dynamic instead. `--update` writes tests/corpus/left_float.toml,
and refuses to raise a count without `--force`. The exit code is 1 where a law is broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.corpus import laws
from tests.corpus.cases import KINDS, VARIANTS, cases
from tests.corpus.judge import RECIPES
from tests.corpus.outcome import Outcome
from tests.corpus.pool import judged

FIRST = ("default", "all", "w8")
VERSIONS = laws.versions()
_ENDS = (
    "quantized", "float", "unrunnable", "refused", "broken", "traceback", "crash", "hang",
)  # fmt: skip


def totals(outcomes: Sequence[Outcome]) -> None:
    """How the cases of each kind, variant and recipe end, and in how many integer kernels run."""
    print(f"{'kind':20}{'variant':11}{'recipe':9}{'cases':>6}", end="")
    print("".join(f"{end:>11}" for end in _ENDS), f"{'in integers':>12}{'low SQNR':>9}")
    groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.kind, outcome.variant, outcome.recipe].append(outcome)
    for (kind, variant, recipe), group in groups.items():
        ends: Counter[str] = Counter(outcome.status for outcome in group)
        integer = sum(bool(outcome.integer) for outcome in group)
        low = sum(o.sqnr is not None and o.sqnr < laws.least_sqnr(o.recipe) for o in group)
        print(f"{kind:20}{variant:11}{recipe:9}{len(group):6}", end="")
        print("".join(f"{ends[end]:11}" for end in _ENDS), f"{integer:12}{low:9}")


def reasons(title: str, found: Iterable[tuple[str, int]]) -> None:
    counts: Counter[str] = Counter()
    for reason, count in found:
        counts[reason] += count
    if counts:
        print(f"\n{title}")
        for reason, count in counts.most_common():
            print(f"{count:6}  {reason}")


def floats(outcomes: Sequence[Outcome], recipe: str) -> None:
    """What stays float under a recipe: operator, nodes, reasons."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in (o for o in outcomes if o.recipe == recipe):
        for left in (each for each in outcome.left if each.real):
            counts[left.operator][left.reason] += left.count
    print(f"\nleft float under {recipe}: {sum(c.total() for c in counts.values())} nodes")
    for operator, why in sorted(counts.items(), key=lambda item: (-item[1].total(), item[0])):
        listed = "; ".join(f"{count} {reason}" for reason, count in why.most_common())
        print(f"{why.total():6}  {operator:28}{listed}")


def update(outcomes: Sequence[Outcome], *, force: bool) -> int:
    found = laws.left_float(outcomes)
    risen = laws.risen(found, laws.known_counts()) if laws.COUNTS.exists() else {}
    for operator, (before, now) in risen.items():
        print(f"more nodes of {operator} stay float: {now}, {before} before")
    if risen and not force:
        print("nothing written; --force writes it all the same")
        return 1
    laws.write_counts(found, VERSIONS)
    print(f"Wrote {laws.COUNTS.name}: {sum(found.values())} nodes of {len(found)} operators")
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the test models of the onnx package")
    parser.add_argument("--kind", default=",".join(KINDS), help="%(default)s")
    parser.add_argument("--variant", default=",".join(VARIANTS), help="%(default)s")
    parser.add_argument("--recipe", default=",".join(FIRST), help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--schemes", action="store_true", help="w4b32, fp16 and dynamic instead")
    parser.add_argument("--only", default="*", metavar="GLOB", help="cases by name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--update", action="store_true", help="write left_float.toml")
    parser.add_argument("--force", action="store_true", help="also where a count has risen")
    options = parser.parse_args()
    whole = options.kind == ",".join(KINDS) and options.variant == ",".join(VARIANTS)
    options.whole = whole and options.only == "*"
    options.recipes = [r for r in RECIPES if r not in FIRST]
    if not options.schemes:
        options.recipes = options.recipe.split(",")
    if options.update and not (options.whole and "all" in options.recipes):
        parser.error("--update counts the whole corpus under the recipe  all")
    return options


def main() -> int:
    options = parsed()
    start = time.monotonic()
    found = cases(options.kind.split(","), options.only, options.variant.split(","))
    count = 0

    def step(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        if sys.stderr.isatty() and count % 20 == 0:
            print(f"\r{count} runs", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        outcomes = judged(found, options.recipes, Path(folder), jobs=options.jobs, step=step)
    print(f"{len(outcomes)} runs in {time.monotonic() - start:.0f} s with {VERSIONS}")
    totals(outcomes)
    first = [o for o in outcomes if o.recipe == options.recipes[0]]
    reasons(
        "the original itself does not run here (each case and variant once)",
        ((o.detail, 1) for o in first if o.status == "unrunnable"),
    )
    for recipe in options.recipes:
        floats(outcomes, recipe)
    excused = laws.exceptions()
    left, stale = laws.sorted_out(outcomes, excused)
    print(f"\n{len(left)} breaches of {len({v.law for v in left})} laws")
    for violation in sorted(left, key=str):
        print(violation)
    if options.whole and set(FIRST) <= set(options.recipes):
        print(f"\n{len(stale)} of {len(excused)} exceptions are stale")
        for each in stale:
            print(each)
    failed = update(outcomes, force=options.force) if options.update else 0
    return 1 if left or failed else 0


if __name__ == "__main__":
    sys.exit(main())
