"""Which columns of a table feed which inputs of a model, and which one holds the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qtool.data.cells import quoted
from qtool.data.column import Request
from qtool.data.files import listed, printable
from qtool.data.label_column import find_label
from qtool.data.rows import Table
from qtool.data.text import no_vocabulary
from qtool.errors import DataError, did_you_mean
from qtool.signature import TensorSpec


@dataclass(frozen=True)
class Feed:
    """One input: its columns, and the input whose text it is made of, where it is made of text."""

    spec: TensorSpec
    columns: tuple[str, ...]
    text: TensorSpec | None = None
    kind: str = "text"  # or what is made of a text: mask, zeros


@dataclass(frozen=True)
class Chosen:
    """A feed for each input, and the column of the labels."""

    feeds: tuple[Feed, ...]
    label: str | None


def choose_columns(request: Request, table: Table) -> Chosen:
    """From the declaration and the names of the columns; DataError where these do not say it.

    1. `columns` names them, in this order; else `from` names one
    2. the column that is called like the input
    3. one input that is left: all columns that are not the label and feed no other input
    """
    named = {spec: _named(request, spec, table.columns) for spec in request.inputs}
    fed = frozenset(name for names in named.values() for name in names or ())
    label = find_label(request, table.columns, fed)
    rest = tuple(name for name in table.columns if name != label and name not in fed)
    texts = [spec for spec in request.inputs if _is_text(request, spec)]
    left = [spec for spec, names in named.items() if names is None]
    # One column for one of several inputs is its name misspelt as likely as not.
    if len(left) == 1 and rest and (len(request.inputs) == 1 or len(rest) > 1 or left == texts):
        named[left[0]] = rest
    feeds = []
    for spec, names in named.items():
        for key in ("scale", "mean", "std"):
            if spec.dtype == "str" and getattr(request.declared(spec), key) is not None:
                what = f'"{key}" under [data.inputs.{spec.name}] means nothing for strings'
                raise DataError(what, f"the model takes {spec}", "take it away")
        if names is None:
            raise _missing(request, spec, request.source(spec), rest or table.columns)
        if names:
            feeds.append(Feed(spec, names, spec if spec in texts else None))
            _check_width(request, feeds[-1], table, label)
        else:
            text = _only(request, spec, texts)
            feeds.append(Feed(spec, named[text] or (), text, request.source(spec)))
    return Chosen(tuple(feeds), label)


def _named(request: Request, spec: TensorSpec, columns: Sequence[str]) -> tuple[str, ...] | None:
    """What feeds the input by name: none for a mask or zeros; None where nothing says it."""
    declared, chosen = request.declared(spec), request.chosen(spec)
    if declared.columns:
        for name in declared.columns:
            if name not in columns:
                raise _missing(request, spec, name, columns)
        return tuple(declared.columns)
    if request.source(spec) in columns:
        return (request.source(spec),)
    if chosen in ("mask", "zeros"):
        return ()
    if chosen and chosen != "text":
        raise _missing(request, spec, chosen, columns)
    if chosen and spec.dtype != "str" and not _is_text(request, spec):
        raise no_vocabulary(spec.name)
    return None


def _is_text(request: Request, spec: TensorSpec) -> bool:
    return bool(request.declared(spec).vocabulary or request.declared(spec).tokenizer)


def _only(request: Request, spec: TensorSpec, texts: Sequence[TensorSpec]) -> TensorSpec:
    """The one text that a mask or zeros are made of."""
    if len(texts) == 1:
        return texts[0]
    kind = request.source(spec)
    raise DataError(
        f'nothing says which text the {kind} of input "{printable(spec.name)}" are made of',
        f"{len(texts)} inputs declare a vocabulary or tokenizer, and no column is called {kind}",
        f"declare one of them, or name a column with  from  under [data.inputs.{spec.name}]",
    )


def _check_width(request: Request, feed: Feed, table: Table, label: str | None) -> None:
    """Refuses columns that are more or fewer than the values of a sample."""
    spec, names = feed.spec, feed.columns
    place = f"under [data.inputs.{spec.name}] in qtool.toml"
    few = f"{listed(names)}" + (f" (labels: {quoted(label)})" if label else "")
    if feed.text:
        if len(names) > 1:
            what = f'nothing says which column is the text of input "{spec.name}"'
            why, fix = f"the columns are {few}", f'add  from = "{printable(names[0])}"  {place}'
            raise DataError(what, why, fix)
        return
    sizes = request.declared(spec).shape or (spec.shape[1:] if spec.shape is not None else None)
    numbers = [size for size in sizes or () if isinstance(size, int)]
    known = sizes is not None and len(numbers) == len(sizes)
    if not known or math.prod(numbers) == len(names) or set(names) & table.nested:
        return
    wanted = math.prod(numbers)
    fix = f'choose {wanted} of them:  columns = ["{printable(names[0])}", …]  {place}'
    if len(names) == wanted + 1 and not label and not request.declared(spec).columns:
        fix = f'add  label = "{printable(names[-1])}"  under [data], or {fix}'
    elif len(names) < wanted:
        # Where the declaration chose, it may choose more; else the file has no more to give.
        chosen = request.declared(spec).columns or request.chosen(spec)
        more = f'name more of them:  columns = ["{printable(names[0])}", …]  {place}'
        fix = more if chosen else f"give data with a column for each of the {wanted} values"
    columns = "column" if len(names) == 1 else "columns"
    raise DataError(
        f'the columns of {request.where} do not fit input "{printable(spec.name)}"',
        f"the model's {spec} takes {wanted} values a sample, and there are {len(names)} {columns}: "
        f"{few}",
        fix,
    )


def _missing(request: Request, spec: TensorSpec, name: str, columns: Sequence[str]) -> DataError:
    return DataError(
        f'{request.where} has no column {quoted(name)} for input "{printable(spec.name)}"',
        f"the columns are {listed(columns)}",
        did_you_mean(name, columns)
        or f'add  from = "{printable(columns[0])}"  or  columns = ["{printable(columns[0])}", …]  '
        f"under [data.inputs.{spec.name}] in qtool.toml",
    )
