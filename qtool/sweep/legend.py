"""What colours and markers of a plot stand for; matplotlib is given by who draws."""

from __future__ import annotations

from typing import Any

from qtool.sweep.picture import told_apart
from qtool.sweep.result import Sweep
from qtool.text import visible

# Okabe and Ito 2008: told apart whatever colours one sees.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a7a00")
MARKERS = ("o", "s", "^", "D", "P", "X", "v", "p")
MOST = 22  # lines of the legend
LONG = 24  # characters of a name


def styles(matplotlib: Any, sweep: Sweep) -> tuple[dict[str, Any], dict[str, str]]:
    """The colour of each value of one axis, and the marker of each value of another."""
    hue, shape = told_apart(sweep)
    colours = _values(sweep, hue)
    if len(colours) > len(PALETTE):  # so many are told apart by order alone
        spread = matplotlib.colormaps["viridis"]
        found = {v: spread(0.95 * n / (len(colours) - 1)) for n, v in enumerate(colours)}
    else:
        found = dict(zip(colours, PALETTE, strict=False))
    markers = {v: MARKERS[n % len(MARKERS)] for n, v in enumerate(_values(sweep, shape))}
    return {"": PALETTE[0], **found}, {"": MARKERS[0], **markers}


def _values(sweep: Sweep, axis: str) -> list[str]:
    there = {cell.values.get(axis) for cell, _ in sweep.worked}
    return [value for value in sweep.axes.get(axis, ()) if value in there]


def legend(matplotlib: Any, figure: Any, sweep: Sweep) -> None:
    """Outside of the data: what colours, markers and lines stand for."""

    def line(label: str, **style: Any) -> Any:
        given = {"linestyle": "", "markersize": 8, "color": "#555555", **style}
        return matplotlib.lines.Line2D([], [], label=short(label), **given)

    (hue, shape), (hues, shapes) = told_apart(sweep), styles(matplotlib, sweep)
    entries = []
    if hue:
        entries.append(line(f"{hue}:"))
        entries += [line(v, marker="o", color=hues[v]) for v in _values(sweep, hue)]
    if shape:
        entries.append(line(f"{shape}:"))
        entries += [line(v, marker=shapes[v]) for v in _values(sweep, shape)]
    if len(entries) > MOST:
        entries = [*entries[:MOST], line(f"and {len(entries) - MOST} more")]
    entries += [line("")] if entries else []
    if sweep.worked:
        entries.append(line("nothing is better", linestyle="-", color="#777777"))
    entries.append(line("float, the original", marker="*", color="black", markersize=12))
    figure.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(0.822, 0.885), frameon=False,
        fontsize=9.5, handlelength=1.6, labelspacing=0.35, borderaxespad=0,
    )  # fmt: skip


def short(text: str, most: int = LONG) -> str:
    """A name as it is written on the plot: no control characters, not too long."""
    plain = visible(text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
