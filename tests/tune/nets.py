"""A model on its way to be learned, and its net beside the file that its plan gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from qtool import workflow
from qtool.data import open_dataset
from qtool.data.dataset import Dataset
from qtool.recipe import Recipe
from qtool.refine.samples import drawn
from qtool.refine.state import State
from qtool.refine.taps import Taps
from qtool.target import load_target
from qtool.tune.carry import carried, exact, held, unrounded
from qtool.tune.lessons import Lesson, Lessons
from qtool.tune.net import Net
from qtool.tune.operators import run
from qtool.workflow import Job

TARGET = load_target("cpu")
WITHIN = 2e-5  # of the largest value: what sums in another order differ by


def started(
    path: Path, rows: Path, recipe: Recipe, samples: int = 24
) -> tuple[Job, State, Dataset]:
    """The job, its first state, and all its data."""
    job = workflow.open_job(path, recipe, TARGET, threads=1)
    data = open_dataset(rows, job.signature)
    few = data.choose(samples, 0)
    calibration = workflow.measure(job, few) if job.sites.sources else None
    return job, workflow.start(job, calibration, drawn(few)), data


def net_of(job: Job, state: State, *, floats: bool = False) -> Net:
    """The net of a state; with `floats` that of its activations alone."""
    return Net(state.model, state.plan, held(job.model, job.sites, job.target), exact=floats)


def written(job: Job, state: State, net: Net, *, floats: bool = False) -> ir.Model:
    """The model that what was learned gives."""
    now = exact(unrounded(state, net)) if floats else carried(state, net, job.target)
    return now.quantized()


def lessons_of(job: Job, state: State, data: Dataset, net: Net, *more: str) -> Lessons:
    """With all that the net is given and ends in."""
    names = dict.fromkeys([*net.part.given, *net.part.ends, *net.layers, *more])
    unit = job.signature.without(data.states).batch
    return Lessons(state.model, data, list(names), unit=unit)


def assert_the_net_is_the_file(
    job: Job, state: State, data: Dataset, net: Net, *, floats: bool = False, within: float = WITHIN
) -> None:
    """What each node of the net makes of the file's values is what it makes in the file, run as it
    is written; so a value that lies between two codes is no matter behind it."""
    file = written(job, state, net, floats=floats)
    last = {name for name in net.part.ends if _all_read_codes(state, name)}
    here = {value.name for node in file.graph for value in node.outputs if value.name}
    names = [v.name or "" for node in net.part.nodes for v in node.outputs if v.name in here]
    fed = [value.name or "" for value in job.model.graph.inputs]
    lesson = _first(lessons_of(job, state, data, net, *fed))
    feeds = {name: np.asarray(lesson.values[name].numpy()) for name in fed}
    types = {value.name: value.dtype for value in job.model.graph.inputs}
    feeds = {name: x.astype(_numpy(types[name])) for name, x in feeds.items()}
    expected = Taps(file, names, threads=1).run(feeds)
    compared = list[str]()

    def followed(node: ir.Node, given: list[Any]) -> tuple[Tensor, ...]:
        found = list(run(node, given))
        for place, value in enumerate(node.outputs[: len(found)]):
            if value.name in expected and value.name not in last:
                wanted = expected[value.name]
                _assert_close(found[place].numpy(), wanted, within, f"{node.name}: {value}")
                compared.append(value.name)
                found[place] = torch.from_numpy(np.array(wanted))
        return tuple(found)

    with torch.no_grad(), mock.patch("qtool.tune.net.run", followed):
        results = net(lesson.values)
    for name in last & expected.keys():
        _assert_close(results[name].numpy(), expected[name], within, name)
        compared.append(name)
    assert set(net.part.ends) <= set(compared)


def _all_read_codes(state: State, name: str) -> bool:
    """Whether the file gives a value of this name on the grid alone."""
    plan = state.plan.activations.get(name)
    outputs = {value.name for value in state.model.graph.outputs}
    return plan is not None and plan.readers is None and name in outputs


def _assert_close(found: Any, wanted: Any, within: float, what: str) -> None:
    assert found.shape == wanted.shape, what
    finite = wanted[np.isfinite(wanted)]
    largest = float(np.abs(finite[np.abs(finite) < 1e30]).max(initial=1e-6))  # but for masks
    np.testing.assert_allclose(found, wanted, rtol=within, atol=within * largest, err_msg=what)


def _first(lessons: Lessons) -> Lesson:
    return next(iter(lessons.batches(2)))


def _numpy(dtype: ir.DataType | None) -> Any:
    assert dtype is not None
    return dtype.numpy()
