"""Targets: what a runtime runs fast, as tables."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from qtool.errors import UsageError, did_you_mean
from qtool.numeric.types import IntType

Kernel = Literal["closed", "open", "moves", "reads"]
Storing = Literal["dq", "fused", "gathered", "cast-mul"]
Clipping = Literal["codes", "reals"]
Scales = Literal["float16", "float32"]
Encoding = Literal[
    "dq", "gathered", "cast-mul", "codebook", "cast-dq", "integer", "gates", "packed-rows"
]
UNPACKED = ("cast-mul", "codebook")  # floats once the runtime has loaded them
MEASURED = ("integer", "gates")  # multiplied with what is measured on every run
LOOKED_UP = ("gathered", "packed-rows")  # rows of a table, restored once they were found
# "static"   multiplied in integers, with ranges measured beforehand
# "dynamic"  the same, the activation measured on every run
# "stored"   integers in the file, float arithmetic
Form = Literal["static", "dynamic", "stored"]


@dataclass(frozen=True)
class Fusing:
    """What the runtime asks for before it fuses a weight's DequantizeLinear into the operator."""

    bits: frozenset[int]
    rank: int
    contracted: int
    values: int
    unless_read_by: dict[str, list[str]]


@dataclass(frozen=True)
class Paying:
    """From how much on integers are faster; nothing is slow where all are 0."""

    inputs: int
    pairs: int
    depthwise: int
    products: int


@dataclass(frozen=True)
class Recurrent:
    """Operators with a dynamic kernel of the runtime's own, and from how many units on it pays."""

    dynamic: frozenset[str]
    units: int


@dataclass(frozen=True)
class Target:
    """One table; the comments in `targets/cpu.toml` say what the entries mean."""

    name: str
    activation: IntType
    integer: dict[str, Kernel]
    narrow: Encoding
    clips: Clipping
    scales: Scales
    negative_scales: bool
    weights: dict[str, Storing]
    fuses: Fusing
    gathers: int
    ties: frozenset[int]
    pays: Paying
    dynamic: frozenset[str]
    slow_dynamic: dict[str, str]
    recurrent: Recurrent
    halves: frozenset[str]
    classical: bool
    needs_zero_point: frozenset[str]
    needs_steps: dict[str, list[int]]
    needs_reach: dict[str, int]
    needs_apart: frozenset[str]
    needs_guard: frozenset[str]

    @property
    def lacks(self) -> str:
        """Why an operator that is not in the table is not run in integers."""
        return f"{self.name} has no integer kernel for it"


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
    table = _table(name)
    fuses = table["fuses"]
    return Target(
        name=table["name"],
        activation=IntType.parse(table["activation"]),
        integer=table["integer"],
        narrow=table["narrow"],
        clips=table["clips"],
        scales=table["scales"],
        negative_scales=table["negative_scales"],
        weights=table["weights"],
        fuses=Fusing(
            frozenset(fuses["bits"]),
            fuses["rank"],
            fuses["contracted"],
            fuses["values"],
            fuses["unless_read_by"],
        ),
        gathers=table["gathers"]["values"],
        ties=frozenset(table["ties"]["bits"]),
        pays=Paying(**table["pays"]),
        dynamic=frozenset(table["dynamic"]["operators"]),
        slow_dynamic=table["dynamic"]["slow"],
        recurrent=Recurrent(frozenset(table["recurrent"]["dynamic"]), table["recurrent"]["units"]),
        halves=frozenset(table["halves"]),
        classical=table["classical"],
        needs_zero_point=frozenset(table["needs"]["zero_point"]),
        needs_steps=table["needs"]["steps"],
        needs_reach=table["needs"]["reach"],
        needs_apart=frozenset(table["needs"]["apart"]),
        needs_guard=frozenset(table["needs"]["guard"]),
    )


def _table(name: str) -> dict[str, Any]:
    """The table of that name, over the one that it is based on."""
    table = tomllib.loads(resources.files("qtool.targets").joinpath(f"{name}.toml").read_text())
    return _table(table["base"]) | table if "base" in table else table
