"""The law of the gates: closed, the graph is the float model; one open, it is the float model with
that tensor quantized, as the real rewrite writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.apart import open_model
from qtool.plan.plan import Plan
from qtool.recipe import Recipe
from qtool.sensitivity.gates import gated
from qtool.workflow import Job
from tests import float_models, test_control_flow
from tests.cases import CASES
from tests.models import Array, normal
from tests.sensitivity.alone import alone, made

SCHEMES = "w8a8", "w4b32", "w3a5", "w8a16"
FAST = [("Conv", "w8a8"), ("Add", "w8a8"), ("LSTM", "w4b32"), ("Concat", "w3a5"), ("Gemm", "w4b32")]
ALL = [(name, scheme) for name in CASES for scheme in SCHEMES if (name, scheme) not in FAST]


def power(x: Any) -> float:
    return float((np.asarray(x, np.float64) ** 2).mean())


def hold(job: Job, plan: Plan, x: Array, *, share: float = 1e-4, floor: float = 1e-10) -> None:
    """The law; differences may have a share of the noise, or rounding's power."""
    doors, feeds = gated(job.model, job.sites, plan), {job.signature.inputs[0].name: x}
    gates: Mapping[Any, str] = {**doors.activations, **doors.weights}
    assert set(plan.weights) | set(plan.operands) == set(doors.weights)
    assert gates
    session = open_model(doors.model, threads=1)
    closed = dict.fromkeys(gates.values(), np.array(False))
    exact = open_model(job.model, threads=1).run(feeds)
    for name, value in session.run({**feeds, **closed}).items():
        assert power(value - exact[name]) <= floor * power(exact[name])
    for what, gate in gates.items():
        real = open_model(alone(job, plan, what), threads=1).run(feeds)
        found = session.run({**feeds, **closed, gate: np.array(True)})
        for name, value in exact.items():
            noise = power(real[name].astype(np.float64) - value)
            apart = power(real[name].astype(np.float64) - found[name])
            assert apart <= share * noise + floor * power(value), what


def of_case(name: str, scheme: str, folder: Path) -> None:
    path, x = CASES[name].save(folder / "model.onnx"), normal(32, 4, 8, 8, seed=5)
    job, plan, _ = made(path, Recipe(scheme=scheme), x)
    if plan.weights or plan.activations:
        # Codes of an operator in between may turn over by the last bit of a float.
        hold(job, plan, x[:8], share=1e-2)


@pytest.mark.parametrize(("name", "scheme"), FAST)
def test_an_open_gate_is_what_the_rewrite_writes(name: str, scheme: str, tmp_path: Path) -> None:
    of_case(name, scheme, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scheme"), ALL)
def test_so_it_is_for_every_operator(name: str, scheme: str, tmp_path: Path) -> None:
    of_case(name, scheme, tmp_path)


@pytest.mark.parametrize("name", ["If in Loop", "Scan"])
def test_gates_inside_bodies(name: str, tmp_path: Path) -> None:
    path, x = test_control_flow.stored(name, tmp_path)
    job, plan, _ = made(path, Recipe(), x)
    hold(job, plan, x[:4])


@pytest.mark.parametrize("form", float_models.FORMS)
def test_models_in_other_floats(form: str, tmp_path: Path) -> None:
    """float16 rounds by itself, at other places in each of the two graphs."""
    path, x = float_models.saved(tmp_path, "attention", "float16"), float_models.samples(
        "attention", "float16"
    )  # fmt: skip
    job, plan, _ = made(path, float_models.FORMS[form], x)
    hold(job, plan, x[:8], share=0.4, floor=1e-6)
