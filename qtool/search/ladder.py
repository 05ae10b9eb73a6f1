"""The ladder from what was asked for to what is hardly quantized, noise falling from rung to rung.

    1. weights below 8 bits get more, those first that spoil most for each byte saved
    2. segments give up integer activations, and only store their weights: of the choices that are
       best for some price of noise, found by minimum cuts, the cheaper in time first
    3. weights become float, those first that spoil most for each byte saved

The noise of a tensor goes only when its maker and all its readers compute in float, so layers go
in segments; a cut weighs that against the time that integers save (`qtool.search.cut`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.search.cut import Border, least, time_of
from qtool.search.noise import FLOAT, Choice, Noise, work_of

SOLVED = 32  # cuts that are computed
STEP = 0.93  # by less than 0.3 dB two choices do not differ in what is measured
# Time in multiplications: what float takes longer for each value, and what a conversion takes.
VALUE, CONVERSION = 4.0, 1.0


def rungs(graph: ir.Graph, noise: Noise, units: Collection[str]) -> list[Choice]:
    """From what was asked for to the last choice that still quantizes a weight."""
    found = [Choice()]
    found += _heavier(noise, found[-1], 8)
    segments = given_up(graph, noise, units)
    found += [Choice(floats, found[-1].bits) for floats in segments]
    return found + _heavier(noise, found[-1], FLOAT)[:-1]


def smaller(noise: Noise, lowest: int) -> list[Choice]:
    """From all weights at the lowest bits to those asked for, each with less noise and more bytes:
    always the next step that spares most noise for a byte."""
    start = Choice(bits={n: lowest for n, b in noise.asked.items() if b > lowest})
    return [start, *_steps(noise, start, noise.asked)]


def filled(noise: Noise, choice: Choice, fits: Callable[[Choice], bool]) -> Choice:
    """The choice with more bits where there is room: steps between others may be large."""
    moves = [
        (_gain(noise, node, noise.bits(choice, node), bits), node, bits)
        for node, options in noise.weights.items()
        for bits in options
        if noise.bits(choice, node) < bits <= noise.asked[node]
    ]
    for _, node, bits in sorted(moves, key=lambda move: -move[0]):
        there = Choice(choice.floats, {**choice.bits, node: bits})
        if bits > noise.bits(choice, node) and fits(there):
            choice = there
    kept = {n: b for n, b in choice.bits.items() if b != noise.asked[n]}
    return Choice(choice.floats, kept)


def _heavier(noise: Noise, start: Choice, bits: int) -> list[Choice]:
    up = {n: bits for n, options in noise.weights.items() if bits in options}
    return _steps(noise, start, {n: b for n, b in up.items() if noise.bits(start, n) < b})


def spaced(choices: Sequence[Choice], noise: Noise) -> list[Choice]:
    """Those of a ladder between which the expected noise falls; the first and the last."""
    kept, last = [choices[0]], noise.of(choices[0])
    for choice in choices[1:-1]:
        if noise.of(choice) < last * STEP:
            kept.append(choice)
            last = noise.of(choice)
    return kept + list(choices[1:][-1:])


def _steps(noise: Noise, start: Choice, up: Mapping[str, int]) -> list[Choice]:
    """One weight after the other from what it has to what it gets, through what lies between."""
    moves = []
    for node, most in up.items():
        options = sorted(b for b in noise.weights[node] if noise.bits(start, node) <= b <= most)
        moves += [(gain, node, bits) for gain, bits in _hull(noise, node, options)]
    moves.sort(key=lambda move: -move[0])
    found, bits = list[Choice](), dict(start.bits)
    for _, node, more in moves:
        bits = {**bits, node: more}
        if bits[node] == noise.asked[node]:
            bits.pop(node)
        found.append(Choice(start.floats, bits))
    return found


def _hull(noise: Noise, node: str, options: Sequence[int]) -> list[tuple[float, int]]:
    """(noise spared for a byte, bits) of the steps of a node, gains falling: steps that spare less
    than the next one are skipped."""
    kept: list[tuple[float, int]] = []
    at = [options[0]] if options else []
    for bits in options[1:]:
        while True:
            gain = _gain(noise, node, at[-1], bits)
            if not kept or kept[-1][0] >= gain:
                break
            kept.pop()
            at.pop()
        kept.append((gain, bits))
        at.append(bits)
    return kept


def _gain(noise: Noise, node: str, less: int, more: int) -> float:
    a, b = noise.weights[node][less], noise.weights[node][more]
    return (a.noise - b.noise) / max(1, b.size - a.size)


def given_up(graph: ir.Graph, noise: Noise, units: Collection[str]) -> list[frozenset[str]]:
    """Sets of units that compute in float, noise of activations falling, the last one all."""
    nodes = [node for node in nodes_in(graph) if node.name in units]
    names = [node.name or "" for node in nodes]
    index = {name: i for i, name in enumerate(names)}
    works = [work_of(node) for node in nodes]
    times = [(0.0, work + VALUE * count) for work, count in works]
    borders = []
    for node, (_, count) in zip(nodes, works, strict=True):
        for value in node.outputs:
            readers = [index.get(use.node.name or "") for use in value.uses()]
            readers += [None] if value.is_graph_output() else []
            cost = CONVERSION * count
            borders.append(Border(index[node.name or ""], tuple(readers), cost, cost))

    def solve(price: float) -> frozenset[str]:
        # Whoever of the members is in integers brings the noise about: no maker is.
        noises = [
            Border(None, tuple(index[m] for m in members), price * effect, 0.0)
            for effect, members in noise.activations
            if members
        ]
        labels = least(times, [*borders, *noises])
        return frozenset(n for n, label in zip(names, labels, strict=True) if not label)

    def left(floats: frozenset[str]) -> float:
        return sum(effect for effect, members in noise.activations if members - floats)

    def time(floats: frozenset[str]) -> float:
        return time_of([name not in floats for name in names], times, borders)

    # All choices that are best for some price lie on a hull: between two of them, the price at
    # which they are equal finds the next one, or none.
    none, every = frozenset[str](), frozenset(names)
    found, pairs, solved = {none, every}, [(none, every)], 0
    while pairs and solved < SOLVED:
        pairs.sort(key=lambda pair: left(pair[1]) - left(pair[0]))  # the widest gap first
        a, b = pairs.pop(0)
        spared = left(a) - left(b)
        if spared <= 0:
            continue
        middle = solve((time(b) - time(a)) / spared)
        solved += 1
        if middle not in found:
            found.add(middle)
            pairs += [(a, middle), (middle, b)]
    falling = sorted(found - {none}, key=lambda floats: (-left(floats), len(floats)))
    return [floats for floats in falling if left(floats) < left(none) or floats == every]
