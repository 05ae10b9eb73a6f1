"""The ladder: noise falls, bits follow their gains, segments go where their noise goes too."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given, settings

from qtool.search.ladder import filled, given_up, rungs, smaller, spaced
from qtool.search.noise import FLOAT, Choice, Noise, Stored
from tests.search.worlds import chain


def stored(values: int, effect: float, asked: int = 8) -> dict[int, Stored]:
    return {
        bits: Stored(values * bits // 8, 0.0 if bits == FLOAT else effect * 4.0 ** (asked - bits))
        for bits in (2, 4, 8, FLOAT)
    }


def noise_of(
    effects: list[float], weights: Mapping[str, tuple[int, float]], asked: int = 8
) -> Noise:
    """Of a chain c0, c1, …: tensor i is what c<i-1> makes and c<i> reads."""
    last = len(effects) - 1
    members = [frozenset(f"c{n}" for n in (i - 1, i) if 0 <= n < last) for i in range(len(effects))]
    return Noise(
        tuple(zip(effects, members, strict=True)),
        {n: stored(count, effect, asked) for n, (count, effect) in weights.items()},
        dict.fromkeys(weights, asked),
        {n: count for n, (count, _) in weights.items()},
    )


EFFECTS = st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=8)


@settings(max_examples=40, deadline=None)
@given(EFFECTS)
def test_each_set_spares_more_noise_and_the_last_is_all(effects: list[float]) -> None:
    layers = len(effects) - 1
    names = [f"c{i}" for i in range(layers)]
    noise = noise_of(effects, {})
    found = given_up(chain(layers).graph, noise, names)
    left = [noise.of(Choice(floats)) for floats in found]
    assert all(a >= b for a, b in pairwise(left))
    assert found[-1] == frozenset(names)
    assert noise.of(Choice(found[-1])) == 0


def test_the_loudest_tensor_goes_first_with_all_who_touch_it() -> None:
    noise = noise_of([1e-4, 1e-4, 1e-4, 1.0, 1e-4, 1e-4], {})
    first = given_up(chain(5).graph, noise, [f"c{i}" for i in range(5)])[0]
    assert first == {"c2", "c3"}  # one makes it and one reads it: one of them alone spares nothing


def test_bits_go_where_they_spoil_least() -> None:
    weights = {"c0": (1000, 1e-6), "c1": (1000, 1e-3), "c2": (10, 1e-6)}
    noise = noise_of([0.0] * 4, weights)
    found = smaller(noise, 2)
    assert {noise.bits(found[0], n) for n in weights} == {2}
    assert found[-1] == Choice()
    sizes, left = [noise.size(c) for c in found], [noise.of(c) for c in found]
    assert all(a < b for a, b in pairwise(sizes))
    assert all(a > b for a, b in pairwise(left))
    halfway = next(c for c in found if noise.average_bits(c) >= 4.5)
    assert noise.bits(halfway, "c1") > noise.bits(halfway, "c0")


def test_rungs_lead_from_few_bits_to_float() -> None:
    names = [f"c{i}" for i in range(3)]
    noise = noise_of([1e-5] * 4, {n: (100, 1e-3 * (i + 1)) for i, n in enumerate(names)}, asked=4)
    found = rungs(chain(3).graph, noise, names)
    left = [noise.of(choice) for choice in found]
    assert found[0] == Choice()
    assert all(a >= b for a, b in pairwise(left))
    # bits first, then activations, then floats; one weight is left quantized
    assert found[3] == Choice(bits=dict.fromkeys(names, 8))
    assert found[-1].floats == frozenset(names)
    assert sorted(found[-1].bits.values()) == [8, FLOAT, FLOAT]
    # the loudest first
    assert list(found[1].bits) == ["c2"]


def test_what_cannot_be_told_apart_is_left_out() -> None:
    names = [f"c{i}" for i in range(40)]
    noise = noise_of([0.0] * 41, dict.fromkeys(names, (100, 0.001)), asked=4)
    found = rungs(chain(40).graph, noise, names)
    few = spaced(found, noise)
    assert few[0] == found[0]
    assert few[-1] == found[-1]
    assert len(few) < len(found)
    left = [noise.of(choice) for choice in few[:-1]]
    assert all(b < a * 0.95 for a, b in pairwise(left))


def test_room_that_a_large_step_leaves_is_filled() -> None:
    weights = {"c0": (1000, 1.0), "c1": (100, 1e-3), "c2": (100, 1e-6)}
    noise = noise_of([0.0] * 4, weights)
    least = Choice(bits=dict.fromkeys(weights, 2))

    def fits(choice: Choice) -> bool:
        return noise.size(choice) <= 420  # 300 at 2 bits; 250 more for 4 bits in c0

    found = filled(noise, least, fits)
    assert {n: noise.bits(found, n) for n in weights} == {"c0": 2, "c1": 8, "c2": 4}
    assert fits(found)
