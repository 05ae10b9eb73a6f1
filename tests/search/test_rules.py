"""A choice as rules: each means its node and no other, and gives the same sites again."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from qtool import workflow
from qtool.patterns import matches
from qtool.plan.meant import meant
from qtool.recipe import Recipe, Rule, load_recipe
from qtool.search.rules import Ruled, integers
from qtool.workflow import Job
from tests.cases import KERNELS
from tests.models import Array, save, weight

GRAPH = """g (float[N,4,8,8] x) => (float[N,4,8,8] y) {
    a = Conv(x, w0) b = Conv(a, w1) c = Conv(b, w2) d = Add(a, c) e = Conv(d, w3) y = Conv(e, w0) }
"""
WEIGHTS: dict[str, Array] = {f"w{i}": weight(4, 4, 1, 1, seed=i) for i in range(4)}


def job(tmp_path: Path, names: dict[str, str], recipe: Recipe | None = None) -> Job:
    path = save(tmp_path / "m.onnx", GRAPH, **WEIGHTS)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = names.get(node.output[0], f"n_{node.output[0]}")
    onnx.save(model, path)
    return workflow.open_job(path, recipe or Recipe(), KERNELS, threads=1)


@pytest.mark.parametrize("name", ["conv", "con[v]*", "re:conv", "op:Conv", "a?b", "n_c\n2", "*"])
def test_a_rule_means_its_node_and_no_other(name: str, tmp_path: Path) -> None:
    opened = job(tmp_path, {"b": name})
    found = Ruled(opened).with_floats({name})
    assert [n.name for n in opened.model.graph if n.name not in integers(found)] == [name]
    (rule,) = found.recipe.rules
    assert rule.scheme == "w8sc"
    meaning = [n.name for n in opened.model.graph if matches(rule.match, meant(n))]
    assert meaning == [name]


def test_who_shares_a_weight_or_a_name_with_it_is_not_meant(tmp_path: Path) -> None:
    opened = job(tmp_path, {"a": "w0", "c": "e"})  # called after a weight, and another's result
    for name in ("w0", "e"):
        kept = integers(Ruled(opened).with_floats({name}))
        convs = [n.name for n in opened.model.graph if n.op_type == "Conv"]
        assert [n for n in convs if n not in kept] == [name]


def test_what_follows_by_itself_gets_no_rule(tmp_path: Path) -> None:
    opened = job(tmp_path, {})
    made = Ruled(opened)
    # the Add reads what n_c makes: float, so it cannot stay
    found = made.with_floats({"n_c", "n_d"})
    assert [r.match for r in found.recipe.rules] == ["n_c"]
    assert "n_d" not in integers(found)
    alone = made.with_floats({"n_d"})
    assert alone.recipe.rules == (Rule(match="n_d", scheme="float"),)
    assert "n_d" not in integers(alone) and "n_a" in integers(alone)


def test_what_was_asked_for_stays_and_a_node_keeps_its_own_bits(tmp_path: Path) -> None:
    asked = (Rule(match="n_b", scheme="float"), Rule(match="n_e", scheme="w4a8"))
    opened = job(tmp_path, {}, Recipe(rules=asked))
    found = Ruled(opened).with_floats({"n_e"})
    assert found.recipe.rules == (*asked, Rule(match="n_e", scheme="w4sc"))
    assert Ruled(opened).stored().recipe.rules[0] == asked[0]
    assert not integers(Ruled(opened).stored())


def test_the_recipe_makes_the_same_plan_again(tmp_path: Path) -> None:
    opened = job(tmp_path, {"b": "con[v]*"})
    found = Ruled(opened).with_floats({"con[v]*", "n_d"})
    saved = tmp_path / "recipe.toml"
    saved.write_text(found.recipe.toml(), encoding="utf-8")
    again = workflow.open_job(opened.path, load_recipe(saved), KERNELS, threads=1)
    assert again.sites == found.sites
    assert workflow.dry_run(again).data == workflow.dry_run(found).data
