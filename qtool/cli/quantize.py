"""`qtool quantize`: from a model to a smaller, faster model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli import budget as b
from qtool.cli import options as o
from qtool.cli.optimize import Optimize, optimized
from qtool.cli.searched import making, quantize_within

if TYPE_CHECKING:
    from qtool.calibrate.file import Calibration
    from qtool.data import Dataset
    from qtool.verify import Feeds
    from qtool.workflow import Job


def quantize(
    model: o.Model,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="(<stem>.int8.onnx, .w8.onnx …)"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar=o.DIR, help="Samples to measure activations on.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="From qtool calibrate, in place of --data.")
    ] = None,
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
            help="Activations measured on --data (static, the default with it), on every run "
            "(dynamic), or left in float (weights, the default without)."
        ),
    ] = None,
    keep_io_types: Annotated[
        bool | None,
        typer.Option(
            "--keep-io-types/--no-keep-io-types",
            help="With fp16: float32 inputs and outputs stay so (default), or become float16.",
        ),
    ] = None,
    preset: o.Preset = None,
    method: o.Method = None,
    samples: o.Samples = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = 1,
    include: o.Include = None,
    exclude: o.Exclude = None,
    tensor: o.Tensor = None,
    recipe: o.RecipeFile = None,
    save_recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the choices down as TOML.")
    ] = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    target: o.TargetName = "cpu",
    placement: o.Where = None,
    optimize: Optimize = None,
    max_drop: b.MaxDrop = None,
    metric: b.MetricName = None,
    judged: b.Eval = None,
    labels: o.LabelsFile = None,
    scorer: b.Scorers = None,
    max_size: b.MaxSize = None,
    target_bits: b.TargetBits = None,
    threads: o.Threads = 0,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="For what gptq and its like sum up, layers at a time (1GB): 512MB."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; write and measure nothing.")
    ] = False,
    contrib: o.Contrib = None,
    custom_ops: o.CustomOps = None,
    allow_requantize: o.Requantize = False,
    exit_zero: b.ExitZero = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Write also where nothing is quantized.")
    ] = False,
    allow_larger: Annotated[
        bool, typer.Option("--allow-larger", help="Write also what is larger by 100 kB or more.")
    ] = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool quantize model.onnx --data calib

    Make a model smaller and faster. With data, weights and activations become integers; without,
    only the weights are stored as integers. --scheme fp16 halves the file.
    """
    from qtool import workflow
    from qtool.cli import show
    from qtool.cli.console import configure, doing, out
    from qtool.errors import UsageError
    from qtool.files import atomic_write, check_output
    from qtool.refine.samples import drawn_for
    from qtool.refine.state import MEMORY
    from qtool.target import load_target

    configure(quiet=quiet, more=verbose)
    o.use_custom_ops(custom_ops)
    if calibration is not None and data is None and not (samples is None and seed is None):
        raise UsageError(
            "--samples and --seed choose from data",
            "--calibration holds what was measured on the samples chosen then",
            "give them to  qtool calibrate",
        )
    measured = data is not None or calibration is not None
    chosen = o.recipe_from(
        recipe, preset=preset, bits=bits, levels=levels, scheme=scheme, symmetric=symmetric,
        mapping=mapping, weight_range=weight_range, activation_range=activation_range, scale=scale,
        with_data=measured, mode=mode,
        keep_io_types=keep_io_types, contrib=contrib, method=method, samples=samples, seed=seed,
        placement=placement, include=include, exclude=exclude, tensor=tensor,
    )  # fmt: skip
    if data is None:
        asked = preset is not None or recipe is not None
        chosen = o.without_samples(chosen, asked=asked, calibrated=calibration is not None)
    memory = b.bytes_of(max_memory, "--max-memory") or MEMORY
    bounded = b.Asked(max_drop, metric, judged, labels, tuple(scorer or ()), max_size, target_bits)
    output = output or model.parent / f"{model.stem}.{chosen.suffix()}.onnx"
    if bounded.searches:
        bounded.alone(chosen, calibration=calibration, optimize=optimize, dry_run=dry_run)
        check_output(output, force=force, inputs=[model])
        with making(
            model, bounded, chosen, data, on_bad_file, load_target(target),
            batch_size=batch_size, threads=threads, requantize=allow_requantize, memory=memory,
        ) as (maker, split):  # fmt: skip
            quantize_within(
                maker, bounded, split.noted(chosen), split, output,
                save_recipe=save_recipe, inputs=[recipe] if recipe else [], verbose=verbose,
                force=force, exit_zero=exit_zero, allow_empty=allow_empty,
                allow_larger=allow_larger,
            )  # fmt: skip
        return
    bounded.bounds()
    job = workflow.open_job(
        model, chosen, load_target(target), threads=threads, requantize=allow_requantize
    )
    if not dry_run:
        check_output(output, force=force, inputs=[model, *job.files])
    if save_recipe is not None:
        check_output(save_recipe, force=force, inputs=[model, *job.files])
    show.headline(job, measured or mode is o.Mode.WEIGHTS)
    used = None if data is None else o.open_chosen(data, job.signature, chosen, on_bad_file)
    if used is not None:
        job.signature.without(used.states).check_batches(batch_size, len(used))
        o.note_few(used)
        if not dry_run:
            check_output(output, force=force, inputs=used.paths())
    job = optimized(job, used, calibration, batch_size, goal=optimize, dry_run=dry_run)
    chosen = job.recipe
    if dry_run:
        show.plan(workflow.dry_run(job), job)
        return
    if (run := drawn_for(chosen.measured_before(), used, batch_size)) is not None:
        job = workflow.smoothed(job, run)  # as calibrate does
    samples_to_run = drawn_for(chosen, used, batch_size)
    found, feeds = _measured(job, used, calibration, batch_size)
    with doing() as doing_now:
        quantized = workflow.build(job, found, samples_to_run, doing_now, memory)
    show.summary(quantized.plan, job, verbose=verbose)
    show.refined(quantized.refined)
    written = workflow.write(
        job, quantized, output, feeds,
        force=force, allow_empty=allow_empty, allow_larger=allow_larger,
    )  # fmt: skip
    if save_recipe is not None:
        atomic_write(save_recipe, chosen.toml().encode(), force=force)
    show.written(output, written, out)


def _measured(
    job: Job, data: Dataset | None, calibration: Path | None, batch_size: int
) -> tuple[Calibration | None, Feeds | None]:
    """The statistics, from the file or from the data, and the first sample where there is one."""
    from qtool import workflow
    from qtool.calibrate.file import load
    from qtool.calibrate.fitting import require_same_data
    from qtool.cli import show
    from qtool.cli.console import progress

    found = load(calibration) if calibration is not None else None
    if data is None:
        for note in workflow.check_preparation(job, None):
            show.advice(note)
        return found, None
    feeds = next(data.batches(batch_size))
    for note in workflow.check_preparation(job, feeds):
        show.advice(note)
    if found is not None:
        require_same_data(found, data)
        return found, feeds
    if job.sites.sources:
        notes: list[str] = []
        with progress("measuring ranges") as step:
            found = workflow.measure(
                job, data, batch_size=batch_size, step=step, advise=notes.append
            )
        show.used(data, found.fed, job, notes)
    return found, feeds
