"""Patterns: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from qtool.errors import UsageError
from qtool.patterns import Meant, check_pattern, matches, unmatched


def node(names: str, operators: str = "Conv") -> Meant:
    return Meant(frozenset(names.split()), frozenset(operators.split()))


@pytest.mark.parametrize(
    ("pattern", "names", "operators", "expected"),
    [
        ("conv1", "conv1", "Conv", True),
        ("conv1", "conv12", "Conv", False),
        ("conv*", "conv12", "Conv", True),
        ("*", "x", "Conv", True),
        ("CONV1", "conv1", "Conv", False),
        ("conv1.weight", "a conv1.weight b", "Conv", True),  # any of its names
        ("op:Conv", "x", "Conv", True),
        ("op:Conv", "x", "ConvTranspose", False),
        ("op:Conv*", "x", "ConvTranspose", True),
        ("op:MatMul", "x", "Gemm MatMul", True),  # what it was in the file, and what it is now
        ("op:com.microsoft.*", "x", "Gelu com.microsoft.Gelu", True),
        ("re:v1", "conv1", "Conv", True),
        ("re:^v1", "conv1", "Conv", False),
        ("re:^v1", "conv1 v1", "Conv", True),
        ("re:Conv", "x", "Conv", False),  # on names, not on operators
        ("Conv", "x", "Conv", False),
        # a glob reads brackets as one of several letters
        ("a[0]", "a[0]", "Conv", True),
        ("a[0]", "a0", "Conv", True),
        ("a[0]/*", "a[0]/b", "Conv", False),
        ("a[[]0]/*", "a[0]/b", "Conv", True),
        ("a[!b]", "a[!b]", "Conv", True),
    ],
)
def test_patterns(pattern: str, names: str, operators: str, expected: bool) -> None:
    assert matches(pattern, node(names, operators)) is expected


def test_a_broken_expression_is_a_usage_error() -> None:
    for ask in (check_pattern, lambda pattern: matches(pattern, node("a"))):
        with pytest.raises(UsageError, match="regular expression"):
            ask("re:(")


NODES = [
    node("stem conv_stem_out conv_stem.weight"),
    node("head head_out fc.weight", "Gemm MatMul"),
    node("softmax_7 probabilities", "Softmax"),
]


@pytest.mark.parametrize(
    ("pattern", "closest"),
    [
        ("stm", "'stem'"),
        ("conv_stem.weights", "'conv_stem.weight'"),
        ("probabilties", "'probabilities'"),
        ("op:Gem", "'op:Gemm'"),
        ("op:softmax", "'op:Softmax'"),
        ("Softmax", "'op:Softmax'"),  # an operator without its prefix
        ("softmax", "'op:Softmax'"),
        ("re:^head_outt$", "'head_out'"),
        ("zzz*", "'conv_stem.weight', 'conv_stem_out', 'fc.weight'"),  # nothing is close
    ],
)
def test_a_pattern_that_means_nothing_is_answered_with_the_closest(
    pattern: str, closest: str
) -> None:
    said = unmatched(pattern, NODES, 3)
    assert said.exit_code == 2
    assert said.what == f"pattern {pattern!r} matches no node"
    assert "none of the 3 nodes has" in said.why
    assert closest in said.fix
