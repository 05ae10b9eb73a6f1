"""`qtool calibrate`: measure activation ranges once, use them many times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtool.cli import options as o


def calibrate(
    model: o.Model,
    data: Annotated[str, typer.Option(metavar=o.DIR, help="Samples to measure activations on.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The calibration file.")
    ],
    bits: o.Bits = None,
    levels: o.Levels = None,
    scheme: o.SchemeText = None,
    preset: o.Preset = None,
    samples: o.Samples = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = 1,
    include: o.Include = None,
    exclude: o.Exclude = None,
    tensor: o.Tensor = None,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Only the K-th of N parts; see merge.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes of this machine that measure.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers measure, tcp://…"),
    ] = None,
    target: o.TargetName = "cpu",
    placement: o.Where = None,
    threads: Annotated[
        int, typer.Option(min=0, metavar="N", help="0: all cores. With workers: of each.")
    ] = 0,
    allow_requantize: o.Requantize = False,
    custom_ops: o.CustomOps = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool calibrate model.onnx --data calib -o model.calib

    Measure the ranges of activations once; quantize --calibration FILE uses them many times.
    The range method is not part of the file: choose it with quantize --method. Interrupted, the
    same command goes on where it was. qtool calibrate merge  joins files made with --shard.
    """
    from qtool import workflow
    from qtool.calibrate.resume import Checkpoint
    from qtool.calibrate.spans import WHOLE, parse_shard
    from qtool.calibrate.spread import Workers
    from qtool.cli import show
    from qtool.cli.console import configure, progress
    from qtool.files import check_output
    from qtool.refine.samples import drawn_for
    from qtool.target import load_target

    configure(quiet=quiet, more=verbose)
    o.use_custom_ops(custom_ops)
    part = WHOLE if shard is None else parse_shard(shard)
    o.check_workers(workers, cluster)
    spread = None
    if workers is not None or cluster is not None:
        spread = Workers(data, on_bad_file.value, workers or 0, cluster, threads)
    chosen = o.recipe_from(
        recipe, preset=preset, bits=bits, levels=levels, scheme=scheme, samples=samples,
        seed=seed, placement=placement, include=include, exclude=exclude, tensor=tensor,
    )  # fmt: skip
    check_output(output, force=force, inputs=[model])
    job = workflow.open_job(
        model, chosen, load_target(target), threads=threads, requantize=allow_requantize
    )
    used = o.open_chosen(data, job.signature, chosen, on_bad_file)
    o.note_few(used)
    job.signature.without(used.states).check_batches(batch_size, len(used))
    if (run := drawn_for(chosen.measured_before(), used, batch_size)) is not None:
        job = workflow.smoothed(job, run)
    for note in workflow.check_preparation(job, next(used.batches(batch_size))):
        show.advice(note)
    inputs = [model, *job.files, *used.paths()]
    check_output(output, force=force, inputs=inputs)
    kept = Checkpoint(output, used)
    kept.check(inputs)
    notes = [*job.notes]
    try:
        with progress("measuring ranges") as step:
            measured = workflow.measure(
                job, used, batch_size=batch_size, shard=part, step=step, kept=kept,
                advise=notes.append, workers=spread,
            )  # fmt: skip
    except KeyboardInterrupt:
        if kept.path.exists():
            show.advice("the same command goes on where this one was")
        raise
    if kept.went_on:
        notes.append(f"{kept.went_on} of the samples had been measured before an interruption")
    if kept.passed_over:
        notes.append(f"{kept.path} was of another run, or of other files, and is of no use here")
    if not measured.histograms:
        notes.append("nothing in this model is quantized as asked, so nothing was measured")
    if part != WHOLE:
        notes.insert(0, f"shard {part} of these: {measured.samples} samples")
    show.used(used, measured.fed, job, notes)
    measured.save(output, force=force)
    kept.remove()
    show.calibrated(measured, output)


def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Calibration files of shards.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The calibration file.")
    ],
    partial: Annotated[
        bool, typer.Option("--partial", help="Write it also where shards are missing.")
    ] = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool calibrate merge part1.calib part2.calib -o model.calib

    Shards of one calibration become one file: the same bytes as one run over all gives.
    """
    from qtool.calibrate.file import load
    from qtool.calibrate.merge import merge as merged
    from qtool.calibrate.merge import missing
    from qtool.cli import show
    from qtool.cli.console import configure
    from qtool.errors import DataError
    from qtool.files import check_output

    configure(quiet=quiet, more=verbose)
    check_output(output, force=force, inputs=parts)
    whole = merged([load(path) for path in parts], [str(path) for path in parts])
    if not whole.complete and not partial:
        raise DataError(
            "these are not all shards of the calibration",
            f"there are {whole.samples} of {whole.run.samples} samples; it lacks batches "
            f"{missing(whole)} of {whole.run.blocks}",
            "give the others too, or add  --partial  to merge the result with them later",
        )
    whole.save(output, force=force)
    show.calibrated(whole, output)
