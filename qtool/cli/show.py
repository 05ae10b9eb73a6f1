"""How plans and results look on a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtool.calibrate.file import Calibration
from qtool.cli.boundary import printable
from qtool.cli.console import err, out
from qtool.data import Dataset
from qtool.data.advice import advice as about_data
from qtool.data.fed import Fed
from qtool.inspect import Running
from qtool.numeric.scheme import HALVES
from qtool.plan.bits import bits_per_weight
from qtool.plan.effects import effects
from qtool.plan.paying import FEW, SMALL
from qtool.plan.plan import Plan
from qtool.refine import Done
from qtool.report.table import size
from qtool.workflow import Job, Quantized, Written


def table(*header: str) -> Table:
    """A table in the one style we have; cells are given as Text, so no name is read as markup."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        made.add_column(name, overflow="fold")
    return made


def row(made: Table, *cells: object) -> None:
    """Add a row of plain text."""
    made.add_row(*(Text(printable(str(cell))) for cell in cells))


def headline(job: Job, measured: bool) -> None:
    """The first line: what will be done, in full. Why it is only weights, where one reason is that
    of all; what the kernels of single nodes lack is told of each of them."""
    dynamic = any(site.form == "dynamic" for site in job.sites.weights)
    scheme = job.recipe.scheme_in_full()
    if scheme in HALVES:
        kind = "16-bit floats"
    elif dynamic:
        kind = "weights, and activations on every run"
    else:
        kind = "weights and activations" if job.sites.sources else "weights only"
    why = ""
    if kind == "weights only" and job.recipe.mode == "static":
        slower = not {FEW, SMALL}.isdisjoint(job.sites.notes.values())
        why = _NO_DATA if not measured else _SLOWER if slower else ""
    name = printable(job.path.name, lines=False)
    more = "".join(f", {each}" for each in job.recipe.beside_scheme())
    _say(f"{name}: {kind} ({scheme}{more}) for {job.target.name}{why}")
    for note in job.notes:
        _say(f"note: {note}")


def used(data: Dataset, fed: Mapping[str, Fed], job: Job, notes: Iterable[str]) -> None:
    """What was fed, what looks wrong in it, and what else there is to note."""
    _say(data.describe(fed))
    for each in (*about_data(data, job.signature, fed), *notes):
        advice(each)


def advice(text: str) -> None:
    """Something that the user may want to act upon."""
    err.print(f"note: {printable(text)}", markup=False)


def calibrated(made: Calibration, path: Path) -> None:
    """The calibration file that was written."""
    tensors = _many(len(made.histograms), "tensor")
    what = f"{tensors}, {made.samples} samples, {size(path.stat().st_size)}"
    out.print(printable(f"Wrote {path} ({what})", lines=False), markup=False)


def summary(plan: Plan, job: Job, *, verbose: bool = False) -> None:
    """How much became integers, and what stays float and why, grouped by reason."""
    counted = Counter(plan.schemes.values())
    _say(f"quantized {_many(len(plan.schemes), 'layer')}: {_counts(counted)}")
    if plan.activations:
        others = [n for n in job.model.graph.all_nodes() if n.name not in plan.schemes]
        between = Counter(n.op_type for n in others if n.name not in plan.skipped)
        if between:
            _say(f"  {between.total():4} between them in integers too: {_counts(between)}")
    few = any(weight.params.type.container < 8 for weight in plan.weights.values())
    if few and (bits := bits_per_weight(job.model, plan)) is not None:
        _say(f"  {bits:4.3g} bits a weight, scales counted")
    for encoding, count in Counter(_stored(plan).values()).items():
        _say(f"  {count:4} {_STORED[encoding]}")
    if plan.tied:
        _say(f"  {len(plan.tied):4} stored once, with the table that it multiplies with")
    tables = [w for w in plan.weights.values() if w.encoding == "gathered"]
    if any(w.params.type.container == 4 and w.params.book is None for w in tables):
        _say("note: a table of 4 bits takes 8 in memory; with --contrib it takes 4")
    for reason, operators in _by_reason(plan.notes, job):
        _say(f"  {operators.total():4} only the weights, {reason}: {_counts(operators)}")
    if clamped := sum(half.clamped for half in plan.halves.values()):
        _say(f"note: {clamped} constant values beyond the range were clamped to it")
    computing = any(half.computes for half in plan.halves.values())
    dynamic = any(weight.form == "dynamic" for weight in plan.weights.values())
    if not plan.skipped or not (plan.activations or computing or dynamic or verbose):
        return  # weights only: whatever has no weights was never meant
    _say(f"left in float: {_many(len(plan.skipped), 'node')}")
    for reason, operators in _by_reason(plan.skipped, job):
        _say(f"  {operators.total():4} {reason}: {_counts(operators)}")
    if verbose:
        for name, reason in plan.skipped.items():
            _say(f"  {name}: {reason}")


def refined(done: Iterable[Done]) -> None:
    """What each algorithm that runs samples was worth, on those that were set apart; one sample
    alone tells little of others."""
    for each in done:
        if each.left:
            more = ", …" if len(each.left) > _NAMED else ""
            _say(
                f"note: {each.algorithm} left out {_many(len(each.left), 'node')} too wide for its "
                f"--max-memory: {', '.join(each.left[:_NAMED])}{more}"
            )
        if math.isnan(each.before):
            _say(
                f"  {each.algorithm}: no output is a real number other than 0, so nobody knows "
                "what it is worth"
            )
            continue
        where = "" if each.apart else " on what it learned from"
        left = "" if each.kept else ": not kept"
        _say(f"  {each.algorithm}: outputs {each.before:.1f} -> {each.after:.1f} dB{where}{left}")


