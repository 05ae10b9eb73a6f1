"""A choice of float nodes as rules of a recipe, so that it can be read, kept and made again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from qtool.bodies import nodes_in
from qtool.numeric.scheme import Scheme
from qtool.ops import weights_of
from qtool.patterns import Meant, matches
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
        self._weighted = {node.name or "" for node in nodes if weights_of(node)}
        self._named = Counter(name for each in self._meant.values() for name in each.names)

    def with_floats(self, floats: Collection[str]) -> Job:
        """The job with rules for these nodes: weights only where they have some.

        What follows from others by itself needs no rule, and gets none.
        """
        order = [name for name in self._meant if name in floats]
        rules = [self._rule(name) for name in order if name in self._weighted]
        made = self._ruled(rules)
        still = set(integers(made))
        more = [self._rule(n) for n in order if n not in self._weighted and n in still]
        return self._ruled(rules + more) if more else made

    def stored(self) -> Job:
        """The job with no activation in integers."""
        return self._with(self.job.recipe.weights_only())

    def _ruled(self, rules: list[Rule]) -> Job:
        every = (*self.job.recipe.rules, *rules)
        return self._with(self.job.recipe.model_copy(update={"rules": every}))

    def _with(self, recipe: Recipe) -> Job:
        sites = find_sites(self.job.model, recipe, self.job.target)
        return replace(self.job, recipe=recipe, sites=sites)

    def _rule(self, name: str) -> Rule:
        node = self._meant[name]
        wish = self.job.recipe.scheme_of(node)
        keeps = name in self._weighted and isinstance(wish, Scheme)
        scheme = str(wish.weights_only()) if keeps and isinstance(wish, Scheme) else "float"
        return Rule(match=self._pattern(name, node), scheme=scheme)

    def _pattern(self, name: str, node: Meant) -> str:
        """What means this node and no other, if there is such a pattern."""
        own = [each for each in (name, *sorted(node.names)) if self._named[each] == 1]
        for each in own:
            if not _SPECIAL.search(each):
                return each
        exact = f"re:^{re.escape((own or [name])[0])}$"
        assert matches(exact, node)
        return exact


_SPECIAL = re.compile(r"[*?\[\n]|^op:|^re:")  # means more than itself, or something else
