"""`qtool tune`: codes and scales learned, until the target is met or nothing more is gained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtool.cli import options as o
from qtool.cli.tuning import LearnFrom
from qtool.tune.course import START, Course

_LEARNING = "Learning"


def tune(
    model: o.Model,
    data: Annotated[
        str | None,
        typer.Option(metavar=o.DIR, help="Samples to learn from, and to judge on (required)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="(<stem>.tuned.int4.onnx …)"),
    ] = None,
    target_drop: Annotated[
        str | None,
        typer.Option(
            metavar="X",
            help="Stop as soon as no more than so much is lost: 0.5pp. Exits with 1 if that was "
            "not met, and writes the best all the same.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is judged by: top1, mse, sqnr … (the labels' first score, else agreement, "
            "else sqnr).",
        ),
    ] = None,
    judged: Annotated[
        str | None,
        typer.Option(
            "--eval", metavar=o.DIR, help="Samples to judge on (default: a fifth of --data)."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="labels.csv or labels.npy of --data, if it does not lie with the samples.",
        ),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE:FUNCTION", help="A score of your own; see docs/compare.md."),
    ] = None,
    learn_from: Annotated[
        LearnFrom | None,
        typer.Option(
            help="What says what is right (both where --metric is about labels, else float).",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"At most, of each stage ({Course.epochs}).",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"Stop after so many without a gain ({Course.patience}).",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help=f"Part of its size by which a weight may move in a step ({Course.rate:g}).",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help=f"What the square of a weight costs, beside labels ({Course.decay:g}).",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    layerwise: Annotated[
        bool,
        typer.Option(
            "--layerwise",
            help="Try what presets do layer by layer, and no gradients; needs no torch.",
            rich_help_panel=_LEARNING,
        ),
    ] = False,
    bits: o.Bits = None,
    levels: o.Levels = None,
    scheme: o.SchemeText = None,
    symmetric: o.Symmetric = None,
    mapping: o.Mappings = None,
    weight_range: o.WeightRange = None,
    activation_range: o.ActivationRange = None,
    scale: o.Scales = None,
    mode: Annotated[
        o.Mode | None,
        typer.Option(
            help="Activations measured (static, the default), or in float (weights); not dynamic."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where learning starts: fast, balanced or accurate (default, without --recipe and "
            "--layerwise).",
        ),
    ] = None,
    method: o.Method = None,
    samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use at most this many of --data (all).")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(max=2**53, metavar="N", help="Chooses what is set apart, and batches (0)."),
    ] = None,
    include: o.Include = None,
    exclude: o.Exclude = None,
    tensor: o.Tensor = None,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    target: o.TargetName = "cpu",
    placement: o.Where = None,
    threads: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="0: all cores to judge on, one for gradients."),
    ] = 0,
    custom_ops: o.CustomOps = None,
    allow_requantize: o.Requantize = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 also where the target was not met.")
    ] = False,
    allow_larger: Annotated[
        bool, typer.Option("--allow-larger", help="Write also what is larger by 100 kB or more.")
    ] = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool tune model.onnx --data samples --scheme w4a4 --target-drop 0.5pp

    Quantize, then learn weights, biases and scales by gradient descent, judged on
    samples set apart. Needs torch, an extra: see qtool doctor. Interrupted while
    it learns, the same command goes on where it was.
    """
    from qtool import workflow
    from qtool.cli import show, tuned
    from qtool.cli.console import configure, out
    from qtool.cli.tuning import Asked, check_places, few, parts
    from qtool.compare.truth.custom import load_scorers
    from qtool.errors import UsageError
    from qtool.plan.sites import require_work
    from qtool.target import load_target
    from qtool.tune.course import kept_beside

    configure(quiet=quiet, more=verbose)
    o.use_custom_ops(custom_ops)
    if data is None:
        raise UsageError("qtool tune needs samples to learn from", fix="add  --data DIR")
    if recipe is None and not layerwise:
        preset = preset or START
    chosen = o.recipe_from(
        recipe, preset=preset, bits=bits, levels=levels, scheme=scheme, symmetric=symmetric,
        mapping=mapping, weight_range=weight_range, activation_range=activation_range, scale=scale,
        mode=mode, method=method, samples=samples, seed=seed, placement=placement,
        include=include, exclude=exclude, tensor=tensor,
    )  # fmt: skip
    course = {"--epochs": epochs, "--patience": patience, "--learning-rate": learning_rate,
              "--weight-decay": weight_decay}  # fmt: skip
    given = tuple(scorer or ())
    asked = Asked(
        data, labels, judged, target_drop, metric, given, learn_from, course, layerwise=layerwise
    )
    asked.check(chosen)
    scorers = load_scorers(given)
    output = output or model.parent / f"{model.stem}.tuned.{chosen.suffix()}.onnx"
    inputs = [model, *([recipe] if recipe else [])]
    check_places(output, asked, inputs, force=force)
    runtime = load_target(target)
    job = workflow.open_job(model, chosen, runtime, threads=threads, requantize=allow_requantize)
    show.headline(job, measured=True)
    require_work(job.sites, allow_empty=False)
    samples_used = parts(asked, job.signature, chosen, on_bad_file)
    check_places(output, asked, [*inputs, *job.files], force=force, samples=samples_used)
    feeds = next(samples_used.learned.batches(samples_used.unit))
    for note in workflow.check_preparation(job, feeds):
        show.advice(note)
    for note in few(samples_used, layerwise=layerwise):
        show.advice(note)
    if job.sites.fewest_bits >= 8:
        show.advice("at 8 bits there is little to win back: tune is for fewer, as  --scheme w4a4")
    found, examiner = tuned.learned(
        asked, job, samples_used, scorers, output, requantize=allow_requantize
    )
    show.summary(found.quantized.plan, found.job, verbose=verbose)
    show.refined(found.quantized.refined)
    written = workflow.write(
        found.job, found.quantized, output, feeds, force=force, allow_larger=allow_larger
    )
    met = tuned.result(found, examiner, asked)
    show.written(output, written, out)
    if not layerwise:
        kept_beside(output).unlink(missing_ok=True)
    if not met:
        tuned.missed(found, examiner, asked)
        if not exit_zero:
            raise typer.Exit(1)
