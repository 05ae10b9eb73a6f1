"""A file that somebody made by hand, digest and all, is an error or what it says; never a bug."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from qtool.calibrate.file import _digest, load
from qtool.errors import DataError
from tests.calibrate.made import data, measured, saved

Header = dict[str, Any]
Arrays = dict[str, Any]


def set_in(*path: Any, to: Any) -> Callable[[Header, Arrays], None]:
    def change(header: Header, arrays: Arrays) -> None:
        place: Any = header
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


def array(name: str, to: Callable[[Any], Any]) -> Callable[[Header, Arrays], None]:
    def change(header: Header, arrays: Arrays) -> None:
        arrays[name] = to(arrays[name])

    return change


CHANGES: dict[str, Callable[[Header, Arrays], None]] = {
    "run is a list": set_in("run", to=[]),
    "a key too many": set_in("more", to=1),
    "a key of the run too many": set_in("run", "more", to=1),
    "blocks is a text": set_in("run", "blocks", to="20"),
    "covers is a number": set_in("covers", to=3),
    "covers is a text": set_in("covers", to="ab"),
    "covers overlap": set_in("covers", to=[[0, 9], [5, 20]]),
    "covers too much": set_in("covers", to=[[0, 21]]),
    "covers fractions": set_in("covers", to=[[0, 19.5]]),
    "data is no digest": set_in("data", to="zz"),
    "fed is a list": set_in("fed", to=[1]),
    "samples below 0": set_in("samples", to=-1),
    "a tensor too many": lambda header, arrays: header["tensors"].append(["more", True]),
    "a tensor too few": lambda header, arrays: header["tensors"].pop(),
    "versions is a list": set_in("run", "versions", to=[]),
    "bins are floats": array("0.bins", lambda x: x.astype(np.float32)),
    "bins are long": array("0.bins", lambda x: x.astype(np.int64)),
    "bins in two dimensions": array("0.bins", lambda x: x.reshape(1, -1)),
    "bins too few": array("0.bins", lambda x: x[1:].copy()),
    "bins out of order": array("0.bins", lambda x: x[::-1].copy()),
    "bins twice": array("0.bins", np.zeros_like),
    "bins of NaN": array("0.bins", lambda x: np.append(x[:-1], np.uint16(0x7FC0))),
    "counts below 0": array("0.counts", lambda x: -x),
    "counts too large": array("0.counts", lambda x: np.full_like(x, 2**62)),
    "range of NaN": array("0.range", lambda x: x * np.float32(np.nan)),
    "range of Inf": array("0.range", lambda x: x * np.float32(np.inf)),
    "range the wrong way": array("0.range", lambda x: x[::-1].copy()),
    "range of three": array("0.range", lambda x: np.append(x, x[:1])),
}


def rewrite(path: Path, change: Callable[[Header, Arrays], None]) -> None:
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["qtool"])
        arrays = {key: file.get_tensor(key) for key in list(file.keys())}
    del header["sha256"]
    change(header, arrays)
    header["sha256"] = _digest(header, arrays)
    path.write_bytes(safetensors.numpy.save(arrays, {"qtool": json.dumps(header)}))


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_cannot_be_is_refused(
    change: Callable[[Header, Arrays], None], tmp_path: Path
) -> None:
    saved(measured(tmp_path, data(tmp_path)), tmp_path / "x")
    rewrite(tmp_path / "x", lambda header, arrays: None)
    load(tmp_path / "x")
    rewrite(tmp_path / "x", change)
    with pytest.raises(DataError, match="does not hold what a calibration file holds"):
        load(tmp_path / "x")


@pytest.mark.parametrize("text", ["5", "null", '"a"', "NaN", "[" * 100_000, "{"])
def test_a_header_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(safetensors.numpy.save({}, {"qtool": text}))
    with pytest.raises(DataError, match="is not a calibration file of qtool"):
        load(tmp_path / "x")
