"""A plan with one tensor left, carried out by the real rewrite: what the gates are held against."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qtool import workflow
from qtool.data import Dataset, open_dataset
from qtool.passes import rewritten
from qtool.plan.plan import Plan, WeightPlan
from qtool.recipe import Recipe
from qtool.sensitivity.gates import Key
from qtool.target import Target
from qtool.workflow import Job
from tests.cases import KERNELS
from tests.models import Array


def made(
    path: Path, recipe: Recipe, samples: Array, target: Target = KERNELS
) -> tuple[Job, Plan, Dataset]:
    """The model at `path` on its way, and what is decided for it on the samples of its input."""
    job = workflow.open_job(path, recipe.checked(), target, threads=1)
    np.save(path.with_suffix(".npy"), samples)
    data = open_dataset(path.with_suffix(".npy"), job.signature)
    found = workflow.measure(job, data, batch_size=8) if job.sites.sources else None
    return job, workflow.build(job, found).plan, data


def alone(job: Job, plan: Plan, what: str | Key) -> ir.Model:
    """The model with one source of activations, or one weight, quantized and nothing else."""
    sources: Collection[str] = [what] if isinstance(what, str) else []
    keys = [] if isinstance(what, str) else [what]
    tensors, sites = plan.activations.items(), job.sites.activations
    left = replace(
        plan,
        activations={n: t for n, t in tensors if n in sites and sites[n].source in sources},
        weights={key: _plain(each) for key, each in plan.weights.items() if key in keys},
        operands={key: each for key, each in plan.operands.items() if key in keys},
        biases={},
        guarded={},
    )
    return rewritten(job.model, left)


def _plain(weight: WeightPlan) -> WeightPlan:
    """Beside float activations, what is meant for an integer kernel is no more than floats: as
    DequantizeLinear it would get a kernel that rounds the activations too."""
    return replace(weight, encoding="cast-mul") if weight.form == "static" else weight
