"""The rows on the cases that the `onnx` package brings along."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx

from qtool.errors import ModelError, QtoolError
from qtool.runtime import Session
from qtool.tune.operators import OPERATORS, run
from tests.corpus.cases import Case, cases
from tests.tune.rows import assert_as_the_runtime

# where a mask is an output, the runtime gives the lowest float for minus infinity
LOWEST = {
    f"test_attention_4d_with_past_and_present_qk_matmul_bias_{rank}d_mask_causal" for rank in (3, 4)
}
ROWS = {name: lambda node, *inputs: run(node, list(inputs)) for name in OPERATORS}
WIDE = {"uint16", "uint32", "uint64"}  # torch moves them about, and computes few things with them


def verdict(case: Case) -> str:
    """What became of a case; one that differs fails.

    1. no tensors of numbers    2. before opset 13    3. unknown to the runtime
    4. refused by the row, with its error    5. refused by torch: wide unsigned integers
    6. the same
    """
    arrays = [each for each in case.feeds.values() if isinstance(each, np.ndarray)]
    if len(arrays) < len(case.feeds) or any(each.dtype.kind == "U" for each in arrays):
        return "no numbers"  # 1
    model = onnx.load_from_string(case.model)
    if any(each.version < 13 for each in model.opset_import if not each.domain):
        return "old"  # 2
    try:
        Session(case.model, threads=1, optimize=False).run(case.feeds)
    except QtoolError:
        return "unknown to the runtime"  # 3
    try:
        assert_as_the_runtime(ROWS, model, case.feeds)
    except ModelError as error:
        if error.why.startswith("torch: "):
            assert any(name in error.what for name in WIDE), error.what
            return "wide"  # 5
        return error.what  # 4
    return "same"  # 6


@pytest.mark.slow
def test_the_node_cases() -> None:
    found = cases(("node", "simple"), variants=("as-is",))
    taken = (case for case in found if set(case.operators) <= set(OPERATORS))
    counts = Counter(verdict(case) for case in taken if case.name not in LOWEST)
    assert counts.pop("same") >= 1160
    assert counts.pop("wide") <= 40
    assert set(counts) <= {
        "no numbers", "old", "unknown to the runtime",
        "qtool tune cannot differentiate BatchNormalization with training_mode=1",
        "qtool tune cannot differentiate MaxPool with its second output, Indices",
        "qtool tune cannot differentiate Cast with type FLOAT8E4M3FN",
        "qtool tune cannot differentiate Dropout with training_mode = true",
    }  # fmt: skip
