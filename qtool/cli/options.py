"""Options that several commands share: one name, one meaning, one default."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli.codes import ActivationRange as ActivationRange
from qtool.cli.codes import Mapping as Mapping
from qtool.cli.codes import Mappings as Mappings
from qtool.cli.codes import Scale as Scale
from qtool.cli.codes import Scales as Scales
from qtool.cli.codes import Symmetric as Symmetric
from qtool.cli.codes import WeightRange as WeightRange

if TYPE_CHECKING:
    from qtool.data import Dataset
    from qtool.recipe import Recipe
    from qtool.signature import Signature


class BadFile(StrEnum):
    """What happens to a file that cannot be read or does not fit."""

    ERROR = "error"
    SKIP = "skip"


class Mode(StrEnum):
    """When activations are quantized, if they are."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    WEIGHTS = "weights"


class Placement(StrEnum):
    """Which operators become integers."""

    PAYING = "paying"
    ALL = "all"


DIR = "DIR|URL"  # what a URL would lose as a path: the second of its slashes
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")]
Bits = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Bits of weights, 2 to 16; with data activations of 8 or more (8)."
    ),
]
Levels = Annotated[
    int | None,
    typer.Option(metavar="N", help="In place of bits: 2 to 65536 levels of weights."),
]
SchemeText = Annotated[
    str | None,
    typer.Option(
        metavar="S", help="The exact form: w8a8, w8, w4b32, w8ca16, wl10al200, w4k, fp16, float."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="How ranges are found: minmax, percentile, entropy, mse (default: as the preset)."
    ),
]
Samples = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use at most this many (256).")
]
Seed = Annotated[
    int | None, typer.Option(max=2**53, metavar="N", help="Chooses which samples (0).")
]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Samples in one run.")]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only these nodes: glob on names, op:Conv, re:…"),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Keep these nodes in float.")
]
Tensor = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN=SCHEME", help="Another scheme for these nodes."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="fast, balanced (default) or accurate: see qtool presets. A recipe's own keys win.",
    ),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", metavar="FILE", help="Choices from a TOML file.")
]
OnBadFile = Annotated[
    BadFile, typer.Option(help="Stop at bad files, or list them and leave them out.")
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FILE",
        help="labels.csv or labels.npy of the samples, if it does not lie with them.",
    ),
]  # fmt: skip
TargetName = Annotated[str, typer.Option("--target", help="The runtime to be fast on.")]
Where = Annotated[
    Placement | None,
    typer.Option(
        "--placement",
        help="Integers where they pay (default), or wherever the target has a kernel (all).",
    ),
]
Contrib = Annotated[
    bool | None,
    typer.Option(
        "--contrib/--no-contrib",
        help="Take the runtime's own operators too, where the standard has none: 4-bit tables, "
        "and LSTM with --mode dynamic.",
    ),
]
Requantize = Annotated[
    bool,
    typer.Option("--allow-requantize", help="Take a quantized model: dequantize it first."),
]
CustomOps = Annotated[
    list[Path] | None,
    typer.Option(metavar="LIB", help="Operators of the model's own: a shared library. Repeatable."),
]
Threads = Annotated[int, typer.Option(min=0, metavar="N", help="0: all cores.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the result and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail, and tracebacks.")]


