"""A choice of float nodes as rules of a recipe, so that it can be read, kept and made again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from qtool.bodies import nodes_in
from qtool.numeric.scheme import Scheme
from qtool.numeric.types import IntType
from qtool.ops import weights_of
from qtool.patterns import matches
from qtool.plan.meant import meant
from qtool.plan.sites import Sites, find_sites
from qtool.recipe import Recipe, Rule
from qtool.workflow import Job


def integers(job: Job) -> list[str]:
    """The nodes that run in integers with measured ranges, in order."""
    return _integers(job, job.sites)


def _integers(job: Job, sites: Sites) -> list[str]:
    """Those that are neither float nor only stored as integers."""
    kept = {site.node for site in sites.weights if site.form != "static"}
    names = (node.name or "" for node in nodes_in(job.model.graph))
    return [n for n in names if n not in sites.skipped and n not in kept and n not in sites.halves]


class Ruled:
    """Jobs like this one, with some of its integer nodes in float."""

    def __init__(self, job: Job) -> None:
        self.job = job
        nodes = list(nodes_in(job.model.graph))
        self._meant = {node.name or "": meant(node) for node in nodes}
        self._operators = {node.name or "": node.op_type for node in nodes}
        self._integers = frozenset(integers(job))
        self._weighted = {node.name or "" for node in nodes if weights_of(node)}
        self._named = Counter(name for each in self._meant.values() for name in each.names)

    def with_floats(self, floats: Collection[str]) -> Job:
        """The job with rules for these nodes: weights only where they have some.

        What follows from others by itself needs no rule, and gets none.
        """
        return self.with_schemes({n: self.kept(n) for n in floats if n in self._weighted}, floats)

    def with_schemes(self, schemes: Mapping[str, str], floats: Collection[str]) -> Job:
        """The job with these schemes for nodes with weights, and of those without, what is in
        `floats` in float."""
        rules = [self._rule(name, schemes[name]) for name in self._meant if name in schemes]
        made = self._ruled(rules)
        still = set(integers(made)) & set(floats)
        more = [n for n in self._meant if n not in self._weighted and n in still]
        return self._ruled(rules + [self._rule(n, "float") for n in more]) if more else made

    def kept(self, name: str, bits: int | None = None) -> str:
        """The scheme that stores the node's weights as they would be, and no more; or with other
        bits, which then go by blocks where they are few and the runtime multiplies those."""
        scheme = self.wish(name)
        if scheme is None:
            return "float"
        if bits is None:
            return str(scheme.weights_only())
        weight = replace(scheme.weight, type=IntType(bits, scheme.weight.type.signed))
        if bits < 8 and weight.block is None and self._operators[name] in _BLOCKS:
            weight = replace(weight, block=BLOCK)
        return str(Scheme(weight, None))

    def multiplied(self, name: str, bits: int) -> str:
        """The scheme with other bits for the node's weights, and integer activations as asked."""
        scheme = self.wish(name)
        if scheme is None or scheme.activation is None or name not in self._integers:
            return self.kept(name, bits)
        return str(replace(scheme, weight=replace(scheme.weight, type=IntType(bits, True))))

    def wish(self, name: str) -> Scheme | None:
        """What the recipe wishes for a node; None where that is no integers."""
        wish = self.job.recipe.scheme_of(self._meant[name])
        return wish if isinstance(wish, Scheme) else None

    def stored(self) -> Job:
        """The job with no activation in integers."""
        return self._with(self.job.recipe.weights_only())

    def _ruled(self, rules: list[Rule]) -> Job:
        every = (*self.job.recipe.rules, *rules)
        return self._with(self.job.recipe.model_copy(update={"rules": every}))

    def _with(self, recipe: Recipe) -> Job:
        sites = find_sites(self.job.model, recipe, self.job.target)
        return replace(self.job, recipe=recipe, sites=sites)

    def _rule(self, name: str, scheme: str) -> Rule:
        return Rule(match=self.pattern(name), scheme=scheme)

    def pattern(self, name: str) -> str:
        """What means this node and no other, if there is such a pattern."""
        node = self._meant[name]
        own = [each for each in (name, *sorted(node.names)) if self._named[each] == 1]
        for each in own:
            if not _SPECIAL.search(each):
                return each
        exact = f"re:^{re.escape((own or [name])[0])}$"
        assert matches(exact, node)
        return exact


BLOCK = 32
_BLOCKS = ("Gemm", "MatMul")
_SPECIAL = re.compile(r"[*?\[\n]|^op:|^re:")  # means more than itself, or something else
