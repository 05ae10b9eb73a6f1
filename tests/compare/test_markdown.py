"""Markdown of a comparison, read the way a page reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from qtool.compare.result import Size
from qtool.report.markdown import LIMIT, code, markdown, prose
from qtool.report.plain import shortened
from qtool.text import visible
from tests.compare.runs import UNKIND, layer, output, renamed, results, run

GATES = ["top1.drop <= 0.5pp", "size.ratio <= 0.3", "sqnr >= 35dB @warn"]
# Everything that these make of ours is known; nothing else may come out of a name.
OURS = {
    "heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "html_block",
    "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "table_open",
    "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close",
    "th_open", "th_close", "td_open", "td_close",
}  # fmt: skip
MARK = re.compile(r"<!-- qtool compare (?:(?!--|>)[ -~])* -->")
BLOCK = re.compile(rf"{MARK.pattern}|</?details>|<details>\n<summary>\w+: [\d,]+</summary>")


@dataclass
class Page:
    """What a reader sees: text outside of code, names in code, rows of cells, folded titles."""

    text: str = ""
    codes: list[str] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)
    styles: list[list[str]] = field(default_factory=list)
    heading: str = ""


def read(source: str) -> Page:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)
    page = Page()
    assert {token.type for token in tokens} <= OURS
    for i, token in enumerate(tokens):
        if token.type == "html_block":
            assert BLOCK.fullmatch(token.content.strip()), token.content
        if token.type == "tr_open":
            page.cells.append([])
            page.styles.append([])
        if token.type == "inline":
            shown = _inline(token, page)
            opened = tokens[i - 1]
            if opened.type in ("td_open", "th_open"):
                page.cells[-1].append(shown)
                page.styles[-1].append(str(opened.attrGet("style")))
            if opened.type == "heading_open":
                page.heading += shown
    lines = source.split("\n")
    assert lines.count("<details>") == lines.count("</details>")
    return page


def _inline(token: Token, page: Page) -> str:
    shown, inside = "", False
    for child in token.children or []:
        if child.type == "html_inline":
            assert child.content == ("</code>" if inside else "<code>")
            inside = not inside
            if inside:
                page.codes.append("")
            continue
        assert child.type in ("text", "text_special", "code_inline", "softbreak"), child
        shown += child.content
        if child.type == "code_inline":
            page.codes.append(child.content)
        elif inside:
            page.codes[-1] += child.content
        else:
            page.text += child.content
    assert not inside
    page.text += "\n"
    return shown


def on_the_page(name: str) -> str:
    return shortened(visible(name))


def test_a_failure_is_the_first_thing_to_see_with_value_and_limit() -> None:
    found = run()
    source = markdown(found, results(found, *GATES))
    page = read(source)
    assert page.heading == "❌ qtool compare: 1 of 3 gates failed, 1 warning"
    assert (
        "- ❌ failed: `top1.drop <= 0.5pp`: top1.drop is 1 pp "
        "(95 % interval -0.5 to 2 pp), the limit is 0.5 pp\n"
        "- ⚠️ warning: `sqnr >= 35dB @warn`: sqnr is 31.25 dB, the limit is 35 dB\n"
    ) in source
    assert [row[0] for row in page.cells].index("gates") == 0, "before the other tables"
    assert "`model.int8.onnx` against `model.onnx`, 256 samples" in source


@pytest.mark.parametrize(
    ("gates", "heading"),
    [
        ([], "qtool compare"),
        (GATES[1:2], "✅ qtool compare: 1 gate passed"),
        (GATES[1:], "⚠️ qtool compare: 1 of 2 gates passed, 1 warning"),
        (GATES[:1], "❌ qtool compare: 1 of 1 gate failed"),
    ],
)
def test_headlines(gates: list[str], heading: str) -> None:
    found = run()
    assert read(markdown(found, results(found, *gates))).heading == heading


def test_numbers_stand_to_the_right_and_names_to_the_left() -> None:
    found = run()
    page = read(markdown(found, results(found, *GATES)))
    rows = {row[0]: style for row, style in zip(page.cells, page.styles, strict=True)}
    assert set(rows["size"][1:4]) == {"text-align:right"}
    assert rows["size"][0] == "text-align:left"
    left, right = "text-align:left", "text-align:right"
    assert rows["top1.drop <= 0.5pp"] == [left, right, left]


@pytest.mark.parametrize("name", UNKIND)
def test_no_name_does_anything(name: str) -> None:
    _harmless(name)


@given(st.text(max_size=30) | st.text("|`\\<>&#@!-:*_[]()$%~{}.\n\r\t wgh12", max_size=30))
def test_no_text_does_anything(name: str) -> None:
    _harmless(name)


def _harmless(name: str) -> None:
    found = run(name, "second", candidate=f"{name}.onnx", notes=[f"output {name} is odd"])
    first, *others = results(found, *GATES)
    source = markdown(found, [renamed(first, name), *others])
    page = read(source)
    assert source == source.encode().decode(), "no lone surrogates"
    assert all(line.isprintable() for line in source.split("\n"))
    assert not re.search(r"[@#`]|www\.|://|\bGH-\d|[!%]\d", page.text)
    assert on_the_page(str(found.candidate)) in page.codes
    rows = {row[0]: row for row in page.cells}
    assert rows[on_the_page(name)][1] == "31.2 dB"
    assert rows[on_the_page(f"{name} <= 1")][-1] == "FAILED, not certain"
    note = next(line for line in page.text.split("\n") if line.startswith("note: output "))
    assert note.endswith(" is odd")
    harmless = read(markdown(run("first", "second"), results(run(), *GATES)))
    assert [len(row) for row in page.cells] == [len(row) for row in harmless.cells]


@given(st.text())
def test_code_shows_the_name_itself(name: str) -> None:
    page = read(f"before {code(name)} after")
    assert page.codes == ([on_the_page(name)] if name else [])
    assert [*page.text.split()] == ["before", "after"]


def test_prose_leaves_numbers_and_words_alone() -> None:
    plain = "-0.417 to 0.417 pp, 100 % of 1,024; it's (not) known: yes"
    assert prose(plain) == plain
    assert prose("p < 0.001") == "p &lt; 0.001"
    assert prose("see my_layer now") == "see `my_layer` now"


def test_a_marker_finds_the_comment_again() -> None:
    found = run()
    first, second = markdown(found), markdown(replace(found, size=Size(10, 9)), results(found))
    assert first.splitlines()[0] == second.splitlines()[0]
    assert first.startswith("<!-- qtool compare model.int8.onnx -->\n")
    assert markdown(run(candidate="b.onnx")).splitlines()[0] != first.splitlines()[0]


def test_what_does_not_fit_is_counted() -> None:
    names = [f"{i}{'|' * 150}" for i in range(400)]
    many = replace(
        run(*names, notes=[f"{name} is odd" for name in names]),
        layers=tuple(layer(name) for name in names),
    )
    gates = [renamed(results(many, GATES[0])[0], name) for name in names]
    source = markdown(many, gates)
    assert LIMIT * 0.9 < len(source.encode()) <= LIMIT
    page = read(source)
    said = re.findall(r"(\w[\w ]*) \(([\d,]+) of (\d+)\)", source.splitlines()[-1])
    assert said[0][0] == "failed gates"
    failed = source.count("- ❌ failed")
    assert failed + int(said[0][1]) == len(gates) == int(said[0][2])
    assert ("notes", "400", "400") in said
    assert page.heading.startswith("❌ qtool compare: 400 of 400 gates failed")


@pytest.mark.parametrize("limit", [700, 1000, 2500, 5000])
def test_a_small_limit_cuts_between_rows(limit: int) -> None:
    found = run(*(f"output_{i}" for i in range(50)))
    source = markdown(found, results(found, *GATES), limit=limit)
    assert len(source.encode()) <= limit
    shown = len([row for row in read(source).cells if row[0].startswith("output_")])
    left = re.search(r"outputs \((\d+) of 50\)", source)
    assert left is not None
    assert shown + int(left[1]) == 50


def test_long_tables_are_folded_with_their_number() -> None:
    source = markdown(run("a", "b"))
    assert "<details>\n<summary>outputs: 2</summary>\n\n|" in source
    assert source.count("<details>") == 1


def test_what_moved_since_the_baseline() -> None:
    before = run()
    now = replace(before, size=Size(4_000_000, 2_000_000), outputs=(output("logits", 40.0),))
    rows = {row[0]: row[1:] for row in read(markdown(now, baseline=before)).cells}
    assert rows["since the baseline"] == ["baseline", "now", "change"]
    assert rows["size.bytes"] == ["1.01 MB", "2.00 MB", "+990.0 kB"]
    assert rows["sqnr"] == ["31.25 dB", "40.00 dB", "+8.75 dB"]
    assert "since the baseline" not in markdown(now)


def test_equal_runs_give_equal_bytes() -> None:
    assert markdown(run("a"), results(run("a"), *GATES)) == markdown(
        run("a"), results(run("a"), *GATES)
    )


@pytest.mark.parametrize("name", ["node_1", *UNKIND])
def test_what_is_to_blame_stands_under_its_gate(name: str) -> None:
    found = run()
    command = f"qtool quantize m.onnx {'--exclude node ' * 40}--exclude {name} -o out.onnx -f"
    why = (f"the largest errors of their own: {name} (3.1 dB)", f"try: {command}")
    (result,) = results(found, "top1.drop <= 0.5pp")
    page = read(markdown(found, [replace(result, why=why)]))
    assert shortened(visible(command), 2_000) in page.codes
    assert "the largest errors of their own:" in page.text
    assert "(3.1 dB)" in page.text
