"""The plot of a sweep, PNG or SVG: score against size, and against time where that was measured.

The only module that imports matplotlib. It draws without windows and without settings: the same
sweep gives the same SVG, byte for byte.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from qtool.errors import UsageError, missing_extra
from qtool.sweep.legend import legend, short, styles
from qtool.sweep.picture import (
    Box,
    Picture,
    Point,
    front,
    labels,
    picture,
    place,
)  # fmt: skip
from qtool.sweep.result import Sweep

FORMATS = ("png", "svg")
INCHES, DPI = (12.0, 6.0), 100


def check(paths: Sequence[Path]) -> None:
    """Say before long work what cannot be drawn.

    Raises:
        UsageError: no form that can be made.
        MachineError: matplotlib is not installed.
    """
    for path in paths:
        if path.suffix.lower().removeprefix(".") not in FORMATS:
            raise UsageError(f"--plot {path}", "plots are made as .png and .svg", "end it so")
    if paths:
        _matplotlib()


def draw(sweep: Sweep, form: str) -> bytes:
    """The plot as `png` or `svg`.

    Raises:
        MachineError: matplotlib is not installed.
    """
    matplotlib = _matplotlib()
    with _settled(matplotlib):
        figure = matplotlib.figure.Figure(INCHES, DPI)
        timed = any(outcome.latency is not None for _, outcome in sweep.worked)
        grid = figure.add_gridspec(
            1, 1 + timed, left=0.075, right=0.815, bottom=0.105, top=0.875, wspace=0.06
        )
        axes = [figure.add_subplot(grid[0, 0])]
        if timed:
            axes.append(figure.add_subplot(grid[0, 1], sharey=axes[0]))
            axes[1].tick_params(labelleft=False)
        _titles(figure, axes[0], sweep)
        for number, each in enumerate(axes):
            _panel(figure, each, sweep, picture(sweep, latency=number == 1), timed=number == 1)
        legend(matplotlib, figure, sweep)
        file = io.BytesIO()
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.backends.backend_agg
        import matplotlib.backends.backend_svg
        import matplotlib.figure
        import matplotlib.lines
        import matplotlib.ticker
    except ImportError as error:
        raise missing_extra("--plot", "matplotlib", "plot") from error
    return matplotlib


@contextmanager
def _settled(matplotlib: Any) -> Iterator[None]:
    """Its own defaults, whatever a matplotlibrc says, and names that steer nothing."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signs that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"text.parse_math": False, "svg.hashsalt": "qtool", "svg.fonttype": "none",
             "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
        )  # fmt: skip
        yield


def _titles(figure: Any, axes: Any, sweep: Sweep) -> None:
    judged, calibrated = (sweep.run[part]["samples"] for part in ("evaluation", "calibration"))
    worked, failed = len(sweep.worked), len(sweep.cells) - len(sweep.worked)
    name = short("/".join(Path(sweep.model).parts[-2:]), 60)
    figure.text(
        0.075, 0.955, f"{name}: {short(sweep.metric.name)} on {judged:,} samples",
        size=13, weight="bold", va="center",
    )  # fmt: skip
    without = f", {failed} without a result" if failed else ""
    figure.text(
        0.075, 0.912,
        f"{worked} recipes for {sweep.run['target']}{without}; calibrated on {calibrated:,} other "
        "samples; thin bars: 95 % interval",
        size=9.5, color="#444444", va="center",
    )  # fmt: skip
    unit = sweep.metric.scale[1]
    of = f", {unit}" if unit else ""
    less = " (less is better: up)" if sweep.metric.better == "low" else ""
    axes.set_ylabel(f"{short(sweep.metric.name)}{of}{less}")


