"""scikit-learn's tables: split, written as CSV, exported as skl2onnx does by default, checked."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from common import describe, start, strip_paths
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch
from threadpoolctl import threadpool_limits

CALIB_SHARE, EVAL_SHARE = 0.15, 0.35
MOST_CALIB = 70  # keeps the widest table's folder below 60 kB


@dataclass(frozen=True)
class Rows:
    features: np.ndarray  # float32 (n, features)
    labels: np.ndarray  # int64 (n,) classes, or float32 (n,) numbers


def make(name: str, data: Bunch, model: BaseEstimator) -> None:
    """Fits the model and writes the sample's folder, then checks it and prints its scores."""
    folder = start(name)
    label = "label" if is_classifier(model) else "target"
    train, calib, evals = split(data, stratified=is_classifier(model))
    # One thread and double precision: the order of the sums must not hang on the number of cores.
    with threadpool_limits(1):
        model.fit(train.features.astype(np.float64), train.labels)
    write(folder / "calib" / "samples.csv", data.feature_names, label, calib)
    write(folder / "eval" / "samples.csv", data.feature_names, label, evals)
    kind = FloatTensorType([None, train.features.shape[1]])
    exported = convert_sklearn(model, name, [("input", kind)])
    # It lists them by a set, and so in another order each time.
    exported.opset_import.sort(key=lambda opset: (opset.domain, opset.version))
    (folder / "model.onnx").write_bytes(exported.SerializeToString())
    check(folder, model, {"calib": calib, "eval": evals})


def split(data: Bunch, stratified: bool) -> tuple[Rows, Rows, Rows]:
    """Training, calibration and evaluation rows: disjoint, each with every class alike."""
    features = data.data.astype(np.float32)
    labels = data.target.astype(np.int64 if stratified else np.float32)

    def apart(rows: np.ndarray, count: int) -> list[np.ndarray]:
        by = labels[rows] if stratified else None
        return train_test_split(rows, test_size=count, stratify=by, random_state=0)

    rest, evals = apart(np.arange(len(labels)), round(len(labels) * EVAL_SHARE))
    train, calib = apart(rest, min(round(len(labels) * CALIB_SHARE), MOST_CALIB))
    first, second, third = (Rows(features[r], labels[r]) for r in (train, calib, evals))
    return first, second, third


def write(path: Path, names: Iterable[str], label: str, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*names, label])
        for features, value in zip(rows.features, rows.labels, strict=True):
            # str of a float32 has the fewest digits that read back as the same float32.
            writer.writerow([*map(str, features), str(value)])


def read(path: Path) -> Rows:
    """The rows as any reader finds them: all columns but the last, stacked in file order."""
    with path.open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    table = np.array([line[:-1] for line in lines], np.float32)
    kind = np.int64 if header[-1] == "label" else np.float32
    return Rows(table, np.array([line[-1] for line in lines], kind))


def check(folder: Path, model: BaseEstimator, splits: dict[str, Rows]) -> None:
    """Compares the written files with the rows and the model they come from; prints scores."""
    path = folder / "model.onnx"
    strip_paths(path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    describe(path)
    for name, expected in splits.items():
        rows = read(folder / name / "samples.csv")
        np.testing.assert_array_equal(rows.features, expected.features, strict=True)
        np.testing.assert_array_equal(rows.labels, expected.labels, strict=True)
        # One row at a time, as everywhere here; and at once, to see that the batch is dynamic.
        alone = [session.run(None, {"input": row[None]}) for row in rows.features]
        together = session.run(None, {"input": rows.features})
        found = np.concatenate([outputs[0] for outputs in alone])
        np.testing.assert_allclose(found, together[0], rtol=1e-5)
        exact = rows.features.astype(np.float64)
        if is_classifier(model):
            np.testing.assert_array_equal(found, model.predict(exact))
            maps = [{k: row[k] for k in model.classes_} for (_, (row,)) in alone]
            chances = np.array([list(row.values()) for row in maps])
            np.testing.assert_allclose(chances, model.predict_proba(exact), atol=1e-4)
            score = f"accuracy {accuracy_score(rows.labels, found):.4f}"
        else:
            np.testing.assert_allclose(found[:, 0], model.predict(exact), rtol=1e-4)
            error = mean_squared_error(rows.labels, found)
            score = f"R2 {r2_score(rows.labels, found):.4f}, MSE {error:.1f}"
        print(f"{name}: {score} of {len(found)}")
