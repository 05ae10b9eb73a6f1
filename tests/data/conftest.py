"""Tables in each of their formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.tables import SAVE


@pytest.fixture(params=list(SAVE))
def kind(request: pytest.FixtureRequest) -> str:
    """The suffix of a table: each test that takes it runs once for each format."""
    return str(request.param)


@pytest.fixture
def save(kind: str, tmp_path: Path) -> Any:
    """Columns to a file of the format, `iris` where no name is given."""
    return lambda columns, name="iris": SAVE[kind](tmp_path / f"{name}.{kind}", columns)
