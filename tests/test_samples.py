"""Every form of every sample model keeps what the float model can do, on all of eval/."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool.compare.judge import compare
from tests.benchmarks.forms import FORMS, SAMPLES, TASKS, judged_on, made, score_of


@pytest.mark.slow
@pytest.mark.parametrize("form", ["w8a8", "w8", "dynamic", "fp16"])
@pytest.mark.parametrize("name", TASKS)
def test_the_score_is_kept(name: str, form: str, tmp_path: Path) -> None:
    reference = SAMPLES / name / "model.onnx"
    if form == "fp16" and name in ("cancer_logistic", "diabetes_linear"):
        pytest.skip("it has too few weights for 16 bits")
    candidate = made(name, FORMS[form], tmp_path / "q.onnx")
    found = compare(reference, candidate, judged_on(name))
    before, after = score_of(name, found)
    if TASKS[name].score == "mse":
        assert after <= 1.01 * before
    elif TASKS[name].score == "perplexity":
        assert after <= 1.005 * before
    elif TASKS[name].score == "mAP":
        assert after >= before - 0.01
    else:
        assert after >= before - max(0.005, 1 / found.samples)
    if TASKS[name].large:
        assert found.size.ratio < (0.55 if form == "fp16" else 0.4)
