"""From a specification of the benchmarks to the arrays that a peer tool is given."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from peer_problem import Numbers, Problem

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.specification import Specification

PROBES = 16
_TOLERANCE = 1e-9


def problem_of(spec: Specification, seed: int = 0) -> Problem:
    """Weights, sets, timing and sampled derivatives of a specification.

    Args:
        spec: Continuous, without disturbances, parameters, delays and lost updates; its network reads the states as they are and its
            law is affine in the outputs of the network.
        seed: Of the states and inputs at which derivatives are sampled.

    Raises:
        InputError: The specification has something that the peers are not given.
    """
    more = {
        "a discrete plant": spec.discrete,
        "disturbances": len(spec.disturbances) > 0,
        "parameters": len(spec.parameters) > 0,
        "a delay": max(spec.delay_s) > 0.0,
        "lost updates": spec.missed > 0,
        "no network": spec.network is None,
    }
    for what, present in more.items():
        if present:
            raise InputError(f"{spec.name} has {what}, which the peers are not given; choose another case")
    network = spec.network
    if network is None or any(layer.residual is not None for layer in network.layers):
        raise InputError(f"{spec.name}: its network has skip connections, which the peers are not given; choose another case")
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1.0, 1.0, (PROBES, len(spec.states)))
    u = generator.uniform(-1.0, 1.0, (PROBES, len(spec.inputs)))
    scale, offset = _affine_law(spec, x, generator)
    none = jnp.zeros(0)
    with jax.enable_x64(True):
        dx = np.stack([np.asarray(spec.dynamics(jnp.asarray(a), jnp.asarray(b), none, none)) for a, b in zip(x, u, strict=True)])
    layers = network.layers
    box = np.asarray(spec.initial_box, np.float64)
    return Problem(
        name=spec.name,
        weights=(*(np.asarray(layer.weight, np.float64) for layer in layers), scale),
        biases=(*(np.asarray(layer.bias, np.float64) for layer in layers), offset),
        activations=(*(layer.activation for layer in layers), "linear"),
        lo=box[:, 0],
        hi=box[:, 1],
        period_s=spec.period_s,
        steps=spec.steps,
        probe_x=x,
        probe_u=u,
        probe_dx=dx,
    )


def _affine_law(spec: Specification, x: Numbers, generator: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Scale, shape (m, outputs), and offset, shape (m,), of the law; both it and the network's input are tried at random points."""
    outputs = 0 if spec.network is None else spec.network.outputs
    with jax.enable_x64(True):

        def law(y: Numbers, at: Numbers) -> Numbers:
            return np.asarray(spec.law(jnp.asarray(y), jnp.asarray(at)), np.float64)

        offset = law(np.zeros(outputs), x[0])
        scale = np.stack([law(unit, x[0]) - offset for unit in np.eye(outputs)], axis=1)
        for at in x:
            y = generator.uniform(-1.0, 1.0, outputs)
            if np.abs(law(y, at) - scale @ y - offset).max() > _TOLERANCE * (1.0 + np.abs(offset).max()):
                raise InputError(f"{spec.name}: its law is not affine in the outputs of the network; choose another case")
            if not np.array_equal(np.asarray(spec.network_input(jnp.asarray(at))), at):
                raise InputError(f"{spec.name}: its network reads something else than the states; choose another case")
    return scale, offset
