"""One rollout of the nonlinear vehicle under the backup law, as the falsifier flies it: docs/certificate.md, sections 2 and 9.

Everything is written in scalars, so that `jax.vmap` turns each into one vector over the rollouts and the compiler fuses them:
ten times faster here than small matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .assumptions import Assumptions
from .certificate import Certificate
from .proof import following

SUBSTEPS, LONGEST_S = 4, 0.0025
"""Integration steps per tick at the least, and the longest [s]: a twentieth of the fastest lag; lags are integrated exactly."""
CLOSE = 0.99
"""Part of the estimate error that an attack may use; the rest is for the prediction of the next sample."""

Three = tuple[jax.Array, jax.Array, jax.Array]


class Attack(NamedTuple):
    """Disturbances of one rollout, each in the unit ball of its block (1: at its bound); N ticks.

    Attributes:
        wind: Shape (N, 3): horizontal 2 (Euclidean), vertical 1.
        rates: Rate residual, shape (N, 2), Euclidean.
        yaw: Yaw rate, shape (N,).
        position, velocity: Estimate errors, shape (N, 3): horizontal 2, vertical 1.
        attitude: Rotation vector of the attitude error, shape (N, 3), Euclidean.
        early: How early in its window a set-point begins to act, shape (N,); -1 late, 1 early.
        thrust: Thrust scale error, shape (N,).
        miss: Positive: there is no set-point in this tick, if the certificate still allows it, shape (N,).
    """

    wind: jax.Array
    rates: jax.Array
    yaw: jax.Array
    position: jax.Array
    velocity: jax.Array
    attitude: jax.Array
    early: jax.Array
    thrust: jax.Array
    miss: jax.Array


class Start(NamedTuple):
    """State of the plant at the first tick: `z` of the axes, shape (4, 3) (rows position, velocity, acceleration, jerk),
    heading, the disturbance estimate that the backup holds, shape (3,), and the number of the stage that z lies in."""

    z: jax.Array
    heading: jax.Array
    held: jax.Array
    stage: jax.Array


class Plant(NamedTuple):
    """Position, velocity, attitude (quaternion wxyz, body to world), roll and pitch rate, modelled thrust and its slope."""

    p: Three
    v: Three
    q: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    w: tuple[jax.Array, jax.Array]
    c: jax.Array
    slope: jax.Array


class Sent(NamedTuple):
    """What acts or will act, newest first: roll-pitch rate set-points; when each of them but the oldest begins to act, counted from the
    tick [s]; the feedbacks along the thrust behind the thrust set-points; and how many ticks in a row were missed."""

    rates: tuple[tuple[jax.Array, jax.Array], ...]
    begins: tuple[jax.Array, ...]
    alongs: tuple[jax.Array, ...]
    missed: jax.Array


class Plan(NamedTuple):
    """Integration steps of each tick, none of it dependent on the flight; N ticks of n steps.

    Attributes:
        parts: See `_parts`, shape (N, n, 2 + feedbacks).
        first: Whether a step lies before the instant at which the proof makes a step in this tick, if it does, shape (N, n).
        last: Whether it ends there, shape (N, n).
        stepped: Whether the proof makes a step in this tick, shape (N,).
    """

    parts: npt.NDArray[np.float64]
    first: npt.NDArray[np.bool_]
    last: npt.NDArray[np.bool_]
    stepped: npt.NDArray[np.bool_]


def ticks_of(certificate: Certificate, steps: int) -> int:
    """Ticks until so many steps of the proof are over, whether or not a step is a whole number of ticks."""
    return math.ceil(steps * certificate.step_s / certificate.assumptions.tick_s - 1e-9)


def _behind(a: Assumptions) -> tuple[int, int]:
    """How many earlier rate set-points, and feedbacks behind thrust set-points, may act in a tick besides its own."""
    return max(1, math.ceil(a.delay_max_s / a.tick_s - 1e-9)), max(1, math.ceil(a.window_s / a.tick_s - 1e-9))


def _parts(a: Assumptions, ends_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Integration steps that end at these instants, counted from the tick [s]: the end and the length of each, and the shares of it in
    which the feedbacks along the thrust act, newest first. That of set-point k acts from its instant s_k to the next one's."""
    lengths = np.diff(ends_s, prepend=0.0)
    begun = [np.clip((ends_s - (a.window_s - i * a.tick_s)) / lengths, 0.0, 1.0) for i in range(_behind(a)[1])]
    shares = np.diff([np.zeros_like(ends_s), *begun, np.ones_like(ends_s)], axis=0)
    return np.stack([ends_s, lengths, *shares], axis=-1)


