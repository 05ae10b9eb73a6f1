"""A module imports its own level or lower, never upward; one door to each heavy library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import qtool

ROOT = Path(qtool.__file__).parent

# DESIGN.md, section 2. The longest prefix counts.
LEVELS = {
    "qtool": 0,
    "qtool.errors": 0,
    "qtool.signature": 0,
    "qtool.files": 0,
    "qtool.text": 0,
    "qtool.numeric": 0,
    "qtool.rounding": 0,
    "qtool.algorithms": 1,
    "qtool.children": 1,
    "qtool.cluster": 1,
    "qtool.apart": 1,
    "qtool.bodies": 1,
    "qtool.classical": 1,
    "qtool.converter_faults": 1,
    "qtool.effort": 1,
    "qtool.external": 1,
    "qtool.impostor": 1,
    "qtool.inline": 1,
    "qtool.maps": 1,
    "qtool.model": 1,
    "qtool.quantized": 1,
    "qtool.tensors": 1,
    "qtool.runtime": 1,
    "qtool.standard": 1,
    "qtool.typed": 1,
    "qtool.data": 1,
    "qtool.recipe": 1,
    "qtool.patterns": 1,
    "qtool.target": 1,
    "qtool.ops": 1,
    "qtool.plan": 2,
    "qtool.calibrate": 2,
    "qtool.compare": 2,
    "qtool.report": 2,
    "qtool.passes": 2,
    "qtool.refine": 2,
    "qtool.verify": 3,
    "qtool.job": 3,
    "qtool.workflow": 3,
    "qtool.inspect": 3,
    "qtool.search": 3,
    "qtool.sensitivity": 3,
    "qtool.sweep": 3,
    "qtool.tune": 3,
    "qtool.cli": 4,
    "qtool.__main__": 4,
}
# library -> the only modules that may import it
DOORS = {
    "distributed": {"qtool.cluster"},
    "onnxruntime": {"qtool.runtime"},
    "onnx": {"qtool.model"},
    "PIL": {"qtool.data.images"},
    "pyarrow": {"qtool.data.parquet"},
    "fsspec": {"qtool.data.remote"},
    "matplotlib": {"qtool.sweep.plot"},
    "torch": {"qtool.tune"},
    "pycocotools": {"qtool.compare.truth.coco"},
    "typer": {"qtool.cli"},
    "rich": {"qtool.cli"},
    "onnx_ir": {
        "qtool.bodies", "qtool.classical", "qtool.converter_faults",
        "qtool.apart", "qtool.effort", "qtool.external", "qtool.job", "qtool.maps", "qtool.model",
        "qtool.ops", "qtool.plan",
        "qtool.quantized", "qtool.standard", "qtool.tensors", "qtool.typed",
        "qtool.calibrate", "qtool.passes", "qtool.refine", "qtool.search", "qtool.sensitivity",
        "qtool.tune",
        "qtool.inspect",
        "qtool.compare.layers", "qtool.compare.weights",
    },
}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}
each_module = pytest.mark.parametrize("module", MODULES)


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that is imported, inside functions and under TYPE_CHECKING too."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    hidden = _type_checking(tree) if module.startswith("qtool.cli") else set()
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def _type_checking(tree: ast.AST) -> set[ast.AST]:
    blocks = (n for n in ast.walk(tree) if isinstance(n, ast.If))
    inside = (b for b in blocks if isinstance(b.test, ast.Name) and b.test.id == "TYPE_CHECKING")
    return {child for block in inside for child in ast.walk(block)}


def prefixes(module: str) -> list[str]:
    """a.b.c, a.b, a."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def level(module: str) -> int:
    return next(LEVELS[prefix] for prefix in prefixes(module) if prefix in LEVELS)


@each_module
def test_every_module_has_a_level(module: str) -> None:
    assert module == "qtool" or set(prefixes(module)) & set(LEVELS) != {"qtool"}


@each_module
def test_nothing_is_imported_from_above(module: str) -> None:
    above = {m for m in imports(module) if m in MODULES and level(m) > level(module)}
    assert not above


@each_module
def test_one_door_to_each_library(module: str) -> None:
    for imported in imports(module):
        library = imported.split(".")[0]
        allowed = DOORS.get(library)
        assert allowed is None or allowed & set(prefixes(module)), f"{module} imports {library}"


@each_module
def test_level_0_knows_only_numpy(module: str) -> None:
    if level(module) > 0:
        return
    outside = {m.split(".")[0] for m in imports(module)} & {"onnx_ir", "pydantic", "safetensors"}
    assert not outside


@each_module
def test_nothing_prints_below_cli(module: str) -> None:
    if level(module) == 4:
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert "print" not in names
    attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert not attributes & {"stdout", "stderr"}


@each_module
def test_files_are_small(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 300


def test_the_table_names_what_exists() -> None:
    assert set(LEVELS) <= set(MODULES)
    assert {door for doors in DOORS.values() for door in doors} <= set(MODULES)
    for library, doors in DOORS.items():
        for door in doors:
            inside = [m for m in MODULES if door in prefixes(m)]
            assert any(library in i.split(".")[0] for m in inside for i in imports(m))
