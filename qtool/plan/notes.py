"""What a person should know of how a model was read, and of what the types asked for cost.

onnxruntime's kernels of integers are for bytes, begin behind one quantizer and end with the next: a
CNN of seven layers took 0.3 of float's time with them, and 1.4 to 1.5 without. Kernels of recurrent
layers are float, but for onnxruntime's own LSTM (tests/benchmarks/recurrent.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import onnx_ir as ir

from qtool.classical import DOMAIN, lowered
from qtool.numeric.types import IntType
from qtool.ops import attribute
from qtool.plan.sites import Sites
from qtool.quantized import Kind, kind_of
from qtool.standard import unwritten
from qtool.target import UNPACKED, Target
from qtool.tensors import remembered

_INSTEAD = "computed in float between Q and DQ, slower than float"


def reading_notes(
    loaded: ir.Model, kind: Kind | None, real: ir.Model | None, kept: Collection[str] = ()
) -> tuple[str, ...]:
    """What a person should know of how the model was read; nodes that are `kept`, by name, stay."""
    graph, notes = loaded.graph, list[str]()
    if parameters := [v.name or "" for v in graph.inputs if v.name in graph.initializers]:
        listed = ", ".join(parameters)
        notes.append(f"inputs with values are parameters and leave the input list: {listed}")
    others = (node for node in graph.all_nodes() if node.name not in kept)
    if anew := Counter(node.op_type for node in others if lowered(node) is not None):
        listed = ", ".join(f"{count} {op}" for op, count in anew.items())
        notes.append(f"written as products of matrices, of the same results: {listed}")
    if names := remembered(loaded):
        notes.append(f"sparse tensors are stored dense: {', '.join(names)}")
    if kind is not None:
        notes.append(f"already quantized ({kind.name}): dequantized first, then quantized anew")
    if real is not None and (left := kind_of(real)):
        notes.append(f"at integers of the model's own stay {', '.join(left.operators)}")
    return tuple(notes)


def kernel_notes(model: ir.Model, sites: Sites, target: Target) -> Iterator[str]:
    """A sentence for each type that weights or activations have, and each cause. Cases:

    0. weights of fewer bits than the ONNX type that they lie in
    1. more than 8 bits
    2. fewer codes than a byte has, clipped in front of the quantizer
    3. a Relu or Clip that the quantizer cannot stand for, as one of bytes from 0 on would: its
       codes go below 0, or would go beyond the bound if they were not clipped behind it
    4. weights of fewer values than a codebook pays for
    5. recurrent layers: what integers save there
    6. operators of ai.onnx.ml that are left for a target that has none
    """
    widths = {kind.codes: kind for kind in (s.scheme.weight.type for s in sites.weights)}
    for _, kind in sorted(widths.items()):  # 0
        if kind.container > 2 and 2 * kind.codes <= 1 << kind.container:
            yield (
                f"weights of {_number(kind)} lie in {kind.container} bits: the file is as large as "
                f"with {kind.container}"
            )
    if few := sites.unbooked:  # 4
        names = ", ".join(few[:3]) + (", …" if len(few) > 3 else "")
        layers = "1 layer" if len(few) == 1 else f"{len(few)} layers"
        yield f"evenly spaced codes in {layers} so small that a codebook takes more room: {names}"
    yield from _recurrent_notes(model, sites, target)  # 5
    yield from _left_notes(model, target)  # 6
    makers = {value.name: node for node in model.graph.all_nodes() for value in node.outputs}
    kinds = Counter[IntType]()
    clamped = Counter[IntType]()
    for name, site in sites.activations.items():
        kind, node = site.scheme.type, makers.get(name)
        kinds[kind] += 1
        operator = "" if node is None else node.op_type
        if kind.signed or not kind.fills:
            clamped[kind] += operator == "Clip" or (operator == "Relu" and kind.signed)
    for kind in kinds:
        if kind.container > 8:  # 1
            yield f"{_words(kind)} have no integer kernels in onnxruntime on a CPU: {_INSTEAD}"
        elif not kind.fills and target.clips == "reals":  # 2
            yield (
                f"{_words(kind)} get a Clip in front of QuantizeLinear, where onnxruntime forms no "
                f"integer kernels: {_INSTEAD} (--target cpu clips the codes)"
            )
        elif clamped[kind]:  # 3
            what = "1 clamp" if clamped[kind] == 1 else f"{clamped[kind]} clamps"
            yield (
                f"{_words(kind)} cannot stand for {what} (Relu or Clip) in front of their "
                f"quantizers: what leads to one is {_INSTEAD}"
            )


def _recurrent_notes(model: ir.Model, sites: Sites, target: Target) -> Iterator[str]:
    """What recurrent layers save by integers, of those that save the same in one sentence."""
    forms = {site.node: site.form for site in sites.weights}
    found: dict[str, Counter[str]] = {}
    for node in model.graph.all_nodes():
        op, form = node.op_type, forms.get(node.name or "")
        if op not in _RECURRENT or form is None:
            continue
        small = attribute(node, "hidden_size", 0) < target.recurrent.units
        gain = _UNPACKED if form == "stored" else _SLOWER if small else _FASTER
        if form != "stored" or target.weights[op] in UNPACKED:
            found.setdefault(gain, Counter())[op] += 1
    for gain, counts in found.items():
        listed = ", ".join(f"{count} {op}" for op, count in counts.items())
        yield f"{listed}: {gain.format(units=target.recurrent.units)}"


def _left_notes(model: ir.Model, target: Target) -> Iterator[str]:
    found: dict[str, Counter[str]] = {}
    for node in model.graph.all_nodes():
        if node.domain == DOMAIN and not target.classical:
            found.setdefault(unwritten(node), Counter())[node.op_type] += 1
    for why, counts in found.items():
        listed = ", ".join(f"{count} {op}" for op, count in counts.items())
        yield f"the file still needs {DOMAIN}, which {target.name} is not to have: {listed}: {why}"


_RECURRENT = ("GRU", "LSTM", "RNN")
_UNPACKED = (
    "smaller on disk, same time and memory: the runtime makes floats of the weights when it loads"
)
_FASTER = "smaller on disk and in memory, and faster than float"
_SLOWER = (
    "smaller on disk, but no faster than float, or slower: the kernel gains from about {units} "
    "hidden units on"
)


def _words(kind: IntType) -> str:
    return f"{'symmetric ' if kind.signed else ''}activations of {_number(kind)}"


def _number(kind: IntType) -> str:
    bits = kind.codes.bit_length() - 1
    return f"{bits} bits" if kind.codes == 1 << bits else f"{kind.codes} levels"
