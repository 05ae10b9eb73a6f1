"""What a plot shows, and that it can be drawn of whatever a sweep finds."""

from __future__ import annotations

import itertools
import math
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool.errors import MachineError, UsageError, install_command
from qtool.search.budget import Loss
from qtool.sweep.cells import Cell, Failure
from qtool.sweep.picture import Box, labels, picture, place, told_apart, touch
from qtool.sweep.plot import check, draw
from qtool.sweep.result import Measure, Outcome, Sweep

RUN = {"evaluation": {"samples": 540}, "calibration": {"samples": 256}, "target": "cpu"}
TOP1 = Measure("top1", "pp")


def outcome(size: int, score: float, time: float | None = None, name: str = "top1") -> Outcome:
    drop = 0.98 - score
    metrics, intervals = {name: score}, {f"{name}.drop": (drop - 0.004, drop + 0.004)}
    if time is not None:
        metrics["latency.ratio"], intervals["latency.ratio"] = time, (time - 0.01, time + 0.01)
    return Outcome(size, 2, Loss(drop, drop - 0.004, drop + 0.004), metrics, intervals)


def sweep(*cells: tuple[str, str, Outcome], metric: Measure = TOP1, **more: Any) -> Sweep:
    """Of (bits, mode, outcome); float has 98 % and 1 MB."""
    axes = {"bits": ("8", "4", "2"), "mode": ("static", "weights")}
    made = [
        (Cell(f"w{bits} {mode}", {"bits": bits, "mode": mode}, None), found)
        for bits, mode, found in cells
    ]
    reference = Outcome(1_000_000, 0, Loss(0, 0, 0), {metric.name: 0.98})
    return Sweep("models/some.onnx", RUN, axes, metric, more.get("reference", reference), made)


USUAL = sweep(
    ("8", "static", outcome(260_000, 0.981)),
    ("8", "weights", outcome(258_000, 0.98)),
    ("4", "static", outcome(140_000, 0.97)),
    ("4", "weights", outcome(138_000, 0.972)),
    ("2", "static", outcome(80_000, 0.1)),
    ("2", "weights", Outcome(error=Failure("what", "why"))),
)
FAILED = sweep(*[("8", "static", Outcome(error=Failure("there is nothing", "no")))])
BROKEN = sweep(
    ("8", "static", Outcome(9, 2, Loss(math.inf, math.inf, math.inf))),
    ("4", "static", Outcome(9, 2, Loss(0, 0, 0))),
    metric=Measure("sqnr", "%"),
    reference=Outcome(10, 0, Loss(0, 0, 0)),
)
LOSS = sweep(
    ("8", "static", outcome(260_000, 0.99, name="mse")),
    ("4", "static", outcome(130_000, 1.3, name="mse")),
    metric=Measure("mse", "%", "low"),
)
TIMED = sweep(
    ("8", "static", outcome(260_000, 0.98, 0.5)), ("8", "weights", outcome(258_000, 0.98, 1.0))
)
ALL = {
    "usual": USUAL, "failed": FAILED, "broken": BROKEN, "loss": LOSS, "timed": TIMED,
    "single": sweep(("8", "static", outcome(260_000, 0.98))),
    "equal": sweep(*(("8", mode, outcome(260_000, 0.98)) for mode in ("static", "weights"))),
}  # fmt: skip


def texts(svg: bytes) -> list[str]:
    root = ET.fromstring(svg)
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", ALL)
def test_everything_can_be_drawn_and_says_what_it_is(name: str) -> None:
    svg = draw(ALL[name], "svg")
    said = texts(svg)
    metric = ALL[name].metric.name
    assert f"models/some.onnx: {metric} on 540 samples" in said
    assert any(text.startswith("size of the file, ") for text in said)
    assert ("time of a run over float's" in said) == (name == "timed")
    assert "float, the original" in said
    assert ("nothing is better" in said) == bool(ALL[name].worked)
    assert not any("nan" in text or "inf" in text for text in said)


