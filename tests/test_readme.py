"""The commands of README and docs run, and print what they say they print, numbers aside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from qtool.recipe import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# In this order, in one folder: a page of docs may go on from what README has made.
PAGES = [README, *(page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md")))]


def blocks(pages: list[str]) -> list[tuple[str, list[str]]]:
    """(command, lines of output) of each `$ command` in a console block."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)\n```", "\n".join(pages), flags=re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def masked(lines: list[str]) -> list[str]:
    """Words of each line, digits masked: scores move with the CPU's instruction set."""
    # How often progress shows depends on the machine's speed.
    lines = [
        line for line in lines if not re.match(r"(comparing|measuring ranges|sweeping): ", line)
    ]
    words = [re.sub(r"-?\d[\d.,]*", "N", line) for line in lines]
    words = [" ".join(re.sub(r"─+", "", line).split()) for line in words]
    return [line for line in words if line]


@pytest.mark.parametrize(
    "pages", [[README], pytest.param(PAGES, marks=pytest.mark.slow)], ids=["README", "docs too"]
)
def test_the_tour_runs_and_prints_what_it_shows(tmp_path: Path, pages: list[str]) -> None:
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    bin_folder = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "COLUMNS": "80"}
    tour = blocks(pages)
    assert len(tour) >= 8
    for command, shown in tour:
        if "qtool tune" in command and "--layerwise" not in command and find_spec("torch") is None:
            continue  # an extra that tests do without
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        assert masked(done.stdout.splitlines()) == masked(shown), command


def test_the_first_line_quantizes_and_both_lines_are_single_commands() -> None:
    start = README.split("## Start")[1].split("## Tour")[0]
    lines = [line.strip() for line in start.splitlines() if line.startswith("    ")]
    assert len(lines) == 2
    arguments = lines[0].split("qtool ", 1)[1]
    assert arguments.startswith("quantize sample_models/")
    assert lines[1].endswith("pytest")


def test_what_is_shown_as_a_recipe_is_one(tmp_path: Path) -> None:
    shown = [b for b in re.findall(r"```toml\n(.*?)\n```", README, flags=re.S) if "[[rules]]" in b]
    assert shown
    for number, text in enumerate(shown):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        assert load_recipe(path).rules
