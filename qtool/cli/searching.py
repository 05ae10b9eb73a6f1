"""What tells one search from another, and where its files may lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtool.cli.budget import Asked, Parts
    from qtool.recipe import Recipe
    from qtool.search.making import Maker


def check_places(
    model: Path, asked: Asked, samples: Parts, places: Sequence[Path], others: Sequence[Path]
) -> None:
    """Refuse places that are one, or an input, those among `others` too.

    Raises:
        UsageError: two of them are the same, or one is the model, a sample, labels or a scorer.
    """
    from qtool.errors import UsageError
    from qtool.files import check_output

    inputs = [model, *others, *(Path(text.rpartition(":")[0]) for text in asked.scorers)]
    inputs += [asked.labels] if asked.labels else []
    for data in (samples.calibration, samples.selection, samples.report):
        inputs += [] if data is None else set(data.paths())
    whole = [place.parent.resolve() / place.name for place in places]
    for place, each in zip(places, whole, strict=True):
        if whole.count(each) > 1:
            raise UsageError(
                f"two results go to {place}",
                "a search writes a model, beside it .toml and .search.json",
                "end  -o  in .onnx, and give  --save-recipe  another name",
            )
        check_output(place, force=True, inputs=inputs)


def check_recipe(path: Path, *, force: bool) -> None:
    """Refuse a place for the recipe where there is something.

    Raises:
        UsageError: there is, and `force` is not given.
    """
    from qtool.errors import UsageError
    from qtool.files import check_output

    try:
        check_output(path, force=force)
    except UsageError as error:
        fix = "-f overwrites it,  --save-recipe FILE  puts the recipe that is found elsewhere"
        raise UsageError(error.what, "the recipe that is found is written there", fix) from error


def identity(
    maker: Maker, asked: Asked, recipe: Recipe, samples: Parts
) -> dict[str, str | float | list[str] | None]:
    """All that must be the same for what was tried to be worth something."""
    import qtool
    from qtool import model as models
    from qtool.compare.truth.custom import digest_of
    from qtool.data.truth import truth_of
    from qtool.runtime import VERSION

    used = {name: getattr(samples, name) for name in ("calibration", "selection", "report")}
    judged = (samples.selection, samples.report)
    return {
        "qtool": qtool.__version__,
        "onnxruntime": VERSION,
        "model": models.digest(models.load(maker.path)),
        "recipe": recipe.toml(),
        "target": maker.target.name,
        "batch_size": maker.batch_size,
        "max_drop": asked.max_drop,
        "metric": asked.metric,
        "scorers": [digest_of(text) for text in asked.scorers],
        "max_size": asked.max_size,
        "target_bits": asked.target_bits,
        **{name: None if data is None else data.fingerprint for name, data in used.items()},
        "truth": [truth_of(data) for data in judged if data is not None],
    }
