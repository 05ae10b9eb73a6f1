"""What tests of every folder may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from qtool import target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tour of README takes longest: begun last, it would keep others waiting for it."""
    items.sort(key=lambda item: "test_the_tour_runs" not in item.name)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets by whose tables integers pay however small a layer is: those of tests are small."""
    table = target._table

    def sizeless(name: str) -> dict[str, Any]:
        found = table(name)
        return found | {"pays": dict.fromkeys(found["pays"], 0)}

    monkeypatch.setattr(target, "_table", sizeless)
