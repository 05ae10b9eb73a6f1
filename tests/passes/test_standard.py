"""Operators of ai.onnx.ml in standard ones: the runtime's own kernels, on 1,000 rows."""

from __future__ import annotations

import numpy as np
import pytest

from qtool.passes import prepare
from qtool.standard import unwritten
from tests.models import Array, build, normal, operators, run
from tests.standard import FLOATS, ROWS, graph, same, through

HOLES = np.where(np.random.default_rng(1).random(FLOATS.shape) < 0.2, np.nan, FLOATS)
INTS = np.random.default_rng(2).integers(-3, 9, (ROWS, 3))
SCALED = "Scaler<offset=[0.5,-1.0,2.0], scale=[2.0,0.25,-3.0]>(x)"
WEIGHTS = "coefficients=[1.0,0.0,0.5,0.0,1.0,-1.0,0.5,0.5,-0.7]"
# node, what it reads -> what it gives, operators afterwards (None: whatever)
COLUMNS: dict[str, tuple[str, Array, str, list[str] | None]] = {
    "scaler": (SCALED, FLOATS, "float[N,3]", ["Add", "Mul"]),
    "scaler of doubles": (SCALED, FLOATS.astype(float) + 1e9, "float[N,3]", ["Add", "Mul", "Cast"]),
    "scaler of integers": (SCALED, INTS, "float[N,3]", ["Cast", "Add", "Mul"]),
    "scaler of one": ("Scaler<offset=[0.5], scale=[2.0]>(x)", FLOATS, "float[N,3]", None),
    "scaler of a vector": (SCALED, FLOATS[0], "float[N]", None),
    "max": (
        'Normalizer<norm="MAX">(x)', FLOATS, "float[N,3]", ["ReduceMax", "Equal", "Where", "Div"],
    ),
    "l1": (
        'Normalizer<norm="L1">(x)', FLOATS, "float[N,3]", ["ReduceL1", "Equal", "Where", "Div"],
    ),
    "l2": (
        'Normalizer<norm="L2">(x)', FLOATS, "float[N,3]", ["ReduceL2", "Equal", "Where", "Div"],
    ),
    "l2 of integers": ('Normalizer<norm="L2">(x)', INTS, "float[N,3]", None),
    "max of a vector": ('Normalizer<norm="MAX">(x)', FLOATS[9], "float[N]", None),
    "imputer": (
        "Imputer<imputed_value_floats=[1.5,2.5,3.5], replaced_value_float=nan>(x)",
        HOLES, "float[N,3]", ["IsNaN", "Where"],
    ),
    "imputer of 0": (
        "Imputer<imputed_value_floats=[1.5], replaced_value_float=0.0>(x)",
        FLOATS, "float[N,3]", ["Equal", "Where"],
    ),
    "imputer of too many": (  # the runtime takes the first
        "Imputer<imputed_value_floats=[1.5,2.5], replaced_value_float=0.0>(x)",
        FLOATS, "float[N,3]", None,
    ),
    "imputer of integers": (
        "Imputer<imputed_value_int64s=[10,20,30], replaced_value_int64=-3>(x)",
        INTS, "int64[N,3]", ["Equal", "Where"],
    ),
    "binarizer": ("Binarizer<threshold=0.25>(x)", FLOATS, "float[N,3]", ["Greater", "Cast"]),
    "binarizer of 0": ("Binarizer(x)", FLOATS, "float[N,3]", None),
    "one hot": (
        "OneHotEncoder<cats_int64s=[3,-1,5], zeros=1>(x)",
        INTS, "float[N,3,3]", ["Unsqueeze", "Equal", "Cast"],
    ),
    "one hot of floats": (
        "OneHotEncoder<cats_int64s=[3,-1,0]>(x)", FLOATS, "float[N,3,3]", None,
    ),
    "numbers to texts": (
        'LabelEncoder<keys_int64s=[0,1,2], values_strings=["eel","a cat","dog"]>(x)',
        INTS, "string[N,3]", ["Clip", "Add", "Gather"],
    ),
    "numbers to numbers": (
        "LabelEncoder<keys_int64s=[5,-2,2], values_floats=[0.5,1.5,2.5], default_float=9.0>(x)",
        INTS, "float[N,3]", ["Clip", "Add", "Gather"],
    ),
    "regressor of one class": (
        'SVMRegressor<coefficients=[1.0,-2.0,0.5], rho=[0.25], n_supports=0, one_class=1,'
            " kernel_params=[1.0,0.0,3.0]>(x)",
        FLOATS, "float[N,1]", ["Gemm", "Greater", "Where"],
    ),
    "regressor, one score": (  # which the runtime does not transform
        'LinearRegressor<coefficients=[1.0,-2.0,0.5], post_transform="LOGISTIC">(x)',
        FLOATS, "float[N,1]", ["MatMul"],
    ),
    **{
        f"regressor {name}": (
            f'LinearRegressor<{WEIGHTS}, targets=3, post_transform="{name}">(x)',
            FLOATS, "float[N,3]", None,
        )
        for name in ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    },
}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("case", COLUMNS)
def test_each_law(case: str, opset: int) -> None:
    body, x, gives, wanted = COLUMNS[case]
    before = graph(body, x, gives)
    before.graph.opset_imports[""] = opset
    after = through(before)
    assert wanted is None or operators(after) == wanted
    assert {node.domain for node in after.graph} == {""}
    assert "ai.onnx.ml" not in after.graph.opset_imports
    same(before, after, x)


