"""The command that brings an extra: from where qtool came from."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from qtool.errors import install_command

INDEX = "pip install 'qtool[tune]'"


def came_from(monkeypatch: pytest.MonkeyPatch, origin: str | None) -> None:
    found = SimpleNamespace(read_text={"direct_url.json": origin}.get)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)


def test_the_folder_that_it_was_installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    came_from(monkeypatch, json.dumps({"url": clone.as_uri(), "dir_info": {}}))
    assert install_command("tune") == f"pip install '{clone}[tune]'"
    clone.rmdir()
    assert install_command("tune") == INDEX


@pytest.mark.parametrize("origin", [None, json.dumps({"url": "https://example.org/qtool.whl"})])
def test_else_the_index(origin: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    came_from(monkeypatch, origin)
    assert install_command("tune") == INDEX


def test_not_installed_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    assert install_command("tune") == INDEX
