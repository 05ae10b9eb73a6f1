"""`qtool sensitivity`: which layers hurt, and what to do about them."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli import options as o

if TYPE_CHECKING:
    from qtool.data import Dataset
    from qtool.recipe import Recipe
    from qtool.search.making import Maker
    from qtool.sensitivity.ranking import Layer
    from qtool.sensitivity.study import Sensitivity

ROWS = 10


def sensitivity(
    model: o.Model,
    data: Annotated[
        str | None, typer.Option(metavar=o.DIR, help="Samples to measure and to run all on.")
    ] = None,
    bits: o.Bits = None,
    levels: o.Levels = None,
    scheme: o.SchemeText = None,
    symmetric: o.Symmetric = None,
    mapping: o.Mappings = None,
    weight_range: o.WeightRange = None,
    activation_range: o.ActivationRange = None,
    scale: o.Scales = None,
    preset: o.Preset = None,
    method: o.Method = None,
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
    threads: Annotated[
        int, typer.Option(min=0, metavar="N", help="0: one, and the same figures on any machine.")
    ] = 0,
    custom_ops: o.CustomOps = None,
    allow_requantize: o.Requantize = False,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write all figures as JSON; - is stdout.")
    ] = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool sensitivity model.onnx --data calib

    Which layers hurt most when quantized, worst first, and a command to try. A tensor between two
    layers counts for both. Takes the choices of quantize; -v lists all layers.
    """
    from qtool import model as models
    from qtool.cli.console import configure
    from qtool.errors import UsageError
    from qtool.files import atomic_write, check_output, discard_folder, temporary_folder
    from qtool.search.making import Maker
    from qtool.sensitivity.study import dumps
    from qtool.target import load_target

    configure(quiet=quiet, more=verbose)
    o.use_custom_ops(custom_ops)
    if data is None:
        raise UsageError(
            "qtool sensitivity needs samples",
            "what a layer does to the outputs is seen where the model runs",
            "add  --data DIR",
        )
    begin = time.perf_counter()
    chosen = o.recipe_from(
        recipe, preset=preset, bits=bits, levels=levels, scheme=scheme, symmetric=symmetric,
        mapping=mapping, weight_range=weight_range, activation_range=activation_range, scale=scale,
        method=method, samples=samples, seed=seed, placement=placement,
        include=include, exclude=exclude, tensor=tensor,
    )  # fmt: skip
    if json is not None and json != "-":
        check_output(Path(json), force=force, inputs=[model])
    used = o.open_chosen(data, models.signature(models.load(model)), chosen, on_bad_file)
    if json is not None and json != "-":
        check_output(Path(json), force=force, inputs=used.paths())
    folder = temporary_folder()
    try:
        maker = Maker(
            model, load_target(target), used, folder,
            batch_size=batch_size, threads=threads, requantize=allow_requantize,
        )  # fmt: skip
        found = _studied(maker, chosen, used)
    finally:
        discard_folder(folder)
    if found.advice is not None:
        around = {True: "--symmetric", False: "--asymmetric", None: ""}[symmetric]
        words = _words(
            preset=preset, recipe=recipe, bits=bits, levels=levels, scheme=scheme,
            mapping=mapping,
            range=weight_range, activation_range=activation_range, scale=scale, method=method,
            samples=samples, seed=seed, batch_size=batch_size if batch_size > 1 else None,
            target=target if target != "cpu" else None, placement=placement,
            on_bad_file=on_bad_file if on_bad_file is not o.BadFile.ERROR else None,
            custom_ops=custom_ops, include=include, exclude=exclude,
            tensor=[*(tensor or ()), *(f"{match}={wish}" for match, wish in found.advice.rules)],
        )  # fmt: skip
        flags = [around, "--allow-requantize" if allow_requantize else ""]
        command = ["qtool", "quantize", str(model), "--data", data, *filter(None, flags), *words]
        found = replace(found, command=tuple(command))
    text = dumps(found, model, chosen.toml(), target)
    if json == "-":
        typer.echo(text, nl=False)
    else:
        _show(found, verbose=verbose)
    if json is not None and json != "-":
        atomic_write(Path(json), text.encode(), force=force)
    _cost(found, time.perf_counter() - begin)


