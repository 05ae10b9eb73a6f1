"""What the patterns of a recipe do to a model: how many nodes they mean, and change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from qtool.numeric.scheme import parse_scheme
from qtool.patterns import matches, unmatched
from qtool.plan.meant import meant
from qtool.plan.names import Names
from qtool.plan.sites import Sites, find_sites
from qtool.recipe import Recipe
from qtool.target import Target


@dataclass(frozen=True)
class Effect:
    """A pattern, the scheme that it gives in full, how many nodes it means, and of how many
    something else would become without it."""

    pattern: str
    scheme: str
    nodes: int
    changed: int


def effects(model: ir.Model, recipe: Recipe, target: Target, sites: Sites) -> list[Effect]:
    """One for each pattern, in their order; `sites` are those of the recipe as it is."""
    found, now = [], _outcomes(model, recipe, sites)
    for index, (rule, here) in enumerate(zip(recipe.rules, _matched(model, recipe), strict=True)):
        without = _without(recipe, index)
        then = _outcomes(model, without, find_sites(model, without, target))
        changed = sum(now[name] != then[name] for name in here)
        scheme = rule.scheme if rule.scheme == "float" else str(parse_scheme(rule.scheme))
        found.append(Effect(rule.match, scheme, len(here), changed))
    return found


def require_matches(recipe: Recipe, names: Names, model: ir.Model) -> None:
    """Refuse a pattern that means no node, be it of the file or of the prepared model.

    Raises:
        UsageError: with the closest names.
    """
    known = {*names.nodes.values(), *(meant(node) for node in model.graph.all_nodes())}
    for rule in recipe.rules:
        if not any(matches(rule.match, node) for node in known):
            raise unmatched(rule.match, known, len(names.nodes))


def idle(
    model: ir.Model, recipe: Recipe, target: Target, names: Names, sites: Sites
) -> Iterator[str]:
    """A sentence for each pattern that does nothing, or not what it says, and why. Cases in order:

    1. what it means in the file is not there any more
    2. other patterns come after it
    3. it gives a scheme, and what it means stays float (to keep float what is float is no mistake)
    """
    every = _matched(model, recipe)
    decides = {name: index for index, here in enumerate(every) for name in here}  # the last one
    for index, (rule, here) in enumerate(zip(recipe.rules, every, strict=True)):
        left = [name for name in here if decides[name] == index]
        what, why = "has no effect", ""
        if not here:  # 1
            gone = [name for name, node in names.nodes.items() if matches(rule.match, node)]
            more = f", and so on with {len(gone) - 1} more" if len(gone) > 1 else ""
            why = f"{gone[0]!r} was {names.became(gone[0])}{more}"
        elif rule.scheme != "float" and not left:  # 2
            why = "patterns after it decide about all that it means"
        elif rule.scheme != "float" and all(name in sites.skipped for name in left):  # 3
            reasons = Counter(sites.skipped[name] for name in left)
            why = "; ".join(reason for reason, _ in reasons.most_common(3))
            then = find_sites(model, _without(recipe, index), target)
            if any(name not in then.skipped for name in left):
                what = "keeps what it means in float"
        if why:
            yield f"pattern {rule.match!r} {what}: {why}"


def _without(recipe: Recipe, index: int) -> Recipe:
    return recipe.model_copy(update={"rules": recipe.rules[:index] + recipe.rules[index + 1 :]})


def _matched(model: ir.Model, recipe: Recipe) -> list[list[str]]:
    """For each rule the nodes that it means."""
    nodes = [(node.name or "", meant(node)) for node in model.graph.all_nodes()]
    return [[name for name, each in nodes if matches(r.match, each)] for r in recipe.rules]


def _outcomes(model: ir.Model, recipe: Recipe, sites: Sites) -> dict[str, str]:
    """Node -> what becomes of it, in words that differ where that differs."""
    forms = {site.node: site.form for site in sites.weights}
    wishes = {node.name or "": recipe.scheme_of(meant(node)) for node in model.graph.all_nodes()}
    return {
        name: "float" if name in sites.skipped else f"{wish} {forms.get(name)}"
        for name, wish in wishes.items()
    }
