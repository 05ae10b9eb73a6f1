"""Comparisons as they may come out of a run, with names as unkind as files may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qtool.compare.gates import GateResult, judge, parse
from qtool.compare.result import Comparison, LayerError, OutputComparison, Rate, Score, Size
from qtool.numeric.bootstrap import Interval

UNKIND = [
    "a|b",
    "a\\|b",
    "`code` ``two``",
    "<script>alert(1)</script>",
    "<!-- --> <!--",
    "--!> -->",
    "@somebody and @org/team",
    "#123 owner/repo#7 GH-26 !5 %3 %a",
    "line\nbreak\r\n\n# heading",
    "\x1b[31mred\x07\x00",
    "\u202egnp.exe\u200b\ufeff",
    "lone \udcff surrogate \ud800",
    "[link](https://x.invalid) ![image](y.png) www.x.invalid https://x.invalid a@x.invalid",
    "**bold** _it_ ~~no~~ $m$ :tada: {+in+} &amp; &#64;x",
    "::error::no",
    "##[add-mask]no",
    "%0A::error::no,title=x",
    "]]>",
    " spaces around ",
    "</details></summary>",
    "| --- | --- |",
    "Ünïcödé 模型 ✓",
    "- list",
    "x" * 70_000,
    "",
]


def output(name: str, sqnr: float = 31.25) -> OutputComparison:
    agreement = Rate(0.9805, Interval(0.96, 0.99), 256)
    return OutputComparison(
        name, "float32", sqnr, 0.9991, 0.5, 0.03, False, 0, 0, 0, agreement, 0.0125
    )


def layer(tensor: str, own: float = 20.0) -> LayerError:
    return LayerError(tensor, f"/{tensor}", "Conv", 18.0, own, 25.0, 0.001, False, 1000)


def run(*outputs: str, candidate: str = "model.int8.onnx", notes: Sequence[str] = ()) -> Comparison:
    return Comparison(
        Path("model.onnx"),
        Path(candidate),
        Size(4_000_000, 1_010_000),
        samples=256,
        outputs=tuple(output(name) for name in outputs or ("logits",)),
        scores={"top1": Score(0.91, 0.9, 0.01, Interval(-0.005, 0.02), 256, unit="share")},
        notes=tuple(notes),
    )


def results(comparison: Comparison, *texts: str) -> tuple[GateResult, ...]:
    return judge(map(parse, texts), comparison)


def renamed(result: GateResult, text: str) -> GateResult:
    """The gate under another name, as a scorer of the user's may bring one."""
    return replace(result, gate=replace(result.gate, text=f"{text} <= 1", metric=text))