def _studied(maker: Maker, recipe: Recipe, data: Dataset) -> Sensitivity:
    """All that is to be told, but for the command."""
    from qtool import workflow
    from qtool.cli import show
    from qtool.cli.console import progress
    from qtool.errors import ModelError, UsageError
    from qtool.sensitivity.advice import advise
    from qtool.sensitivity.effects import effects_of
    from qtool.sensitivity.ranking import ranking
    from qtool.sensitivity.study import Sensitivity, errors_of
    from qtool.sensitivity.turns import ranked

    how = {"batch_size": maker.batch_size, "threads": maker.threads}
    job = maker.job(recipe)
    job.signature.without(data.states).check_batches(maker.batch_size, len(data))
    show.headline(job, measured=True)
    o.note_few(data)
    for note in workflow.check_preparation(job, next(data.batches(maker.batch_size))):
        show.advice(note)
    with progress("measuring ranges") as step:
        candidate = maker.make(job, step)
    job, plan = candidate.job, candidate.plan
    if plan.halves and not plan.weights:
        raise UsageError(
            "layers are told apart by their integers",
            f"{recipe.scheme} has 16-bit floats, which lose next to nothing anywhere",
            "give a scheme of integers, such as  --scheme w8a8",
        )
    if not plan.weights and not plan.activations:
        raise ModelError(
            "nothing is quantized in this model, so no layer can hurt",
            "no operator with constant float weights that the choices and the target allow",
            f"qtool inspect {job.path}  tells why for each",
        )
    order = ranked(data, maker.batch_size)
    with progress("quantizing one tensor at a time") as step:
        effects = effects_of(
            job.model, job.sites, plan, data, step=step, candidate=candidate.path, order=order,
            **how,
        )  # fmt: skip
    with progress("comparing layers") as step:
        errors, compared, note = errors_of(candidate, data, order, progress=step, **how)
    return Sensitivity(
        ranking(job, plan, effects, errors),
        effects,
        advise(job, effects),
        (),
        len(data),
        compared,
        order.fingerprint,
        tuple(filter(None, [note])),
    )


def _words(**given: object) -> list[str]:
    """Options as they were given; one that takes several once for each."""
    words = []
    for name, value in given.items():
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            words += [f"--{name.replace('_', '-')}", str(getattr(each, "value", each))]
    return words


def _show(found: Sensitivity, *, verbose: bool) -> None:
    from qtool.cli.boundary import printable
    from qtool.cli.console import err, out
    from qtool.cli.outputs import show_tables
    from qtool.report.plain import TRY
    from qtool.report.table import Table, decibels

    layers = found.layers if verbose else found.layers[:ROWS]
    rows = [_row(layer) for layer in layers]
    if more := len(found.layers) - len(layers):
        rows.append((f"and {more} more", *[""] * (len(_HEADER) - 1)))
    show_tables([Table("layers, worst first", _HEADER, tuple(rows), names=3)])
    whole, foretold = decibels(found.whole_db), decibels(found.foretold_db)
    out.print(f"all together: {whole}; the sum of what each tensor does: {foretold}")
    for note in found.notes:
        err.print(f"note: {printable(note)}", markup=False)
    if found.advice is not None:
        from qtool.sensitivity.ranking import decibels as of_noise

        would = decibels(of_noise(found.advice.noise))
        out.print(f"{TRY}{printable(shlex.join(found.command), lines=False)}", markup=False)
        err.print(f"  by the sum that would be {would}, in place of {foretold}")


_HEADER = "", "operator", "scheme", "alone", "share", "own", "inherited", "clipped"


def _row(layer: Layer) -> tuple[str, ...]:
    from qtool.report.table import decibels

    share = "-" if math.isnan(layer.share) else f"{100 * layer.share:.1f} %"
    clipped = "" if layer.clipped is None else f"{100 * layer.clipped:.2f} %"
    errors = (decibels(layer.own_db), decibels(layer.inherited_db))
    return (
        layer.node, layer.op_type, layer.scheme, decibels(layer.alone_db), share, *errors, clipped
    )  # fmt: skip


def _cost(found: Sensitivity, seconds: float) -> None:
    """What it took, as passes of the float model."""
    from qtool.cli.console import err

    passes = seconds / found.effects.seconds if found.effects.seconds else 0
    err.print(
        f"{found.effects.runs} runs with one tensor quantized, own errors on {found.compared} of "
        f"{found.samples} samples: {seconds:.1f} s, as {passes:.0f} passes of the float model"
    )
