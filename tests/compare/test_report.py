"""Tables and JSON of a comparison."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from qtool.compare import gates
from qtool.compare.result import (
    Comparison,
    Footprint,
    Latency,
    LayerError,
    McNemar,
    OutputComparison,
    Rate,
    Score,
    Size,
)
from qtool.numeric.bootstrap import Interval
from qtool.report.json import dumps
from qtool.report.table import Table, size, tables

FULL = Comparison(
    Path("model.onnx"),
    Path("model.int8.onnx"),
    Size(4_000_000, 1_010_000),
    samples=256,
    outputs=(
        OutputComparison(
            "logits", "float32", 31.25, 0.9991, 0.5, 0.03, False, 0, 0, 0,
            Rate(0.9805, Interval(0.96, 0.99), 256), 0.0125, "classes", 256,
            {"sqnr_db": Interval(30.5, 32.04)},
        ),
        OutputComparison(
            "same", "int64", math.inf, 1.0, 0.0, 0.0, True, 0, 0, 0, None, None
        ),
        OutputComparison(
            "broken", "float32", -math.inf, math.nan, math.inf, math.inf, False, 3, 0, 0, None, None
        ),
        OutputComparison(
            "best", "str", math.nan, math.nan, math.nan, math.nan, False, 0, 0, 0,
            Rate(0.5, Interval(0.4, 0.6), 256), None, "label",
        ),
    ),
    labelled="logits",
    scores={
        "top1": Score(
            0.91, 0.9, 0.01, Interval(-0.005, 0.02), 256, unit="share", mcnemar=McNemar(3, 1, 0.625)
        ),
        "mse": Score(
            1.5, 2.25, 0.75, Interval(-math.inf, math.inf), 256,
            1.5, Interval(1.4996, 1.5013), "low",
        ),
        "psnr": Score(41.5, 40, 1.5, Interval(1.2, 1.75), 256, unit="dB"),
    },
    latency=Latency(4, 5, 2, 1234, 0.5, Interval(0.4, 0.6), "faster", 100, 1, 1),
    footprint=Footprint(12.34, 6.17, 0.5, 8_000_000, 2_500_000, 0.3125, 9_000_000, None),
    layers=(
        LayerError("c_out", "c", "Conv", 20.0, 21.5, 25.0, 0.0123, False, 1000),
        *(
            LayerError(f"t{i}", f"n{i}", "Add", 30.0 + i, 31.0 + i, math.inf, None, False, 1000)
            for i in range(10)
        ),
        LayerError("x", "", "", math.inf, math.inf, math.inf, None, False, 1000),
    ),
    notes=("a note",),
)  # fmt: skip
TEXTS = ["top1.drop <= 0.5pp", "size.ratio <= 0.3", "sqnr >= 25dB @warn"]
RESULTS = gates.judge(map(gates.parse, TEXTS), FULL)


def table(title: str, baseline: Comparison | None = None) -> Table:
    return next(t for t in tables(FULL, RESULTS, baseline) if t.title == title)


def test_rows() -> None:
    assert table("cost").rows == (
        ("size", "4.00 MB", "1.01 MB", "0.253", "", ""),
        ("latency", "4 ms", "2 ms", "0.500", "0.4 to 0.6", "faster"),
        ("latency p90", "5 ms", "1,234 ms", "", "", ""),
        ("load", "12.3 ms", "6.17 ms", "0.500", "", ""),
        ("memory", "8.00 MB", "2.50 MB", "0.312", "", ""),
    )
    assert table("accuracy").rows == (
        ("top1", "91.00 %", "90.00 %", "1.00 pp", "-0.5 to 2 pp", "256"),
        ("top1 changed", "3 lost", "1 gained", "p 0.62", "", "256"),
        ("mse", "1.5", "2.25", "0.75", "not known", "256"),
        ("mse.ratio", "", "1.5", "", "1.5 to 1.501", "256"),
        ("psnr", "41.50 dB", "40.00 dB", "1.50 dB", "1.2 to 1.75 dB", "256"),
        ("agreement logits", "", "98.05 %", "", "96 to 99 %", "256"),
        ("agreement best", "", "50.00 %", "", "40 to 60 %", "256"),
    )
    assert table("outputs").rows == (
        ("logits", "31.2 dB", "30.5 to 32", "0.999100", "0.5", "0.03", "0.0125", "256"),
        ("same", "equal", "", "1", "0", "0", "-", ""),
        ("broken", "-inf dB", "", "-", "inf", "inf", "-", ""),
    )
    assert table("gates").rows == (
        ("top1.drop <= 0.5pp", "1 pp", "FAILED, not certain"),
        ("size.ratio <= 0.3", "0.2525", "passed"),
        ("sqnr >= 25dB @warn", "-inf dB", "failed, a warning"),
    )


def test_the_worst_layers_come_first_and_equal_ones_not_at_all() -> None:
    layers = table("layers")
    assert layers.names == 3
    assert layers.rows[:2] == (
        ("c", "Conv", "c_out", "21.5 dB", "25.0 dB", "20.0 dB", "1.23 %"),
        ("n0", "Add", "t0", "31.0 dB", "equal", "30.0 dB", ""),
    )
    assert layers.rows[-1] == ("and 1 more", "", "", "", "", "", "")
    assert len(layers.rows) == 11


def test_the_column_of_kl_is_there_where_an_output_has_one() -> None:
    assert "KL" in table("outputs").header
    plain = replace(FULL, outputs=FULL.outputs[1:])
    (outputs,) = (each for each in tables(plain) if each.title == "outputs")
    assert outputs.header == (
        "", "SQNR", "95 % interval", "cosine", "max err", "mean err", "samples",
    )  # fmt: skip
    assert outputs.rows[0] == ("same", "equal", "", "1", "0", "0", "")


def test_changes_since_a_baseline() -> None:
    before = replace(
        FULL,
        size=Size(4_000_000, 1_000_000),
        scores={"top1": replace(FULL.scores["top1"], candidate=0.905, drop=0.005)},
        outputs=FULL.outputs[:1],
    )
    rows = {row[0]: row[1:] for row in table("since the baseline", before).rows}
    assert rows["top1"] == ("90.50 %", "90.00 %", "-0.50 pp")
    assert rows["agreement"] == ("98.05 %", "50.00 %", "-48.05 pp")
    assert rows["sqnr"] == ("31.25 dB", "-inf dB", "-inf dB")
    assert rows["kl"] == ("0.0125", "0.0125", "+0")
    assert rows["size.bytes"] == ("1.00 MB", "1.01 MB", "+10.0 kB")
    assert rows["latency.ratio"] == ("0.5", "0.5", "+0")
    assert not {"mse", "top1.drop", "size.ratio"} & set(rows), "not in both, or said already"


def test_each_row_has_a_cell_for_each_column_in_ascii() -> None:
    for each in tables(FULL, RESULTS, FULL):
        for row in each.rows:
            assert len(row) == len(each.header)
            assert "".join(row).isascii()


def test_without_data_there_is_only_the_cost() -> None:
    bare = Comparison(Path("a"), Path("b"), Size(2, 1))
    assert [t.title for t in tables(bare)] == ["cost"]


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 2_500_000_000)] == [
        "0 B", "999 B", "1.0 kB", "12.3 kB", "2,500.00 MB",
    ]  # fmt: skip


def test_json_is_strict_and_whole() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    run = json.loads(dumps(FULL, RESULTS), parse_constant=refuse)
    assert run["schema"] == 1
    assert run["samples"] == 256
    assert run["outputs"][0]["agreement"] == {
        "value": 0.9805,
        "interval": {"low": 0.96, "high": 0.99},
        "n": 256,
    }
    assert [o["sqnr_db"] for o in run["outputs"]] == [31.25, None, None, None]
    assert [o["identical"] for o in run["outputs"]] == [False, True, False, False]
    assert [o["kind"] for o in run["outputs"]] == ["classes", "", "", "label"]
    assert run["scores"]["mse"]["ratio"] == 1.5
    assert run["scores"]["mse"]["ratio_interval"] == {"low": 1.4996, "high": 1.5013}
    assert run["scores"]["top1"]["ratio"] is None
    assert run["scores"]["mse"]["interval"] == {"low": None, "high": None}
    assert run["latency"]["verdict"] == "faster"
    assert run["gates"][0] == {
        "gate": "top1.drop <= 0.5pp",
        "metric": "top1.drop",
        "value": 0.01,
        "interval": {"low": -0.005, "high": 0.02},
        "limit": 0.005,
        "level": "error",
        "passed": False,
        "certain": False,
        "why": [],
    }


def test_a_small_gain_is_not_minus_nothing() -> None:
    score = Score(0.9, 0.90003, -0.00003, Interval(-0.001, 0.001), 256, unit="share")
    (row,) = (
        r for t in tables(replace(FULL, scores={"top1": score})) for r in t.rows if r[0] == "top1"
    )
    assert row[3] == "0.00 pp"
