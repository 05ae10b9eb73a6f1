"""Patterns on nodes: a glob or a regular expression on names, or `op:` and a glob on operators.

    encoder/*        glob; what equals a name as it stands means that name, brackets and all
    op:Soft*         glob on operators, `op:com.microsoft.Gelu` with the domain
    re:^head\\.\\d+   regular expression, found anywhere in a name

A node is meant by its own name, by that of a value it makes, or by that of a constant it reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qtool.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Meant:
    """All names by which a pattern may mean a node, and its operator, with its domain and without.

    Both are those in the file and those in the prepared model.
    """

    names: frozenset[str]
    operators: frozenset[str]

    def __or__(self, other: Meant) -> Meant:
        return Meant(self.names | other.names, self.operators | other.operators)


def check_pattern(pattern: str) -> None:
    """UsageError: the pattern is no regular expression where it says that it is one."""
    if pattern.startswith("re:"):
        try:
            re.compile(pattern[3:])
        except re.error as error:
            raise UsageError(f"pattern {pattern!r} is no regular expression", str(error)) from error


def matches(pattern: str, node: Meant) -> bool:
    """Whether a pattern means the node."""
    if pattern.startswith("op:"):
        return any(fnmatchcase(operator, pattern[3:]) for operator in node.operators)
    if pattern.startswith("re:"):
        check_pattern(pattern)
        found = re.compile(pattern[3:])
        return any(found.search(name) for name in node.names)
    # A name may hold what a glob reads otherwise: `a[0]`.
    return pattern in node.names or any(fnmatchcase(name, pattern) for name in node.names)


def unmatched(pattern: str, nodes: Collection[Meant], count: int) -> UsageError:
    """What to say of a pattern that means none of the nodes: `count` of them are in the file."""
    operators = sorted({operator for node in nodes for operator in node.operators})
    plain, names = pattern, sorted({name for node in nodes for name in node.names if name})
    what = "a name, an output or a constant called so"
    if pattern.startswith("op:"):
        what, names = "such an operator", [f"op:{each}" for each in operators]
    elif pattern.startswith("re:"):
        plain = pattern[3:]
    elif same := [each for each in operators if fnmatchcase(each.lower(), pattern.lower())]:
        plain, names = f"op:{same[0]}", [f"op:{each}" for each in same]
    return UsageError(
        f"pattern {pattern!r} matches no node",
        f"none of the {count} nodes has {what};  qtool quantize MODEL --dry-run  lists them",
        did_you_mean(plain, names) or f"there are such as {', '.join(map(repr, names[:3]))}",
    )
