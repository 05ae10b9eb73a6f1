"""A run as one JSON object: what `--json` writes, and what `--baseline` and `qtool report` read.

docs/compare.md explains it, docs/run.schema.json describes it. `metrics` has every number that a
gate can name and that is finite; it, `intervals` and `passed` follow from the rest, and are not
read back. The rest is the comparison, field by field, and what the gates said.

Only finite numbers occur. Where none is right there is null, and `nulls` lists the place of the
null, a JSON pointer (RFC 6901), and the number that is meant: "nan", "inf" or "-inf". A null that
is not there means "none". (A list, since DVC takes each text in an object for a metric.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import FiniteFloat, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from qtool import __version__
from qtool.compare.gates import GateResult
from qtool.compare.metrics import metrics_of, values
from qtool.compare.result import Comparison
from qtool.errors import DataError
from qtool.numeric.bootstrap import Interval

SCHEMA = 1
LARGEST = 1 << 27
"""Bytes of a file that may be a run; one of 100,000 layers has a quarter of it."""


@dataclass(frozen=True)
class Run:
    """A run as it was saved: what was measured, the gates it was held against, and the baseline.

    `why` has, of gates that were not met, what was to blame when the models could be looked at.
    """

    comparison: Comparison
    gates: tuple[str, ...] = ()
    baseline: Comparison | None = None
    why: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Gate:
    gate: str
    metric: str
    value: float
    interval: Interval | None
    limit: float
    level: Literal["error", "warn"]
    passed: bool
    certain: bool | None
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _File(Comparison):
    """The whole object, as pydantic reads and describes it."""

    schema: Literal[1]
    qtool: str
    passed: bool
    metrics: Mapping[str, FiniteFloat]
    intervals: Mapping[str, tuple[float, float]]
    gates: tuple[_Gate, ...]
    baseline: Comparison | None = None
    nulls: tuple[tuple[str, Literal["nan", "inf", "-inf"]], ...] = ()


def as_dict(
    comparison: Comparison,
    results: Sequence[GateResult] = (),
    baseline: Comparison | None = None,
) -> dict[str, Any]:
    """The run as JSON values."""
    measured = values(comparison, metrics_of(comparison))
    found = {name: each for name, each in measured.items() if math.isfinite(each[0])}
    run = {
        "schema": SCHEMA,
        "qtool": __version__,
        "reference": comparison.reference,
        "candidate": comparison.candidate,
        "passed": not any(result.failed for result in results),
        "metrics": {name: value for name, (value, _) in found.items()},
        "intervals": {name: (at.low, at.high) for name, (_, at) in found.items() if at},
        **_facts(comparison),
        "gates": [_gate(result) for result in results],
        "baseline": None if baseline is None else _facts(baseline),
    }
    nulls: dict[str, str] = {}
    plain: dict[str, Any] = _plain(run, "", nulls)
    return plain | {"nulls": [list(each) for each in nulls.items()]}


def read(path: Path) -> Comparison:
    """The comparison that a file holds.

    Raises:
        DataError: as `read_run`.
    """
    return read_run(path).comparison


def read_run(path: Path) -> Run:
    """What `as_dict` made a file of, numbers that are not finite included.

    Raises:
        DataError: no such file, or it is not JSON, not a run, of another schema, or damaged.
    """
    run = _parsed(path)
    if not isinstance(run, dict) or not {"schema", "qtool"} <= set(run):
        raise DataError(f"{path} is JSON, but not a run of  qtool compare", fix=_AGAIN)
    if run["schema"] != SCHEMA:
        by = f", and was written by qtool {run['qtool']}"
        raise DataError(
            f"{path} is a run of another schema",
            f"it has schema {json.dumps(run['schema'])[:20]}{by[:40]}; this qtool reads {SCHEMA}",
            _AGAIN,
        )
    try:
        _put_back(run)
        # As text, since what is strict about Python's values knows no tuples in a list's place.
        found = _ADAPTER.validate_json(json.dumps(run), strict=True)
        _check(found)
        if found.baseline is not None:
            _check(found.baseline)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    own = {each.name: getattr(found, each.name) for each in fields(Comparison)}
    why = {each.gate: each.why for each in found.gates if each.why}
    return Run(Comparison(**own), tuple(each.gate for each in found.gates), found.baseline, why)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a run; it is kept in docs/run.schema.json."""
    made = _ADAPTER.json_schema(schema_generator=_Nullable)
    about = {
        "$schema": _Nullable.schema_dialect,
        "title": "A run of qtool compare",
        "description": "See docs/compare.md.",
    }
    return about | {key: each for key, each in made.items() if key not in about}


