"""One case under one recipe: through the whole workflow, as `qtool quantize --data` goes."""

from __future__ import annotations

import dataclasses
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from qtool import workflow
from qtool.data.column import Column
from qtool.data.dataset import Dataset
from qtool.data.declaration import Declaration
from qtool.data.files import File
from qtool.errors import QtoolError, UsageError
from qtool.inspect import running
from qtool.ops import weights_of
from qtool.plan.plan import Plan
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.signature import Signature
from qtool.target import load_target
from tests.corpus.cases import Case
from tests.corpus.outcome import Left, Outcome, Status

RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "all": Recipe(placement="all"),
    "w8": Recipe(scheme="w8"),
    "w4b32": Recipe(scheme="w4b32"),
    "fp16": Recipe(scheme="fp16"),
    "dynamic": Recipe(mode="dynamic"),
}
TARGET = load_target("cpu")

Feeds = Mapping[str, Any]
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class OneBatch(Dataset):
    """The case's own input as all the data there is: one batch, whatever the inputs' first axes."""

    feeds: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    count: int = 1

    @classmethod
    def of(cls, feeds: Feeds, signature: Signature) -> OneBatch:
        """As many samples as the model's first axes let it be. UsageError where they do not."""
        axes = {spec.shape[0] for spec in signature.inputs if spec.shape}
        sizes = sorted(axis for axis in axes if isinstance(axis, int) and axis > 0) or [1]
        size = next((s for s in sizes if _fits(signature, s)), sizes[0])
        file = File(Path("case"), "case")

        def read(index: int) -> Any:
            raise AssertionError(f"sample {index} is not read by itself")

        arrays = [name for name, value in feeds.items() if isinstance(value, np.ndarray)]
        columns = {name: Column((), [file], read) for name in arrays}
        return cls(Path("case"), columns, {}, Declaration(), feeds=dict(feeds), count=size)

    @property
    def names(self) -> Sequence[str]:
        return tuple(f"case[{i}]" for i in range(self.count))

    def blocks(self, size: int) -> Sequence[range]:
        assert size == self.count
        return [range(size)]

    def batches(self, size: int, blocks: Iterable[range] | None = None) -> Iterator[dict[str, Any]]:
        assert size == self.count
        yield from [dict(self.feeds)] * len(list(blocks or [range(size)]))

    def hashes(self, batch: Feeds, before: int) -> list[int]:
        return list(range(self.count))


def _fits(signature: Signature, size: int) -> bool:
    try:
        signature.check_batches(size, size)
    except UsageError:
        return False
    return True


