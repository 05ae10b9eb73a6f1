"""`qtool calibrate`: measure activation ranges once, use them many times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qtool.cli import options as o


def calibrate(
    model: o.Model,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Samples to measure activations on.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The calibration file.")
    ],
    bits: o.Bits = None,
    scheme: o.SchemeText = None,
    samples: o.Samples = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = 1,
    include: o.Include = None,
    exclude: o.Exclude = None,
    tensor: o.Tensor = None,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    target: o.TargetName = "cpu",
    threads: o.Threads = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool calibrate model.onnx --data calib -o model.calib

    Measure the ranges of activations once; quantize --calibration FILE uses them many times.
    The range method is not part of the file: choose it with quantize --method.
    """
    from qtool import workflow
    from qtool.cli import show
    from qtool.cli.boundary import printable
    from qtool.cli.console import configure, out, progress
    from qtool.files import check_output
    from qtool.report.table import size
    from qtool.target import load_target

    configure(quiet=quiet, more=verbose)
    chosen = o.recipe_from(
        recipe, bits=bits, scheme=scheme, samples=samples, seed=seed,
        include=include, exclude=exclude, tensor=tensor,
    )  # fmt: skip
    check_output(output, force=force, inputs=[model])
    job = workflow.open_job(model, chosen, load_target(target), threads=threads)
    used = o.open_chosen(data, job.signature, chosen, on_bad_file)
    o.note_few(used)
    job.signature.check_batches(batch_size, len(used))
    workflow.check_preparation(job, next(used.batches(batch_size)))
    with progress("measuring ranges") as step:
        measured, fed = workflow.measure(job, used, batch_size=batch_size, step=step)
    show.used(used, fed)
    measured.save(output, force=force)
    wrote = size(output.stat().st_size)
    text = f"Wrote {output} ({len(measured.histograms)} tensors, {wrote})"
    out.print(printable(text, lines=False), markup=False)