def _plan(certificate: Certificate, ticks: int) -> Plan:
    """Every instant at which the proof makes a step is the end of an integration step, at any tick rate."""
    a = certificate.assumptions
    count = max(SUBSTEPS, math.ceil(a.tick_s / LONGEST_S - 1e-9))
    even = np.arange(1, count + 1) * a.tick_s / count
    instants = certificate.step_s * np.arange(1, int(ticks * a.tick_s / certificate.step_s + 1e-9) + 1)
    numbers = np.ceil(instants / a.tick_s - 1e-9).astype(int) - 1  # of the ticks in which they lie
    within = dict(zip(numbers.tolist(), (instants - numbers * a.tick_s).tolist(), strict=True))
    near = {n: int(np.abs(even - s).argmin()) for n, s in within.items()}
    whole = all(abs(even[near[n]] - s) < 1e-9 for n, s in within.items())
    rows, last = [], np.zeros((ticks, count if whole else count + 1), bool)
    for n in range(ticks):
        extra = within.get(n, 0.5 * even[0])
        if not whole and n in within and abs(even[near[n]] - extra) < 1e-9:
            extra = 0.5 * even[0]
        ends = even if whole else np.sort(np.append(even, extra))
        rows.append(_parts(a, ends))
        if n in within:
            last[n, int(np.abs(ends - within[n]).argmin())] = True
    stepped = last.any(axis=1)
    first = ~stepped[:, None] | (np.cumsum(last[:, ::-1], axis=1)[:, ::-1] > 0)
    return Plan(np.array(rows), first, last, stepped)


def _turned(q, x, y, z):  # type: ignore[no-untyped-def]
    """Quaternion turned by a small rotation vector in the body frame."""
    squared = x * x + y * y + z * z
    share = 0.5 - squared / 48.0 + squared * squared / 3840.0
    dw, dx, dy, dz = 1.0 - squared / 8.0 + squared * squared / 384.0, share * x, share * y, share * z
    w, i, j, k = q
    return (
        w * dw - i * dx - j * dy - k * dz,
        w * dx + i * dw + j * dz - k * dy,
        w * dy - i * dz + j * dw + k * dx,
        w * dz + i * dy - j * dx + k * dw,
    )


def _axes(q) -> tuple[Three, Three, Three]:  # type: ignore[no-untyped-def]
    """Columns of the rotation: forward, left, up."""
    w, i, j, k = q
    return (
        (1 - 2 * (j * j + k * k), 2 * (i * j + w * k), 2 * (i * k - w * j)),
        (2 * (i * j - w * k), 1 - 2 * (i * i + k * k), 2 * (j * k + w * i)),
        (2 * (i * k + w * j), 2 * (j * k - w * i), 1 - 2 * (i * i + j * j)),
    )


