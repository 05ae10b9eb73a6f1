"""The options that say which codes there are: bits, levels, ranges, and kinds of scale."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from qtool.errors import UsageError
from qtool.numeric.scheme import lettered, unlettered


class Scale(StrEnum):
    """Which scales there are."""

    FREE = "free"
    POW2 = "pow2"


Symmetric = Annotated[
    bool | None,
    typer.Option(
        "--symmetric/--asymmetric",
        help="Scales around 0 or not (weights are, activations are not), where the scheme has no "
        "s or u.",
    ),
]
WeightRange = Annotated[
    str | None,
    typer.Option(
        "--range", metavar="LO,HI", help="A fixed range of weights, one scale per tensor."
    ),
]
ActivationRange = Annotated[
    str | None,
    typer.Option(metavar="LO,HI", help="A fixed range of activations, whatever was measured."),
]
Scales = Annotated[
    Scale | None,
    typer.Option("--scale", help="Scales are free (default) or powers of two."),
]


def scheme_of(
    recipes: str, bits: int | None, levels: int | None, scheme: str | None, symmetric: bool | None
) -> str | None:
    """The scheme that options ask for, over a recipe's; None where they ask for none.

    Raises:
        UsageError: more than one option gives it, or --symmetric and its letters contradict.
    """
    given = {"--bits": bits, "--levels": levels, "--scheme": scheme}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} are both given", fix="keep one of them")
    if bits is not None:
        scheme = f"w{bits}a{max(bits, 8)}"
    if levels is not None:
        scheme = f"wl{levels}al{max(levels, 256)}"
    if symmetric is None:
        return scheme
    if scheme is None:
        return lettered(unlettered(recipes), symmetric)
    asked = lettered(scheme, symmetric)
    if asked != lettered(unlettered(scheme), symmetric):
        wanted = "symmetric" if symmetric else "asymmetric"
        raise UsageError(
            f"--{wanted} and --scheme {scheme} contradict each other",
            "s is symmetric, u asymmetric",
            f"use  --scheme {unlettered(scheme)},  or leave out  --{wanted}",
        )
    return asked


def range_of(option: str, text: str | None) -> tuple[float, float] | None:
    """`-8,8` -> (-8.0, 8.0).

    Raises:
        UsageError: not two numbers.
    """
    if text is None:
        return None
    try:
        low, high = map(float, text.replace(":", ",").split(","))
    except ValueError:
        raise UsageError(
            f"{option} {text!r}", "the form is LO,HI, two numbers", f"try  {option} -1,1"
        ) from None
    return low, high
