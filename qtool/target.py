"""Targets: what a runtime runs fast, as tables."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from qtool.errors import UsageError, did_you_mean
from qtool.numeric.types import IntType

Kernel = Literal["closed", "open", "moves"]
Encoding = Literal["dq", "cast-mul", "cast-dq"]


@dataclass(frozen=True)
class Target:
    """One table; the comments in `targets/cpu.toml` say what the entries mean."""

    name: str
    activation: IntType
    integer: dict[str, Kernel]
    weights: dict[str, Encoding]
    needs_zero_point: frozenset[str]
    fused_bits: frozenset[int]
    fused_rank: int
    fused_unless_read_by: dict[str, list[str]]


def available() -> list[str]:
    """The names of the targets that come along."""
    files = resources.files("qtool.targets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in available():
        raise UsageError(
            f"--target {name!r} is not known",
            f"known: {', '.join(available())}",
            did_you_mean(name, available()),
        )
    table = tomllib.loads(resources.files("qtool.targets").joinpath(f"{name}.toml").read_text())
    return Target(
        table["name"],
        IntType.parse(table["activation"]),
        table["integer"],
        table["weights"],
        frozenset(table["needs"]["zero_point"]),
        frozenset(table["fuses"]["bits"]),
        table["fuses"]["rank"],
        table["fuses"]["unless_read_by"],
    )