def _dot(a: Three, b: Three) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def rollout(
    certificate: Certificate, trace: bool = False
) -> Callable[[Start, Attack], tuple[jax.Array, jax.Array, jax.Array]]:
    """Build the rollout of one start and one attack.

    Args:
        certificate: What was proven.
        trace: Give states instead of facets.

    Returns:
        Function to the largest share of an offset after each step of the certificate, or the state in the coordinates of the proof
        there, shape (4, 3); and the largest share of each output at any time, shape (2, 6), of the tube T and of the tube of the
        stage.
    """
    a, law = certificate.assumptions, certificate.law
    gains = [tuple(float(g) for g in law.gain[axis]) for axis in (0, 0, 1)]
    drag = (a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1])
    wind = (a.acceleration_m_s2[0], a.acceleration_m_s2[0], a.acceleration_m_s2[1])
    facets = [[jnp.asarray(column) for column in axis.facets.T] for axis in certificate.axes]
    offsets = [jnp.asarray(axis.offsets) for axis in certificate.axes]
    stage_tubes = jnp.asarray(np.concatenate([axis.stage_tube for axis in certificate.axes], axis=1))
    next_stage = jnp.asarray(following(certificate.axes[0].offsets.shape[0], certificate.stages.lasting))
    behind, feedbacks = _behind(a)
    steps_ahead = max(SUBSTEPS, math.ceil(a.window_s / LONGEST_S - 1e-9))
    ahead = _parts(a, np.arange(1, steps_ahead + 1) * a.window_s / steps_ahead)
    ahead_plan = (jnp.asarray(ahead), jnp.ones(steps_ahead, bool), jnp.zeros(steps_ahead, bool))
    weight = (0.0, 0.0, a.gravity_m_s2)

    def coordinates(x: Plant, held: Three) -> list[Three]:
        """Rows position, velocity, acceleration, jerk."""
        forward, left, up = jax.lax.optimization_barrier(_axes(x.q))
        acceleration = tuple(x.c * u - g + d for u, g, d in zip(up, weight, held, strict=True))
        jerk = tuple(
            x.slope * u + x.c * (x.w[1] * f - x.w[0] * s) for u, f, s in zip(up, forward, left, strict=True)
        )
        return [x.p, x.v, acceleration, jerk]  # type: ignore[list-item]

    def largest_facet(z: jax.Array, stage: jax.Array) -> jax.Array:
        east, north, rise = (
            sum(column * row[axis] for column, row in zip(facets[0 if axis < 2 else 1], z, strict=True)) for axis in range(3)
        )
        level = jnp.sqrt(jnp.max((east * east + north * north) / offsets[0][stage] ** 2))  # type: ignore[operator]
        return jnp.maximum(level, jnp.max(jnp.abs(rise) / offsets[1][stage]))

    def sizes(z: list[Three]) -> jax.Array:
        """The six outputs, horizontally and vertically."""
        nu = tuple(gains[i][0] * z[0][i] + gains[i][1] * z[1][i] + gains[i][2] * z[2][i] for i in range(3))
        slope = tuple(
            (gains[i][0] - gains[i][1] * drag[i]) * z[1][i] + gains[i][1] * z[2][i] + gains[i][2] * z[3][i] for i in range(3)
        )
        rows = [*z, nu, slope]
        level = [jnp.sqrt(row[0] * row[0] + row[1] * row[1] + 1e-300) for row in rows]
        return jnp.stack([*level, *(jnp.abs(row[2]) for row in rows)])

    def policy(state: Plant, held: Three, x: Attack) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """`BackupLaw.evaluate` on a wrong estimate: rates, without the gain and offset that the vehicle undoes, and b . nu."""
        size = CLOSE * a.attitude_error_rad
        turned = jax.lax.optimization_barrier(_turned(state.q, *(size * x.attitude[i] for i in range(3))))
        forward, left, up = jax.lax.optimization_barrier(_axes(turned))
        nu = tuple(
            gains[i][0] * (state.p[i] + CLOSE * a.position_error_m * x.position[i])
            + gains[i][1] * (state.v[i] + CLOSE * a.velocity_error_m_s * x.velocity[i])
            + gains[i][2] * (state.c * up[i] - weight[i] + held[i])
            for i in range(3)
        )
        along = _dot(up, nu)  # type: ignore[arg-type]
        return (-_dot(left, nu) / state.c, _dot(forward, nu) / state.c), along  # type: ignore[arg-type]

    def fly(state: Plant, held: Three, sent: Sent, x: Attack, plan, watch: bool):  # type: ignore[no-untyped-def]
        """From the tick, the earliest instant at which its set-point can act, through the steps of a plan (parts, first, last): the
        state at the end, the coordinates at the instant of the proof's step, and the largest outputs before it and after it."""

        def substep(carry, row):  # type: ignore[no-untyped-def]
            now, early, late, kept = carry
            part, first, last = row
            end_s, dt = part[0], part[1]
            decay = jnp.exp(-dt / a.rate_lag_s)
            along = sum(part[2 + i] * value for i, value in enumerate(sent.alongs))
            asked, newer = sent.rates[-1], end_s + dt
            shares = []
            for begin in sent.begins:  # an older set-point that comes after a newer one does not act
                newer = jnp.minimum(begin, newer)
                shares.append(jnp.clip((end_s - newer) / dt, 0.0, 1.0))  # part of the step after it began to act
            for share, rate in zip(reversed(shares), reversed(sent.rates[:-1]), strict=True):
                asked = tuple(old + share * (new - old) for old, new in zip(asked, rate, strict=True))  # type: ignore[assignment]
            angles, w = [], []
            for n, rate in enumerate(now.w):
                wanted = asked[n] + a.rate_residual_rad_s * x.rates[n]
                w.append(wanted + (rate - wanted) * decay)
                angles.append(dt * wanted + (rate - wanted) * (1 - decay) * a.rate_lag_s)
            # Barriers: the compiler would else compute each chain of scalars again for everything that depends on it.
            w, angles = jax.lax.optimization_barrier((w, angles))
            q = jax.lax.optimization_barrier(_turned(now.q, *angles, dt * a.yaw_rate_rad_s * x.yaw))
            c = now.c + along * dt + (now.slope - along) * a.rate_lag_s * (1 - decay)
            slope = along + (now.slope - along) * decay
            push = 0.25 * (now.c + c) * (1 + a.thrust_scale_error * x.thrust)
            p, v = [], []
            ups = jax.lax.optimization_barrier((_axes(now.q)[2], _axes(q)[2]))
            for i, (up, up_next) in enumerate(zip(*ups, strict=True)):
                force = push * (up + up_next) - weight[i] + held[i] + wind[i] * x.wind[i]
                v.append(now.v[i] + dt * (force - drag[i] * (now.v[i] + 0.5 * dt * (force - drag[i] * now.v[i]))))
                p.append(now.p[i] + 0.5 * dt * (now.v[i] + v[i]))
            now = jax.lax.optimization_barrier(Plant(tuple(p), tuple(v), q, tuple(w), c, slope))  # type: ignore[arg-type]
            if watch:
                z = coordinates(now, held)
                size = sizes(z)
                early, late = jnp.maximum(early, jnp.where(first, size, 0.0)), jnp.maximum(late, jnp.where(first, 0.0, size))
                kept = jnp.where(last, jnp.stack([jnp.stack(row) for row in z]), kept)
            return (now, early, late, kept), None

        begin = (state, jnp.zeros(12), jnp.zeros(12), jnp.zeros((4, 3)))
        (end, early, late, kept), _ = jax.lax.scan(substep, begin, plan)
        scale = 1.5 - 0.5 * sum(value * value for value in end.q)  # to length 1
        return end._replace(q=tuple(scale * value for value in end.q)), kept, early, late

    def with_new(sent: Sent, rates, begin, along) -> Sent:  # type: ignore[no-untyped-def]
        """With the set-point of this tick."""
        return sent._replace(rates=(rates, *sent.rates), begins=(begin, *sent.begins), alongs=(along, *sent.alongs))

    def tick(state: Plant, sent: Sent, held: Three, x: Attack, plan):  # type: ignore[no-untyped-def]
        missing = (x.miss > 0.0) & (sent.missed < a.missed_ticks)
        begin = 0.5 * (1.0 - x.early) * a.delay_max_s

        def wanted(guess, _):  # type: ignore[no-untyped-def]
            predicted, *_ = fly(state, held, with_new(sent, guess[0], begin, sent.alongs[0]), x, ahead_plan, False)
            return policy(predicted, held, x), None

        # the set-point is computed for the state to which it leads itself
        (rates, along), _ = jax.lax.scan(wanted, (sent.rates[0], sent.alongs[0]), None, length=2)
        rates = tuple(jnp.where(missing, old, new) for old, new in zip(sent.rates[0], rates, strict=True))
        now = with_new(sent, rates, begin, jnp.where(missing, sent.alongs[0], along))
        end, kept, early, late = fly(state, held, now, x, plan, True)
        then = Sent(
            now.rates[:behind], tuple(begin - a.tick_s for begin in now.begins[: behind - 1]), now.alongs[:feedbacks],
            jnp.where(missing, sent.missed + 1, 0),
        )  # fmt: skip
        return end, then, kept, early, late

    def run(start: Start, attack: Attack) -> tuple[jax.Array, jax.Array, jax.Array]:
        state, held = plant(start), (start.held[0], start.held[1], start.held[2])
        rates, along = policy(state, held, jax.tree.map(lambda x: x[0], attack))
        # nothing is missed or late right at the start
        sent = Sent((rates,) * behind, (jnp.zeros(()),) * (behind - 1), (along,) * feedbacks, jnp.asarray(a.missed_ticks))
        plan = _plan(certificate, attack.miss.shape[0])

        def step(carry, row):  # type: ignore[no-untyped-def]
            state, sent, stage, share, own = carry
            x, parts, first, last, stepped = row
            after = jnp.where(stepped, next_stage[stage], stage).astype(jnp.int32)
            state, sent, kept, early, late = tick(state, sent, held, x, (parts, first, last))
            own = jnp.maximum(own, jnp.maximum(early / stage_tubes[stage], late / stage_tubes[after]))
            return (state, sent, after, jnp.maximum(share, jnp.maximum(early, late)), own), (kept, after)

        begin = (state, sent, start.stage.astype(jnp.int32), jnp.zeros(12), jnp.zeros(12))
        (*_, share, own), (kept, stages) = jax.lax.scan(step, begin, (attack, *map(jnp.asarray, plan)))
        places = np.flatnonzero(plan.stepped)
        seen = kept[places] if trace else jax.lax.map(lambda row: largest_facet(*row), (kept[places], stages[places]))
        return seen, (share / stage_tubes.max(axis=0)).reshape(2, 6), own.reshape(2, 6)

    def plant(start: Start) -> Plant:
        """The vehicle in a state of the coordinates of the proof, with the heading asked for."""
        z = start.z
        force = [z[2, i] + weight[i] - start.held[i] for i in range(3)]
        c = jnp.sqrt(force[0] ** 2 + force[1] ** 2 + force[2] ** 2)
        ux, uy, uz = (value / c for value in force)
        # The shortest turn that brings up to b, after a turn about up by the heading.
        w, i, j = jnp.sqrt(0.5 * (1 + uz)), -uy / jnp.sqrt(2 * (1 + uz)), ux / jnp.sqrt(2 * (1 + uz))
        cosine, sine = jnp.cos(0.5 * start.heading), jnp.sin(0.5 * start.heading)
        q = (w * cosine, i * cosine + j * sine, j * cosine - i * sine, w * sine)
        forward, left, up = _axes(q)
        jerk = (z[3, 0], z[3, 1], z[3, 2])
        rates = (-_dot(left, jerk) / c, _dot(forward, jerk) / c)
        return Plant((z[0, 0], z[0, 1], z[0, 2]), (z[1, 0], z[1, 1], z[1, 2]), q, rates, c, _dot(up, jerk))

    return run
