"""Labels and probabilities in standard operators: the runtime's own kernels, on 1,000 rows."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool import workflow
from qtool.compare.rows import real
from qtool.numeric.coupling import LEAST, couple
from qtool.passes import prepare
from qtool.plan.iterations import ITERATES, iterations
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.standard import unwritten
from qtool.target import load_target
from tests.models import Array, build, normal, operators, run
from tests.standard import FLOATS, ROWS, same, through
from tests.trained import thousand, trained

slow = partial(pytest.param, marks=pytest.mark.slow)
CLASSES = "classlabels_ints=[7,3,5]"
WEIGHTS = "coefficients=[1.0,0.0,0.5,0.0,1.0,-1.0,0.5,0.5,-0.7]"


def classifier(attributes: str, columns: int, label: str = "int64", op: str = "SVM") -> ir.Model:
    return build(
        f"g (float[N,{columns}] x) => ({label}[N] k, float[N,M] z) {{"
        f" k, z = ai.onnx.ml.{op}Classifier<{attributes}>(x) }}",
        extra='"ai.onnx.ml": 1',
    )


LINEAR = {
    "three, none left out": (f'{CLASSES}, {WEIGHTS}, intercepts=[0.1,0.2,0.3]', "SOFTMAX_ZERO"),
    "two by one": ("classlabels_ints=[7,3], coefficients=[1.0,-1.0,0.5], intercepts=[0.1]", "NONE"),
    "two by one, transformed": (
        "classlabels_ints=[0,1], coefficients=[1.0,-1.0,0.5], intercepts=[0.1]", "LOGISTIC"
    ),
    "two texts by one": (
        'classlabels_strings=["no","yes"], coefficients=[1.0,-1.0,0.5], intercepts=[0.1]', "SOFTMAX"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LINEAR)
def test_linear_classifiers_that_were_left(case: str) -> None:
    attributes, transform = LINEAR[case]
    label = "string" if "strings" in attributes else "int64"
    before = classifier(f'{attributes}, post_transform="{transform}"', 3, label, "Linear")
    after = through(before)
    assert {node.domain for node in after.graph} == {""}
    same(before, after, FLOATS)


def of_pairs(
    count: int, transform: str = "NONE", *, chances: bool = False, texts: bool = False
) -> str:
    """A classifier whose scores are what it reads."""
    pairs = list(combinations(range(count), 2))
    vectors = np.vstack([np.eye(len(pairs)), np.zeros(len(pairs))])
    own = np.zeros((count - 1, len(vectors)))
    for place, (_, second) in enumerate(pairs):
        own[second - 1, place] = 1
    rng = np.random.default_rng(count)
    slope, shift = -rng.uniform(0.5, 3, len(pairs)), rng.normal(size=len(pairs)) / 5
    lists: dict[str, Array] = {
        "support_vectors": vectors.reshape(-1), "coefficients": own.reshape(-1),
        "rho": np.zeros(len(pairs)), "kernel_params": np.array([1.0, 0, 3]),
        **({"prob_a": slope, "prob_b": shift} if chances else {}),
    }  # fmt: skip
    names = [f'"c{n}"' for n in range(count)] if texts else [str(3 * n + 1) for n in range(count)]
    return ", ".join([
        *(f"{name}=[{','.join(f'{v:.9f}' for v in values)}]" for name, values in lists.items()),
        f"vectors_per_class=[{','.join(map(str, [*range(count - 1, 0, -1), 1]))}]",
        f"classlabels_{'strings' if texts else 'ints'}=[{','.join(names)}]",
        f'kernel_type="LINEAR", post_transform="{transform}"',
    ])  # fmt: skip


def pair_scores(count: int) -> Array:
    """Of classes near to each other and far apart, of pairs that contradict another, and ties."""
    first, second = np.array(list(combinations(range(count), 2))).T
    centres, noise = normal(ROWS, count), normal(ROWS, len(first), seed=1)
    scores = centres[:, first] - centres[:, second] + noise / 4
    scores[::3] = noise[::3]
    scores *= np.array([0.3, 1, 3, 10, 100])[np.arange(ROWS) % 5, None]
    scores[:5] = 0
    return scores.astype(np.float32)


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("chances", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, slow(10)])
def test_pairs_become_labels_and_probabilities(count: int, chances: bool, texts: bool) -> None:
    scores = pair_scores(count)
    before = classifier(
        of_pairs(count, chances=chances, texts=texts),
        scores.shape[1],
        "string" if texts else "int64",
    )
    after = through(before)
    assert {node.domain for node in after.graph} == {""}
    same(before, after, scores)
    # of any number of rows
    same(before, after, scores[:1])
    same(before, after, scores[:0])


@pytest.mark.parametrize("chances", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_row_that_is_no_number(count: int, chances: bool) -> None:
    before = classifier(of_pairs(count, chances=chances), count * (count - 1) // 2)
    rows = np.full_like(pair_scores(count)[:9], np.nan)
    expected, found = run(before, x=rows), run(through(before), x=rows)
    assert (found["k"] == expected["k"]).all()
    np.testing.assert_allclose(found["z"], expected["z"], atol=1e-5)


@pytest.mark.parametrize("transform", ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("chances", [False, True])
def test_scores_of_pairs_are_transformed(count: int, transform: str, chances: bool) -> None:
    scores = pair_scores(count)[5:]  # of zeros alone the runtime makes 0 / 0
    before = classifier(of_pairs(count, transform, chances=chances), scores.shape[1])
    same(before, through(before), scores)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1)])
def test_a_row_for_each_class(count: int, signs: tuple[int, int]) -> None:
    weights = np.abs(normal(count, 3)) * np.resize(signs, (count, 3))
    before = classifier(
        f"coefficients=[{','.join(f'{v:.6f}' for v in weights.reshape(-1))}], rho=[0.2],"
        " kernel_params=[1.0,0.0,3.0],"
        f' kernel_type="LINEAR", classlabels_ints=[{",".join(map(str, range(4, 4 + count)))}]',
        3,
    )
    after = through(before)
    assert {node.domain for node in after.graph} == {""}
    same(before, after, FLOATS)


def test_the_law_of_coupling_is_the_runtimes() -> None:
    scores, rng = pair_scores(4), np.random.default_rng(4)
    slope, shift = -rng.uniform(0.5, 3, 6), rng.normal(size=6) / 5
    found = run(classifier(of_pairs(4, chances=True), 6), x=scores)["z"]
    with np.errstate(over="ignore"):
        chances = 1 / (1 + np.exp(slope * scores + shift))
    expected, sweeps = couple(np.clip(chances, LEAST, 1 - LEAST))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    assert 2 <= sweeps <= 6


def test_too_many_classes_stay_with_the_reason() -> None:
    model = prepare(classifier(of_pairs(26, chances=True), 325), standard=True)
    assert operators(model) == ["SVMClassifier"]
    (node,) = model.graph
    assert "to couple the probabilities of 26 classes would take 645 operators" in unwritten(node)


FAST = ("svc rbf wine chances", "logistic 3", "imputer", "normalizer")
SLOW = ("svc rbf cancer chances", "svc rbf digits chances", "svc linear wine chances",
        "svc poly wine chances", "svc sigmoid wine chances", "svc poly cancer", "svc rbf wine",
        "one class", "columns", "nusvc")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        *((name, False) for name in FAST),
        *(slow(name, False) for name in SLOW),
        slow("svc rbf wine chances", True),
        slow("logistic 3", True),
    ],
)
def test_what_scikit_learn_exports_needs_no_other_operators(name: str, texts: bool) -> None:
    own = {} if name == "one class" else {"zipmap": False}
    _, data, rows, _ = trained(name, texts=texts, **own)
    after = through(models.parse(data))
    assert {node.domain for node in after.graph} == {""}
    x, session = thousand(rows), Session(data, threads=1)
    source = session.signature.inputs[0].name
    expected, found = session.run({source: x}), run(after, **{source: x})
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        if value.dtype.kind == "f":
            np.testing.assert_allclose(
                found[key], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=key
            )
        else:
            assert (found[key] == value).all(), key


@pytest.mark.parametrize("placement", ["paying", "all"])
def test_no_step_of_a_coupling_is_quantized(placement: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    _, data, _, _ = trained("svc rbf wine chances", zipmap=False)
    path.write_bytes(data)
    job = workflow.open_job(path, Recipe(placement=placement), load_target("portable"), threads=1)
    reasons = [job.sites.skipped.get(node.name or "") for node in job.model.graph]
    assert reasons.count(ITERATES) > 60
    chances = {
        node.name for node in job.model.graph if node.op_type in ("Sigmoid", "Clip", "Where")
    }
    assert {job.sites.skipped[name or ""] for name in chances} == {ITERATES}


@pytest.mark.parametrize(
    ("between", "floats"),
    [("r = Relu(a)", 3), ("b = MatMul(a, w) r = Relu(b)", 0)],  # power iteration; a graph network
)
def test_an_iteration_learns_nothing_on_the_way(between: str, floats: int) -> None:
    model = build(
        f"g (float[4,4] q, float[4,4] x) => (float[4,4] y) {{"
        f" a = MatMul(q, x) {between} y = MatMul(q, r) }}",
        w=normal(4, 4),
    )
    assert len(iterations(model.graph)) == floats


def test_a_sample_for_any_runtime(tmp_path: Path) -> None:
    folder, output = Path("sample_models/wine_svm"), tmp_path / "o.onnx"
    kinds: dict[str, set[str]] = {}
    for target in ("cpu", "portable"):
        job = workflow.open_job(
            folder / "model.onnx", Recipe(scheme="w8"), load_target(target), threads=1
        )
        workflow.check_preparation(job, None)
        found = workflow.build(job, None)
        workflow.write(job, found, output, None, force=True, allow_larger=True)
        made = models.load(output)
        kinds[target] = {node.op_type for node in made.graph if node.domain == "ai.onnx.ml"}
        assert found.plan.weights
    assert kinds == {"cpu": {"Scaler", "SVMClassifier", "ZipMap"}, "portable": {"ZipMap"}}
    rows = np.loadtxt(folder / "eval/samples.csv", np.float32, delimiter=",", skiprows=1)[:, :-1]
    outputs = [
        Session(path, threads=1).run({"input": rows}) for path in (folder / "model.onnx", output)
    ]
    labels, chances = zip(*(each.values() for each in outputs), strict=True)
    assert (labels[0] == labels[1]).all()
    before, after = map(real, chances)
    assert before is not None and after is not None
    assert np.abs(before - after).max() < 0.03
