"""`qtool sweep`: a grid of recipes, and what becomes of the model under each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtool.cli import options as o


def _axis(name: str, values: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        f"--{name}", metavar=values, help=text, rich_help_panel="Axes, values between commas"
    )
    return found


def sweep(
    model: o.Model,
    data: Annotated[
        str | None, typer.Option(metavar=o.DIR, help="Samples to measure ranges on, and to judge.")
    ] = None,
    bits: Annotated[
        str | None, _axis("bits", "N,N", "Bits of weights; activations as in quantize.")
    ] = None,
    levels: Annotated[str | None, _axis("levels", "N,N", "Levels of weights: 3,10,16.")] = None,
    scheme: Annotated[str | None, _axis("scheme", "S,S", "Exact: w8a8,w4b32,fp16.")] = None,
    activation_bits: Annotated[
        str | None, _axis("activation-bits", "N,N", "2 to 16, or float.")
    ] = None,
    symmetry: Annotated[
        str | None,
        _axis(
            "symmetry", "WORDS", "symmetric, asymmetric, mixed: weights alone are (the default)."
        ),
    ] = None,
    mapping: Annotated[
        str | None,
        _axis("mapping", "NAMES", "linear, or a codebook: kmeans, log2, quantile (weights only)."),
    ] = None,
    granularity: Annotated[
        str | None, _axis("granularity", "WORDS", "A scale per tensor, channel, or block: 32.")
    ] = None,
    mode: Annotated[
        str | None, _axis("mode", "WORDS", "static, dynamic, weights: as in quantize.")
    ] = None,
    preset: Annotated[str | None, _axis("preset", "NAMES", "fast, balanced, accurate.")] = None,
    method: Annotated[
        str | None, _axis("method", "NAMES", "minmax, percentile, entropy, mse.")
    ] = None,
    range_: Annotated[
        str | None, _axis("range", "LO:HI,…", "Of weights, as -8:8, or auto.")
    ] = None,
    activation_range: Annotated[
        str | None, _axis("activation-range", "LO:HI,…", "Of activations, or auto.")
    ] = None,
    scale: Annotated[str | None, _axis("scale", "WORDS", "free, pow2: powers of two.")] = None,
    mixed: Annotated[
        str | None, _axis("mixed", "B,B", "Bits on average, chosen layer by layer: 4.5,none.")
    ] = None,
    judged: Annotated[
        str | None,
        typer.Option(
            "--eval", metavar=o.DIR, help="Samples to judge on (default: part of --data)."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The score: top1, mse, sqnr … (the labels' first, else agreement, else sqnr).",
        ),
    ] = None,
    labels: o.LabelsFile = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE:FUNCTION", help="A score of your own; see docs/compare.md."),
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Also time each cell: 5 to 10 s more.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="(<stem>.sweep.json)")
    ] = None,
    plot: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Score against size and time: .png or .svg. Repeatable."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The table as Markdown.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the models, named after their cells.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Print the cells; measure nothing.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Allow so many cells (200).")
    ] = None,
    samples: o.Samples = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = 1,
    include: o.Include = None,
    exclude: o.Exclude = None,
    tensor: o.Tensor = None,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    target: o.TargetName = "cpu",
    placement: o.Where = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes of this machine that judge.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers judge, tcp://…"),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Of each run; 0: all cores. With 1 no digit depends on them."
        ),
    ] = 1,
    custom_ops: o.CustomOps = None,
    allow_requantize: o.Requantize = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool sweep model.onnx --data calib --bits 8,4,2 --symmetry mixed,asymmetric --plot sweep.png

    A grid of recipes, every combination of the values given: size, score and speed of each, and
    which nothing beats. Interrupted, the same command goes on where it was.
    """
    from qtool.cli import sweeping
    from qtool.cli.console import configure
    from qtool.errors import UsageError
    from qtool.sweep import plot as plotting
    from qtool.sweep.axes import DEFAULT, read_axes
    from qtool.sweep.cells import check_limit, grid
    from qtool.sweep.kept import Kept
    from qtool.sweep.run import Sweeping
    from qtool.sweep.setup import Setup

    configure(quiet=quiet, more=verbose)
    o.use_custom_ops(custom_ops)
    axes = read_axes(
        {"preset": preset, "scheme": scheme, "bits": bits, "levels": levels,
         "mapping": mapping, "activation-bits": activation_bits, "symmetry": symmetry,
         "granularity": granularity, "mode": mode, "method": method, "range": range_,
         "activation-range": activation_range, "scale": scale, "mixed": mixed}
    )  # fmt: skip
    base, rules, following = sweeping.choices(
        recipe, samples=samples, seed=seed, placement=placement, include=include, exclude=exclude,
        tensor=tensor,
    )  # fmt: skip
    axes = axes or DEFAULT
    cells = grid(base, axes, rules, following)
    if show:
        sweeping.listed(cells)
        return
    check_limit(cells, limit)
    if data is None:
        raise UsageError("qtool sweep needs samples", fix="add  --data DIR,  or  --list")
    plotting.check(plot or ())
    output = output or model.parent / f"{model.stem}.sweep.json"
    places = sweeping.Places(output, tuple(plot or ()), markdown, keep, force)
    setup = Setup(
        data, base, target, judged, on_bad_file.value, metric or "", tuple(scorer or ()),
        batch_size, threads, allow_requantize, latency, labels,
    )  # fmt: skip
    job = Sweeping(model, setup, cells, axes, Kept(output), keep, sweeping.crowd(workers, cluster))
    places.check(job)
    found = sweeping.run(job, places)
    places.give(found, job.kept)
