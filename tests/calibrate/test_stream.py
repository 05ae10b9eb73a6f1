"""One pass: what is fetched and what is reduced in the graph give the same statistic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.calibrate.measuring import known_sizes, measuring, small
from qtool.calibrate.stream import Stream
from qtool.errors import DataError
from qtool.numeric.histogram import Histogram
from qtool.numeric.tally import positions
from tests.calibrate.made import data, job, measured, saved
from tests.models import build, normal, operators

MOST = 1024
NAMES = ["x", "a", "b"]
GRAPH = "g (float[N,C] x) => (float[N,C] b) { a = Mul(x, two) b = Exp(a) }"
BOTH = pytest.mark.parametrize("fetched", [0, 1 << 20], ids=["reduced", "fetched"])


@pytest.fixture
def limit(fetched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", fetched)


def stream(graph: str = GRAPH, names: list[str] = NAMES, **constants: Any) -> Stream:
    return Stream(
        build(graph, **(constants or {"two": np.float32(2)})), names, most=MOST, threads=1
    )


def same(one: Histogram, other: Histogram) -> bool:
    return (
        one.bins.tobytes() == other.bins.tobytes()
        and one.counts.tobytes() == other.counts.tobytes()
        and (one.low, one.high, one.on_grid) == (other.low, other.high, other.on_grid)
    )


@BOTH
@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(
    "shape", [(1, 5), (1, 2 * MOST), (1, 2 * MOST + 1), (1, 5000), (3, 5000), (3, 2000), (3, 7)]
)
def test_each_tensor_is_what_the_definition_says(shape: tuple[int, int]) -> None:
    x = normal(*shape)
    shifts = (3, 60, 17)[: shape[0]]
    one = stream()
    one.see({"x": x}, shifts, 0)
    found = one.histograms()
    chosen = positions(x.size, shifts, MOST)
    for name, values in (("x", x), ("a", x * 2)):
        flat = values.reshape(-1)
        expected = Histogram.of(
            flat if chosen is None else flat[chosen], float(flat.min()), float(flat.max())
        )
        assert same(found[name], expected), name


def test_reduced_and_fetched_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = data(tmp_path, sizes=(8, 40, 12))  # ragged, and some beyond what is counted
    fetched = saved(measured(tmp_path, used), tmp_path / "f.calib")
    for limit in (0, 3000, 30_000):  # none fetched, some, then others as shapes grow
        monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", limit)
        monkeypatch.setattr("qtool.calibrate.stream.FETCHED", limit)
        assert saved(measured(tmp_path, used), tmp_path / "r.calib") == fetched


def test_a_large_tensor_is_never_an_output() -> None:
    model = job_model()
    made = measuring(model, small({"a": 10, "b": 9 << 20}), ["b"])
    outputs = {value.name for value in made.model.graph.outputs}
    assert "a" in outputs
    assert "b" not in outputs
    assert operators(made.model).count("ReduceMax") == 1


def job_model() -> Any:
    return build(GRAPH, two=np.float32(2))


def test_the_smallest_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", 100)
    assert small({"a": 60, "b": 30, "c": 11, "d": 5}) == ("b", "c", "d")
    assert small({"a": 101}) == ()


def test_the_graph_is_chosen_again_when_shapes_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", 100)
    monkeypatch.setattr("qtool.calibrate.stream.FETCHED", 100)
    made = stream()
    made.see({"x": normal(1, 10)}, (0,), 0)
    first = made._graph
    assert first is not None
    assert not first.reduced
    made.see({"x": normal(1, 3000)}, (0,), 1)
    made.see({"x": normal(1, 3000)}, (0,), 2)
    assert made._graph is not None
    assert list(made._graph.reduced) == ["a", "b"]


@BOTH
@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(
    ("graph", "bad", "kind"),
    [
        ("g (float[N,C] x) => (float[N,C] b) { a = Sqrt(x) b = Mul(a, two) }", -1.0, "NaN"),
        ("g (float[N,C] x) => (float[N,C] b) { a = Exp(x) b = Mul(a, two) }", 1000.0, "Inf"),
        ("g (float[N,C] x) => (float[N,C] b) { a = Log(x) b = Mul(a, two) }", 0.0, "Inf"),
    ],
    ids=["nan", "inf", "-inf"],
)
def test_nan_and_inf_inside_the_model_are_named(graph: str, bad: float, kind: str) -> None:
    made = stream(graph, two=np.float32(2))
    x = np.abs(normal(2, 4000)) + 1
    made.see({"x": x}, (0, 0), 0)
    x[1, 1234] = bad
    with pytest.raises(DataError, match=f"{kind} in tensor 'a'") as error:
        made.see({"x": x}, (0, 0), 2)
    assert "within samples 2 to 3" in error.value.why


@BOTH
@pytest.mark.usefixtures("limit")
def test_a_sum_beyond_float32_is_no_infinity() -> None:
    """Masks of -3.4e38 are everyday: their sum overflows, and they are finite."""
    made = stream("g (float[N,C] x) => (float[N,C] a) { a = Mul(x, one) }", ["a"],
                  one=np.float32(1))  # fmt: skip
    made.see({"x": np.full((1, 5000), -3e38, np.float32)}, (0,), 0)
    found = made.histograms()["a"]
    assert (found.low, found.total) == (float(np.float32(-3e38)), MOST)


@BOTH
@pytest.mark.usefixtures("limit")
def test_nothing_in_a_tensor_is_nothing_seen() -> None:
    made = stream("g (float[N,C] x) => (float[N,C] b) { a = Mul(x, two) b = Neg(a) }", ["a"],
                  two=np.float32(2))  # fmt: skip
    made.see({"x": np.zeros((1, 0), np.float32)}, (0,), 0)
    assert made.histograms()["a"].total == 0


def test_batches_give_the_bytes_of_single_samples(tmp_path: Path) -> None:
    used = data(tmp_path, samples=21, sizes=(24,))
    alone = measured(tmp_path, used)
    together = measured(tmp_path, used, batch_size=4)  # the last holds one
    assert alone.data == together.data
    assert alone.fed == together.fed
    for name, histogram in alone.histograms.items():
        assert same(histogram, together.histograms[name]), name


def test_inputs_alone_need_no_run() -> None:
    made = Stream(job_model(), ["x"], most=MOST, threads=1)
    made.see({"x": normal(2, 3)}, (0, 0), 0)
    assert made._session is None
    assert made.histograms()["x"].total == 6


def test_values_that_were_seen_are_not_touched(tmp_path: Path) -> None:
    used = data(tmp_path)
    assert job(tmp_path).sites.sources[0] in measured(tmp_path, used).histograms


def test_sizes_are_known_where_the_file_tells_them() -> None:
    model = build(GRAPH, two=np.float32(2))
    assert known_sizes(model, ["a", "b"], {"x": (3, 70)}) == {"a": 210, "b": 210}
    for value in model.graph:
        value.outputs[0].shape = None
    assert known_sizes(model, ["a"], {"x": (3, 70)}) is None


def test_sizes_are_asked_for_where_the_file_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = data(tmp_path, sizes=(8, 40))
    told = saved(measured(tmp_path, used), tmp_path / "a")
    monkeypatch.setattr("qtool.calibrate.stream.known_sizes", lambda *_: None)
    monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", 5000)
    assert saved(measured(tmp_path, used), tmp_path / "b") == told
