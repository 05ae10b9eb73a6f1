"""`qtool inspect`: what is in a model, what can be quantized, what not, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from qtool.cli import options as o


def inspect(
    model: o.Model,
    runtime: Annotated[
        bool, typer.Option("--runtime", help="Which nodes run in integers once loaded.")
    ] = False,
    target: o.TargetName = "cpu",
    allow_requantize: o.Requantize = False,
    custom_ops: o.CustomOps = None,
    verbose: o.Verbose = False,
) -> None:
    """qtool inspect model.onnx --runtime

    What is in a model, what can be quantized, what not and why; how the runtime will run it.
    """
    from qtool import inspect as inspecting
    from qtool import workflow
    from qtool.cli import show
    from qtool.cli.boundary import printable
    from qtool.cli.console import configure, out
    from qtool.errors import ModelError
    from qtool.recipe import Recipe
    from qtool.report.table import size
    from qtool.target import load_target

    configure(more=verbose)
    o.use_custom_ops(custom_ops)
    found = inspecting.contents(model)
    facts = show.table("", "")
    show.row(facts, "file", f"{model.name}, {size(model.stat().st_size)}")
    show.row(facts, "opset / IR", f"{found.opset} / {found.ir_version}  {found.producer}")
    show.row(facts, "inputs", "\n".join(found.inputs))
    show.row(facts, "outputs", "\n".join(found.outputs))
    weights = ", ".join(f"{kind} {size(n)}" for kind, n in found.weight_bytes.items())
    show.row(facts, "parameters", f"{found.parameters:,} ({weights})")
    show.row(facts, "operators", ", ".join(f"{n} {op}" for op, n in found.operators.items()))
    out.print(facts)
    if runtime:
        show.running(inspecting.running(model))
        return
    try:
        job = workflow.open_job(model, Recipe(), load_target(target), requantize=allow_requantize)
    except ModelError as error:
        what = ": ".join(filter(None, (error.what, error.why)))
        out.print(printable(f"cannot be quantized: {what}"), markup=False)
        if error.fix:
            out.print(printable(f"  fix: {error.fix}"), markup=False)
        return
    show.prospects(job, verbose=verbose)
