"""onnxruntime, behind one door: sessions that raise our errors and never phone home."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.errors import DataError, MachineError, ModelError, UsageError
from qtool.signature import Signature, TensorSpec

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported
import onnxruntime as ort

ort.disable_telemetry_events()

VERSION: str = ort.__version__

_FOLDER = "session.model_external_initializers_file_folder_path"
# the runtime's type strings -> numpy dtype names; what numpy lacks keeps the runtime's name
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "str",
    "tensor(bool)": "bool",
    **{f"tensor({t})": t for t in ("float16", "bfloat16")},
    **{f"tensor({s}int{b})": f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64)},
}


_libraries: list[Path] = []


def use_libraries(paths: Iterable[Path]) -> None:
    """Let every session that opens from now on know the operators of these libraries, and no other.

    They are native code that runs in this process. Whoever starts another process tells it.

    Raises:
        UsageError: there is no such file, or it registers no operators.
        MachineError: the system cannot load it.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise UsageError(f"the custom-operator library {path} {what}", fix=_SHARED)
        try:
            # Absolute: a bare name would be looked for among the system's own libraries.
            ort.SessionOptions().register_custom_ops_library(str(path.absolute()))
        except Exception as error:  # the runtime's exceptions share no base class
            reason = _reason(error)
            if "RegisterCustomOps" in reason:
                what = f"{path} is no library of custom operators"
                raise UsageError(what, reason, _SHARED) from error
            raise MachineError(
                f"cannot load the custom-operator library {path}",
                reason,
                "it must be a shared library built for this system, with all that it needs",
            ) from error
        found[path.absolute()] = None
    _libraries[:] = found


_SHARED = "give a shared library that exports RegisterCustomOps (.so, .dll or .dylib)"


def libraries() -> tuple[Path, ...]:
    """The libraries of custom operators that sessions know, by absolute paths."""
    return tuple(_libraries)


def digest_of_libraries() -> str:
    """Tells them from others, or from other builds of the same; empty if there are none."""
    found = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _libraries]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else ""


class Session:
    """A model, loaded and ready to run.

    Args:
        model: a path, or the bytes of a model.
        threads: threads inside an operator; 0 for all cores.
        optimized: where to save the graph as the runtime will run it, kernels fused.
        optimize: False leaves the graph as it is written.
        eager: run each node as soon as it can: what only looks at a large tensor does not keep it.
        layouts: False keeps every tensor in the layout of the file; conversions would delay who
            reads it, and keep it.
        lean: weights are used as they lie; to pack them first pays for many runs only.
        folder: where the external data of a model in bytes lie.
        profile: how the file begins in which `end_profile` leaves what each kernel took.

    Raises:
        ModelError: the runtime cannot load the model; the message is the runtime's, unless it
            lacks an operator.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int = 0,
        optimized: Path | None = None,
        optimize: bool = True,
        eager: bool = False,
        layouts: bool = True,
        profile: Path | None = None,
        lean: bool = False,
        folder: Path | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # fatal: the same text arrives as an exception
        for library in _libraries:
            options.register_custom_ops_library(str(library))
        levels = ort.GraphOptimizationLevel
        if not (layouts and optimize):
            level = levels.ORT_ENABLE_EXTENDED if optimize else levels.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        options.add_session_config_entry("session.disable_prepacking", str(int(lean)))
        if folder is not None:
            options.add_session_config_entry(_FOLDER, str(folder))
        if eager:
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        for written in (optimized, profile):
            if written is not None and not _is_utf8(written):
                why = "onnxruntime writes to paths in UTF-8 only"
                raise MachineError(f"cannot write {written}", why, "set TMPDIR to another folder")
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        source = model if isinstance(model, bytes) else str(model)
        if isinstance(model, Path) and not _is_utf8(model):  # such a path the runtime cannot take
            source = model.read_bytes()
        self._reopen: Callable[[], Any] | None = partial(
            ort.InferenceSession, source, options, providers=["CPUExecutionProvider"]
        )
        try:
            self._session: Any = self._reopen()
        except Exception as error:  # the runtime's exceptions share no base class
            name = "the model" if isinstance(model, bytes) else str(model)
            if optimized is not None:
                Session(model, threads=threads, optimize=optimize)  # raises if it is the model
                raise MachineError(
                    f"cannot write {optimized}",
                    _reason(error),
                    "set TMPDIR to a folder with free space",
                ) from error
            raise _unloadable(name, _reason(error)) from error
        self.signature = Signature(
            tuple(_spec(i) for i in self._session.get_inputs()),
            tuple(_spec(o) for o in self._session.get_outputs()),
        )
        if isinstance(source, bytes) and folder is None:  # would be held as long as the session
            self._reopen = None

    def close(self) -> None:
        """Give the memory of a model from a file back; the next run opens it again."""
        if self._reopen is not None:
            self._session = None

    def end_profile(self) -> Path:
        """The file of a session that was opened with `profile`: events in Chrome's JSON."""
        return Path(self._session.end_profiling())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Run once: input name -> array in, output name -> array out.

        Raises:
            DataError: the feeds do not fit the inputs.
            ModelError: a kernel failed, or an input or output is bfloat16.
        """
        ends = (*self.signature.inputs, *self.signature.outputs)
        if odd := next((spec for spec in ends if spec.dtype == "bfloat16"), None):
            raise ModelError(
                f"{odd.name!r} is bfloat16, which cannot be fed or read",
                "numpy has no such type, and onnxruntime takes no other's",
                "export the model with float32 inputs and outputs; inside it may be bfloat16",
            )
        names = [o.name for o in self.signature.outputs]
        if self._session is None and self._reopen is not None:
            self._session = self._reopen()
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            reason = _reason(error)
            # A missing input is found by the runtime's Python side, in its own words.
            misfit = "INVALID_ARGUMENT" in reason or isinstance(error, ValueError)
            kind = DataError if misfit else ModelError
            raise kind("the model does not run on this input", reason) from error


def probe(signature: Signature) -> dict[str, NDArray[Any]]:
    """Deterministic feeds that only show that a model runs: ones, dynamic axes of size 1."""
    feeds: dict[str, NDArray[Any]] = {}
    for spec in signature.inputs:
        shape = [d if isinstance(d, int) else 1 for d in spec.shape or ()]
        # One is a valid id of any table of two rows and, unlike zero, opens an attention mask.
        if math.prod(shape) > _PROBE_MOST:
            continue  # left out, so that the run says that it cannot be
        if spec.dtype == "str":
            feeds[spec.name] = np.full(shape, "a", dtype=object)
        else:
            # A sequence, or a type that numpy lacks, is left out: the run then says so.
            with suppress(TypeError, ValueError):
                feeds[spec.name] = np.ones(shape, dtype=spec.dtype)
    return feeds


_PROBE_MOST = 2**27  # elements of one input: 0.5 GB of float32


# what to look for in the CPU, and what it means for quantized models
CPU_FEATURES = {
    "avx2": "integer kernels run",
    "avx512_vnni": "u8 x s8 products are fast and exact",
    "avx_vnni": "the same on CPUs without AVX-512",
}


def cpu_features() -> set[str] | None:
    """The CPU's features as Linux names them, or None where it cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), None)
    return set(flags.split(":", 1)[1].split()) if flags else None


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _spec(arg: Any) -> TensorSpec:
    # "seq(map(string,tensor(float)))" -> "seq(map(str,float32))"
    kind = _TENSOR.sub(lambda found: _DTYPES.get(found[0], found[0]), arg.type)
    kind = kind.replace("map(string,", "map(str,")
    if not arg.type.startswith("tensor("):
        return TensorSpec(arg.name, kind, None)  # a sequence or a map has no shape
    return TensorSpec(
        arg.name, kind, tuple(d if isinstance(d, int) else d or None for d in arg.shape)
    )


