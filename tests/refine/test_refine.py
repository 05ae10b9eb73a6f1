"""A refinement is kept only if the outputs on samples set apart are no worse for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from qtool import refine as refining
from qtool.plan.plan import Plan, TensorPlan
from qtool.refine import Done, refine
from qtool.refine import judge as judging
from qtool.refine.judge import MOST, Judge
from qtool.refine.samples import Samples
from qtool.refine.state import State
from tests.models import Array, build, normal
from tests.passes.test_insert_qdq import u8

FEEDS = tuple({"x": normal(1, 8, seed=i)} for i in range(12))


def model() -> ir.Model:
    made = build("g (float[N,8] x) => (float[N,8] y) { a = Relu(x) y = Neg(a) }")
    for node in made.graph:
        node.name = f"{node.outputs[0].name}_node"
    return made


def planned(high: float) -> Plan:
    """The coarser, the higher."""
    return Plan(activations={"a": TensorPlan(u8(0, high), None)})


def state(high: float) -> State:
    samples = Samples(FEEDS[:6], FEEDS[6:])
    return State(model(), planned(high), samples, 1, lambda model, rounded, known: planned(high))


def to(high: float) -> Callable[[State], State]:
    return lambda before: replace(before, plan=planned(high))


def run(monkeypatch: pytest.MonkeyPatch, *steps: float) -> tuple[State, tuple[Done, ...]]:
    names = ("gptq", "adaround", "bias")[: len(steps)]
    table = {name: to(high) for name, high in zip(names, steps, strict=True)}
    monkeypatch.setattr(refining, "REFINEMENTS", table)
    return refine(state(40.0), names)


def test_what_is_better_is_kept_and_what_is_worse_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found, done = run(monkeypatch, 20.0, 100.0, 10.0)
    assert [each.kept for each in done] == [True, False, True]
    assert found.plan.activations["a"].params.scale == u8(0, 10.0).scale
    assert done[1].before == done[0].after == done[2].before
    assert done[1].after < done[0].after < done[2].after


def test_what_changes_nothing_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "REFINEMENTS", {"bias": lambda before: before})
    start = state(8.0)
    assert refine(start, ("bias",)) == (start, ())


def test_nothing_quantized_is_nothing_to_refine() -> None:
    start = replace(state(8.0), plan=Plan())
    assert refine(start, ("gptq", "adaround", "bias")) == (start, ())


def of(*differences: float) -> Done:
    before = np.full(len(differences), 30.0)
    return Done.of("bias", before, before + np.array(differences))


def test_what_loses_on_the_whole_is_refused() -> None:
    assert of(-3, 3, -3, 3.1).kept
    assert not of(-3, 3, -3, 2.9).kept
    assert of().kept  # nothing to judge by


def test_a_few_bad_samples_do_not_hide_what_the_others_say() -> None:
    """Pooled noise would: one sample of forty dB less makes all of it."""
    assert of(*[2.0] * 15, -12.0).kept


def test_the_judge_tells_decibels_of_each_sample() -> None:
    judge = Judge(model(), FEEDS[:3], 1)
    assert (judge.sqnr_db(model()) == MOST).all()
    found = judge.sqnr_db(state(8.0).quantized())

    def expected(x: Array) -> float:
        exact = np.maximum(x, 0)
        lost = np.rint(exact / u8(0, 8.0).scale) * u8(0, 8.0).scale - exact
        return float(10 * np.log10(np.sum(exact**2) / np.sum(lost**2)))

    np.testing.assert_allclose(found, [expected(feeds["x"]) for feeds in FEEDS[:3]], atol=1e-3)


def test_an_output_of_another_shape_is_lost() -> None:
    """As many values as are above 0: here there are fewer."""
    text = (
        "g (float[N,8] x) => (float[N,8] y, float[M] z) {{ y = Neg(x) s = Sub(x, {0})"
        " k = Greater(s, o) f = Reshape(k, all) v = Reshape(x, all) z = Compress(v, f) }}"
    )
    constants: dict[str, Array] = {"o": np.float32(0), "c": np.float32(0.3), "all": np.array([-1])}
    exact, other = (build(text.format(by), **constants) for by in "oc")
    found = Judge(exact, FEEDS, 1).sqnr_db(other)
    lost = [((feeds["x"] > 0) != (feeds["x"] > 0.3)).any() for feeds in FEEDS]
    assert any(lost) and not all(lost)
    np.testing.assert_allclose(found[lost], 10 * np.log10(2), atol=1e-3)  # one output of two
    assert (found[np.invert(lost)] == MOST).all()


def test_outputs_that_are_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "BYTES", 10 * 32)
    assert len(Judge(model(), FEEDS, 1).sqnr_db(model())) == 11
    monkeypatch.setattr(judging, "BYTES", 32)
    assert len(Judge(model(), FEEDS, 1).sqnr_db(model())) == 8
