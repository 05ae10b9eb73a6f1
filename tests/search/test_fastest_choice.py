"""What the search chooses, where the times are a formula."""

from __future__ import annotations

import itertools
import random

import pytest

from qtool.search.latency import Floats, Outcome, search
from tests.search.worlds import World


def found(world: World, seconds: float = 60.0) -> Outcome:
    return search(world.costs(), world, clock=world.clock, seconds=seconds)


def layers(*times: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return {f"c{i}": pair for i, pair in enumerate(times)}


def test_integers_that_are_faster_everywhere_stay_everywhere() -> None:
    outcome = found(World(layers(*[(5.0, 20.0)] * 6)))
    assert outcome.floats == Floats()
    assert outcome.latency.verdict == "faster" and not outcome.stored
    assert [(s.layers, s.integer) for s in outcome.segments] == [(6, True)]


def test_slow_layers_at_the_start_become_a_float_segment() -> None:
    world = World(layers((60, 20), (45, 15), (5, 20), (5, 20), (5, 20), (5, 20)))
    outcome = found(world)
    assert outcome.floats == {"c0", "c1"}
    ends = [(s.first, s.last, s.layers, s.integer) for s in outcome.segments]
    assert ends == [("c0", "c1", 2, False), ("c2", "c5", 4, True)]
    assert outcome.latency.ratio == pytest.approx(world.time(outcome.floats) / 115)
    assert sum(s.share for s in outcome.segments) == pytest.approx(1)


def test_one_slow_layer_between_fast_ones_stays_where_leaving_takes_longer() -> None:
    times = layers((5, 20), (15, 10), (5, 20))
    assert found(World(times, crossing=4.0)).floats == Floats()
    assert found(World(times, crossing=0.5)).floats == {"c1"}


def test_where_integers_lose_only_weights_are_stored() -> None:
    world = World(layers((40, 20), (30, 15), (9, 8)))
    outcome = found(world)
    assert outcome.stored and outcome.floats == set(world.times)
    assert outcome.latency.ratio == 1
    assert [s.integer for s in outcome.segments] == [False]


def test_what_is_not_faster_than_the_given_model_gives_way_to_its_weights() -> None:
    # all in integers takes 0.98 of float: within the harness's noise
    outcome = found(World(layers((20, 29), (21, 29)), crossing=8.0))
    assert outcome.stored
    # the weights alone may be faster than what was given: then float is what is best
    world = World(layers((20, 10), (20, 10)), given=90.0)
    assert found(world).floats == set(world.times)


def test_float_is_no_way_out_where_the_given_model_is_in_integers() -> None:
    world = World(layers((5, 20), (5, 20)), given=18.0)
    outcome = found(world)
    assert outcome.floats == Floats() and not outcome.stored
    assert outcome.latency.ratio == 1


def test_equal_choices_leave_more_in_integers() -> None:
    # c0 in float gains 0.4 of 60: less than the clock can tell
    outcome = found(World(layers((12.4, 12.0), *[(11.0, 40.0)] * 4), crossing=0.0))
    assert outcome.floats == Floats()


def test_no_choice_is_timed_once_the_time_is_spent() -> None:
    world = World(layers((60, 20), (45, 15), *[(5.0, 20.0)] * 8))
    assert found(world, seconds=0.5).floats in (Floats(), set(world.times))
    assert len(world.timed) == 2  # float against integers, and the judgement


def test_what_cannot_be_made_is_passed_over() -> None:
    times = layers((60, 20), *[(5.0, 20.0)] * 5)
    some = Floats({"c0"})
    world = World(times, cannot=lambda floats: floats == some)
    outcome = found(world)
    assert outcome.floats != some
    assert some not in world.timed


@pytest.mark.parametrize("seed", range(30))
def test_nothing_else_is_faster_by_more_than_the_clock_can_tell(seed: int) -> None:
    draw = random.Random(seed)
    pairs = [(draw.uniform(5, 40), draw.uniform(5, 40)) for _ in range(7)]
    world = World(layers(*pairs), crossing=draw.uniform(0, 12))
    outcome = found(world)
    subsets = itertools.product((False, True), repeat=7)
    every = [Floats(n for n, isin in zip(world.times, s, strict=True) if isin) for s in subsets]
    best = min(world.time(floats) for floats in every)
    given = world.time(Floats(world.times))
    if best < 0.9 * given:
        assert world.time(outcome.floats) <= best * 1.05
    # never slower than what was given
    assert world.time(outcome.floats) <= given
