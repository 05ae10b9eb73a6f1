"""What a refinement starts from and ends with: a float model and the plan for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import onnx_ir as ir

from qtool.numeric.affine import Codes, QParams
from qtool.passes import rewritten
from qtool.plan.plan import Plan, Rounded
from qtool.refine.samples import Samples

MEMORY = 1_000_000_000  # bytes: enough for a layer that reads 5,590 values


class Decide(Protocol):
    """Decides again, with the same sites and ranges."""

    def __call__(
        self, model: ir.Model, *, rounded: Mapping[tuple[str, int], Rounded], known: Plan
    ) -> Plan: ...


@dataclass(frozen=True)
class State:
    """A model, prepared and transformed, and what was decided for it.

    Nothing is changed in place: a step clones the model before it edits it. `memory`, in bytes, is
    for the moments of layers; of those that are `left`, nodes by name, they would take more. What
    codes are chosen to follow is the model, or another with the same nodes, the `reference`.
    """

    model: ir.Model
    plan: Plan
    samples: Samples
    threads: int
    decide: Decide = field(repr=False)
    rounded: Mapping[tuple[str, int], Rounded] = field(default_factory=dict, repr=False)
    memory: int = MEMORY
    left: tuple[str, ...] = ()
    reference: ir.Model | None = field(default=None, repr=False)

    @property
    def followed(self) -> ir.Model:
        """The model that tells what layers should read and give."""
        return self.reference or self.model

    def quantized(self) -> ir.Model:
        """The model with its plan carried out: float tensors and nodes keep their names."""
        return rewritten(self.model, self.plan)

    def leaving(self, nodes: Iterable[str]) -> State:
        """The same with these nodes told to be left, besides those that are."""
        left = tuple(dict.fromkeys((*self.left, *nodes)))
        return self if left == self.left else replace(self, left=left)

    def with_model(self, model: ir.Model) -> State:
        """The same with other weights or biases, decided again; codes that were chosen stay."""
        plan = self.decide(model, rounded=self.rounded, known=self.plan)
        return replace(self, model=model, plan=plan)

    def with_codes(
        self,
        codes: Mapping[tuple[str, int], Codes],
        by: str,
        params: Mapping[tuple[str, int], QParams] | None = None,
    ) -> State:
        """The same with these codes, (node name, input position) -> codes of the weight's shape,
        and with other parameters for them where they are given. `by` names the algorithm."""
        chosen = {
            key: Rounded(by, each, (params or {}).get(key, self.plan.weights[key].params))
            for key, each in codes.items()
        }
        rounded = {**self.rounded, **chosen}
        plan = self.decide(self.model, rounded=rounded, known=self.plan)
        return replace(self, rounded=rounded, plan=plan)
