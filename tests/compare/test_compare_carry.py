"""`compare` of stateful models: each carries its own states, as a loop by hand would."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from qtool.cli.app import app
from qtool.compare import judge
from qtool.compare.judge import compare
from qtool.compare.result import OutputComparison
from qtool.data import Dataset, open_dataset
from qtool.errors import UsageError
from qtool.numeric import metrics
from qtool.runtime import Session
from tests.data.stateful import CARRY, GRAPH, SEQUENCES, files, loop, recurrent
from tests.models import save, sqnr

# The same with a weaker memory, so that the states drift apart from sample to sample.
WEAKER = GRAPH.replace("c = Add(a, b)", "w = Mul(b, weak)\n c = Add(a, w)").replace(
    "float tenth = {0.1}", "float tenth = {0.1}, float weak = {0.8}"
)
# States in half precision outside, and the same arithmetic inside.
HALF = (
    GRAPH.replace("float[N,8] state_in", "float16[N,8] half_in")
    .replace("float[N,8] state_out", "float16[N,8] half_out")
    .replace("b = MatMul(state_in, U)", "wide = Cast<to = 1>(half_in)\n b = MatMul(wide, U)")
    .replace("y = MatMul", "half_out = Cast<to = 10>(state_out)\n y = MatMul")
    .replace("state_out", "wide_out")
    .replace("half_", "state_")
)
STATE_FIRST = GRAPH.replace(
    "(float[N,2] y, float[N,8] state_out, int64[1] step_out)",
    "(int64[1] step_out, float[N,8] state_out, float[N,2] y)",
)


def opened(model: Path, labels: Any = None) -> Dataset:
    folder = files(model.parent / "data")
    if labels is not None:
        np.save(folder / "labels.npy", labels)
    return open_dataset(folder, Session(model, threads=1).signature)


def joined(results: Iterable[dict[str, Any]], name: str) -> Any:
    return np.concatenate([each[name] for each in results])


def assert_measured(found: OutputComparison, left: Any, right: Any) -> None:
    assert found.sqnr_db == pytest.approx(metrics.sqnr_db(left, right), rel=1e-6)
    assert found.cosine == pytest.approx(metrics.cosine(left, right), rel=1e-6)
    assert found.max_abs_error == metrics.max_abs_error(left, right)


def test_each_model_carries_its_own_states(tmp_path: Path) -> None:
    reference, candidate = recurrent(tmp_path), recurrent(tmp_path, WEAKER, "weaker")
    found = compare(reference, candidate, opened(reference))
    left, right = (loop(Session(path, threads=0)) for path in (reference, candidate))
    assert found.samples == len(left) == 9
    assert [output.name for output in found.outputs] == ["y", "state_out", "step_out"]
    for output in found.outputs:
        assert_measured(output, joined(left, output.name), joined(right, output.name))
    assert found.outputs[2].identical
    # Fed with the reference's states, the candidate would look better than it is.
    session, easy, rows = Session(candidate, threads=0), [], iter(left)
    for sequence in SEQUENCES:
        state, step = np.zeros((1, 8), np.float32), np.zeros(1, np.int64)
        for sample, truth in zip(sequence, rows, strict=False):
            easy.append(session.run({"x": sample[None], "state_in": state, "step_in": step}))
            state, step = truth["state_out"], truth["step_out"]
    assert metrics.sqnr_db(joined(left, "y"), joined(easy, "y")) > found.outputs[0].sqnr_db + 1


def test_states_of_another_width(tmp_path: Path) -> None:
    reference, candidate = recurrent(tmp_path), recurrent(tmp_path, HALF, "half")
    found = compare(reference, candidate, opened(reference))
    session, right = Session(candidate, threads=0), []
    for sequence in SEQUENCES:
        state, step = np.zeros((1, 8), np.float16), np.zeros(1, np.int64)
        for sample in sequence:
            right.append(session.run({"x": sample[None], "state_in": state, "step_in": step}))
            state, step = right[-1]["state_out"], right[-1]["step_out"]
    assert state.dtype == np.float16
    assert_measured(found.outputs[0], joined(loop(Session(reference)), "y"), joined(right, "y"))
    assert any("state_in" in note and "float16" in note for note in found.notes)


def test_a_state_is_no_answer(tmp_path: Path) -> None:
    reference = recurrent(tmp_path, STATE_FIRST)
    candidate = recurrent(tmp_path, STATE_FIRST.replace("0.1", "0.2"), "faster")
    labels = [0, 1, 0, 1, 0, 1, 0, 1, 0]
    data = opened(reference, labels)
    found = compare(reference, candidate, data)
    assert found.labelled == "y"
    best = joined(loop(Session(reference)), "y").argmax(axis=1)
    assert found.scores["top1"].reference == np.mean(best == labels)
    agreement = {output.name: output.agreement for output in found.outputs}
    assert agreement["step_out"] is None and agreement["state_out"] is None
    assert agreement["y"] is not None
    asked = compare(reference, candidate, data, output="state_out")
    assert asked.labelled == "state_out", "unless it is asked for"


def test_targets_are_not_held_against_a_state(tmp_path: Path) -> None:
    graph = """g (float[N,3] x, float[N,3] s) => (float[N,3] t, float[N,3] y) {
        t = Add(x, s)
        y = Neg(t)
    }"""
    reference = save(tmp_path / "sum.onnx", graph)
    folder = files(tmp_path / "data")
    (folder / "qtool.toml").write_text('[data]\ncarry = {t = "s"}\n')
    sums = np.concatenate([sequence.cumsum(axis=0) for sequence in SEQUENCES])
    np.save(folder / "labels.npy", -sums)
    data = open_dataset(folder, Session(reference).signature)
    found = compare(reference, reference, data)
    assert found.labelled == "y"
    assert found.scores["mse"].reference < 1e-10, "running sums of each sequence alone"


def test_a_state_may_be_the_only_answer(tmp_path: Path) -> None:
    graph = "g (float[N,3] x, float[N,3] s) => (float[N,3] t) { t = Add(x, s) }"
    reference = save(tmp_path / "sum.onnx", graph)
    folder = files(tmp_path / "data")
    (folder / "qtool.toml").write_text('[data]\ncarry = {t = "s"}\n')
    np.save(folder / "labels.npy", np.arange(9) % 3)
    found = compare(reference, reference, open_dataset(folder, Session(reference).signature))
    assert found.labelled == "t"
    best = np.concatenate([sequence.cumsum(axis=0) for sequence in SEQUENCES]).argmax(axis=1)
    assert found.scores["top1"].reference == np.mean(best == np.arange(9) % 3)


def test_a_state_whose_first_axis_is_no_batch(tmp_path: Path) -> None:
    graph = """g (float[N,3] x, float[2,N,3] s) => (float[N,3] y, float[2,N,3] t) {
        t = Add(x, s)
        y = ReduceSum<keepdims = 0>(t, first)
    }"""
    reference = save(tmp_path / "sum.onnx", graph, first=np.array([0]))
    folder = files(tmp_path / "data")
    (folder / "qtool.toml").write_text('[data]\ncarry = {t = "s"}\n')
    np.save(folder / "labels.npy", np.concatenate([2 * s.cumsum(axis=0) for s in SEQUENCES]))
    found = compare(reference, reference, open_dataset(folder, Session(reference).signature))
    assert found.scores["mse"].reference < 1e-10


@pytest.mark.usefixtures("brief")
def test_latency_is_timed_on_samples_with_their_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = recurrent(tmp_path)
    timed: list[Any] = []

    def measure(left: Any, right: Any, few: Any, others: Any, **options: Any) -> Any:
        timed.extend([few, others])
        return None

    monkeypatch.setattr(judge, "measure", measure)
    compare(reference, reference, opened(reference), latency=True)
    few, others = timed
    expected = loop(Session(reference, threads=0))
    assert len(few) == len(others) == 9
    for row, feeds in enumerate(few):
        start = row in (0, 3, 4)
        state = np.zeros((1, 8)) if start else expected[row - 1]["state_out"]
        np.testing.assert_array_equal(feeds["state_in"], state)
        np.testing.assert_array_equal(others[row]["state_in"], state)
        assert int(feeds["step_in"][0]) == (0 if start else expected[row - 1]["step_out"][0])


@pytest.mark.usefixtures("brief")
def test_latency_is_timed(tmp_path: Path) -> None:
    reference = recurrent(tmp_path)
    found = compare(reference, reference, opened(reference), latency=True, threads=1)
    assert found.latency is not None and found.latency.rounds >= 20


def test_batches_are_refused(tmp_path: Path) -> None:
    reference = recurrent(tmp_path)
    data = opened(reference)
    with pytest.raises(UsageError, match="cannot be carried through batches of 4"):
        compare(reference, reference, data, batch_size=4)
    arguments = ["compare", str(reference), str(reference), "--data", str(data.path)]
    result = CliRunner().invoke(app, [*arguments, "--batch-size", "4"])
    assert result.exit_code == 2 and "use  --batch-size 1" in result.stderr


def test_the_declaration_of_a_recipe(tmp_path: Path) -> None:
    reference = recurrent(tmp_path)
    folder = files(tmp_path / "data")
    (folder / "qtool.toml").unlink()
    (tmp_path / "recipe.toml").write_text(CARRY)
    arguments = ["compare", str(reference), str(reference), "--data", str(folder)]
    assert CliRunner().invoke(app, arguments).exit_code == 4
    result = CliRunner().invoke(app, [*arguments, "--recipe", str(tmp_path / "recipe.toml")])
    assert result.exit_code == 0, result.stderr


def test_quantizing_a_stateful_model(tmp_path: Path) -> None:
    reference, output = recurrent(tmp_path), tmp_path / "q.onnx"
    folder = files(tmp_path / "data")
    arguments = ["quantize", str(reference), "--data", str(folder), "-o", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "Wrote" in result.stdout
    left, right = (loop(Session(path)) for path in (reference, output))
    assert sqnr(joined(left, "y"), joined(right, "y")) > 20
