"""All that is told of a model's layers, and the JSON of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qtool import __version__
from qtool.apart import save_apart
from qtool.compare.layers import compare_layers
from qtool.compare.layers.study import Progress
from qtool.compare.result import LayerError
from qtool.data.dataset import Dataset
from qtool.errors import MachineError, ModelError
from qtool.runtime import VERSION
from qtool.search.making import ROOM, Candidate
from qtool.sensitivity.advice import Advice
from qtool.sensitivity.effects import Effects
from qtool.sensitivity.ranking import Layer, decibels
from qtool.sensitivity.turns import Order, first

LOOKED_AT = 32  # samples on which each layer's own error is told from what it inherited


@dataclass(frozen=True)
class Sensitivity:
    """The layers, worst first; what they follow from, and what to try.

    `samples` were run for the effects, `compared` for own and inherited errors; `fingerprint` is
    that of the data. `command` is the advice as words of a command line, empty without one.
    """

    layers: tuple[Layer, ...]
    effects: Effects
    advice: Advice | None
    command: tuple[str, ...]
    samples: int
    compared: int
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    @property
    def whole_db(self) -> float:
        """The SQNR of the outputs, all quantized."""
        return decibels(self.effects.whole)

    @property
    def foretold_db(self) -> float:
        """The same as the sum of the effects has it."""
        return decibels(self.effects.total)


def errors_of(
    candidate: Candidate,
    data: Dataset,
    order: Order,
    *,
    batch_size: int = 1,
    threads: int = 0,
    progress: Progress | None = None,
) -> tuple[tuple[LayerError, ...], int, str]:
    """Own and inherited errors, on how many samples, and why there are none.

    The candidate is held against the float model as it was transformed, whose channels are scaled
    alike, on the first samples of an order.

    Raises:
        DataError: a sample cannot be read or fed.
        MachineError: there is no room for the float model.
    """
    few, exact = first(data, batch_size, order, LOOKED_AT), candidate.path.with_name("float.onnx")
    try:
        save_apart(candidate.job.model, exact)
    except OSError as error:
        raise MachineError(f"cannot write {exact}, to be compared", str(error), ROOM) from error
    try:
        found = compare_layers(
            exact, candidate.path, few,
            batch_size=batch_size, threads=threads or 1, progress=progress,
        )  # fmt: skip
    except ModelError as error:
        return (), 0, f"own errors are not known: {error.what}: {error.why}"
    return found.errors, len(few), ""


def dumps(found: Sensitivity, model: Path, recipe: str, target: str) -> str:
    """One JSON object, ASCII, with a newline; the same data in any order gives the same bytes.

        schema        1
        qtool, onnxruntime      versions
        model, target, recipe   the file's name; the target's; the recipe as TOML
        data          the digest of what was fed
        samples, runs, compared samples, runs with a gate open, samples of own errors
        whole_db, foretold_db   SQNR of the outputs with all quantized, and from the sum of effects
        layers        worst first: node, operator, scheme, noise (over the outputs' power), share
                      (of the sum), alone_db, own_db, inherited_db, clipped, and the names of its
                      weights ([node, input]) and activations
        activations   noise by tensor: that of all with its scale
        weights       [node, input, noise]
        advice        null, or rules ([pattern, scheme]), foretold_db and the words of a command
        notes         sentences

    Numbers are finite: null is not known, or infinite, as dB are where nothing differs.
    """
    effects, advice = found.effects, found.advice
    layers = []
    for layer in found.layers:
        values = asdict(layer)
        values["operator"] = values.pop("op_type")
        layers.append({**values, "alone_db": layer.alone_db})
    run = {
        "schema": 1,
        "qtool": __version__,
        "onnxruntime": VERSION,
        "model": model.name,
        "target": target,
        "recipe": recipe,
        "data": found.fingerprint,
        "samples": found.samples,
        "runs": effects.runs,
        "compared": found.compared,
        "whole_db": found.whole_db,
        "foretold_db": found.foretold_db,
        "layers": layers,
        "activations": dict(effects.activations),
        "weights": [[*key, noise] for key, noise in effects.weights.items()],
        "advice": None
        if advice is None
        else {
            "rules": advice.rules,
            "foretold_db": decibels(advice.noise),
            "command": found.command,
        },
        "notes": found.notes,
    }
    return json.dumps(_finite(run), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON values with null for what is no finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value
