"""What tells whether remote files have changed between two runs."""

from __future__ import annotations

import numpy as np

from qtool.data import open_dataset
from qtool.data.remote import located
from tests.data.folders import model

X = model(x=("N", 2))


def test_the_listing_changes_with_the_file_and_not_with_the_mirror() -> None:
    """An interrupted calibration goes on from its part only on files that have not changed."""
    import fsspec

    system = fsspec.filesystem("memory")
    for number in range(3):
        with system.open(f"/stable/{number}.npy", "wb") as stream:
            np.save(stream, np.full(2, number, np.float32))

    def listing() -> str:
        data = open_dataset(located("memory://stable"), X)
        return data.listing([range(len(data))])

    before = listing()
    assert listing() == before
    with system.open("/stable/1.npy", "wb") as stream:
        np.save(stream, np.full(2, 7, np.float32))
    assert listing() != before
    system.rm("/stable", recursive=True)
