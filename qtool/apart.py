"""Models in memory, opened in the runtime without many copies of their weights."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import onnx_ir as ir

from qtool import model as models
from qtool.effort import suited
from qtool.errors import MachineError, ModelError
from qtool.external import folder_of
from qtool.inline import light
from qtool.maps import remembered
from qtool.ops import bytes_of
from qtool.runtime import Session

SMALL = 16 << 20  # bytes of weights that may well be copied three times


def save_apart(model: ir.Model, path: Path) -> None:
    """Write a model for the runtime alone, with large weights in a file beside it."""
    if remembered(model):  # types that onnx_ir cannot write; classical models are small
        path.write_bytes(models.serialize(model))
        return
    ir.save(model, path, external_data="weights", size_threshold_bytes=1 << 16)


def open_file(path: Path, *, threads: int = 0) -> Session:
    """A session of a model file for few runs: large weights are read from where they lie, and not
    packed anew for speed."""
    target = path.resolve()
    rest = light(path, target.name) if str(target).isprintable() else None
    if rest is None:
        return Session(path, threads=threads, lean=True)
    with suppress(ModelError):
        return Session(rest, threads=threads, lean=True, folder=target.parent)
    return Session(path, threads=threads)  # its words speak of the file


def open_model(
    model: ir.Model,
    *,
    threads: int = 0,
    eager: bool = False,
    layouts: bool = True,
    optimize: bool = True,
    lean: bool = False,
) -> Session:
    """A session of the model. Large weights that lie in files are read from there; a large model
    of others goes through a file, which is gone again then. `lean` is for few runs.

    Where `threads` is 0, all cores, a small one gets one thread.

    Raises:
        MachineError: there is no room for that file.
    """
    threads = suited(model, threads)
    open_ = partial(Session, threads=threads, eager=eager, layouts=layouts, optimize=optimize)
    weights = [v.const_value for v in model.graph.initializers.values()]
    inside = (t for t in weights if t is not None and not isinstance(t, ir.ExternalTensor))
    large = sum(bytes_of(t) for t in weights if t is not None) >= SMALL
    if not large:
        return open_(models.serialize(model))
    open_ = partial(open_, lean=lean)
    home = folder_of(model)
    if home is not None and sum(bytes_of(tensor) for tensor in inside) < SMALL:
        return open_(models.serialize(model, apart=True), folder=home)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            save_apart(model, path)
        except OSError as error:
            raise MachineError(
                f"cannot write the model to {tempfile.gettempdir()}, where it is run from",
                str(error),
                "free some space there, raise the limit on file sizes, or set TMPDIR",
            ) from error
        return open_(path)