def finite(value: Any) -> Any:
    """JSON values, with null in place of each NaN and infinity."""
    return _plain(value, "", {})


class _Nullable(GenerateJsonSchema):
    """Every number that need not be finite may be null."""

    def float_schema(self, schema: Any) -> dict[str, Any]:
        made = super().float_schema(schema)
        return made if schema.get("allow_inf_nan") is False else {"anyOf": [made, {"type": "null"}]}


def _facts(comparison: Comparison) -> dict[str, Any]:
    found = asdict(comparison)
    found["size"]["ratio"] = comparison.size.ratio
    return found


def _gate(result: GateResult) -> dict[str, Any]:
    gate = result.gate
    return {
        "gate": gate.text,
        "metric": gate.metric,
        "value": result.value,
        "interval": None if result.interval is None else asdict(result.interval),
        "limit": gate.limit,
        "level": gate.level,
        "passed": result.passed,
        "certain": result.certain,
        "why": list(result.why),
    }


def _plain(value: Any, place: str, nulls: dict[str, str]) -> Any:
    """JSON values for all that is in a value; nulls go down with what they stand for."""
    if isinstance(value, Mapping):
        return {key: _plain(each, f"{place}/{_escaped(key)}", nulls) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{place}/{index}", nulls) for index, each in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        nulls[place] = str(float(value))
        return None
    if isinstance(value, (str, Path)):
        # A path may hold bytes that are no UTF-8, for which JSON has no words.
        return str(value).encode("utf-8", "backslashreplace").decode()
    return value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _parsed(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}", error.strerror or str(error), _AGAIN) from error
    if len(text) > LARGEST:
        raise DataError(f"{path} is not a run", f"it has more than {LARGEST} bytes", _AGAIN)
    try:
        return json.loads(
            text.decode(), parse_constant=_refuse, parse_float=_number, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:  # what is not UTF-8, too
        raise DataError(f"{path} is not JSON, or is cut short", str(error), _AGAIN) from error


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(f"{text[:20]}, which no float holds,")
    return value


def _integer(text: str) -> int:
    if len(text) > 18:  # bytes of memory or values of a tensor; a float of it is a number still
        raise ValueError(f"{text[:20]} is more than can be counted")
    return int(text)


def _put_back(run: Any) -> None:
    """The numbers that the nulls stand for, in their places. ValueError where there is no null."""
    nulls = run.get("nulls")
    for each in nulls if isinstance(nulls, list) else ():
        try:
            place, text = each
            *steps, last = [s.replace("~1", "/").replace("~0", "~") for s in place.split("/")[1:]]
            here = run
            for step in steps:
                here = here[int(step) if isinstance(here, list) else step]
            key = int(last) if isinstance(here, list) else last
            if here[key] is None:
                here[key] = _NUMBERS[text]
                continue
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            pass
        raise ValueError(f"nulls: {str(each)[:100]} does not fit the run")


def _check(comparison: Comparison) -> None:
    """What types do not say and readers rely upon. ValueError with what is wrong."""
    if min(comparison.size.reference, comparison.size.candidate) < 1:
        raise ValueError("size: no model is empty")
    for name, score in comparison.scores.items():
        if score.better not in ("high", "low") or score.unit not in ("share", "dB", ""):
            raise ValueError(f"scores.{name}: better {score.better!r}, unit {score.unit!r}")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged or was edited", why[:300], _AGAIN)


_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_ADAPTER = TypeAdapter(_File)
_AGAIN = "write one with  qtool compare REFERENCE CANDIDATE --data DIR --json FILE"
