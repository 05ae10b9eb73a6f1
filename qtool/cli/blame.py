"""Why a gate failed: the layers or weights that are to blame, and a command that may mend it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from qtool.report.plain import TRY

if TYPE_CHECKING:
    from qtool.compare.result import Comparison, LayerError
    from qtool.data import Dataset

NAMED = 3
SAMPLES = 32  # to find the worst layers on, where all of them were not asked for


def with_layers(
    found: Comparison,
    sources: Iterable[str],
    data: Dataset | None,
    *,
    batch_size: int,
    threads: int,
) -> Comparison:
    """The comparison with its layers, if a failed gate asks for them and they are not there.

    `sources` are those of the failed gates. What goes wrong here is a detail under -v: the verdict
    is out already.
    """
    from qtool.cli import console
    from qtool.cli.boundary import printable

    if data is None or found.layers or not any(_TRY[source] is _KEEP for source in sources):
        return found
    from qtool.compare.layers import compare_layers

    few = data.choose(SAMPLES, 0)
    try:
        layers = compare_layers(
            found.reference, found.candidate, few, batch_size=batch_size, threads=threads
        ).errors
    except Exception as error:
        if console.verbose:
            why = f"{type(error).__name__}: {error}"
            console.err.print(f"note: no layers to blame: {printable(why)}", markup=False)
        return found
    note = f"layers: on {len(few)} samples, since a gate failed; --layers takes all"
    return replace(found, layers=layers, notes=(*found.notes, note)) if layers else found


def blame(source: str, found: Comparison, *, here: bool) -> tuple[str, ...]:
    """Lines about what is to blame and what to try, for a metric of this source.

    `here`: the models are those that were just compared, so they may be opened.
    """
    kind = _TRY[source]
    if kind is _KEEP:
        return _layers(found, here=here)
    if kind is _SMALLER:
        return (*(_weights(found) if here else ()), *_fewer_bits(found, here=here))
    options = ("--data", "DIR", "--bits", 8)
    return (f"{TRY}{_command('quantize', found.reference, *options, *_to(found))}",)


def erring(found: Comparison) -> tuple[LayerError, ...]:
    """The nodes with an error of their own, worst first."""
    own = [layer for layer in found.layers if layer.node and layer.own_db != math.inf]
    first = {layer.node: layer for layer in reversed(own)}  # a node may have several outputs
    return tuple(layer for layer in own if first[layer.node] is layer)


def pattern(node: str) -> str:
    """A pattern for `--exclude` that matches this name alone."""
    plain = re.sub(r"([*?\[])", r"[\1]", node)
    return f"[{plain[0]}]{plain[1:]}" if plain.startswith(("op:", "re:", "-")) else plain


def _layers(found: Comparison, *, here: bool) -> tuple[str, ...]:
    from qtool.compare.weights import Form

    layers = erring(found)
    named = ", ".join(f"{layer.node} ({layer.own_db:.1f} dB)" for layer in layers[:NAMED])
    lines = (f"the largest errors of their own: {named}",) if layers else ()
    form = Form.of(found.candidate) if here else Form(True, ("--data", "DIR"), ())
    if here and Form.of(found.reference).quantized:
        swapped = "" if form.quantized else ": are the two swapped?"
        return (*lines, f"the reference is a quantized model{swapped}")
    if not form.quantized:
        return (*lines, f"{TRY}{_command('quantize', found.reference, '--scheme', 'w8')}")
    worst = layers[: min(NAMED, len(layers) // 2)]
    if not worst:  # what is not to be quantized would be all there is: let activations stay float
        command = _command("quantize", found.reference, "--scheme", "w8", *_to(found))
        return (*lines, f"{TRY}{command}")
    # What is in float already stays so, or the next try would undo this one.
    kept = dict.fromkeys((*form.kept_float, *(each.node for each in worst)))
    excluded = [part for node in kept for part in ("--exclude", pattern(node))]
    command = _command("quantize", found.reference, *form.options, *excluded, *_to(found))
    return (*lines, f"{TRY}{command}")


def _to(found: Comparison) -> tuple[object, ...]:
    """In the place of the candidate, if that is not the reference itself."""
    same = found.candidate.resolve() == found.reference.resolve()
    return () if same else ("-o", found.candidate, "-f")


def _fewer_bits(found: Comparison, *, here: bool) -> tuple[str, ...]:
    """The same form with 4 bits where it has more."""
    from qtool.compare.weights import Form

    options = Form.of(found.candidate).options if here else ()
    data = ("--data", "DIR") if "--data" in options else ()
    dynamic = [part for part in ("--mode", "dynamic", "--contrib") if part in options]
    command = _command("quantize", found.reference, *data, *dynamic, "--bits", 4, *_to(found))
    return (f"{TRY}{command}",)


def _weights(found: Comparison) -> tuple[str, ...]:
    from qtool.compare.weights import largest_weights
    from qtool.report.table import size

    weights = largest_weights(found.candidate, NAMED)
    kind = "weights in float" if all(weight.in_float for weight in weights) else "weights"
    named = ", ".join(f"{weight.name} ({size(weight.size)})" for weight in weights)
    return (f"the largest {kind}: {named}",) if weights else ()


def _command(*words: object) -> str:
    from qtool.runtime import libraries

    own = [part for path in libraries() for part in ("--custom-ops", str(path))]
    return shlex.join(["qtool", *map(str, words), *own])


_KEEP, _SMALLER, _FASTER = "keep the worst layers in float", "fewer bits", "integer kernels"

# source of a metric -> what may mend it
_TRY = {
    "size": _SMALLER,
    "data": _KEEP,
    "labels": _KEEP,
    "layers": _KEEP,
    "latency": _FASTER,
}