def test_a_png_is_one_and_an_svg_does_not_change() -> None:
    png = draw(USUAL, "png")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(png[at : at + 4]) for at in (16, 20)] == [1200, 600]
    assert draw(USUAL, "svg") == draw(USUAL, "svg")


def test_names_are_text_and_nothing_else() -> None:
    cell, found = USUAL.cells[0]
    odd = Cell("$x^2$ <b>\x1b", cell.values, None)
    drawn = texts(
        draw(Sweep("m.onnx", RUN, USUAL.axes, TOP1, USUAL.reference, [(odd, found)]), "svg")
    )
    assert "$x^2$ <b>\\x1b" in drawn


def test_legend_names_the_values_that_there_are() -> None:
    said = texts(draw(USUAL, "svg"))
    assert [t for t in said if t in ("bits:", "8", "4", "2", "mode:", "static", "weights")] == [
        "bits:", "8", "4", "2", "mode:", "static", "weights",
    ]  # fmt: skip
    assert told_apart(USUAL) == ("bits", "mode")
    assert told_apart(TIMED) == ("mode", "")
    assert "bits:" not in texts(draw(TIMED, "svg"))


def test_one_far_off_does_not_squeeze_the_others() -> None:
    shown = picture(USUAL)
    beyond = [p for p in shown.points if p.beyond]
    assert [p.name for p in beyond] == ["w2 static"]
    assert beyond[0].y == shown.low > 90
    assert (beyond[0], "w2 static: 10 %") in labels(shown.points)
    assert all(shown.low < p.y < shown.high for p in shown.points if not p.beyond)
    assert "w2 static: 10 %" in texts(draw(USUAL, "svg"))


def test_what_nothing_beats_is_marked() -> None:
    best = USUAL.best()
    assert [name for name, flag in best.items() if flag] == [
        "w8 static", "w8 weights", "w4 weights", "w2 static",
    ]  # fmt: skip
    assert TIMED.best() == {"float": True, "w8 static": True, "w8 weights": True}
    assert TIMED.best(["time"]) == {"float": True, "w8 static": True, "w8 weights": False}
    larger = sweep(("8", "static", outcome(1_010_000, 0.98)), ("4", "static", outcome(9, 0.99)))
    assert larger.best() == {"float": False, "w8 static": False, "w4 static": True}
    # Outputs that are equal have no finite SQNR, and are the best all the same.
    exact, near = ({"top1": 0.98, **more} for more in ({"max_abs_error": 0.0}, {"sqnr": 50.0}))
    both = [replace(outcome(9, 0.98), metrics=found) for found in (exact, near)]
    equal = sweep(("8", "static", both[0]), ("4", "static", both[1]))
    assert equal.best() == {"float": False, "w8 static": True, "w4 static": False}
    # Bytes that are hardly fewer do not count, and where scores are equal the outputs do.
    close = [replace(outcome(size, 0.97), metrics={"top1": 0.97, "sqnr": db}) for size, db in
             ((138_010, 21.4), (138_040, 24.0), (138_020, 24.0))]  # fmt: skip
    alike = sweep(*(("4", f"static {n}", each) for n, each in enumerate(close)))
    assert list(alike.best().values()) == [True, False, True, True]


def test_labels_touch_neither_each_other_nor_what_is_taken() -> None:
    inside = (0.0, 0.0, 300.0, 200.0)
    taken: list[Box] = []
    for x, y in itertools.product((20, 60, 150, 290), (10, 100, 190)):
        box = place((x, y), (50, 12), taken, inside)
        if box is None:
            continue
        assert not any(touch(box, other) for other in taken)
        assert inside[0] <= box[0]
        assert box[2] <= inside[2]
        taken.append(box)
    assert len(taken) >= 10
    assert place((150, 100), (50, 12), [inside], inside) is None


def test_what_cannot_be_drawn_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"plot\.gif"):
        check([Path("plot.gif")])
    check([Path("plot.PNG"), Path("plot.svg")])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    check([])
    with pytest.raises(MachineError, match="needs the package matplotlib") as caught:
        check([Path("plot.png")])
    assert caught.value.fix == install_command("plot")
