"""The test models of the `onnx` package, quantized under the laws; `tests.benchmarks.corpus` whole.

Here a sample of them; slow, every one with all that can be quantized.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from pathlib import Path

import pytest

from qtool.ops import OPS
from tests.corpus import laws
from tests.corpus.cases import Case, cases
from tests.corpus.judge import TARGET
from tests.corpus.outcome import Left, Outcome
from tests.corpus.pool import judged

VERSIONS = laws.versions()


def sample(found: Iterable[Case]) -> list[Case]:
    """Of each operator with an integer kernel one case, and of the rest every fortieth."""
    every = list(found)
    integer = [name for name in OPS if name in TARGET.integer]
    chosen: list[Case] = []
    for name in integer:
        alone = [c for c in every if c.operators == (name,)]
        weighted = [c for c in alone if c.variant == "constants"]
        chosen += (weighted or alone)[-1:]
    rest = [c for c in every if c not in chosen and c.kind != "light"]
    return chosen + rest[:: max(1, len(rest) // (60 - len(chosen)))]


def told(violations: list[laws.Violation]) -> str:
    return "\n" + "\n".join(sorted(map(str, violations)))


@pytest.mark.slow
def test_a_sample_of_the_corpus(tmp_path: Path) -> None:
    chosen = sample(cases())
    assert 50 <= len(chosen) <= 70
    outcomes = judged(chosen, ("default", "all", "w8"), tmp_path)
    assert len(outcomes) == 3 * len(chosen)
    quantized = [o for o in outcomes if o.recipe == "all" and o.integer]
    assert len(quantized) >= len(chosen) / 3
    left, _ = laws.sorted_out(outcomes, laws.exceptions())
    assert not left, told(left)


@pytest.mark.slow
def test_the_corpus_with_all_that_can_be_quantized(tmp_path: Path) -> None:
    outcomes = judged(cases(), ("all",), tmp_path)
    assert len(outcomes) > 2500
    excused = laws.exceptions()
    left, stale = laws.sorted_out(outcomes, excused)
    assert not left, told(left)
    assert not [str(each) for each in stale if each.recipe in ("*", "all")]
    if laws.known_versions() != VERSIONS:
        pytest.skip(f"counts are of {laws.known_versions()}, here are {VERSIONS}")
    assert not laws.risen(laws.left_float(outcomes), laws.known_counts())


@pytest.mark.slow
def test_a_fifth_of_the_corpus_by_default_and_with_weights_alone(tmp_path: Path) -> None:
    outcomes = judged(list(cases())[::5], ("default", "w8"), tmp_path)
    left, _ = laws.sorted_out(outcomes, laws.exceptions())
    assert not left, told(left)


class _Abort:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return os.abort, ()


class _Killer(Case):
    def save(self, path: Path) -> Path:
        path.write_bytes(pickle.dumps(_Abort()))
        return path


def test_a_crash_is_its_cases_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = next(cases(["simple"], "test_sign_model"))
    killer = _Killer("node", "test_killer", "as-is", b"", {}, ())
    found = judged([good, killer, good], ["w8"], tmp_path, jobs=1)
    assert [o.status for o in found] == ["float", "crash", "float"]
    assert "SIGABRT" in found[1].detail
    assert found[1].case == "node/test_killer/as-is"


def test_a_hang_is_its_cases(tmp_path: Path) -> None:
    good = next(cases(["simple"], "test_sign_model"))
    (found,) = judged([good], ["w8"], tmp_path, jobs=1, limit=0.0)
    assert found.status == "hang"


def test_what_the_runtime_does_not_take_is_counted_apart(tmp_path: Path) -> None:
    case = next(cases(["pytorch-operator"], "test_operator_addmm"))
    (found,) = judged([case], ["all"], tmp_path, jobs=1)
    assert found.status == "unrunnable"
    assert "Gemm(6)" in found.detail
    assert not laws.violations(found)


LOW = Outcome("node/test_a/as-is", "all", "quantized", sqnr=12.0)
KEPT = Outcome("node/test_b/as-is", "all", "float", left=(Left("Conv", "so it is", 2),))
BAD = Outcome("node/test_c/as-is", "all", "traceback", "open: KeyError")


def test_laws_and_exceptions() -> None:
    assert [v.law for o in (LOW, KEPT, BAD) for v in laws.violations(o)] == [
        "sqnr", "float", "traceback",
    ]  # fmt: skip
    excused = [
        laws.Excuse("sqnr", "one value", case="node/test_a/*"),
        laws.Excuse("float", "why not", operator="Conv", reason="so *"),
        laws.Excuse("float", "gone by now", operator="Gemm"),
    ]
    left, stale = laws.sorted_out([LOW, KEPT, BAD], excused)
    assert [v.law for v in left] == ["traceback"]
    assert [e.because for e in stale] == ["gone by now"]


def test_a_kernel_that_was_planned_and_is_not_there() -> None:
    found = Outcome("node/a/as-is", "all", "quantized", planned={"Add": 1}, floating={"Add": 1})
    assert [v.law for v in laws.violations(found)] == ["kernel"]
    fused = Outcome(
        "node/a/as-is", "all", "quantized", planned={"Add": 1}, integer={"QLinearAdd": 1}
    )
    assert not laws.violations(fused)


def test_weights_alone_ask_for_weights() -> None:
    conv = Left("Conv", "why", 1, weighty=True), Left("Conv", "it has no weights", 1)
    found = Outcome("node/a/as-is", "w8", "float", left=conv)
    assert [v.reason for v in laws.violations(found)] == ["why"]


def test_nothing_excuses_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "exceptions.toml"
    path.write_text('[[exceptions]]\nlaw = "traceback"\nbecause = "none"\n')
    with pytest.raises(ValueError, match="nothing excuses"):
        laws.exceptions(path)


def test_counts_are_written_read_and_held_against(tmp_path: Path) -> None:
    path = tmp_path / "left_float.toml"
    assert laws.left_float([KEPT, KEPT, LOW]) == {"Conv": 4}
    laws.write_counts({"Conv": 4, "ai.onnx.ml.Scaler": 1}, VERSIONS, path)
    assert laws.known_counts(path) == {"Conv": 4, "ai.onnx.ml.Scaler": 1}
    assert laws.known_versions(path) == VERSIONS
    assert laws.risen({"Conv": 5, "Gemm": 1}, laws.known_counts(path)) == {
        "Conv": (4, 5), "Gemm": (0, 1),
    }  # fmt: skip
    assert not laws.risen({"Conv": 3}, laws.known_counts(path))
