"""Models in memory, opened in the runtime without many copies of their weights."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import onnx_ir as ir

from qtool import model as models
from qtool.effort import suited
from qtool.errors import MachineError
from qtool.runtime import Session

SMALL = 16 << 20  # bytes of weights that may well be copied three times


def open_model(
    model: ir.Model,
    *,
    threads: int = 0,
    eager: bool = False,
    layouts: bool = True,
    optimize: bool = True,
) -> Session:
    """A session of the model. A large one goes through a file, which is gone again then.

    Where `threads` is 0, all cores, a small one gets one thread.

    Raises:
        MachineError: there is no room for that file.
    """
    threads = suited(model, threads)
    open_ = partial(Session, threads=threads, eager=eager, layouts=layouts, optimize=optimize)
    weights = (v.const_value for v in model.graph.initializers.values())
    if sum(tensor.nbytes for tensor in weights if tensor is not None) < SMALL:
        return open_(models.serialize(model))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            models.save_apart(model, path)
        except OSError as error:
            raise MachineError(
                f"cannot write the model to {tempfile.gettempdir()}, where it is run from",
                str(error),
                "free some space there, raise the limit on file sizes, or set TMPDIR",
            ) from error
        return open_(path)
