"""`qtool data`: what would be fed to a model, without running it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtool.cli import options as o

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qtool.data import Dataset, Fed
    from qtool.signature import Signature

EXAMPLES = 3
CLASSES = 12
VALUES = 6  # of an example
NAME = 30  # characters of a class's name
WIDTH = 99  # columns of what is wrapped; a path never is


def data(
    path: Annotated[
        str, typer.Argument(metavar=o.DIR, help="The data: a folder, or one file of samples.")
    ],
    model: Annotated[Path, typer.Option(help="The model that they are for.")],
    samples: o.Samples = None,
    seed: o.Seed = None,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
) -> None:
    """qtool data calib --model model.onnx

    Shows what would be fed to a model: shapes, ranges, labels, examples. Runs nothing.
    """
    from qtool import model as models
    from qtool.cli import show
    from qtool.cli.console import out
    from qtool.data import watch
    from qtool.data.advice import advice

    signature = models.signature(models.load(model))
    choices = o.recipe_from(recipe, samples=samples, seed=seed)
    chosen = o.open_chosen(path, signature, choices, on_bad_file)
    chosen.check()
    fed: dict[str, Fed] = {}
    for _ in watch(chosen.batches(1), fed):
        pass
    lines = [chosen.describe(fed), *_taken(signature), *_declared(chosen)]
    lines += [*_labels(chosen), *_beside(chosen), *_examples(chosen)]
    for line in lines:
        out.print(_safe(line))
    for note in advice(chosen, signature, fed):
        show.advice(note)


def _safe(line: str) -> str:
    from rich.markup import escape

    from qtool.cli.boundary import printable

    return escape(printable(line))


def _wrapped(head: str, items: Sequence[str]) -> list[str]:
    """`head item, item …` in lines of at most `WIDTH` columns; an item is never broken."""
    lines = [head]
    for number, item in enumerate(items, 1):
        word = item if number == len(items) else f"{item},"
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(f"   {word}")
        else:
            lines[-1] += f" {word}"
    return lines


def _taken(signature: Signature) -> list[str]:
    if len(signature.inputs) == 1:
        return [f"the model takes {signature.inputs[0]}"]
    return ["the model takes", *(f"  {spec}" for spec in signature.inputs)]


def _declared(dataset: Dataset) -> list[str]:
    """The keys of qtool.toml that made the samples what they are, as they stand there."""
    from qtool.data.declaration import JUDGED, toml_key

    lines = []
    if carry := dataset.declaration.carry:
        pairs = [f"{toml_key(o)} = {json.dumps(i, ensure_ascii=False)}" for o, i in carry.items()]
        pairs[0] = "{" + pairs[0]
        pairs[-1] += "}"
        lines += _wrapped("declared: carry =", pairs)
        sizes = [len(rows) for rows in dataset.sequences]
        of = f"{min(sizes)}…{max(sizes)}" if min(sizes) < max(sizes) else str(sizes[0])
        lines.append(f"sequences: {len(sizes)}, of {of} samples")
    if empty := dataset.declaration.empty:
        lines += _wrapped("declared:", _pairs({"empty": empty}))
    for name in dataset.columns:
        keys = dataset.declaration.input(name).model_dump(by_alias=True, exclude_unset=True)
        lines += _wrapped(f"declared for {name}:", _pairs(keys)) if keys else []
    judged = dataset.declaration.model_dump(include=set(JUDGED), exclude_unset=True)
    boxes = judged.pop("detections", {})
    lines += _wrapped("declared for compare:", _pairs(judged)) if judged else []
    lines += _wrapped("declared for detections:", _pairs(boxes)) if boxes else []
    return lines


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]


def _labels(dataset: Dataset) -> list[str]:
    labels = dataset.labels
    if labels is None:
        beside = dataset.pairs is not None or dataset.annotations is not None
        return [] if beside or dataset.declaration.next_token else ["no labels"]
    if labels.ndim > 1 and labels.dtype.kind == "i":
        scored = labels[labels >= 0]
        spread = f"classes {scored.min()} … {scored.max()}" if scored.size else "no classes"
        out = labels.size - scored.size
        less = f", {out} of {labels.size} places left out" if out else ""
        return [f"labels: {labels.dtype} {labels.shape[1:]}, {spread}{less}"]
    if labels.ndim > 1:
        spread = f"range {labels.min():.4g} … {labels.max():.4g}"
        return [f"labels: {labels.dtype} {labels.shape[1:]}, {spread}"]
    if labels.dtype.kind == "f":
        return [f"labels: numbers from {labels.min():.4g} to {labels.max():.4g}"]
    counts: dict[int, int] = {}
    for label in sorted(labels.tolist()):
        counts[label] = counts.get(label, 0) + 1
    shown = [f"{_class(dataset, label)} × {counts[label]}" for label in list(counts)[:CLASSES]]
    more = [f"and {len(counts) - CLASSES} more"] if len(counts) > CLASSES else []
    known = len(dataset.classes or ())
    of = f" of {known}" if known > len(counts) else ""
    plural = "class" if known <= len(counts) == 1 else "classes"
    return _wrapped(f"labels: {len(counts)}{of} {plural}:", shown + more)


def _beside(dataset: Dataset) -> list[str]:
    """What pairs.csv and annotations.json say of these samples."""
    lines = []
    if (pairs := dataset.pairs) is not None:
        count, every = len(pairs.scores), len(pairs.scores) + pairs.left_out
        of = f" of {every}" if pairs.left_out else ""
        spread = f", scores {pairs.scores.min():.4g} … {pairs.scores.max():.4g}" if count else ""
        left = ", the others are of samples that were not chosen" if pairs.left_out else ""
        lines.append(f"pairs: {count}{of}{spread}{left}")
    if (truth := dataset.annotations) is not None:
        counts = len(truth.images), len(truth.categories), int(truth.boxes.sum())
        kinds = (("image", "images"), ("category", "categories"), ("box", "boxes"))
        told = (
            f"{n} {one if n == 1 else more}" for n, (one, more) in zip(counts, kinds, strict=True)
        )
        lines.append(f"annotations: {', '.join(told)}")
    return lines


def _class(dataset: Dataset, label: int) -> str:
    """The index, and the name where it says more than the index."""
    name = dataset.classes[label] if dataset.classes else str(label)
    if name == str(label):
        return name
    return f"{label} {_cut(name, NAME)}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 2].rstrip()} …"


def _examples(dataset: Dataset) -> list[str]:
    """Samples from all over the set: where it is sorted by class, they show several."""
    count, lines = min(EXAMPLES, len(dataset)), ["examples:" if len(dataset) > 1 else "example:"]
    for index in (number * (len(dataset) - 1) // max(count - 1, 1) for number in range(count)):
        lines.append(f"  {dataset.names[index]}{_label(dataset, index)}")
        for key, array in dataset.sample(index).items():
            if dataset.starts(key):
                continue
            if text := dataset.columns[key].text:
                lines.append(_cut(f'    "{text(index)}"', WIDTH))
            lines.append(_example(key, array))
    return lines


def _label(dataset: Dataset, index: int) -> str:
    if dataset.labels is None:
        return ""
    label = dataset.labels[index]
    if label.ndim:
        return f", label {_numbers(label, 40)}"
    number = label.item()
    return f", label {_class(dataset, number) if isinstance(number, int) else f'{number:.4g}'}"


def _example(name: str, array: NDArray[Any]) -> str:
    """Its shape, its range where it is more than a few numbers, and the first of them."""
    dtype = "str" if array.dtype.kind == "U" else array.dtype
    line = f"    {name} {dtype} {array.shape}"
    if array.dtype.kind == "f" and array.size > VALUES:
        line += f", range {array.min():.4g} … {array.max():.4g}:"
    return f"{line} {_numbers(array, WIDTH - len(line) - 1)}"


def _numbers(array: NDArray[Any], width: int) -> str:
    """The first values, as many as fit."""
    first = [
        f"{value:.4g}"
        if isinstance(value, float)
        else json.dumps(value, default=str, ensure_ascii=False)
        for value in array.reshape(-1)[:VALUES].tolist()
    ]
    while len(first) > 1 and len(" ".join(first)) + 2 > width:
        first.pop()
    return " ".join(first) + (" …" if len(first) < array.size else "")
