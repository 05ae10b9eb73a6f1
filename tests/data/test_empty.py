"""`[data] empty`: a cache that holds nothing before the first token, alone and with `carry`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.data import Carry, Dataset, open_dataset
from qtool.errors import DataError
from qtool.runtime import Session
from qtool.signature import Signature, TensorSpec
from tests.data.folders import declare, refused
from tests.models import normal, save, weight

# y[t] = the sum of all steps up to t, of the cache and of what is new
GRAPH = """g (float[N,S,3] x, float[N,2,P,3] past) => (float[N,S,3] y, float[N,2,T,3] present)
    <int64[1] one = {1}, int64[2] both = {1, 1}, int64 along = {1}> {
    h = MatMul(x, W)
    new = Unsqueeze(h, one)
    pair = Concat<axis=1>(new, new)
    present = Concat<axis=2>(past, pair)
    first, second = Split<axis=1>(present, both)
    kept = Squeeze(first, one)
    sums = CumSum(kept, along)
    shape = Shape<start=1, end=2>(x)
    whole = Shape<start=1, end=2>(sums)
    from = Sub(whole, shape)
    y = Slice(sums, from, whole, one)
}"""
EMPTY = '[data]\nempty = ["pa*"]\n'
CARRY = 'carry = {present = "past"}\nsamples = "whole"\n'
TEXT = normal(7, 6, 3, seed=5)


def model(folder: Path) -> Path:
    return save(folder / "m.onnx", GRAPH, W=weight(3, 3))


def opened(folder: Path, signature: Signature, text: str) -> Dataset:
    declare(folder, text)
    return open_dataset(folder, signature)


def test_whole_texts_begin_with_nothing(tmp_path: Path) -> None:
    session, data = Session(model(tmp_path)), tmp_path / "data"
    data.mkdir()
    np.save(data / "x.npy", TEXT)
    found = opened(data, session.signature, EMPTY)
    assert [batch["past"].shape for batch in found.batches(4)] == [(4, 2, 0, 3), (3, 2, 0, 3)]
    assert "past" not in found.describe()
    assert found.choose(3, 0).sample(2)["past"].dtype == np.float32
    results = [session.run(batch)["y"] for batch in found.batches(4)]
    np.testing.assert_allclose(
        np.concatenate(results), np.cumsum(TEXT @ weight(3, 3), 1), rtol=1e-4, atol=1e-5
    )


def test_a_cache_grows_from_nothing(tmp_path: Path) -> None:
    session, data = Session(model(tmp_path)), tmp_path / "data"
    data.mkdir()
    for number, text in enumerate(TEXT[:2]):  # three pieces of two places, one text a file
        np.save(data / f"{number}.npy", text.reshape(3, 2, 3))
    found = opened(data, session.signature, EMPTY + CARRY)
    carry, results = Carry(found.declaration.carry), []
    for feeds in found.batches(1):
        results.append(session.run(carry.fill(feeds)))
        carry.keep(results[-1])
    assert [each["present"].shape[2] for each in results] == [2, 4, 6, 2, 4, 6]
    y = np.concatenate([each["y"] for each in results]).reshape(2, 6, 3)
    np.testing.assert_allclose(y, np.cumsum(TEXT[:2] @ weight(3, 3), 1), rtol=1e-4, atol=1e-5)


def test_what_grows_must_begin_with_nothing(tmp_path: Path) -> None:
    session, data = Session(model(tmp_path)), tmp_path / "data"
    data.mkdir()
    np.save(data / "0.npy", TEXT[0].reshape(3, 2, 3))
    found = opened(data, session.signature, "[data]\n" + CARRY)
    carry = Carry(found.declaration.carry)
    results = session.run(carry.fill(next(found.batches(1))))
    with pytest.raises(DataError, match='feeds "past" with what grows') as one:
        carry.keep(results)
    assert 'empty = ["past"]' in one.value.fix


SPECS = Signature(
    (TensorSpec("x", "float32", ("N", 3)), TensorSpec("past", "float32", ("N", "P", 3))), ()
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('empty = ["pasd"]', ('"pasd" under [data] empty', "did you mean 'past'?")),
        ('empty = ["x"]', ('cannot feed "x"', "no axis behind the first may have length 0")),
        ('empty = ["past"]\n[data.inputs.past]\nscale = 2.0', ("declares what  empty  feeds",)),
        ('empty = "past"', ('"empty" under [data]',)),
    ],
)
def test_mistakes_are_told(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", TEXT[0])
    declare(tmp_path, f"[data]\n{text}\n")
    refused(tmp_path, SPECS, *parts)


def test_something_must_be_left_to_feed(tmp_path: Path) -> None:
    declare(tmp_path, '[data]\nempty = ["*"]\n')
    alone = Signature((SPECS.inputs[1],), ())
    refused(tmp_path, alone, "leaves no input of the model to the samples")
