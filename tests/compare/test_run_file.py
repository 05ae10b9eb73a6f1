"""A run as a file: whole, strict, described by its schema, and read back as it was."""

from __future__ import annotations

import json
import math
import os
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.compare import baseline, gates, run_file
from qtool.compare.metrics import metrics_of, values
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
    Used,
)
from qtool.errors import DataError, UsageError
from qtool.numeric.bootstrap import Interval
from qtool.report.json import dumps
from qtool.report.table import tables
from tests.compare.test_report import FULL, RESULTS

SCHEMA = Path(__file__).parents[2] / "docs" / "run.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(run_file.json_schema())

NUMBERS = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-300])
COUNTS = st.integers(0, 2**40)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a/b~", ""]
)
INTERVALS = st.builds(Interval, NUMBERS, NUMBERS)
RATES = st.builds(Rate, NUMBERS, INTERVALS, COUNTS)
PATHS = st.sampled_from([Path("m.onnx"), Path("/models/a b/ö.onnx")])
SCORES = st.builds(
    Score, NUMBERS, NUMBERS, NUMBERS, INTERVALS, COUNTS, st.none() | NUMBERS, st.none() | INTERVALS,
    st.sampled_from(["high", "low"]), st.sampled_from(["share", "dB", ""]),
    st.none() | st.builds(McNemar, COUNTS, COUNTS, NUMBERS), st.none() | INTERVALS,
)  # fmt: skip
OUTPUTS = st.builds(
    OutputComparison, NAMES, st.sampled_from(["float32", "int64", "str"]), NUMBERS, NUMBERS,
    NUMBERS, NUMBERS, st.booleans(), COUNTS, COUNTS, COUNTS, st.none() | RATES,
    st.none() | NUMBERS, st.sampled_from(["", "classes", "value", "label"]), COUNTS,
    st.dictionaries(
        st.sampled_from(["sqnr_db", "cosine", "mean_abs_error", "kl"]), INTERVALS, max_size=4
    ),
)  # fmt: skip
LAYERS = st.builds(
    LayerError, NAMES, NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS, st.booleans(),
    COUNTS,
)  # fmt: skip
COMPARISONS = st.builds(
    Comparison, PATHS, PATHS, st.builds(Size, st.integers(1, 2**40), st.integers(1, 2**40)), COUNTS,
    st.lists(OUTPUTS, max_size=3).map(tuple),
    st.none() | NAMES,
    st.dictionaries(st.sampled_from(["top1", "mse", "my_own"]), SCORES, max_size=3),
    st.none() | st.builds(
        Latency, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, INTERVALS, NAMES, COUNTS, COUNTS,
        COUNTS,
    ),
    st.none() | st.builds(
        Footprint, st.none() | NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS,
        st.none() | COUNTS, st.none() | COUNTS, st.none() | NUMBERS, st.none() | COUNTS,
        st.none() | COUNTS,
    ),
    st.lists(LAYERS, max_size=12).map(tuple),
    st.none() | st.builds(Used, NAMES, COUNTS, COUNTS, st.none() | COUNTS, NAMES),
    st.lists(NAMES, max_size=2).map(tuple),
)  # fmt: skip


def every_gate(found: Comparison) -> tuple[gates.GateResult, ...]:
    """One on each metric that the comparison has."""
    metrics = metrics_of(found)
    texts = (f"{name} <= 1{metrics[name].units[0]}" for name in values(found, metrics))
    return gates.judge((gates.parse(text, metrics) for text in texts), found, metrics)


def written(folder: Path, text: str) -> Path:
    path = folder / "run.json"
    path.write_text(text, encoding="utf-8")
    return path


@settings(deadline=None, max_examples=40)
@given(COMPARISONS, st.none() | COMPARISONS)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, found: Comparison, before: Comparison | None
) -> None:
    results = every_gate(found)
    if before is not None:
        with suppress(UsageError):  # the baseline may have what this run lacks
            results += baseline.check(found, before)
    text = dumps(found, results, before)
    run = run_file.read_run(written(tmp_path_factory.mktemp("run"), text))
    # A NaN equals nothing, but is called the same.
    assert repr(run.comparison) == repr(found)
    assert repr(run.baseline) == repr(before)
    assert run.gates == tuple(result.gate.text for result in results)
    assert tables(run.comparison, results, run.baseline) == tables(found, results, before)
    assert repr(every_gate(run.comparison)) == repr(every_gate(found))
    assert dumps(run.comparison, results, run.baseline) == text


@settings(deadline=None, max_examples=40)
@given(COMPARISONS, st.none() | COMPARISONS)
def test_the_schema_describes_every_run(found: Comparison, before: Comparison | None) -> None:
    run = json.loads(dumps(found, every_gate(found), before), parse_constant=pytest.fail)
    VALIDATOR.validate(run)


def test_the_schema_says_no() -> None:
    run = run_file.as_dict(FULL, RESULTS)
    for wrong in (
        run | {"schema": 2},
        run | {"metrics": run["metrics"] | {"top1": None}},
        run | {"size": {"reference": 1.5, "candidate": 1}},
        {key: value for key, value in run.items() if key != "gates"},
    ):
        assert not VALIDATOR.is_valid(wrong)


