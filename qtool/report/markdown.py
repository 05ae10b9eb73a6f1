"""A comparison as GitHub-flavoured Markdown, for the comment of a pull request.

Names must do nothing on the page. They stand in code, where neither markup nor @mentions nor
#references count: an escaped @ would still be a mention, since GitHub looks for these in the
finished page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from qtool.compare.gates import GateResult
from qtool.compare.result import Comparison
from qtool.report.plain import SHOWN, TRY, sentence, shortened
from qtool.report.table import Table, tables
from qtool.text import visible

LIMIT = 60_000
"""Bytes, so characters too; a comment holds 65,536 characters on GitHub and a million on GitLab."""

COMMAND = 2_000
"""Characters of a command to try, which is of no use when it is cut."""

_FOLDED = ("outputs", "layers")
_MARKED = 200  # characters of a name in the mark
_RESERVE = 400  # bytes for the line that says what was left out


@dataclass(frozen=True)
class Section:
    """Lines around rows, of which the last may be left out; `title` is for saying so."""

    title: str
    before: tuple[str, ...]
    rows: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def markdown(
    comparison: Comparison,
    results: Sequence[GateResult] = (),
    baseline: Comparison | None = None,
    limit: int = LIMIT,
) -> str:
    """The verdict, then every table; at most `limit` bytes of UTF-8, but always the verdict.

    The first line is a comment by which a bot finds its earlier one on the same candidate.
    """
    first, *rest = _sections(comparison, results, baseline)
    text = "\n".join(first.before) + "\n"
    left_out = []
    for section in rest:
        added, missing = _fitting(section, limit - _RESERVE - len(text.encode()))
        text += added
        if missing:
            left_out.append(f"{section.title} ({missing:,} of {len(section.rows):,})")
    if left_out:
        text += f"\nLeft out to stay within {limit:,} bytes: {', '.join(left_out)}.\n"
    return text


def code(text: str, limit: int = SHOWN) -> str:
    """A name as code: a span, or where that cannot hold it, HTML with each sign a reference."""
    text = shortened(visible(text), limit)
    if _SPAN.fullmatch(text):
        return f"`{text}`"
    inside = "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text)
    return f"<code>{inside}</code>" if inside else ""


def prose(text: str) -> str:
    """A sentence of ours that may hold names: words that could be markup stand in code."""
    return " ".join(_COMPARES.get(word) or _word(word) for word in text.split(" "))


def _word(word: str) -> str:
    return word if len(word) <= SHOWN and _WORD.fullmatch(word) else code(word)


def _sections(
    comparison: Comparison, results: Sequence[GateResult], baseline: Comparison | None
) -> Iterator[Section]:
    yield Section("", tuple(_head(comparison, results)))
    unmet = sorted((r for r in results if not r.passed), key=lambda result: not result.failed)
    if unmet:
        yield Section("failed gates", ("",), tuple(_unmet(result) for result in unmet))
    found = tables(comparison, results, baseline)
    yield from map(_section, sorted(found, key=lambda table: table.title != "gates"))
    if comparison.notes:
        notes = tuple(f"- note: {prose(note)}" for note in comparison.notes)
        yield Section("notes", ("",), notes)


def _head(comparison: Comparison, results: Sequence[GateResult]) -> Iterator[str]:
    name = comparison.candidate.name.encode("utf-8", "surrogatepass")
    marked = quote(name, safe=" ")[:_MARKED].replace("--", "-%2D")
    yield f"<!-- qtool compare {marked} -->"
    yield f"### {_headline(results)}"
    yield ""
    samples = f", {comparison.samples:,} samples" if comparison.samples else ""
    pair = f"{code(str(comparison.candidate))} against {code(str(comparison.reference))}"
    yield pair + samples


def _headline(results: Sequence[GateResult]) -> str:
    failed = sum(result.failed for result in results)
    warned = sum(not result.passed for result in results) - failed
    warnings = f", {_count(warned, 'warning')}" if warned else ""
    if failed:
        return f"❌ qtool compare: {failed} of {_count(len(results), 'gate')} failed{warnings}"
    if warned:
        passed = f"{len(results) - warned} of {_count(len(results), 'gate')}"
        return f"⚠️ qtool compare: {passed} passed{warnings}"
    return (
        f"✅ qtool compare: {_count(len(results), 'gate')} passed" if results else "qtool compare"
    )


def _unmet(result: GateResult) -> str:
    verdict = "❌ failed" if result.failed else "⚠️ warning"
    lines = [f"- {verdict}: {code(result.gate.text)}: {prose(sentence(result))}"]
    for line in result.why:
        command = line.removeprefix(TRY)
        lines.append(
            f"  - {TRY}{code(command, COMMAND)}" if command != line else f"  - {prose(line)}"
        )
    return "\n".join(lines)


def _section(table: Table) -> Section:
    titles = (table.header[0] or table.title, *table.header[1:])
    columns = list(zip(titles, *table.rows, strict=True))
    named = [[prose(title), ":---", *map(code, cells)] for title, *cells in columns[: table.names]]
    others = [
        [prose(title), "---:" if any(map(_NUMBER.match, cells)) else ":---", *map(prose, cells)]
        for title, *cells in columns[table.names :]
        if any(cells)  # a page is narrow
    ]
    header, rule, *rows = map(_line, zip(*named, *others, strict=True))
    if table.title not in _FOLDED:
        return Section(table.title, ("", header, rule), tuple(rows))
    summary = f"<summary>{table.title}: {len(rows):,}</summary>"
    before = ("", "<details>", summary, "", header, rule)
    return Section(table.title, before, tuple(rows), ("", "</details>"))


def _fitting(section: Section, room: int) -> tuple[str, int]:
    """The section with as many rows as fit into `room` bytes, and how many do not."""
    room -= sum(len(line.encode()) + 1 for line in (*section.before, *section.after))
    rows = list[str]()
    for row in section.rows:
        room -= len(row.encode()) + 1
        if room < 0:
            break
        rows.append(row)
    missing = len(section.rows) - len(rows)
    if room < 0 and not rows:
        return "", missing
    return "\n".join((*section.before, *rows, *section.after)) + "\n", missing


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


_SPAN = re.compile(r"[^`|\\\s](?:[^`|\\]*[^`|\\\s])?")
# Letters and signs that mean nothing within a line; www., GH-7 and GitLab's %7 would become links.
_WORD = re.compile(
    r"(?!.*\b(?:www\.|gh-\d))(?:[^\W_]|[-.,;=/()'\"+–…−×±≤≥]|%(?![\w\"]))*:?", re.IGNORECASE
)
_COMPARES = {"<": "&lt;", "<=": "&lt;=", ">": "&gt;", ">=": "&gt;="}
_NUMBER = re.compile(r"[-+−]?\d")
