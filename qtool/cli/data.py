"""`qtool data`: what would be fed to a model, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli import options as o

if TYPE_CHECKING:
    from qtool.data import Dataset

EXAMPLES = 5
CLASSES = 12


def data(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="The data: a folder, .npy or .npz.")],
    model: Annotated[Path, typer.Option(help="The model that they are for.")],
    samples: o.Samples = None,
    seed: o.Seed = None,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
) -> None:
    """qtool data calib --model model.onnx

    Shows what would be fed to a model: shapes, ranges, labels, examples. Runs nothing.
    """
    from rich.markup import escape

    from qtool import model as models
    from qtool.cli.boundary import printable
    from qtool.cli.console import out
    from qtool.data import Fed, watch

    signature = models.signature(models.load(model))
    choices = o.recipe_from(recipe, samples=samples, seed=seed)
    chosen = o.open_chosen(path, signature, choices, on_bad_file)
    chosen.check()
    fed: dict[str, Fed] = {}
    for _ in watch(chosen.batches(1), fed):
        pass
    lines = [chosen.describe(fed), *(f"the model takes {spec}" for spec in signature.inputs)]
    lines += [_labels(chosen), *_examples(chosen)]
    for line in lines:
        out.print(escape(printable(line)))


def _labels(dataset: Dataset) -> str:
    labels = dataset.labels
    if labels is None:
        return "no labels"
    if labels.dtype.kind == "f":
        return f"labels: numbers from {labels.min():.4g} to {labels.max():.4g}"
    counts: dict[int, int] = {}
    for label in sorted(labels.tolist()):
        counts[label] = counts.get(label, 0) + 1
    shown = [f"{_name(dataset, label)} × {counts[label]}" for label in list(counts)[:CLASSES]]
    more = [f"and {len(counts) - CLASSES} more"] if len(counts) > CLASSES else []
    return f"labels: {len(counts)} classes: {', '.join(shown + more)}"


def _name(dataset: Dataset, label: int) -> str:
    return dataset.classes[label] if dataset.classes else str(label)


def _examples(dataset: Dataset) -> list[str]:
    lines = ["examples:"]
    for index, name in enumerate(dataset.names[:EXAMPLES]):
        label = ""
        if dataset.labels is not None:
            number = dataset.labels[index].item()
            label = f", label {_name(dataset, number) if isinstance(number, int) else number}"
        values = [
            f"{key} {array.dtype} {array.shape} {_first_values(array.reshape(-1)[:6].tolist())}"
            for key, array in dataset.sample(index).items()
        ]
        lines += [f"  {name}{label}", *(f"    {value}" for value in values)]
    return lines


def _first_values(values: list[float]) -> str:
    return f"{' '.join(f'{value:.4g}' for value in values)} …"
