"""A model in memory is opened through bytes or, where it is large, through a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from qtool import apart
from qtool.errors import MachineError
from qtool.passes.edit import array
from tests.models import build, normal, weight

GRAPH = "g (float[N,256] x) => (float[N,256] y) { y = MatMul(x, w) }"


@pytest.mark.parametrize("small", [0, 1 << 30], ids=["file", "bytes"])
def test_both_ways_run_the_same(
    small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "SMALL", small)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    w, x = weight(256, 256), normal(3, 256)
    model = build(GRAPH, w=w)
    session = apart.open_model(model, threads=1)
    assert not list(tmp_path.iterdir())
    np.testing.assert_allclose(session.run({"x": x})["y"], x @ w, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(array(model.graph.initializers["w"]), w)


def test_no_room_for_the_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(apart, "SMALL", 0)
    monkeypatch.setattr("qtool.apart.save_apart", full)
    with pytest.raises(MachineError, match="cannot write the model to") as error:
        apart.open_model(build(GRAPH, w=weight(256, 256)))
    assert "set TMPDIR" in error.value.fix