def _unloadable(name: str, reason: str) -> ModelError:
    """What to say of a model that the runtime does not load."""
    unknown, lacking = _UNKNOWN.search(reason), _LACKING.search(reason)
    if lacking is not None:
        what = f"onnxruntime has no CPU kernel for {lacking[1] or lacking[2]} as {name} uses it"
        return ModelError(what, reason, _FEW_KERNELS)
    if unknown is None:
        return ModelError(f"onnxruntime cannot load {name}", reason)
    domain, operator = unknown.groups()
    what = f"onnxruntime does not know operator {operator!r} of domain {domain!r}, in {name}"
    if domain == "com.microsoft":  # the runtime's own
        return ModelError(what, f"this is onnxruntime {VERSION}; another build may have it")
    given = "none of the libraries given has it" if _libraries else "it is no standard operator"
    return ModelError(what, given, "--custom-ops LIB  names the shared library that has it")


# `NOT_IMPLEMENTED : Could not find an implementation for Conv(22) node with name 'n'`,
# `Type 'tensor(bfloat16)' of input parameter (x) of operator (Conv) in node (n) is invalid`
_LACKING = re.compile(
    r"find an implementation for (\w+)\("
    r"|Type 'tensor\((?:bfloat16|double)\)' of .* operator \((\w+)\)"
)
_FEW_KERNELS = (
    "there are few for bfloat16, double and opsets below 7: export the model in float32 or "
    "float16, with a newer opset, since it must run to be measured and compared with"
)
# `Fatal error: ai.onnx.contrib:NegPos(-1) is not a registered function/op`
_UNKNOWN = re.compile(r"Fatal error: (.*):([^:]*)\(-?\d+\) is not a registered function/op")
_TENSOR = re.compile(r"\btensor\(\w+\)")


def _reason(error: Exception) -> str:
    """The runtime's message without its own source paths and line numbers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _SOURCE.sub("", "\n".join(lines[:3]))
    return text[:600] if lines else type(error).__name__


# `/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(…) `
_SOURCE = re.compile(r"/onnxruntime_src/\S+:\d+ [^(\n]*\((?:[^()\n]|\([^()\n]*\))*\) ")
