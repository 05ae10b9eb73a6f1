"""Classical models trained in the test, as scikit-learn's exporter writes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from skl2onnx import to_onnx
from sklearn import datasets, impute, linear_model, svm
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

Array: TypeAlias = Any
KERNELS = ("linear", "poly", "rbf", "sigmoid")
NAMES = np.array(["eel", "a cat", "dog"])  # not in the order of their names

TABLES: dict[str, Callable[..., Any]] = {
    "wine": datasets.load_wine,  # 3 classes, 13 columns
    "cancer": datasets.load_breast_cancer,  # 2 classes, 30 columns
    "diabetes": datasets.load_diabetes,  # a regression, 10 columns
    "digits": datasets.load_digits,  # 10 classes, 64 columns
}


def _columns() -> Any:
    return ColumnTransformer([("a", StandardScaler(), [0, 1, 2]), ("b", MinMaxScaler(), [4, 6])])


def _svc(kernel: str, *, chances: bool) -> Callable[[], Any]:
    return lambda: svm.SVC(kernel=kernel, probability=chances, random_state=0)


def _svr(kernel: str) -> Callable[[], Any]:
    return lambda: svm.SVR(kernel=kernel, C=10)


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    **{
        f"svc {kernel} {table}{' chances' * chances}": (_svc(kernel, chances=chances), table)
        for kernel in KERNELS
        for table in ("wine", "cancer")
        for chances in (False, True)
    },
    **{f"svr {kernel}": (_svr(kernel), "diabetes") for kernel in KERNELS},
    "svc rbf digits chances": (lambda: svm.SVC(probability=True, random_state=0), "digits"),
    "svc poly of degree 2": (lambda: svm.SVC(kernel="poly", degree=2, coef0=1), "wine"),
    "svc poly of degree 5": (lambda: svm.SVC(kernel="poly", degree=5, coef0=0.5), "wine"),
    "nusvc": (lambda: svm.NuSVC(nu=0.1), "wine"),
    "one class": (lambda: svm.OneClassSVM(nu=0.1), "wine"),
    "linear svr": (svm.LinearSVR, "diabetes"),
    "ridge": (linear_model.Ridge, "diabetes"),
    "lasso": (linear_model.Lasso, "diabetes"),
    "logistic 2": (linear_model.LogisticRegression, "cancer"),
    "logistic 3": (linear_model.LogisticRegression, "wine"),
    "sgd": (lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0), "wine"),
    "imputer": (lambda: make_pipeline(impute.SimpleImputer(), svm.SVC()), "wine"),
    "normalizer": (lambda: make_pipeline(Normalizer(), StandardScaler(), svm.SVC()), "wine"),
    "columns": (lambda: make_pipeline(_columns(), linear_model.LogisticRegression()), "wine"),
}


class Trained(NamedTuple):
    """A pipeline, its file, and rows with labels."""

    model: Any
    data: bytes
    rows: Array  # float32
    labels: Array


@cache
def trained(
    name: str, *, scaled: bool = True, texts: bool = False, zipmap: bool = True, half: bool = False
) -> Trained:
    """A model trained on all rows, or on `half` of them, and then those that it has not seen;
    without `scaled` it sees columns as they are."""
    make, table = MODELS[name]
    rows, labels = TABLES[table](return_X_y=True)
    labels = NAMES[labels] if texts else labels
    own = name in ("columns", "imputer", "normalizer")  # they prepare their columns themselves
    model = make_pipeline(StandardScaler(), make()) if scaled and not own else make()
    order = np.random.default_rng(0).permutation(len(rows)) if half else np.arange(len(rows))
    seen, held = np.array_split(order, 2) if half else (order, order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scikit-learn will drop, and convergence
        model.fit(rows[seen], labels[seen])
        options = {"zipmap": False} if not zipmap else {}
        exported = to_onnx(model, rows[:1].astype(np.float32), options=options)
    data = exported.SerializeToString()
    return Trained(model, data, rows[held].astype(np.float32), labels[held])


def thousand(rows: Array) -> Array:
    """1,000 rows: those that there are, and others like them."""
    rng = np.random.default_rng(0)
    more = rows[rng.integers(0, len(rows), max(0, 1000 - len(rows)))]
    return np.vstack([rows, more * rng.normal(1, 0.2, more.shape)])[:1000].astype(np.float32)
