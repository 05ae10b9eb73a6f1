"""What outputs are held against, as a digest: other labels make other scores."""

from __future__ import annotations

import hashlib

from qtool.data.dataset import Dataset


def truth_of(data: Dataset) -> str:
    """A digest of labels, pairs and annotations, sample by sample, and of how they are read.

    Raises:
        DataError: they cannot be read.
    """
    found = hashlib.sha256("\n".join(data.names).encode())
    if (labels := data.labels) is not None:
        found.update(f"{labels.dtype} {labels.shape}".encode())
        found.update(labels.tobytes())
    for name, file in sorted(data.beside.files.items() if data.beside else ()):
        found.update(name.encode())
        with file.open() as stream:
            found.update(stream.read())
    found.update(data.declaration.model_dump_json(exclude_defaults=True).encode())
    return found.hexdigest()