def _panel(figure: Any, axes: Any, sweep: Sweep, shown: Picture, *, timed: bool) -> None:
    hues, shapes = styles(_matplotlib(), sweep)
    scale = 1.0 if timed else _unit(shown)[0]
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    upside = sweep.metric.better == "low"
    axes.set_ylim(*((shown.high, shown.low) if upside else (shown.low, shown.high)))
    _across(axes, shown, scale, timed=timed)
    if not shown.float_.beyond:
        axes.axhline(shown.float_.y, color="#555555", linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    axes.axvline(shown.float_.x / scale, color="#bbbbbb", linewidth=1, linestyle=(0, (5, 4)))
    best = front([*shown.points, shown.float_])
    axes.step(
        [p.x / scale for p in best], [p.y for p in best],
        where="post", color="#777777", linewidth=1.2, zorder=2,
    )  # fmt: skip
    for p in shown.points:
        colour, marker = hues[p.hue], shapes[p.shape]
        axes.vlines(p.x / scale, *p.ys, color=colour, linewidth=0.9, zorder=2.5)
        axes.hlines(p.y, p.xs[0] / scale, p.xs[1] / scale, color=colour, linewidth=0.9, zorder=2.5)
        axes.plot(
            p.x / scale, p.y,
            marker=marker, linestyle="", clip_on=False, zorder=3 + min(p.under, 2),
            markersize=(9.5, 5.5, 3.0)[min(p.under, 2)],
            markerfacecolor="white" if p.beyond else colour,
            markeredgecolor=colour if p.beyond else "white",
            markeredgewidth=1.5 if p.beyond else 0.8,
        )  # fmt: skip
    axes.plot(
        shown.float_.x / scale, shown.float_.y,
        marker="*", markersize=15, color="black", linestyle="", clip_on=False, zorder=6,
    )  # fmt: skip
    _labels(figure, axes, shown, scale)
    if not shown.points:
        reason = next((o.error.what for _, o in sweep.cells if o.error), "no cell")
        axes.text(
            0.5, 0.75, f"nothing came of any cell:\n{short(reason, 70)}", ha="center",
            va="center", transform=axes.transAxes, color="#444444", size=11,
            bbox={"facecolor": "white", "edgecolor": "none"},
        )  # fmt: skip


def _unit(shown: Picture) -> tuple[float, str]:
    most = max(p.x for p in (*shown.points, shown.float_))
    return next((u for u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if most >= u[0]), (1.0, "B"))


def _across(axes: Any, shown: Picture, scale: float, *, timed: bool) -> None:
    """The x axis: sizes, by their logarithm where they differ much, or times over float's."""
    ticker = _matplotlib().ticker
    every = [end / scale for p in (*shown.points, shown.float_) for end in (p.x, *p.xs)]
    low, high = min(every), max(every)
    if high / low > 4:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        room = (high / low) ** 0.07
        axes.set_xlim(low / room, high * room)
    else:
        room = max(0.07 * (high - low), 0.02 * high)
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(
        "time of a run over float's" if timed else f"size of the file, {_unit(shown)[1]}"
    )


def _labels(figure: Any, axes: Any, shown: Picture, scale: float) -> None:
    """Names beside points, where they hide nothing; what finds no room goes without."""
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    if renderer is None:
        renderer = _matplotlib().backends.backend_agg.FigureCanvasAgg(figure).get_renderer()

    def at(point: Point) -> tuple[float, float]:
        x, y = axes.transData.transform((point.x / scale, point.y))
        return float(x), float(y)

    box = axes.get_window_extent(renderer)
    centres = {at(p) for p in (*shown.points, shown.float_)}
    written: list[Box] = []
    taken: list[Box] = []
    x, y = at(shown.float_)
    taken += [(x - 1, box.y0, x + 1, box.y1), (box.x0, y - 1, box.x1, y + 1)]
    for p in shown.points:
        ends = (min(max(end, shown.low), shown.high) for end in p.ys)
        (x, low), (_, high) = (at(replace(p, y=end)) for end in ends)
        taken.append((x - 1.5, min(low, high), x + 1.5, max(low, high)))
    steps = [at(p) for p in front([*shown.points, shown.float_])]
    for (x, y), (right, up) in pairwise(steps):
        taken += [(x, y - 1, right, y + 1), (right - 1, min(y, up), right + 1, max(y, up))]
    inside = (box.x0 + 2, box.y0 + 2, box.x1, box.y1 + 14)
    wanted = labels(shown.points)
    for point, text in [(shown.float_, "float"), *sorted(wanted, key=lambda each: each[0].beyond)]:
        made = axes.annotate(
            short(text, 40), (0, 0), xytext=(0, 0), textcoords="figure points",
            size=9, color="#222222", annotation_clip=False, zorder=7,
        )  # fmt: skip
        extent = made.get_window_extent(renderer)
        here, room = at(point), (extent.width + 2, extent.height + 2)
        # Away from other points, so that nobody takes it for the name of one of them.
        near = [_around(each, 7.0 if each == here else 12.0) for each in centres]
        found = place(here, room, [*taken, *written, *near], inside)
        if found is None:  # over bars and lines, if there is no other way
            made.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5})
            found = place(here, room, [*written, *(_around(each, 6.0) for each in centres)], inside)
        if found is None:
            made.remove()
            continue
        # In points, since an SVG has its own number of pixels.
        made.set_position(((found[0] + 1) * 72 / DPI, (found[1] + 2) * 72 / DPI))
        made.xy = (point.x / scale, point.y)
        written.append(found)
        # A line to its point, lest it be taken for the name of another.
        nearest = (min(max(here[0], found[0]), found[2]), min(max(here[1], found[1]), found[3]))
        axes.annotate(
            "", made.xy, xytext=tuple(end * 72 / DPI for end in nearest),
            textcoords="figure points", annotation_clip=False, zorder=2.5,
            arrowprops={"arrowstyle": "-", "color": "#888888", "lw": 0.7, "shrinkA": 0,
                        "shrinkB": 5},
        )  # fmt: skip


def _around(centre: tuple[float, float], half: float) -> Box:
    return centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half