EXTRACTED = "y = ai.onnx.ml.ArrayFeatureExtractor"


@pytest.mark.parametrize(
    ("nodes", "gives"),
    [
        (f"{EXTRACTED}(x, picked)", "float[N,2]"),
        (f"i = ArgMax<axis=1>(x) {EXTRACTED}(names, i)", "string[1,N]"),
        (f"r = Relu(x) v = ReduceMean<keepdims=0>(r, zero) {EXTRACTED}(v, picked)", "float[1,2]"),
    ],
)
def test_an_extractor_gathers(nodes: str, gives: str) -> None:
    before = build(
        f"g (float[N,3] x) => ({gives} y) {{ {nodes} }}", extra='"ai.onnx.ml": 1',
        picked=np.array([[2, 0]]), zero=np.array([0]),
        names=np.array(["eel", "a cat", "dog"], object),
    )  # fmt: skip
    after = through(before)
    assert "Gather" in operators(after)
    same(before, after, FLOATS)


def test_a_narrow_kernel_is_written_in_float() -> None:
    # Of columns up to 300 no step of 8 bits is small enough for distances about 1.
    vectors = FLOATS[10:30] * 100
    x = np.repeat(vectors, ROWS // len(vectors), axis=0) + normal(ROWS, 3) / 2
    lists = {"coefficients": normal(20), "support_vectors": vectors.reshape(-1)}
    texts = ", ".join(f"{k}=[{','.join(f'{v:.6f}' for v in vs)}]" for k, vs in lists.items())
    before = graph(
        f'SVMRegressor<{texts}, rho=[0.5], n_supports=20, kernel_type="RBF",'
        " kernel_params=[1.0,0.0,3.0]>(x)",
        x, "float[N,1]",
    )  # fmt: skip
    assert "SVMRegressor" in operators(prepare(before))
    after = through(before)
    assert {node.domain for node in after.graph} == {""}
    same(before, after, x)
    assert np.ptp(run(after, x=x)["y"]) > 1


STAYS = {
    "maps": ("ai.onnx.ml.ZipMap<classlabels_int64s=[1,2,3]>(x)", "zipmap: False"),
    "texts": ('ai.onnx.ml.LabelEncoder<keys_floats=[0.5], values_int64s=[1]>(x)', "fractions"),
    "probit": (
        'ai.onnx.ml.LinearRegressor<coefficients=[1.0,0.0,0.0], post_transform="PROBIT">(x)',
        "PROBIT",
    ),
    "refusing": ("ai.onnx.ml.OneHotEncoder<cats_int64s=[3], zeros=0>(x)", "refuses"),
    "trees": ("ai.onnx.ml.TreeEnsembleRegressor(x)", "trees"),
}  # fmt: skip


@pytest.mark.parametrize("case", STAYS)
def test_what_stays_says_why(case: str) -> None:
    body, reason = STAYS[case]
    model = build(
        f"g (float[N,3] x) => (int64 n) {{ y = {body} n = Size(y) }}", extra='"ai.onnx.ml": 2'
    )
    node = next(node for node in prepare(model, standard=True).graph if node.domain)
    assert reason in unwritten(node)