def recipe_from(
    file: Path | None,
    *,
    preset: str | None = None,
    bits: int | None = None,
    levels: int | None = None,
    scheme: str | None = None,
    symmetric: bool | None = None,
    mapping: Mapping | None = None,
    weight_range: str | None = None,
    activation_range: str | None = None,
    scale: Scale | None = None,
    with_data: bool = True,
    mode: Mode | None = None,
    placement: Placement | None = None,
    keep_io_types: bool | None = None,
    contrib: bool | None = None,
    method: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    tensor: list[str] | None = None,
) -> Recipe:
    """Command line over recipe over preset over defaults.

    --bits N is w<N>a8 with data (8 bits and fewer; w16a16 for 16) and w<N> without; --levels N is
    wl<N>a8, from 257 on wl<N>al<N>. Activations stay float where the mode is `weights`, or not
    given and there is no data.
    """
    from qtool.cli.codes import meant_by, range_of, scheme_of
    from qtool.errors import UsageError
    from qtool.recipe import Recipe, Rule, load_recipe
    from qtool.recipe import preset as named

    base = named(preset) if preset is not None else None
    recipe = load_recipe(file, base) if file else Recipe.model_validate(base or {})
    changes: dict[str, object] = {
        "scheme": scheme_of(recipe.scheme, bits, levels, scheme, symmetric, mapping),
        "method": method, "samples": samples, "seed": seed, "keep_io_types": keep_io_types,
        "contrib": contrib,
        "range": range_of("--range", weight_range),
        "activation_range": range_of("--activation-range", activation_range),
        "scale": scale.value if scale else None,
        "mode": mode.value if mode not in (None, Mode.WEIGHTS) else None,
        "placement": placement.value if placement else None,
    }  # fmt: skip
    recipe = recipe.model_copy(update={k: v for k, v in changes.items() if v is not None})
    rules = list(recipe.rules)
    if include:
        rules += [Rule(match="*", scheme="float")]
        rules += [Rule(match=pattern, scheme=recipe.scheme) for pattern in include]
    wishes = (meant_by(item, symmetric, mapping) for item in tensor or ())
    rules += [Rule(match=pattern, scheme=text) for pattern, text in wishes]
    rules += [Rule(match=pattern, scheme="float") for pattern in exclude or ()]
    recipe = recipe.model_copy(update={"rules": tuple(rules)}).checked()
    if mode is Mode.STATIC and not with_data:
        raise UsageError(
            "--mode static needs samples to measure activations on",
            fix="add  --data DIR,  or use  --mode dynamic",
        )
    stored = mode is Mode.WEIGHTS or (not with_data and recipe.mode == "static")
    if stored and activation_range is not None:
        raise UsageError(
            "--activation-range is of no use where activations stay float",
            fix="add  --data DIR,  or leave it out",
        )
    return recipe.weights_only() if stored else recipe


def without_samples(recipe: Recipe, *, asked: bool, calibrated: bool) -> Recipe:
    """The recipe for when there are no samples to run: what needs them is left out, and said.

    Raises:
        UsageError: it was `asked` for, by a preset or in a recipe, and there is a calibration file,
            so that all else would be done as with samples.
    """
    from qtool.algorithms import needing_samples
    from qtool.cli.console import err
    from qtool.errors import UsageError

    names = needing_samples(recipe.algorithms)
    kept = tuple(name for name in recipe.algorithms if name not in names)
    names = recipe.concerned(names)
    if not names:
        return recipe.model_copy(update={"algorithms": kept})
    needs = "needs" if len(names) == 1 else "need"
    if asked and calibrated:
        raise UsageError(
            f"{', '.join(names)} {needs} samples",
            "a calibration file holds statistics, and no samples to run",
            "add  --data DIR  with the data it was measured on, or list other algorithms",
        )
    if asked or calibrated:
        err.print(f"note: left out {', '.join(names)}, which {needs} samples: --data DIR")
    return recipe.model_copy(update={"algorithms": kept})


def check_workers(workers: int | None, cluster: str | None) -> None:
    """UsageError: workers are asked for in both ways."""
    from qtool.errors import UsageError

    if workers is not None and cluster is not None:
        raise UsageError(
            "--workers and --cluster are both given",
            "one starts processes on this machine, the other takes workers that run already",
            "keep one of them",
        )


def use_custom_ops(paths: list[Path] | None) -> None:
    """Load what --custom-ops names, and nothing else, into every session to come."""
    from qtool.runtime import use_libraries

    use_libraries(paths or ())


def open_chosen(
    place: str,
    signature: Signature,
    recipe: Recipe,
    on_bad_file: BadFile = BadFile.ERROR,
    samples: int | None = None,
    labels: Path | None = None,
) -> Dataset:
    """The samples that a recipe, or `samples` in its place, chooses; says which were left out.

    `place` is a path or a URL, `labels` a file in place of what lies there.
    """
    from qtool.cli.boundary import printable
    from qtool.cli.console import err
    from qtool.data import open_dataset
    from qtool.data.remote import located

    every = open_dataset(
        located(place), signature, recipe.data, on_bad_file=on_bad_file.value, labels=labels
    )
    data = every.choose(recipe.samples if samples is None else samples, recipe.seed)
    if data.skipped:
        err.print(f"note: left out {len(data.skipped)} bad {data.unit}:", markup=False)
        for name in data.skipped:
            err.print(f"  {printable(name)}", markup=False)
    return data


def note_few(data: Dataset) -> None:
    """Say so where there is too little to measure ranges on."""
    from qtool.cli.console import err

    if len(data) < _FEW:
        err.print(f"note: {len(data)} samples are few; ranges settle from about {_FEW} on")


_FEW = 32
