"""The reader of .wav: one recording a file, as the model's samples in time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data import wav
from qtool.data.column import Found, Request, one_per_file
from qtool.data.declaration import InputDeclaration
from qtool.data.files import SKIP, File, first_readable, printable
from qtool.errors import DataError
from qtool.signature import TensorSpec

MOST_CHANNELS = 8  # 7.1 surround; an axis that is longer is time, or features


def open_wav(request: Request) -> Found:
    """One recording a file, for one input: (n,), or (channels, n) where the model's rank says so.

    1. Integers become float32 in -1 … 1, floats stay; an integer input gets integers as stored.
    2. `channels = "mono"`: the mean of the channels. Else all of them.
    3. `length`: the first so many samples, or zeros behind them.

    The rate is checked against `sample_rate`, or else that of the first file; nothing resamples.
    """
    spec = request.one_input()
    declared = request.declared(spec)
    _check_input(spec, declared)
    rate, source = declared.sample_rate, "sample_rate"
    if rate is None:
        rate, source = _first_rate(request.files)

    def read(file: File) -> NDArray[Any]:
        return read_recording(file, spec, declared, rate, source)

    return Found({spec.name: one_per_file(request.files, read)})


def read_recording(
    file: File, spec: TensorSpec, declared: InputDeclaration, rate: int | None, source: str
) -> NDArray[Any]:
    """One file as the input wants it. DataError names the file, and the key that mends it.

    `source` says where the wanted `rate` (in Hz) comes from: "sample_rate", or a file's name.
    """
    with file.open() as stream:
        header = wav.read_header(stream, file.path.stat().st_size)
        if rate is not None and header.form.rate != rate:
            raise _other_rate(file, header.form.rate, rate, source)
        stored = wav.read_frames(stream, header, declared.length)
    samples = _as_wanted(stored, file, spec)  # 1
    if declared.channels == "mono" and samples.shape[1] > 1:  # 2
        if samples.dtype.kind in "iu":
            why = f"the mean of {samples.shape[1]} channels is no {samples.dtype}"
            raise _error(file, spec, why, "store one channel")
        # in double precision: the mean of two channels of float32 is then rounded once
        samples = samples.mean(axis=1, dtype=np.float64, keepdims=True).astype(samples.dtype)
    if declared.length and len(samples) < declared.length:  # 3
        zero = 128 if samples.dtype == np.uint8 else 0  # what silence is in 8 bits
        padding = ((0, declared.length - len(samples)), (0, 0))
        samples = np.pad(samples, padding, constant_values=zero)
    _check_fit(samples, file, spec, declared)
    # one channel has an axis of its own only where the model has one
    own_axis = declared.layout or (spec.shape and len(spec.shape) == 3 and not declared.shape)
    flat = samples.shape[1] == 1 and not own_axis
    return samples[:, 0] if flat else np.ascontiguousarray(samples.T)


def _check_input(spec: TensorSpec, declared: InputDeclaration) -> None:
    """Refuses inputs of features, such as spectrograms: (N, 1, 64, 101), (N, 80, T), (N, T, 80)."""
    if spec.shape is None or declared.shape or declared.length:
        return
    axes = spec.shape[1:]
    known = any(isinstance(axis, int) for axis in axes)
    if len(axes) == 1 or (len(axes) == 2 and (not known or any(map(_few, axes)))):
        return
    where = f"under [data.inputs.{spec.name}] in qtool.toml"
    raise DataError(
        f'.wav files do not fit input "{spec.name}"',
        f"a recording is (samples,) or (channels, samples), and the model takes {spec}",
        "if it takes features such as spectrograms, store these as arrays (.npy); else declare  "
        f"length  or  shape  {where}",
    )


def _first_rate(files: tuple[File, ...]) -> tuple[int | None, str]:
    """The rate of the first file that can be read, and its name; a bad one may be skipped."""

    def rate(file: File) -> int:
        with file.open() as stream:
            return wav.read_header(stream, file.path.stat().st_size).form.rate

    try:
        file, found = first_readable(files, rate)
    except DataError:  # each is told of when it is read
        return None, ""
    return found, file.name


def _other_rate(file: File, got: int, wanted: int, source: str) -> DataError:
    if source == "sample_rate":
        why = f"it has {got} samples a second, and sample_rate is {wanted}"
        fix = f"resample it (nothing here does): ffmpeg -i IN.wav -ar {wanted} OUT.wav; or mend it"
    else:
        why = f"it has {got} samples a second, and {source} has {wanted}"
        fix = "resample the files to the model's rate, and declare it:  sample_rate = …"
    return DataError(f"cannot use {printable(file.path)}", why, fix)


def _as_wanted(stored: NDArray[Any], file: File, spec: TensorSpec) -> NDArray[Any]:
    """Integers to full scale, unless the input takes integers of that kind."""
    wanted = np.dtype(spec.dtype)
    if wanted.kind not in "iu":
        return wav.full_scale(stored)
    # 8 bits are unsigned, and count another step than 16: as stored means in the file's own unit
    if stored.dtype.kind != wanted.kind or not np.can_cast(stored.dtype, wanted):
        why = f"it holds {stored.dtype}, the model wants {wanted}, and nothing is rescaled"
        raise _error(file, spec, why, f"store it as {wanted}")
    return stored


def _check_fit(
    samples: NDArray[Any], file: File, spec: TensorSpec, declared: InputDeclaration
) -> None:
    """What only this reader can mend: the number of channels and the length."""
    if spec.shape is None or len(spec.shape) not in (2, 3) or declared.shape:
        return
    length, channels = samples.shape
    where = f"under [data.inputs.{spec.name}] in qtool.toml"
    axes = declared.model_layout if declared.layout else ("NW", "NCW")[len(spec.shape) - 2]
    dims = dict(zip(axes, spec.shape, strict=False))
    wanted, most = dims.get("W"), dims.get("C", 1)
    if not declared.layout and len(axes) == 3 and _few(wanted) and not _few(most):
        why = f"a recording is (channels, samples), the model takes {spec}"
        fix = f'add  layout = "NCW"  and  model_layout = "NWC"  {where}'
        raise _error(file, spec, why, fix)
    if channels > 1 and most == 1:
        why = f"it has {channels} channels, the model takes one: {spec}"
        fix = f'add  channels = "mono"  {where}, which mixes them'
        raise _error(file, spec, why, fix)
    if isinstance(wanted, int) and wanted != length:
        why = f"it is {length} samples long, the model takes {wanted}: {spec}"
        fix = f"mend  length  {where}"
        if not declared.length:
            fix = f"add  length = {wanted}  {where}, which cuts off the end or adds zeros"
        raise _error(file, spec, why, fix)


def _few(dim: int | str | None) -> bool:
    return isinstance(dim, int) and dim <= MOST_CHANNELS


def _error(file: File, spec: TensorSpec, why: str, fix: str) -> DataError:
    what = f'{printable(file.path)} does not fit input "{spec.name}"'
    return DataError(what, why, fix or SKIP)
