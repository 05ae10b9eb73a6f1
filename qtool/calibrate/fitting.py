"""Whether a calibration is of this model, and of this data."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from qtool import model as models
from qtool.calibrate.file import Calibration
from qtool.calibrate.merge import missing
from qtool.data.dataset import Dataset
from qtool.errors import DataError, UsageError


def require_fit(
    calibration: Calibration, model: ir.Model, tensors: Iterable[str], again: str
) -> None:
    """Raises DataError for one of another model or recipe, or a part of one; `again` is the command
    that calibrates anew."""
    if calibration.run.model != models.digest(model):
        raise DataError(
            "the calibration file was made for another model or recipe",
            "the digest of the transformed model differs",
            f"{again}  with the same --bits or --scheme, --preset, --recipe and patterns",
        )
    if not calibration.complete:
        raise DataError(
            "the calibration file is a part of one",
            f"it lacks batches {missing(calibration)} of {calibration.run.blocks}",
            "join it with the other shards by  qtool calibrate merge",
        )
    absent = [name for name in tensors if name not in calibration.histograms]
    if absent:
        raise DataError(
            "the calibration file does not cover all that this recipe quantizes",
            f"no statistics of {absent[0]!r}"
            + (f" and {len(absent) - 1} more" if len(absent) > 1 else ""),
            "calibrate with the same --preset, --scheme, --include, --exclude and --recipe",
        )


def require_same_data(calibration: Calibration, data: Dataset) -> None:
    """Refuse data other than what the calibration was measured on.

    Raises:
        UsageError: the fingerprints differ.
    """
    if calibration.data != data.fingerprint:
        raise UsageError(
            "--calibration was not measured on the data given with --data",
            "their fingerprints differ",
            "give one of the two, or calibrate again",
        )
