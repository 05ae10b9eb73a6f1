"""What was learned, back in the model and its plan: the rewrite writes them as all others."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from qtool.plan.kernel_steps import steps_of
from qtool.plan.plan import Rounded
from qtool.plan.sites import Sites
from qtool.plan.weights import in_half
from qtool.refine.state import State
from qtool.target import Target
from qtool.tune.net import Held, Net


def held(model: ir.Model, sites: Sites, target: Target) -> Held:
    """Whose scales are not learned, or not freely."""
    fixed = set(steps_of(model.graph, target))
    for name, site in sites.activations.items():
        if site.scheme.power_of_two or site.scheme.range is not None:
            fixed.add(name)
    clipped = {node.outputs[0].name or "" for node in model.graph if node.op_type == "Clip"}
    return Held(frozenset(fixed), frozenset(clipped))


def carried(state: State, net: Net, target: Target) -> State:
    """The state with constants, codes, scales and levels as they were learned."""
    exact = unrounded(state, net)
    constants, rounded = net.learned_constants(), dict(state.rounded)
    for key, weight in state.plan.weights.items():
        if weight.tensor not in constants:
            continue
        params = net.learned(key)
        if weight.form == "stored" and target.scales == "float16":
            params = in_half(params)
        codes = net.codes(key, constants[weight.tensor])
        rounded[key] = Rounded("tune", codes, params)
    plan = state.decide(exact.model, rounded=rounded, known=exact.plan)
    return replace(exact, plan=plan, rounded=rounded)


def unrounded(state: State, net: Net) -> State:
    """The state with constants and scales of activations as they were learned; weights and biases
    decided anew, for the values that they now have."""
    model = state.model.clone()
    for name, values in net.learned_constants().items():
        value = model.graph.initializers[name]
        assert value.const_value is not None
        dtype = value.const_value.dtype.numpy()
        value.const_value = ir.tensor(values.astype(dtype), name=name)
    activations = {
        name: replace(tensor, params=net.learned(name))
        for name, tensor in state.plan.activations.items()
    }
    known = replace(state.plan, activations=activations)
    plan = state.decide(model, rounded={}, known=known)
    return replace(state, model=model, plan=plan, rounded={})


def exact(state: State) -> State:
    """The same with weights and biases left in float: what activations alone cost."""
    plan = replace(state.plan, weights={}, biases={}, operands={}, tied={})
    return replace(state, plan=plan)
