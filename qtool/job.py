"""What passes from step to step of the workflow: the job, its result, and what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from qtool.external import Mark
from qtool.plan.plan import Plan
from qtool.plan.sites import Sites
from qtool.recipe import Recipe
from qtool.refine import Done
from qtool.runtime import Session
from qtool.signature import Signature
from qtool.target import Target


@dataclass(frozen=True)
class Job:
    """A model on its way: as it came, as it is transformed, and where it will be quantized; and the
    files that it is read from, as they were."""

    path: Path
    recipe: Recipe
    target: Target
    original: Session
    model: ir.Model
    sites: Sites
    notes: tuple[str, ...] = ()
    threads: int = 0
    dequantized: ir.Model | None = None
    files: Mapping[Path, Mark] = field(default_factory=dict)

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, which no step changes."""
        return self.original.signature


@dataclass(frozen=True)
class Quantized:
    """The result: the bytes of the model, the plan that they carry out, and what refined it."""

    data: bytes
    plan: Plan
    refined: tuple[Done, ...] = ()


@dataclass(frozen=True)
class Written:
    """What `write` did: bytes before and after, and whether the new model was run."""

    before: int
    after: int
    run: bool
