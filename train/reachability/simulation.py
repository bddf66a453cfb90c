"""Sample trajectories of a sampled closed loop: an explicit Runge-Kutta method of order 8 between the switching instants, in JAX.

For tests, falsification and pictures. No bound of the error is claimed; `reference` gives one.

What a specification leaves open is fixed here and in `reference` alike: the first input acts from time 0 on (no delay, never
lost), each further one after its own delay; in a discrete system any delay above 0 means the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError, ShapeError

from .network import Network
from .specification import Dynamics, Specification

ORDER = 8
TOLERANCE = 1e-11
MAX_SUBSTEPS = 1024
Numbers = npt.NDArray[np.float64]

_R = 21.0**0.5
# The 11-stage method of order 8 of Cooper and Verner (SIAM J. Numer. Anal. 9 (1972) 389), as in Hairer, Norsett, Wanner,
# Solving Ordinary Differential Equations I, section II.5; the equations are autonomous within a step, so no nodes are needed.
_STAGES: tuple[dict[int, float], ...] = (
    {},
    {0: 1 / 2},
    {0: 1 / 4, 1: 1 / 4},
    {0: 1 / 7, 1: (-7 - 3 * _R) / 98, 2: (21 + 5 * _R) / 49},
    {0: (11 + _R) / 84, 2: (18 + 4 * _R) / 63, 3: (21 - _R) / 252},
    {0: (5 + _R) / 48, 2: (9 + _R) / 36, 3: (-231 + 14 * _R) / 360, 4: (63 - 7 * _R) / 80},
    {0: (10 - _R) / 42, 2: (-432 + 92 * _R) / 315, 3: (633 - 145 * _R) / 90, 4: (-504 + 115 * _R) / 70, 5: (63 - 13 * _R) / 35},
    {0: 1 / 14, 4: (14 - 3 * _R) / 126, 5: (13 - 3 * _R) / 63, 6: 1 / 9},
    {0: 1 / 32, 4: (91 - 21 * _R) / 576, 5: 11 / 72, 6: (-385 - 75 * _R) / 1152, 7: (63 + 13 * _R) / 128},
    {0: 1 / 14, 4: 1 / 9, 5: (-733 - 147 * _R) / 2205, 6: (515 + 111 * _R) / 504, 7: (-51 - 11 * _R) / 56, 8: (132 + 28 * _R) / 245},
    {4: (-42 + 7 * _R) / 18, 5: (-18 + 28 * _R) / 45, 6: (-273 - 53 * _R) / 72, 7: (301 + 53 * _R) / 72, 8: (28 - 28 * _R) / 45,
     9: (49 - 7 * _R) / 18},
)  # fmt: skip
_TABLE = np.array([[row.get(j, 0.0) for j in range(len(_STAGES))] for row in _STAGES])
_WEIGHTS = np.array([9, 0, 0, 0, 0, 0, 0, 49, 64, 49, 9]) / 180


class Loop(NamedTuple):
    """What must be known to compile a closed loop; loops of equal functions and sizes share one compiled program.

    Attributes:
        dynamics, discrete, network_input, law, steps: As in `Specification`.
        samples: States recorded per control period (1 if discrete).
        delayed: Whether inputs may take effect later than they are sampled.
    """

    dynamics: Dynamics
    discrete: bool
    network_input: Callable[[Array], Array]
    law: Callable[[Array, Array], Array]
    steps: int
    samples: int
    delayed: bool


class Choices(NamedTuple):
    """Everything a specification leaves open, for one trajectory (or a batch of them, with a leading axis).

    Attributes:
        x0: Initial state, shape (n,).
        p: Parameters, shape (k,).
        w: Disturbances, constant over each of equally long pieces of a control period, shape (steps, pieces, q).
        delays_s: From sample to effect, shape (steps,) [s].
        received: Whether the update of each period arrives, shape (steps,), bool.
    """

    x0: Float[Array, "n"]
    p: Float[Array, "k"]
    w: Float[Array, "steps pieces q"]
    delays_s: Float[Array, "steps"]
    received: Array


def runge_kutta_step(f: Callable[[Array], Array], x: Float[Array, "n"], step_s: Float[Array, ""]) -> Float[Array, "n"]:
    """One step of the order-8 method for the autonomous equation x' = f(x)."""
    table, weights = jnp.asarray(_TABLE, x.dtype), jnp.asarray(_WEIGHTS, x.dtype)

    def stage(i: Array, slopes: Array) -> Array:
        return slopes.at[i].set(f(x + step_s * (table[i] @ slopes)))

    # A loop, not eleven copies of f: the program compiles several times faster, its gradient most of all.
    slopes = jax.lax.fori_loop(0, len(weights), stage, jnp.zeros((len(weights), *x.shape), x.dtype))
    return x + step_s * (weights @ slopes)


