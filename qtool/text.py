"""Text that steers nothing: what a file, a model or a node is called is somebody else's choice."""

from __future__ import annotations


def visible(text: str, keep: str = "") -> str:
    r"""The text with what is not printable, but for `keep`, as `\x1b` and the like."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )
