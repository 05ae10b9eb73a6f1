"""LSTM, GRU and RNN beside onnxruntime; torch's kernels and the steps beside each other."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx_ir as ir
import torch

from qtool.errors import ModelError
from qtool.tune.operators import recurrent
from qtool.tune.operators.cells import ACTIVATIONS
from qtool.tune.operators.recurrent import RECURRENT
from tests.models import normal, weight
from tests.tune.rows import Case, assert_as_the_runtime, case, gradients_checked

STEPS, BATCH, WIDTH, UNITS = 4, 3, 2, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
GIVEN = {"LSTM": "bshcp", "GRU": "bsh", "RNN": "bsh"}
DIRECTIONS = ("forward", "reverse", "bidirectional")
LATE = "linear_before_reset = 1"


def layer(
    operator: str,
    how: str = "",
    given: str = "b",
    *,
    direction: str = "forward",
    lengths: tuple[int, ...] = (2, 4, 1),
    outputs: int = 0,
) -> Case:
    """`given` are letters of its optional inputs: b(ias), s(teps of each sequence), h and c that it
    begins with, p(eepholes)."""
    n, gates = 2 if direction == "bidirectional" else 1, GATES[operator]
    optional = {
        "b": normal(n, 2 * gates * UNITS, seed=3),
        "s": np.array(lengths, np.int32),
        "h": normal(n, BATCH, UNITS, seed=4),
        "c": normal(n, BATCH, UNITS, seed=5),
        "p": normal(n, 3 * UNITS, seed=6),
    }
    options = [f'hidden_size = {UNITS}, direction = "{direction}"', *[how] * bool(how)]
    return case(
        f"{operator} <{', '.join(options)}>",
        normal(STEPS, BATCH, WIDTH),
        weight(n * gates * UNITS, WIDTH).reshape(n, -1, WIDTH),
        weight(n * gates * UNITS, UNITS, seed=2).reshape(n, -1, UNITS),
        *(optional[letter] if letter in given else None for letter in GIVEN[operator]),
        outputs=outputs or (3 if operator == "LSTM" else 2),
        opset=22,
    )


def activated(name: str) -> list[Case]:
    """By defaults, and by numbers of its own where it takes any."""
    alpha, beta = (f"activation_{which} = [0.3, 0.6]" for which in ("alpha", "beta"))
    given = ", ".join([alpha, beta][: len(ACTIVATIONS[name]) - 1])
    names = f'activations = ["{name}", "{name}"]'
    ways = [names, f"{names}, {given}"] if given else [names]
    return [layer("RNN", way, direction="bidirectional") for way in ways]


MIXED = [
    'activations = ["HardSigmoid", "Relu", "ScaledTanh", "Sigmoid", "LeakyRelu", "Tanh"]',
    "activation_alpha = [0.3, 0.7, 0.1], activation_beta = [0.4, 0.8]",
]
FULL = (STEPS,) * BATCH
# what torch's kernels compute
PLAIN = [
    layer(operator, how, given, direction=direction, lengths=FULL)
    for operator, how in (
        ("LSTM", ""), ("GRU", LATE), ("RNN", ""),
        ("RNN", 'activations = ["Relu", "Relu"]'),
    )
    for direction in DIRECTIONS
    if "activations" not in how or direction == "bidirectional"
    for given in ("", "b", GIVEN[operator].removesuffix("p"))
]  # fmt: skip
STEPWISE = [
    *(layer("GRU", given=given, direction=way) for given in ("", "bsh") for way in DIRECTIONS),
    *(layer("LSTM", given="bp", direction=way) for way in DIRECTIONS),
    layer("LSTM", "clip = 0.4, input_forget = 1", "bshcp", direction="bidirectional"),
    layer("LSTM", ", ".join(MIXED), direction="bidirectional"),
    *(layer("GRU", how, direction="reverse") for how in ("clip = 0.4", f"clip = 0.4, {LATE}")),
    layer("GRU", f'activations = ["HardSigmoid", "Softsign"], {LATE}'),
    layer("RNN", "clip = 0.4"),
    *(layer(operator, LATE if operator == "GRU" else "", GIVEN[operator].removesuffix("p"),
            direction=way, lengths=lengths)
      for operator in GATES for way in DIRECTIONS for lengths in ((2, 4, 1), (2, 0, 3))),
    *(each for name in ACTIVATIONS if name not in ("Tanh", "Relu") for each in activated(name)),
]  # fmt: skip
CASES = [*PLAIN, *STEPWISE, *(layer(operator, outputs=1) for operator in GATES)]


def test_every_row_has_a_case() -> None:
    assert {c.operator for c in CASES} == set(RECURRENT)


@pytest.mark.parametrize("found", CASES, ids=str)
def test_as_the_runtime(found: Case) -> None:
    assert_as_the_runtime(RECURRENT, found.model(), found.feeds())


@pytest.mark.parametrize("found", [
    layer("LSTM", "", "bshc", direction="bidirectional"),
    layer("LSTM", "clip = 3.0", "bshcp"),
    layer("LSTM", "input_forget = 1", "", direction="reverse"),
    layer("GRU", LATE, "bsh", direction="bidirectional"),
    layer("GRU", "", "bsh", direction="reverse"),
    layer("RNN", "", "bsh", direction="bidirectional"),
    layer("RNN", 'activations = ["Softplus"]', "b"),
], ids=str)  # fmt: skip
def test_gradients(found: Case) -> None:
    assert gradients_checked(RECURRENT, found)


def never(*given: object) -> None:
    raise AssertionError("the other way was taken")


def learned(found: Case) -> list[torch.Tensor]:
    """Outputs, then gradients of all inputs that are floats."""
    (node,) = ir.from_proto(found.model()).graph
    inputs = [None if each is None else torch.from_numpy(each.copy()) for each in found.inputs]
    floats = [x.requires_grad_() for x in inputs if x is not None and x.is_floating_point()]
    outputs = RECURRENT[node.op_type](node, *inputs)
    # a sum that tells the elements apart
    aims = [torch.arange(each.numel()).reshape(each.shape).cos() for each in outputs]
    return [*outputs, *torch.autograd.grad(outputs, floats, aims)]


@pytest.mark.parametrize("found", PLAIN, ids=str)
def test_kernels_are_as_the_steps(found: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(recurrent, "_stepwise", never)
        at_once = learned(found)
    monkeypatch.setattr(recurrent, "_plain", lambda node: False)
    monkeypatch.setattr(recurrent, "_at_once", never)
    for one, other in zip(at_once, learned(found), strict=True):
        within = 1e-5 * float(other.detach().abs().max())
        torch.testing.assert_close(one, other, rtol=1e-4, atol=within)


@pytest.mark.parametrize("found", STEPWISE, ids=str)
def test_kernels_are_not_taken_for_more_than_they_do(
    found: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "_at_once", never)
    assert all(torch.isfinite(each).all() for each in learned(found))


@pytest.mark.parametrize("how", ["layout = 1", 'activations = ["Sin"]'])
def test_what_a_row_cannot_do_is_said(how: str) -> None:
    found = layer("RNN", how)
    (node,) = ir.from_proto(found.model()).graph
    with pytest.raises(ModelError, match=how.split()[0]):
        RECURRENT["RNN"](node, *(torch.from_numpy(x) for x in found.inputs if x is not None))
