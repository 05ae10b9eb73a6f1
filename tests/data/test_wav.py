"""The .wav reader: what is stored, and what is fed."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from tests.data.folders import declare, model, refused, save_arrays
from tests.data.sounds import FLOAT, PCM, X, chunk, extensible, fed, form, ramp, riff, sound


def int24(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(3, "little", signed=True) for value in values)


STORED = {
    "8 bit": (form(PCM, 8), bytes([0, 64, 128, 255]), [-1, -0.5, 0, 127 / 128]),
    "16 bit": (
        form(PCM, 16), struct.pack("<4h", -(2**15), 0, 1, 2**15 - 1),
        [-1, 0, 2**-15, 1 - 2**-15],
    ),
    "24 bit": (
        form(PCM, 24), int24([-(2**23), 0, 1, -2, 2**23 - 1]),
        [-1, 0, 2**-23, -(2**-22), 1 - 2**-23],
    ),
    "32 bit": (form(PCM, 32), struct.pack("<3i", -(2**31), 0, 2**30), [-1, 0, 0.5]),
    "float": (form(FLOAT, 32), struct.pack("<3f", -1, 0.3, 1.5), [-1, np.float32(0.3), 1.5]),
    "double": (form(FLOAT, 64), struct.pack("<2d", -0.1, 0.7), np.array([-0.1, 0.7], np.float32)),
    "extensible": (extensible(PCM, 24), int24([2**22]), [0.5]),
    "extensible float": (extensible(FLOAT, 32), struct.pack("<f", 0.25), [0.25]),
}  # fmt: skip


@pytest.mark.parametrize(("head", "data", "values"), STORED.values(), ids=STORED.keys())
def test_what_is_stored_and_what_is_fed(
    tmp_path: Path, head: bytes, data: bytes, values: Any
) -> None:
    (tmp_path / "a.wav").write_bytes(riff(chunk(b"fmt ", head), chunk(b"data", data)))
    array = fed(tmp_path)
    assert array.dtype == np.float32
    assert array.tolist() == np.asarray(values, np.float32).tolist()


@pytest.mark.parametrize("bytes_each", [1, 2, 3, 4])
def test_files_that_python_writes(tmp_path: Path, bytes_each: int) -> None:
    values = np.random.default_rng(0).integers(-128, 128, (50, 2))
    stored = values + 128 if bytes_each == 1 else values << (8 * bytes_each - 8)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, bytes_each, 8000, 0, "NONE", ""))
        raw = stored.astype("<u1" if bytes_each == 1 else "<i4").reshape(-1, 1)
        file.writeframes(raw.view(np.uint8)[:, :bytes_each].tobytes())
    array = fed(tmp_path, model(x=("N", 2, "T")))
    np.testing.assert_array_equal(array, values.T.astype(np.float32) / 128)


def test_chunks_that_mean_nothing_here(tmp_path: Path) -> None:
    chunks = [chunk(b"LIST", b"odd"), chunk(b"fmt ", form(PCM, 16) + b"\0\0"), chunk(b"fact", b"")]
    content = riff(*chunks, chunk(b"data", b"\0\x40"), chunk(b"LIST", b"behind"))
    (tmp_path / "a.WAV").write_bytes(content)
    assert fed(tmp_path).tolist() == [0.5]


def test_scale_mean_and_std(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(np.array([-(2**15), 2**14], np.int16)))
    declare(tmp_path, "[data.inputs.x]\nscale = 32768\nmean = 1\nstd = 2\n")
    assert fed(tmp_path).tolist() == [-16384.5, 8191.5]


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        (("N", "T"), 1, (6,)),
        (("N", 6), 1, (6,)),
        (("N", 1, 6), 1, (1, 6)),
        (("N", 2, "T"), 2, (2, 6)),
        (("N", "C", "T"), 1, (1, 6)),
        (None, 1, (6,)),
        (None, 2, (2, 6)),
    ],
)
def test_shape_follows_the_models_rank(
    tmp_path: Path, shape: Any, channels: int, expected: tuple[int, ...]
) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(6, channels)))
    array = fed(tmp_path, model(x=shape))
    assert array.shape == expected
    assert (array * 2**15).tolist() == ramp(6, channels).T.reshape(expected).tolist()


def test_layout_turns_channels_last(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(20, 2)))
    signature = model(x=("N", 20, 2))
    added = 'layout = "NCW"  and  model_layout = "NWC"'
    refused(tmp_path, signature, "a.wav", "(channels, samples)", added)
    declare(tmp_path, '[data.inputs.x]\nlayout = "NCW"\nmodel_layout = "NWC"\nmean = [0, 1]')
    expected = (ramp(20, 2) / 2**15 - [0, 1]).astype(np.float32)
    np.testing.assert_array_equal(fed(tmp_path, signature), expected)
    refused(tmp_path, model(x=("N", 7, 2)), "20 samples long", "takes 7", "add  length = 7")


def test_shape_that_is_declared(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(6)))
    declare(tmp_path, "[data.inputs.x]\nshape = [1, 2, 3]")
    assert fed(tmp_path, model(x=("N", 1, 2, 3))).shape == (1, 2, 3)


@pytest.mark.parametrize(("length", "values"), [(3, [0, 1, 2]), (6, [0, 1, 2, 3, 4, 5])])
def test_length_cuts_off_the_end(tmp_path: Path, length: int, values: list[int]) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(6)))
    declare(tmp_path, f"[data.inputs.x]\nlength = {length}\nscale = 32768")
    assert fed(tmp_path).tolist() == values


def test_length_adds_zeros_behind(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(2, 2) + 1))
    declare(tmp_path, "[data.inputs.x]\nlength = 4\nscale = 32768")
    expected = [[1, 2, 0, 0], [1001, 1002, 0, 0]]
    assert fed(tmp_path, model(x=("N", 2, 4))).tolist() == expected


def test_length_that_the_model_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(6)))
    signature = model(x=("N", 8))
    refused(tmp_path, signature, "a.wav", "6 samples long", "takes 8", "add  length = 8  under")
    declare(tmp_path, "[data.inputs.x]\nlength = 7")
    refused(tmp_path, signature, "7 samples long", "takes 8", "mend  length")
    declare(tmp_path, "[data.inputs.x]\nlength = 8")
    assert fed(tmp_path, signature).shape == (8,)


@pytest.mark.parametrize("shape", [("N", "T"), ("N", 1, "T")])
def test_mono_is_the_mean_of_the_channels(tmp_path: Path, shape: Any) -> None:
    (tmp_path / "a.wav").write_bytes(sound(np.array([[0.5, 0.25], [-1, 1]], np.float32)))
    refused(tmp_path, model(x=shape), "2 channels", "takes one", 'add  channels = "mono"')
    declare(tmp_path, '[data.inputs.x]\nchannels = "mono"')
    assert fed(tmp_path, model(x=shape)).reshape(-1).tolist() == [0.375, 0]


def test_integer_inputs_take_integers_as_stored(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(4)))
    for dtype in ("int16", "int32"):
        array = fed(tmp_path, model(x=("N", "T"), dtype=dtype))
        assert array.dtype == dtype and array.tolist() == [0, 1, 2, 3]
    refused(tmp_path, model(x=("N", "T"), dtype="int8"), "int16", "int8", "a.wav")
    (tmp_path / "a.wav").write_bytes(sound(np.array([3, 255], np.uint8)))
    declare(tmp_path, "[data.inputs.x]\nlength = 3")  # silence is 128
    assert fed(tmp_path, model(x=("N", "T"), dtype="uint8")).tolist() == [3, 255, 128]
    refused(tmp_path, model(x=("N", "T"), dtype="int16"), "uint8", "int16", "nothing is rescaled")
    (tmp_path / "a.wav").write_bytes(sound(np.ones(2, np.float32)))
    refused(tmp_path, model(x=("N", "T"), dtype="int16"), "float32", "int16")


def test_mono_of_integers(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(4, 2)))
    declare(tmp_path, '[data.inputs.x]\nchannels = "mono"')
    refused(tmp_path, model(x=("N", "T"), dtype="int16"), "mean of 2 channels", "store one")


def test_sample_rate(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(ramp(4), rate=44100))
    declare(tmp_path, "[data.inputs.x]\nsample_rate = 16000")
    refused(tmp_path, X, "a.wav", "44100", "16000", "sample_rate", "-ar 16000")
    declare(tmp_path, "[data.inputs.x]\nsample_rate = 44100")
    assert fed(tmp_path).shape == (4,)


def test_rates_that_differ(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "b.wav").write_bytes(sound(ramp(4), rate=8000))
    (tmp_path / "c.wav").write_bytes(sound(ramp(4), rate=16000))
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.names == ("b.wav",) and data.skipped == ("a.wav", "c.wav")
    (tmp_path / "a.wav").unlink()
    refused(tmp_path, X, "c.wav", "16000", "b.wav has 8000", "declare it")


def test_class_folders_and_labels(tmp_path: Path) -> None:
    for name in ("yes/0", "no/0", "yes/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.wav").write_bytes(sound(ramp(4)))
    data = open_dataset(tmp_path, X)
    assert data.unit == "files" and data.classes == ("no", "yes")
    assert data.labels is not None and data.labels.tolist() == [0, 1, 1]
    (tmp_path / "labels.csv").write_text("file,label\nno/0.wav,5\nyes/0,6\nyes/1,7\n")
    labels = open_dataset(tmp_path, X).labels
    assert labels is not None and labels.tolist() == [5, 6, 7]


def test_a_folder_for_each_of_two_inputs(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.wav").write_bytes(sound(ramp(len(name))))
    signature = model(left=("N", "T"), right=("N", 5))
    assert open_dataset(tmp_path, signature).sample(0)["left"].shape == (4,)
    (tmp_path / "0.wav").write_bytes(sound(ramp(2)))
    refused(tmp_path, signature, "feeds one input", "left/, right/")


def test_keys_of_other_formats(tmp_path: Path) -> None:
    (tmp_path / "0.wav").write_bytes(sound(ramp(2)))
    declare(tmp_path, '[data.inputs.x]\ncolor = "gray"')
    refused(tmp_path, X, '"color"', "means nothing for wav", "length, ", "sample_rate")
    (tmp_path / "0.wav").unlink()
    save_arrays(tmp_path, {"0": np.zeros(2)})
    declare(tmp_path, "[data.inputs.x]\nlength = 3")
    refused(tmp_path, model(x=("N", 2)), '"length"', "means nothing for npy")


@pytest.mark.parametrize("shape", [("N", 1, 64, 101), ("N", 80, "T"), ("N", "T", 80), ("N",)])
def test_models_that_take_features(tmp_path: Path, shape: Any) -> None:
    (tmp_path / "0.wav").write_bytes(sound(ramp(2)))
    refused(tmp_path, model(x=shape), ".wav", "spectrograms", "arrays (.npy)")


def test_only_what_length_wants_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.wav").write_bytes(sound(np.zeros(10**6, np.int16)))
    declare(tmp_path, "[data.inputs.x]\nlength = 10")
    sizes: list[int] = []

    class Counting(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            sizes.append(len(buffer))
            return super().readinto(buffer) or 0

    def counted(path: Path, mode: str = "r", *_: Any, **__: Any) -> Any:
        stream = io.BufferedReader(Counting(path, "r"), 1024)
        return stream if mode == "rb" else io.TextIOWrapper(stream, "utf-8")

    monkeypatch.setattr(Path, "open", counted)
    assert fed(tmp_path).tolist() == [0] * 10
    assert 0 < sum(sizes) < 10**5