def test_the_schema_in_docs_is_that_of_the_code() -> None:
    """`python -m tests.compare.test_run_file` writes it anew."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == run_file.json_schema()
    jsonschema.Draft202012Validator.check_schema(run_file.json_schema())


def test_metrics_are_flat_finite_numbers() -> None:
    run = run_file.as_dict(FULL, RESULTS)
    assert run["metrics"]["top1.drop"] == 0.01
    assert run["metrics"]["size.bytes"] == 1_010_000
    assert {type(value) for value in run["metrics"].values()} <= {int, float}
    assert "sqnr" not in run["metrics"], "minus infinity"
    assert run["intervals"]["top1.drop"] == [-0.005, 0.02]
    assert run["intervals"]["mse.drop"] == [None, None]
    assert run["passed"] is False
    assert run_file.as_dict(FULL)["passed"] is True


def test_nulls_are_told_apart() -> None:
    run = run_file.as_dict(FULL)
    assert [output["sqnr_db"] for output in run["outputs"]] == [31.25, None, None, None]
    nulls = dict(map(tuple, run["nulls"]))
    assert [nulls.get(f"/outputs/{i}/sqnr_db") for i in range(4)] == [None, "inf", "-inf", "nan"]
    assert run["outputs"][1]["kl"] is None
    assert "/outputs/1/kl" not in nulls, "there is none"


def test_a_path_of_odd_bytes_is_spelled(tmp_path: Path) -> None:
    found = replace(FULL, candidate=Path(os.fsdecode(b"a\xff.onnx")))
    path = written(tmp_path, dumps(found))
    assert run_file.read(path).candidate == Path(r"a\udcff.onnx")


GOOD = run_file.as_dict(FULL, RESULTS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        (json.dumps(GOOD)[:-30], "is cut short"),
        ("[" * 100_000, "is not JSON"),
        ('{"schema": NaN}', "NaN is no JSON"),
        ("[]", "not a run"),
        ('{"top1": 0.9}', "not a run"),
        (json.dumps(GOOD | {"schema": 2, "qtool": "9.1"}), "written by qtool 9.1"),
        (json.dumps(GOOD | {"samples": "256"}), "samples: Input should be a valid integer"),
        (json.dumps(GOOD | {"samples": 1}).replace("1.5", "1e999"), "no float holds"),
        (json.dumps(GOOD | {"samples": 10**30}), "more than can be counted"),
        (json.dumps(GOOD | {"size": {"reference": 0, "candidate": 1}}), "no model is empty"),
        (json.dumps(GOOD | {"nulls": [["/samples", "inf"]]}), "nulls: "),
        (json.dumps(GOOD | {"nulls": [["/outputs/9/sqnr_db", "inf"]]}), "nulls: "),
        (json.dumps(GOOD | {"nulls": 3}), "damaged"),
        (json.dumps(GOOD | {"nulls": []}), "outputs.1.sqnr_db"),
        (json.dumps(GOOD).replace('"share"', '"shares"'), "unit 'shares'"),
    ],
)
def test_what_is_no_run_says_what_it_is(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        run_file.read(written(tmp_path, text))
    assert says in f"{caught.value.what}\n{caught.value.why}"
    assert "--json" in caught.value.fix


def test_what_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setattr(run_file, "LARGEST", 100)
    (tmp_path / "large").write_bytes(b" " * 101)
    for name in ("none", ".", "bytes", "large"):
        with pytest.raises(DataError):
            run_file.read(tmp_path / name)


def mutants(text: str, count: int) -> list[str]:
    """The text with a piece cut out, doubled, or something else in its place."""
    chance = random.Random(5)
    found = []
    for _ in range(count):
        start = chance.randrange(len(text))
        stop = start + chance.choice([1, 1, 2, 5, 40])
        piece = chance.choice(
            ["", "0", "-", "null", '"', "true", "[]", "1e308", text[start:stop] * 2]
        )
        found.append(text[:start] + piece + text[stop:])
    return found


def swapped(run: Any, count: int) -> list[Any]:
    """The run with one value, at any depth, in place of another."""
    chance = random.Random(6)

    def places(value: Any) -> list[tuple[Any, Any]]:
        keys = value if isinstance(value, dict) else range(len(value))
        inner = [
            p for key in keys if isinstance(value[key], (dict, list)) for p in places(value[key])
        ]
        return [(value, key) for key in keys] + inner

    found = []
    for _ in range(count):
        copy = json.loads(json.dumps(run))
        (here, key), (there, other) = chance.sample(places(copy), 2)
        here[key] = chance.choice([there[other], None, -1, 1e300, "x", [], {}])
        found.append(copy)
    return found


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    text = json.dumps(run_file.as_dict(FULL, RESULTS, FULL))
    texts = mutants(text, 150) + [json.dumps(each) for each in swapped(json.loads(text), 150)]
    read = 0
    for each in texts:
        try:
            run = run_file.read_run(written(tmp_path, each))
        except DataError:
            continue
        read += 1
        before = run.baseline
        assert tables(run.comparison, every_gate(run.comparison), before)
        if before is not None:
            baseline.check(run.comparison, before)
        assert run_file.as_dict(run.comparison)
    assert 0 < read < len(texts)


if __name__ == "__main__":
    SCHEMA.parent.mkdir(exist_ok=True)
    SCHEMA.write_text(json.dumps(run_file.json_schema(), indent=2) + "\n", encoding="utf-8")
