"""What is to be seen while `qtool tune` learns."""

from __future__ import annotations

import io
import math
import sys
import time

import pytest

from qtool.cli.console import configure, err
from qtool.cli.tuned import telling
from qtool.search.budget import Budget
from qtool.tune.course import Progress, Verdict

TOP1 = Budget("top1", 0.005, "pp")


class Screen(io.StringIO):
    """A terminal, or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def screen(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> Screen:
    """What stderr is from here on: called within a test, since pytest puts its own in before."""
    shown = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(err, "is_interactive", terminal)
    configure()
    return shown


def epoch(stage: str, number: int, lost: float = math.nan, restarts: int = 0) -> Progress:
    """One of 20; its loss falls from 1 by 0.01 each time."""
    verdict = Verdict(0.5 - number / 100, lost)
    loss = 1 - number / 100 if number else math.nan
    return Progress(stage, number, 20, loss, verdict, verdict, restarts)


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=True)
    with telling(TOP1) as tell:
        tell.say("measuring ranges")
        time.sleep(0.15)  # the bar is drawn ten times in a second
        for number in range(11):
            tell.told(epoch("codes", number, 0.02))
        time.sleep(0.15)
    text = shown.getvalue()
    assert "measuring ranges" in text
    assert "10/20 epochs" in text
    assert " loss 0.9, top1 lost 2 pp" in text
    assert "codes: 10 epochs, loss 0.99 -> 0.9, set apart 0.4 at best, top1 lost 2 pp" in text


def test_lines_elsewhere_and_one_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=False)
    now = 0.0
    monkeypatch.setattr("qtool.cli.console.time.monotonic", lambda: now)
    with telling(TOP1) as tell:
        tell.say("measuring ranges")
        for stage, lost in (("activations", math.nan), ("codes", 0.02)):
            for number in range(11):
                tell.told(epoch(stage, number, lost))
                now += 0.75
    lines = shown.getvalue().splitlines()
    ends = [line.strip() for line in lines if line.startswith("  ")]
    assert ends == [
        "activations, weights in float: 10 epochs, loss 0.99 -> 0.9, set apart 0.4 at best",
        "codes: 10 epochs, loss 0.99 -> 0.9, set apart 0.4 at best, top1 lost 2 pp",
    ]
    between = [line for line in lines if line.startswith("codes: epoch")]
    assert between[0].startswith("codes: epoch 2 of 20, loss 0.98, set apart 0.48 at best")
    assert 4 <= len(between) <= 5  # one for every tenth


def test_divergence_is_told_once_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=False)
    with telling(TOP1) as tell:
        for number, restarts in enumerate((0, 0, 1, 1, 2)):
            tell.told(epoch("codes", number, 0.02, restarts))
    text = shown.getvalue()
    assert text.count("diverged") == 2
    assert "note: codes: epoch 2 diverged, with a loss of 0.98" in text


def test_where_it_goes_on_the_first_loss_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = screen(monkeypatch, terminal=False)
    with telling(TOP1) as tell:
        tell.told(epoch("codes", 7, 0.02))
        tell.told(epoch("codes", 8, 0.02))
    assert "codes: 8 epochs, loss 0.92, set apart 0.42" in shown.getvalue()