def trajectory(loop: Loop, network: Network | None, period_s: Float[Array, ""], given: Choices, substeps: int | Array) -> Array:
    """States of one trajectory at equally spaced instants; a pure function to be jitted, vmapped and differentiated.

    Args:
        loop: Static part.
        network: Of the controller, or None.
        period_s: Control period [s].
        given: One trajectory's choices, float64.
        substeps: Runge-Kutta steps per recorded state; a Python int allows reverse-mode derivatives, a traced one saves compiling.

    Returns:
        Shape (steps * samples + 1, n); the first row is x0.
    """
    repeats = loop.samples // given.w.shape[1]
    w = jnp.repeat(given.w, repeats, axis=1)
    interval = period_s / loop.samples

    def control(x: Array) -> Array:
        read = loop.network_input(x)
        return loop.law(read if network is None else network(read), x)

    def flow(x: Array, u: Array, v: Array, length: Array) -> Array:
        step = length / substeps
        return jax.lax.fori_loop(0, substeps, lambda _, y: runge_kutta_step(lambda z: loop.dynamics(z, u, v, given.p), y, step), x)

    def period(carry: tuple[Array, Array], now: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (x, held), (v, delay, received) = carry, now
        new = jnp.where(received, control(x), held)
        if loop.discrete:
            following = loop.dynamics(x, jnp.where(delay > 0, held, new) if loop.delayed else new, v[0], given.p)
            return (following, new), following[None]

        def sample(y: Array, item: tuple[Array, Array]) -> tuple[Array, Array]:
            j, vj = item
            if loop.delayed:
                before = jnp.clip(delay - j * interval, 0.0, interval)
                y = flow(y, held, vj, before)
                y = flow(y, new, vj, interval - before)
            else:
                y = flow(y, new, vj, interval)
            return y, y

        x, states = jax.lax.scan(sample, x, (jnp.arange(loop.samples, dtype=x.dtype), v))
        return (x, new), states

    _, states = jax.lax.scan(period, (given.x0, control(given.x0)), (w, given.delays_s, given.received))
    return jnp.concatenate([given.x0[None], states.reshape(-1, given.x0.shape[0])])


@partial(jax.jit, static_argnames=("loop",))
def trajectories(loop: Loop, network: Network | None, period_s: Array, given: Choices, substeps: Array) -> Array:
    """`trajectory` over a leading batch axis of every field of `given`, shape (batch, steps * samples + 1, n)."""
    return jax.vmap(lambda one: trajectory(loop, network, period_s, one, substeps))(given)


def loop_of(spec: Specification, samples: int) -> Loop:
    """The static part of a specification, with `samples` recorded states per control period."""
    samples = 1 if spec.discrete else samples
    return Loop(spec.dynamics, spec.discrete, spec.network_input, spec.law, spec.steps, samples, spec.delay_s[1] > 0)


def nominal(spec: Specification, x0: Numbers, pieces: int = 1) -> Choices:
    """Choices for a batch of initial states: centres of all boxes, least delay, nothing lost."""
    batch = len(x0)

    def centre(box: Numbers) -> Numbers:
        return 0.5 * box[:, 0] + 0.5 * box[:, 1]

    p, w = centre(spec.parameter_box), centre(spec.disturbance_box)
    return Choices(
        np.asarray(x0, np.float64),
        np.broadcast_to(p, (batch, len(p))).copy(),
        np.broadcast_to(w, (batch, spec.steps, pieces, len(w))).copy(),
        np.full((batch, spec.steps), spec.delay_s[0]),
        np.ones((batch, spec.steps), bool),
    )


def checked_choices(spec: Specification, given: Choices, samples: int) -> Choices:
    """The same choices in float64.

    Raises:
        ShapeError: A shape does not fit the specification, or the pieces of w do not divide `samples`.
        InputError: The first update is lost, more than `missed` are lost in a row, or a delay lies outside `delay_s`.
    """
    x0, p, w, delays = (np.asarray(a, np.float64) for a in given[:4])
    received = np.asarray(given.received, bool)
    batch, pieces = len(x0), (w.shape[2] if w.ndim == 4 else 0)
    wanted = {"x0": (batch, len(spec.states)), "p": (batch, len(spec.parameters)), "delays_s": (batch, spec.steps),
              "w": (batch, spec.steps, pieces, len(spec.disturbances)), "received": (batch, spec.steps)}  # fmt: skip
    for name, array in zip(("x0", "p", "w", "delays_s", "received"), (x0, p, w, delays, received), strict=True):
        if array.shape != wanted[name]:
            raise ShapeError(f"{name} has shape {array.shape}; {spec.name} needs {wanted[name]}")
    if pieces < 1 or samples % pieces:
        raise ShapeError(f"w has {pieces} pieces per period, which do not divide the {samples} recorded states; take a divisor")
    run = np.zeros(batch, int)
    for k in range(spec.steps):
        run = np.where(received[:, k], 0, run + 1)
        if run.max(initial=0) > (spec.missed if k else 0):
            raise InputError(f"update {k} is lost, {run.max()} in a row; {spec.name} allows {spec.missed}, and never loses the first")
    if batch and (delays.min() < spec.delay_s[0] or delays.max() > spec.delay_s[1]):
        raise InputError(f"delays lie in [{delays.min()}, {delays.max()}] s; {spec.name} allows {spec.delay_s}")
    return Choices(x0, p, w, delays, received)


def accurate_substeps(spec: Specification, samples: int, tolerance: float = TOLERANCE, seed: int = 0) -> int:
    """Runge-Kutta steps per recorded state that halving no longer changes by more than `tolerance`, relative to the largest state.

    Judged on the centre and eight random corners of the boxes. Trajectories that leave the floating-point numbers are left out.
    """
    if spec.discrete:
        return 1
    n = len(spec.states)
    choose = np.random.default_rng(seed).integers(0, 2, (8, n + len(spec.parameters)))
    x0 = np.where(choose[:, :n] > 0, spec.initial_box[:, 1], spec.initial_box[:, 0])
    given = nominal(spec, np.concatenate([0.5 * spec.initial_box.sum(axis=1)[None], x0]))
    given.p[1:] = np.where(choose[:, n:] > 0, spec.parameter_box[:, 1], spec.parameter_box[:, 0])
    coarse, count = _run(spec, given, samples, 1), 1
    while count < MAX_SUBSTEPS:
        fine = _run(spec, given, samples, 2 * count)
        finite = np.isfinite(fine).all(axis=(1, 2)) & np.isfinite(coarse).all(axis=(1, 2))
        change = np.abs(fine - coarse)[finite].max(initial=0.0) if finite.any() or count > 8 else np.inf
        if change <= tolerance * max(1.0, np.abs(fine[finite]).max(initial=0.0)):
            return count
        coarse, count = fine, 2 * count
    return count


def simulate(
    spec: Specification,
    x0: Numbers,
    w: Numbers | None = None,
    p: Numbers | None = None,
    *,
    delays_s: Numbers | None = None,
    received: npt.NDArray[np.bool_] | None = None,
    samples_per_period: int = 4,
    substeps: int | None = None,
) -> tuple[Numbers, Numbers]:
    """Simulate the closed loop from a batch of initial states.

    Args:
        spec: The closed loop.
        x0: Initial states, shape (batch, n).
        w: Disturbances, shape (batch, steps, pieces, q), held over equal pieces of each period; None: centre of their box.
        p: Parameters, shape (batch, k); None: centre of their box.
        delays_s: From sample to effect, shape (batch, steps) [s]; None: the least. The first is not used: see the module.
        received: Whether each update arrives, shape (batch, steps); None: all.
        samples_per_period: Recorded states per control period; a multiple of `pieces`. Discrete systems have one.
        substeps: Runge-Kutta steps per recorded state; None: enough for about 1e-11 (`accurate_substeps`).

    Returns:
        times_s, shape (K,), and states, shape (batch, K, n), with K = steps * samples_per_period + 1.

    Raises:
        ShapeError, InputError: The arguments do not fit the specification.
    """
    samples = 1 if spec.discrete else samples_per_period
    given = nominal(spec, np.asarray(x0, np.float64))
    changes = {"w": w, "p": p, "delays_s": delays_s, "received": received}
    given = checked_choices(spec, given._replace(**{name: value for name, value in changes.items() if value is not None}), samples)
    count = accurate_substeps(spec, samples) if substeps is None else substeps
    return np.arange(spec.steps * samples + 1) / samples * spec.period_s, _run(spec, given, samples, count)


def _run(spec: Specification, given: Choices, samples: int, substeps: int) -> Numbers:
    with jax.enable_x64(True):
        numbers = Choices(*(jnp.asarray(a) for a in given))
        period = jnp.asarray(spec.period_s, jnp.float64)
        states = trajectories(loop_of(spec, samples), spec.network, period, numbers, jnp.asarray(substeps))
    return np.asarray(states)
