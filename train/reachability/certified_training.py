"""Training of a controller whose closed loop keeps a narrow reachable tube: task loss plus the size of the tube, by gradients.

    loss = task + weight * mean over boxes of log(1 + V),    V = mean over steps of the sum over states of width / initial width

(arXiv:2605.25346, equations 8 to 10 and Algorithm 4). The tube is that of `closed_loop.prepare`, rounded outward, so what is trained
on is what is certified. The boxes grow linearly over the iterations, as a wide tube of a bad controller may not exist at all: an
iteration whose gradient is not finite is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError

from .closed_loop import Settings, Tube, prepare
from .network import Network
from .specification import Specification

Training = tuple[Network, optax.OptState, Array]
Task = Callable[[Network, Float[Array, "batch state"]], Float[Array, ""]]
MAX_SKIPPED = 50
"""Iterations in a row without a finite gradient after which training gives up and lets the numbers show it."""


@dataclass(frozen=True, slots=True)
class Course:
    """How to train.

    Attributes:
        iterations: steps of Adam; the step size falls to 0 along a cosine.
        rate: first step size.
        weight: of the tube in the loss; 0 trains for the task alone and computes no tube.
        boxes: tubes per iteration, about centres drawn from `region`.
        samples: states per iteration for the task, drawn from `region`.
        first, last: half widths of the boxes at the first and the last iteration, as shares of those of the initial box.
        region: centres and states lie within this many half widths of the initial box around its middle.
        clip: largest norm of a gradient.
        seed: of the random choices.
    """

    iterations: int = 400
    rate: float = 1e-2
    weight: float = 1e-2
    boxes: int = 4
    samples: int = 128
    first: float = 0.3
    last: float = 1.0
    region: float = 3.0
    clip: float = 1.0
    seed: int = 0


def volume(tube: Tube, half: Float[Array, "state"]) -> Float[Array, ""]:
    """V of the loss: sum over states of the width at the end of a step over the initial width, averaged over the steps.

    Args:
        tube: of one box.
        half: half widths of that box, > 0, shape (n,).
    """
    widths = (tube.end_hi - tube.end_lo) / (2.0 * half)
    return jnp.mean(jnp.sum(widths, axis=-1))


def train(
    spec: Specification, task: Task, course: Course, settings: Settings | None = None
) -> tuple[Network, list[tuple[float, float]]]:
    """Train the network of a closed loop, starting from its weights.

    Args:
        spec: the closed loop; every side of its initial box must have a width, and no parameter is unknown.
        task: (network, states (samples, n)) -> loss of the task, for example the distance to a teacher.
        course: how to train.
        settings: of the tube; by default affine Taylor models, the cheapest.

    Returns:
        the trained network, and per iteration (task, V); V is 0 where no tube was computed.

    Raises:
        InputError: the loop has no network or unknown parameters, or a side of the initial box is a point.
    """
    half = 0.5 * np.ptp(spec.initial_box, axis=1)
    if spec.network is None or spec.parameters or not np.all(half > 0):
        raise InputError(
            f"{spec.name}: certified training needs a network, no unknown parameters and an initial box of positive widths; got "
            f"network {spec.network is not None}, parameters {spec.parameters}, half widths {half.tolist()}"
        )
    with jax.enable_x64(True):
        tube = prepare(spec, settings or Settings(degree=1, window=1)).tube
        return _descend(spec, spec.network, task, course, tube, jnp.asarray(half))


def _descend(
    spec: Specification, network: Network, task: Task, course: Course, tube: Callable[..., Tube], half: Float[Array, "state"]
) -> tuple[Network, list[tuple[float, float]]]:
    middle, none = jnp.asarray(spec.initial_box.mean(axis=1)), jnp.zeros(0)
    optimiser = optax.apply_if_finite(
        optax.chain(optax.clip_by_global_norm(course.clip), optax.adam(optax.cosine_decay_schedule(course.rate, course.iterations))),
        MAX_SKIPPED,
    )

    def one(candidate: Network, centre: Float[Array, "state"], share: Float[Array, ""]) -> Float[Array, ""]:
        return volume(tube(candidate, centre, share * half, none, none), share * half)

    def loss(candidate: Network, states: Array, centres: Array, share: Array) -> tuple[Array, tuple[Array, Array]]:
        found = task(candidate, states)
        if course.weight == 0.0:
            return found, (found, jnp.zeros(()))
        sizes = jax.vmap(one, in_axes=(None, 0, None))(candidate, centres, share)
        return found + course.weight * jnp.mean(jnp.log1p(sizes)), (found, jnp.mean(sizes))

    @partial(jax.jit, donate_argnums=0)
    def step(carry: Training, share: Array) -> tuple[Training, tuple[Array, Array]]:
        candidate, state, key = carry
        key, *parts = jax.random.split(key, 3)
        states, centres = (
            middle + course.region * half * jax.random.uniform(k, (count, len(half)), jnp.float64, -1.0, 1.0)
            for k, count in zip(parts, (course.samples, course.boxes), strict=True)
        )
        gradient, seen = jax.grad(loss, has_aux=True)(candidate, states, centres, share)
        change, state = optimiser.update(gradient, state, candidate)
        return (optax.apply_updates(candidate, change), state, key), seen

    start = jax.tree.map(lambda v: jnp.array(v, jnp.float64), network)
    carry = (start, optimiser.init(start), jax.random.key(course.seed))
    history = []
    for share in np.linspace(course.first, course.last, course.iterations):
        carry, (found, size) = step(carry, jnp.asarray(share))
        history.append((float(found), float(size)))
    return jax.tree.map(np.asarray, carry[0]), history
