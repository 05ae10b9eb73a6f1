"""`[data] carry`: what a run leaves is fed to the next, from zeros at the start of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from qtool.cli.app import app
from qtool.data import Carry, Dataset, carried, open_dataset
from qtool.recipe import Recipe, load_recipe
from qtool.runtime import Session
from qtool.signature import Signature
from tests.data.folders import declare, model, refused, save_arrays
from tests.data.pb import save as save_pb
from tests.data.pb import tensor
from tests.data.stateful import CARRY, SEQUENCES, U, V, W, assert_same, fed, files, loop, recurrent

TOGETHER = np.concatenate(SEQUENCES)
TWO = Signature(model(a=("N", 1), s=(1, 4), b=("N", 1)).inputs, model(o=(1, 4)).inputs)

Form = Callable[[Path], list[Any]]


def as_files(folder: Path) -> list[Any]:
    files(folder)
    return SEQUENCES


def as_set(folder: Path) -> list[Any]:
    np.save(folder / "x.npy", TOGETHER)
    return [TOGETHER]


def as_archive(folder: Path) -> list[Any]:
    np.savez(folder / "set.npz", x=TOGETHER)
    return [TOGETHER]


def as_archives(folder: Path) -> list[Any]:
    for number, sequence in enumerate(SEQUENCES):
        (folder / str(number)).mkdir()
        for row, sample in enumerate(sequence):
            np.savez(folder / str(number) / f"{row}.npz", x=sample)
    return SEQUENCES


def as_tables(folder: Path) -> list[Any]:
    for number, sequence in enumerate(SEQUENCES):
        lines = [",".join(map(repr, row)) for row in sequence.tolist()]
        (folder / f"{number}.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    return SEQUENCES


def as_batches(folder: Path) -> list[Any]:
    for number, sequence in enumerate(SEQUENCES):
        save_pb(folder / f"test_data_set_{number}", input_0=tensor(sequence))
    return SEQUENCES


def as_folders_of_one(folder: Path) -> list[Any]:
    """ONNX test data of one sample each: there the folders follow one another."""
    for number, sequence in enumerate(SEQUENCES):
        for row, sample in enumerate(sequence):
            place = folder / f"run_{number}" / f"test_data_set_{row}"
            save_pb(place, input_0=tensor(sample[None]))
    declare(folder, CARRY + 'samples = "files"\n')
    return SEQUENCES


FORMS: list[Form] = [
    as_files, as_set, as_archive, as_archives, as_tables, as_batches, as_folders_of_one,
]  # fmt: skip


def opened(folder: Path) -> Dataset:
    """The folder `data`, for the recurrent model."""
    return open_dataset(folder / "data", Session(recurrent(folder), threads=1).signature)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_is_fed_as_a_plain_loop_would(tmp_path: Path, form: Form) -> None:
    (tmp_path / "data").mkdir()
    declare(tmp_path / "data", CARRY)
    sequences = form(tmp_path / "data")
    data, session = opened(tmp_path), Session(tmp_path / "model.onnx", threads=1)
    assert [len(rows) for rows in data.sequences] == list(map(len, sequences))
    assert_same(fed(session, data), loop(session, sequences))


def test_the_loop_is_the_formula(tmp_path: Path) -> None:
    expected = []
    for sequence in SEQUENCES:
        state = np.zeros(8)
        for step, sample in enumerate(sequence.astype(float)):
            state = np.tanh(sample @ W + state @ U + 0.1 * step)
            expected.append(state @ V)
    files(tmp_path / "data")
    found = fed(Session(recurrent(tmp_path), threads=1), opened(tmp_path))
    y = np.concatenate([results["y"] for results in found])
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    assert [int(results["step_out"][0]) for results in found] == [1, 2, 3, 1, 1, 2, 3, 4, 5]


def test_zeros_stand_where_sequences_start_and_nowhere_else(tmp_path: Path) -> None:
    files(tmp_path / "data")
    for row, batch in enumerate(opened(tmp_path).batches(1)):
        if row not in (0, 3, 4):
            assert list(batch) == ["x"]
            continue
        assert list(batch) == ["x", "state_in", "step_in"], "the sample's own come first"
        state, step = batch["state_in"], batch["step_in"]
        assert (state.shape, str(state.dtype)) == ((1, 8), "float32") and not state.any()
        assert (step.shape, str(step.dtype)) == ((1,), "int64") and not step.any()


def test_axes_that_are_no_numbers(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": np.ones(3)})
    declare(tmp_path, '[data]\ncarry = {o0 = "s0", o1 = "s1", o2 = "s2", o3 = "s3"}')
    inputs = model(x=("N", 3), s0=(2, "N", 4), s1=(None, "D"), s2=(), s3=None).inputs
    outputs = model(o0=(2, "M", 4), o1=("N", 5), o2=(), o3=(1, 6)).inputs
    states = open_dataset(tmp_path, Signature(inputs, outputs)).states
    shapes = {name: zeros.shape for name, zeros in states.items()}
    assert shapes == {"s0": (2, 1, 4), "s1": (1, 5), "s2": (), "s3": (1, 6)}


def test_a_folder_for_each_input(tmp_path: Path) -> None:
    for name, value in (("a", 0), ("b", 10)):
        for sequence in range(2):
            arrays = {f"{name}/{sequence}/{i}": np.full(1, value + i) for i in range(2)}
            save_arrays(tmp_path, arrays)
    declare(tmp_path, '[data]\ncarry = {o = "s"}')
    data = open_dataset(tmp_path, TWO)
    assert data.blocks(1) == [range(2), range(2, 4)]
    assert [list(batch) for batch in data.batches(1)] == [["a", "b", "s"], ["a", "b"]] * 2


def test_samples_of_a_folder_stay_together_around_a_folder_inside_it(tmp_path: Path) -> None:
    names = ("1", "2", "m/1", "m/2", "z")
    data = tmp_path / "data"
    save_arrays(data, {name: np.full(3, i, np.float32) for i, name in enumerate(names)})
    np.save(data / "labels.npy", np.arange(5))
    declare(data, CARRY)
    found = opened(tmp_path)
    assert found.names == ("1.npy", "2.npy", "z.npy", "m/1.npy", "m/2.npy")
    assert found.sequences == [range(3), range(3, 5)]
    assert found.labels is not None and found.labels.tolist() == [0, 1, 4, 2, 3]
    assert [found.sample(i)["x"][0] for i in range(5)] == [0, 1, 4, 2, 3]
    declare(data, "")
    assert open_dataset(data, model(x=("N", 3))).names == tuple(f"{name}.npy" for name in names)


def test_folders_are_sequences_and_no_classes(tmp_path: Path) -> None:
    data = files(tmp_path / "data")
    assert opened(tmp_path).labels is None
    names = opened(tmp_path).names
    declare(data, "")
    assert open_dataset(data, model(x=("N", 3))).classes == ("s0", "s1", "s2")
    lines = [f"{name},{i % 2}" for i, name in enumerate(names)]
    (data / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    declare(data, CARRY)
    labels = opened(tmp_path).labels
    assert labels is not None and labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]


def test_an_order_in_doubt_is_refused(tmp_path: Path) -> None:
    signature = Signature(model(x=("N", 3), s=("N",)).inputs, model(o=("N",)).inputs)
    save_arrays(tmp_path, {f"{s}/{i}": np.ones(3) for s in ("s2", "s10") for i in (9, 11)})
    declare(tmp_path, '[data]\ncarry = {o = "s"}')
    refused(tmp_path, signature, "in doubt", "s10/11.npy comes before s10/9.npy", "zeros")
    for folder in ("s2", "s10"):
        (tmp_path / folder / "9.npy").rename(tmp_path / folder / "09.npy")
    found = open_dataset(tmp_path, signature)
    assert len(found.sequences) == 2, "the order of sequences means nothing"


def test_a_bad_sample_that_is_skipped_leaves_its_sequence_whole(tmp_path: Path) -> None:
    files(tmp_path / "data")
    (tmp_path / "data" / "s2" / "001.npy").write_bytes(b"no array")
    session = Session(recurrent(tmp_path), threads=1)
    data = open_dataset(tmp_path / "data", session.signature, on_bad_file="skip")
    assert data.skipped == ("s2/001.npy",)
    assert data.sequences == [range(3), range(3, 4), range(4, 8)]
    assert_same(fed(session, data), loop(session, [*SEQUENCES[:2], SEQUENCES[2][[0, 2, 3, 4]]]))


def test_states_that_a_model_gives_in_another_width() -> None:
    carry = Carry({"o": "s"})
    assert list(carry.fill({"x": np.ones(1)})) == ["x"], "nothing is kept yet"
    carry.fill({"s": np.zeros(2, np.float32)})
    carry.keep({"o": np.ones(2, np.float16), "y": np.ones(3)})
    filled = carry.fill({"x": np.ones(1)})["s"]
    assert filled.dtype == np.float32 and filled.tolist() == [1, 1]
    assert carry.fill({"s": np.zeros(2)})["s"].tolist() == [0, 0], "a new sequence"


def test_without_states_nothing_is_run_or_copied() -> None:
    batches = [{"x": np.ones(1)}, {"x": np.zeros(1)}]
    found = list(carried({}, batches, lambda feeds: pytest.fail("ran")))
    assert all(one is other for one, other in zip(found, batches, strict=True))


def test_what_is_said_is_of_the_samples(tmp_path: Path) -> None:
    files(tmp_path / "data")
    low, high = TOGETHER.min(), TOGETHER.max()
    expected = f"used 9 of 9 files, float32 (3,), range {low:.4g} … {high:.4g}"
    assert opened(tmp_path).describe() == expected


def test_qtool_data_shows_it(tmp_path: Path) -> None:
    files(tmp_path / "data")
    arguments = ["data", str(tmp_path / "data"), "--model", str(recurrent(tmp_path))]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert 'declared: carry = {state_out = "state_in", step_out = "step_in"}' in lines
    assert "sequences: 3, of 1…5 samples" in lines
    assert "used 9 of 9 files" in lines[0] and not result.stderr
    result = CliRunner().invoke(app, [*arguments, "--samples", "2"])
    assert {"sequences: 1, of 2 samples", "sequences: 2, of 1 samples"} & set(
        result.stdout.splitlines()
    )


@pytest.mark.parametrize("name", ["state_out", "while/exit:0", 'a "b"', "é.1", "a b"])
def test_a_recipe_makes_the_round_trip(tmp_path: Path, name: str) -> None:
    table = {"data": {"samples": "files", "carry": {name: "state/in:0"}}}
    recipe = Recipe.model_validate(table)
    (tmp_path / "r.toml").write_text(recipe.toml(), encoding="utf-8")
    found = load_recipe(tmp_path / "r.toml").data
    assert found is not None and found.carry == {name: "state/in:0"}


def test_each_array_of_several_is_a_sequence(tmp_path: Path) -> None:
    model = recurrent(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    for number, sequence in enumerate(SEQUENCES):
        np.save(folder / f"seq{number}.npy", sequence)
    (folder / "qtool.toml").write_text(CARRY)
    session = Session(model)
    data = open_dataset(folder, session.signature)
    assert [len(rows) for rows in data.sequences] == [len(s) for s in SEQUENCES]
    assert_same(fed(session, data), loop(session))
