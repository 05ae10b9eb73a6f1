"""The options that say which codes there are: bits, levels, ranges, and kinds of scale."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from qtool.errors import UsageError
from qtool.numeric.letters import lettered, mapped, mapping_of, unlettered
from qtool.numeric.scheme import HALVES


class Scale(StrEnum):
    """Which scales there are."""

    FREE = "free"
    POW2 = "pow2"


class Mapping(StrEnum):
    """How the levels of weights lie."""

    LINEAR = "linear"
    KMEANS = "kmeans"
    LOG2 = "log2"
    QUANTILE = "quantile"


Symmetric = Annotated[
    bool | None,
    typer.Option(
        "--symmetric/--asymmetric",
        help="Scales around 0 or not (weights are, activations are not), where the scheme has no "
        "s or u.",
    ),
]
Mappings = Annotated[
    Mapping | None,
    typer.Option(
        "--mapping",
        help="Levels of weights: evenly spaced (linear), or in a codebook that is small on disk "
        "and float in memory, with activations in float.",
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
    recipes: str,
    bits: int | None,
    levels: int | None,
    scheme: str | None,
    symmetric: bool | None,
    mapping: Mapping | None = None,
) -> str | None:
    """The scheme that options ask for, over a recipe's; None where they ask for none.

    Raises:
        UsageError: more than one option gives it, or --symmetric or --mapping and its letters
            contradict.
    """
    given = {"--bits": bits, "--levels": levels, "--scheme": scheme}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} are both given", fix="keep one of them")
    if bits is not None:
        scheme = f"w{bits}a{max(bits, 8)}"
    if levels is not None:
        scheme = f"wl{levels}al{max(levels, 256)}"
    if mapping is not None:
        if symmetric is not None and mapping is not Mapping.LINEAR:
            raise UsageError(
                f"--{'symmetric' if symmetric else 'asymmetric'} is said of evenly spaced levels",
                f"those of {mapping.value} lie where the weights are",
                "leave out the one or the other",
            )
        if given["--scheme"] is not None:
            _agree(str(scheme), mapping)
        over = recipes if scheme is None else scheme
        if over.strip().lower() in HALVES and mapping is not Mapping.LINEAR:
            raise UsageError(
                f"--mapping {mapping.value} is of no use with {over}",
                "floats of 16 bits have no levels to choose",
                f"say how many:  --bits 4 --mapping {mapping.value},  or leave it out",
            )
        scheme = mapped(over, mapping.value)
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


def meant_by(item: str, symmetric: bool | None, mapping: Mapping | None) -> tuple[str, str]:
    """`PATTERN=SCHEME` of --tensor -> both, the scheme with what other options say of all.

    Raises:
        UsageError: it is not of that form.
    """
    pattern, equals, text = item.rpartition("=")
    if not equals:
        raise UsageError(f"--tensor {item!r}", "the form is PATTERN=SCHEME")
    text = text if mapping is None or mapping_of(text) else mapped(text, mapping.value)
    return pattern, text if symmetric is None else lettered(text, symmetric)


def _agree(scheme: str, mapping: Mapping) -> None:
    said = mapping_of(scheme)
    if said not in (None, mapping.value):
        raise UsageError(
            f"--mapping {mapping.value} and --scheme {scheme} contradict each other",
            "integer activations and the letters s and u want evenly spaced weights; k is kmeans, "
            "p log2 (powers of two), q quantile",
            f"use  --scheme {mapped(scheme, mapping.value)},  or leave out  --mapping",
        )


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
