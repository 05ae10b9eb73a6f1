"""From stored arrays to what a model takes: each declared key, casts, and misfits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from tests.data.folders import declare, model, noise, refused, save_arrays, save_image

CHW = model(x=("N", 3, 4, 5))


def one(folder: Path, signature: Any = CHW) -> Any:
    return open_dataset(folder, signature).sample(0)["x"]


def stored(folder: Path, array: Any, keys: str = "") -> None:
    save_arrays(folder, {"0": array})
    declare(folder, f"[data.inputs.x]\n{keys}\n" if keys else "")


def test_layout(tmp_path: Path) -> None:
    array = noise(4, 5, 3)
    stored(tmp_path, array, 'layout = "NHWC"')
    np.testing.assert_array_equal(one(tmp_path), np.moveaxis(array, -1, 0))


def test_layout_of_other_axes(tmp_path: Path) -> None:
    array = noise(7, 3)
    stored(tmp_path, array, 'layout = "NTC"\nmodel_layout = "NCT"')
    np.testing.assert_array_equal(one(tmp_path, model(x=("N", 3, 7))), array.T)


def test_layout_of_another_rank(tmp_path: Path) -> None:
    stored(tmp_path, noise(4, 5), 'layout = "NHWC"')
    save_arrays(tmp_path, {"1": noise(4, 5)})
    refused(tmp_path, CHW, "0.npy", "(4, 5)", "layout is NHWC", "mend  layout")


def test_shape(tmp_path: Path) -> None:
    array = noise(60)
    stored(tmp_path, array, "shape = [3, 4, 5]")
    np.testing.assert_array_equal(one(tmp_path), array.reshape(3, 4, 5))


def test_shape_comes_before_layout(tmp_path: Path) -> None:
    array = noise(60)
    stored(tmp_path, array, 'shape = [4, 5, 3]\nlayout = "NHWC"')
    np.testing.assert_array_equal(one(tmp_path), array.reshape(4, 5, 3).transpose(2, 0, 1))


def test_shape_of_another_size(tmp_path: Path) -> None:
    stored(tmp_path, noise(3, 4, 5), "shape = [3, 4, 4]")
    declare(tmp_path, '[data]\nsamples = "files"\n[data.inputs.x]\nshape = [3, 4, 4]\n')
    refused(tmp_path, CHW, "0.npy", "got (3, 4, 5), which is no (3, 4, 4)", "mend  shape")


def test_scale_mean_std_as_numbers(tmp_path: Path) -> None:
    array = noise(3, 4, 5)
    stored(tmp_path, array, "scale = 0.5\nmean = 10.0\nstd = 4")
    np.testing.assert_allclose(one(tmp_path), (array * 0.5 - 10) / 4, rtol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_scale_mean_std_by_channel(tmp_path: Path, layout: str) -> None:
    scale, mean, std = [0.1, 0.2, 0.3], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    pixels = noise(4, 5, 3)
    save_image(tmp_path / "0.png", pixels)
    keys = f"scale = {scale}\nmean = {mean}\nstd = {std}"
    declare(tmp_path, f'[data.inputs.x]\nmodel_layout = "{layout}"\n{keys}\n')
    expected = (pixels * np.array(scale) - mean) / std
    if layout == "NCHW":
        sample = one(tmp_path)
        expected = expected.transpose(2, 0, 1)
    else:
        sample = one(tmp_path, model(x=("N", 4, 5, 3)))
    assert sample.dtype == np.float32
    np.testing.assert_allclose(sample, expected, rtol=1e-5)


def test_torchvision_recipe_to_the_bit(tmp_path: Path) -> None:
    pixels = noise(4, 5, 3)
    save_image(tmp_path / "0.png", pixels)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    declare(tmp_path, f"[data.inputs.x]\nscale = 0.00392156862745098\nmean = {mean}\nstd = {std}\n")
    scaled = pixels.astype(np.float32) * np.float32(1 / 255)
    expected = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    np.testing.assert_array_equal(one(tmp_path), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("key", ["scale", "mean", "std"])
def test_wrong_number_of_channels(tmp_path: Path, key: str) -> None:
    stored(tmp_path, noise(3, 4, 5), f"{key} = [1.0, 2.0]")
    refused(tmp_path, CHW, f"{key} has 2 values", "(3, 4, 5)", "one value per channel")


def test_double_is_computed_as_double(tmp_path: Path) -> None:
    stored(tmp_path, np.full((3, 4, 5), 1e9 + 1), "mean = 1e9")
    assert one(tmp_path).max() == 1  # in float32 the difference is 0


# --- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("uint8", "float32"),
        ("float64", "float32"),
        ("float32", "float16"),
        ("float16", "float64"),
        ("int32", "int64"),
        ("int64", "int32"),
        ("int64", "uint8"),
        ("bool", "float32"),
        ("int8", "bool"),
        (">f4", "float32"),
        (">i8", "int64"),
    ],
)
def test_casts_that_keep_values(tmp_path: Path, given: str, wanted: str) -> None:
    array = (noise(3, 4, 5) % 2).astype(given)
    stored(tmp_path, array)
    sample = one(tmp_path, model(x=("N", 3, 4, 5), dtype=wanted))
    assert sample.dtype == np.dtype(wanted) and sample.dtype.isnative
    np.testing.assert_array_equal(sample, array)


@pytest.mark.parametrize(
    ("given", "value", "wanted"),
    [
        ("float32", 1.0, "int64"),
        ("float32", 1.0, "bool"),
        ("complex64", 1.0, "float32"),
        ("int64", 2**31, "int32"),
        ("int8", -1, "uint8"),
        ("int64", -1, "uint64"),
        ("int64", 2**24 + 1, "float32"),
        ("int64", 2**53 + 1, "float64"),
        ("int64", 2, "bool"),
        ("int32", 70_000, "float16"),
        ("float64", 1e39, "float32"),
        ("float32", 1e5, "float16"),
    ],
)
def test_casts_that_lose(tmp_path: Path, given: str, value: Any, wanted: str) -> None:
    array = np.zeros((3, 4, 5), given)
    array[0, 1, 2] = value
    stored(tmp_path, array)
    refused(tmp_path, model(x=("N", 3, 4, 5), dtype=wanted), "0.npy", given, wanted, "store")


def test_scaled_image_for_an_integer_model(tmp_path: Path) -> None:
    stored(tmp_path, noise(3, 4, 5), "scale = 0.5")
    refused(tmp_path, model(x=("N", 3, 4, 5), dtype="uint8"), "got float32, the model wants uint8")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    arrays = np.zeros((4, 3, 4, 5), np.float32)
    arrays[2, 1, 1, 1] = value
    save_arrays(tmp_path, {"x": arrays})
    refused(tmp_path, CHW, f"{tmp_path}/x.npy[2]", "1 of 60 values are NaN or infinite")


# --- misfits -----------------------------------------------------------------------------------


def test_the_message_of_the_manual(tmp_path: Path) -> None:
    folder = tmp_path / "calib"
    save_arrays(folder, {"0007": np.zeros((224, 224, 3), np.float32)})
    error = refused(folder, model(pixel_values=("batch", 3, 224, 224)))
    assert error.what == f'sample {folder}/0007.npy does not fit input "pixel_values"'
    assert error.why == (
        "got (224, 224, 3) float32, the model wants (N, 3, 224, 224) - looks like channels-last"
    )
    assert error.fix == (
        'add  layout = "NHWC"  under [data.inputs.pixel_values] in qtool.toml, '
        "or transpose the files"
    )


@pytest.mark.parametrize(
    ("got", "wanted", "fix"),
    [
        ((4, 5, 3), (3, 4, 5), 'layout = "NHWC"'),
        ((3, 4, 5), (4, 5, 3), 'layout = "NCHW"  and  model_layout = "NHWC"'),
        ((7, 3), (3, 7), 'layout = "NWC"  and  model_layout = "NCW"'),
        ((2, 4, 5, 3), (3, 2, 4, 5), 'layout = "NDHWC"  and  model_layout = "NCDHW"'),
        ((60,), (3, 4, 5), "shape = [3, 4, 5]"),
    ],
)
def test_misfit_says_which_key_to_add(tmp_path: Path, got: Any, wanted: Any, fix: str) -> None:
    array = noise(*got)
    stored(tmp_path, array)
    signature = model(x=("N", *wanted))
    refused(tmp_path, signature, "0.npy", str(got), "[data.inputs.x]", fix)
    stored(tmp_path, array, fix.replace("  and  ", "\n"))
    assert one(tmp_path, signature).shape == wanted


@pytest.mark.parametrize(
    ("got", "part"), [((8, 3, 4, 5), "looks like a batch of 8"), ((3, 4, 6), "make each sample")]
)
def test_other_misfits(tmp_path: Path, got: Any, part: str) -> None:
    stored(tmp_path, noise(*got))
    declare(tmp_path, '[data]\nsamples = "files"\n')
    refused(tmp_path, CHW, "0.npy", str(got), "(N, 3, 4, 5)", part)


def test_misfit_with_a_wrong_layout(tmp_path: Path) -> None:
    stored(tmp_path, noise(3, 4, 5), 'layout = "NHWC"')
    error = refused(tmp_path, CHW, "got (5, 3, 4)", "once turned from NHWC to NCHW")
    assert error.fix == "mend  layout  under [data.inputs.x] in qtool.toml"


def test_every_sample_is_checked(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": noise(3, 4, 5), "1": noise(3, 4, 6)})
    data = open_dataset(tmp_path, CHW)
    with pytest.raises(Exception, match=r"1\.npy does not fit"):
        data.sample(1)


def test_fixed_batch_and_dynamic_axes(tmp_path: Path) -> None:
    stored(tmp_path, noise(3, 9, 2))
    assert one(tmp_path, model(x=(1, 3, None, "W"))).shape == (3, 9, 2)


def test_unknown_rank_takes_anything(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": noise(3, 9), "1": noise(2)})
    assert one(tmp_path, model(x=None)).shape == (3, 9)