_NAMED = 4  # of the nodes that were left out


def _stored(plan: Plan) -> dict[str, str]:
    """Node -> how its weights are stored, of those that compute in float."""
    found: dict[str, str] = {
        node: weight.encoding
        for (node, _), weight in plan.weights.items()
        if weight.form == "stored"
    }
    return found | {n: "cast" for n, half in plan.halves.items() if not half.computes}


_SLOWER = ": integer activations do not pay here, --placement all takes them"
_NO_DATA = ", since no --data or --calibration is given"

# what the user gets of each way to store weights
_STORED = {
    "cast-mul": "unpacked when loaded: small on disk, speed and memory of float",
    "codebook": "levels looked up when loaded: small on disk, speed and memory of float",
    "gathered": "looked up as integers: small in memory too",
    "packed-rows": "looked up packed, by an operator of onnxruntime's own: smallest in memory",
    "cast": "widened when loaded: small on disk, speed and memory of float",
    "dq": "multiplied packed where the runtime fuses DequantizeLinear: small in memory too",
}


def plan(quantized: Quantized, job: Job) -> None:
    """The whole plan, for --dry-run."""
    made = table("node", "becomes", "activation", "weight")
    for (node, _), weight in quantized.plan.weights.items():
        book = weight.params.book
        levels = "" if book is None else f" of {book.levels.shape[1]} levels ({book.maker})"
        stored = f"{weight.params.granularity}, {weight.encoding}{levels}"
        reads = _input_type(quantized.plan, job, node)
        row(made, node, quantized.plan.schemes[node], reads, stored)
    for node, half in quantized.plan.halves.items():
        cells = (half.dtype, half.dtype) if half.computes else ("float", f"{half.dtype}, cast")
        row(made, node, quantized.plan.schemes[node], *cells)
    out.print(made)
    if quantized.plan.skipped:
        made = table("in float", "because")
        for name, reason in quantized.plan.skipped.items():
            row(made, name, reason)
        out.print(made)
    if job.recipe.rules:
        made = table("pattern", "becomes", "nodes", "changed")
        for each in effects(job.model, job.recipe, job.target, job.sites):
            row(made, each.pattern, each.scheme, each.nodes, each.changed)
        out.print(made)
    before, after = job.path.stat().st_size, len(quantized.data)
    ratio = after / before
    out.print(f"{size(before)} would become about {size(after)} ({ratio:.3f} of the size)")


def written(path: Path, done: Written, console: Console) -> None:
    """The last line."""
    note = "" if done.run else "; loaded, not run: the original does not run on a probe"
    ratio = done.after / done.before
    text = f"Wrote {path} ({size(done.after)}, {ratio:.3f} of {size(done.before)}{note})"
    console.print(printable(text, lines=False), markup=False)
    if done.after > done.before:
        _say(f"warning: the result is larger than the model by {size(done.after - done.before)}")


def _input_type(found: Plan, job: Job, node: str) -> str:
    if any(w.form == "dynamic" for (name, _), w in found.weights.items() if name == node):
        return "uint8, on every run"
    if any(w.form == "stored" for (name, _), w in found.weights.items() if name == node):
        return "float"
    reads = next((n.inputs[0] for n in job.model.graph.all_nodes() if n.name == node), None)
    tensor = found.activations.get((reads.name or "") if reads is not None else "")
    return str(tensor.params.type) if tensor else "float"


def _by_reason(skipped: Mapping[str, str], job: Job) -> list[tuple[str, Counter[str]]]:
    """Reason -> operators and how often, the most frequent reason first."""
    operators = {node.name: node.op_type for node in job.model.graph.all_nodes()}
    groups: dict[str, Counter[str]] = {}
    for name, reason in skipped.items():
        groups.setdefault(reason, Counter())[operators.get(name, "?")] += 1
    return sorted(groups.items(), key=lambda group: -group[1].total())


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.most_common()) or "none"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _say(text: str) -> None:
    err.print(printable(text), markup=False)


def running(found: Running) -> None:
    """The optimized graph: integer, float, and the conversions that are left over."""
    made = table("runs in", "nodes", "")
    groups = {"integers": found.integer, "float": found.floating, "Q/DQ left": found.conversions}
    for name, group in groups.items():
        listed = ", ".join(f"{count} {op}" for op, count in group.items())
        row(made, name, sum(group.values()), listed)
    out.print(made)


def prospects(job: Job, *, verbose: bool) -> None:
    """What quantize would make of the model with data, and without."""
    made = table("with data", "nodes", "")
    static = [site for site in job.sites.weights if site.form == "static"]
    stored = {site.node for site in job.sites.weights if site.form != "static"}
    row(made, "integer layers", len(static), _counts(Counter(str(s.scheme) for s in static)))
    if stored:
        row(made, "weights only", len(stored), "no integer kernel; the weights are still stored")
    row(made, "quantized tensors", len(job.sites.activations), "")
    for reason, operators in _by_reason(job.sites.skipped, job):
        row(made, "float", operators.total(), f"{reason}: {_counts(operators)}")
    out.print(made)
    if verbose:
        made = table("node", "stays float because")
        for name, reason in job.sites.skipped.items():
            row(made, name, reason)
        out.print(made)