def judge(case: Case, recipe: str, tell: Tell = lambda stage: None) -> Outcome:
    """What becomes of the case; `tell` hears each stage before it begins, should it be the last."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(case.model)
        tell("original")
        try:
            original = Session(path, threads=1)
            expected = original.run(case.feeds)
            random = not _same(expected, original.run(case.feeds))
        except QtoolError as error:
            return Outcome(str(case), recipe, "unrunnable", _plain(error, folder))
        stage = ["open"]

        def at(name: str) -> None:
            stage[0] = name
            tell(name)

        try:
            return _through(case, recipe, path, expected, random, at)
        except QtoolError as error:
            ours = stage[0] in ("prepare", "build", "write", "look")
            status: Status = "broken" if ours else "refused"
            return Outcome(str(case), recipe, status, f"{stage[0]}: {_plain(error, folder)}")
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno} in {last.name}"
            words = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
            return Outcome(str(case), recipe, "traceback", f"{stage[0]}: {words} ({where})")


def _plain(error: QtoolError, folder: str) -> str:
    """What the error says, without the names of scratch files."""
    words = f"{error.what}: {error.why}".replace(f"{folder}/", "")
    return " ".join(words.split())


def _through(
    case: Case, recipe: str, path: Path, expected: Feeds, random: bool, at: Tell
) -> Outcome:
    at("open")
    job = workflow.open_job(path, RECIPES[recipe], TARGET, threads=1)
    at("prepare")
    workflow.check_preparation(job, None if random else case.feeds)
    calibration = None
    if job.sites.sources:
        at("measure")
        data = OneBatch.of(case.feeds, job.signature)
        calibration = workflow.measure(job, data, batch_size=data.count)
    at("build")
    quantized = workflow.build(job, calibration)
    at("write")
    output = path.with_name("quantized.onnx")
    workflow.write(job, quantized, output, case.feeds, allow_empty=True, allow_larger=True)
    at("look")
    looked = running(output)
    session = Session(output, threads=1)
    found = session.run(case.feeds)
    plan = quantized.plan
    planned, stored = _becoming(job.model, plan)
    return Outcome(
        str(case),
        recipe,
        "quantized" if plan.schemes or plan.activations else "float",
        left=_left(job.model, plan),
        planned=planned,
        stored=stored,
        integer=looked.integer,
        floating=looked.floating,
        sqnr=None if random else _sqnr(expected, found),
        differs=() if random else _differing(expected, found),
        signature=_changed(job.original.signature, session.signature),
    )


def _becoming(model: ir.Model, plan: Plan) -> tuple[dict[str, int], dict[str, int]]:
    """Operators that are to run in integers, and those of which only weights are stored so."""
    stored = {node for (node, _), w in plan.weights.items() if w.form != "static"}
    stored |= set(plan.halves)
    integer = {node for node, _ in plan.weights} - stored
    integer |= {name for t in plan.activations.values() for name, _ in t.readers or ()}
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for node in model.graph.all_nodes():
        name = node.name or ""
        if name in stored:
            counts[1][node.op_type] += 1
        elif name in integer and name not in plan.skipped:
            counts[0][node.op_type] += 1
    return dict(counts[0]), dict(counts[1])


def _left(model: ir.Model, plan: Plan) -> tuple[Left, ...]:
    """Operators that stay float, by reason."""
    found: Counter[tuple[str, str, bool]] = Counter()
    for node in model.graph.all_nodes():
        reason = plan.skipped.get(node.name or "")
        if reason is not None:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            weighty = not node.domain and bool(weights_of(node))
            found[name, reason, weighty] += 1
    return tuple(
        Left(operator, reason, count, weighty)
        for (operator, reason, weighty), count in found.items()
    )


def _changed(before: Signature, after: Signature) -> str:
    for kind in ("inputs", "outputs"):
        one, other = getattr(before, kind), getattr(after, kind)
        if one != other:
            return f"{kind}: {', '.join(map(str, one))} -> {', '.join(map(str, other))}"
    return ""


def _flat(value: Any) -> list[Any]:
    """The arrays of an output: itself, or those of a sequence."""
    if isinstance(value, (list, tuple)):
        return [array for each in value for array in _flat(each)]
    return [value]


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.name in _FLOATS


_FLOATS = {"float16", "float32", "float64", "bfloat16"}


def _same(one: Feeds, other: Feeds) -> bool:
    pairs = [
        (a, b) for name in one for a, b in zip(_flat(one[name]), _flat(other[name]), strict=True)
    ]
    return all(
        np.array_equal(a, b, equal_nan=_is_float(a)) if isinstance(a, np.ndarray) else a == b
        for a, b in pairs
    )


def _sqnr(expected: Feeds, found: Feeds) -> float | None:
    """The lowest signal to quantization noise of all float outputs, in dB, where they are finite.

    999 where nothing is lost.
    """
    ratios = []
    for name, value in expected.items():
        pairs = [p for p in zip(_flat(value), _flat(found[name]), strict=True) if _is_float(p[0])]
        for one, other in pairs:
            a, b = one.astype(np.float64), other.astype(np.float64)
            if a.shape != b.shape:
                ratios.append(-999.0)
                continue
            finite = np.isfinite(a)
            signal = float((a[finite] ** 2).sum())
            noise = float(((a[finite] - b[finite]) ** 2).sum())
            if noise == 0:
                ratios.append(999.0)
            else:
                ratios.append(float(10 * np.log10(signal / noise)) if signal else -999.0)
    return min(ratios, default=None)


def _differing(expected: Feeds, found: Feeds) -> tuple[str, ...]:
    """Outputs that are no floats, and no longer the same."""
    return tuple(
        name
        for name, value in expected.items()
        if not any(map(_is_float, _flat(value))) and not _same({name: value}, {name: found[name]})
    )
