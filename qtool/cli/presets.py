"""`qtool presets`: the recipes that come along."""

from __future__ import annotations


def presets() -> None:
    """qtool presets

    What each preset lists, and what the algorithms do. A recipe may name a preset, and set keys of
    its own; a list of algorithms replaces the preset's:  algorithms = ["equalize", "bias"].
    """
    from qtool.algorithms import ALGORITHMS
    from qtool.cli import show
    from qtool.cli.console import out
    from qtool.recipe import presets as all_presets

    made = show.table("preset", "ranges by", "algorithms")
    for name, table in all_presets().items():
        show.row(made, name, table["method"], ", ".join(table["algorithms"]))
    out.print(made)
    made = show.table("algorithm", "does", "needs")
    for name, row in ALGORITHMS.items():
        show.row(made, name, row.summary, row.needs)
    out.print(made)
