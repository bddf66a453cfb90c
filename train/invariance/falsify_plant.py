"""One rollout of the nonlinear vehicle under the backup law, as the falsifier flies it: docs/certificate.md, sections 2 and 9.

Everything is written in scalars, so that `jax.vmap` turns each into one vector over the rollouts and the compiler fuses them:
ten times faster here than small matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .certificate import Certificate
from .proof import following

SUBSTEPS = 4
"""Integration steps per tick: 2.5 ms at 100 Hz, a twentieth of the fastest lag; lags are integrated exactly."""
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
    """What acts: the roll-pitch rate set-point, the feedback along the thrust behind the newest thrust set-point and behind the
    one before, and how many ticks in a row were missed."""

    rates: tuple[jax.Array, jax.Array]
    along: jax.Array
    before: jax.Array
    missed: jax.Array


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


def ticks_of_a_step(certificate: Certificate) -> int:
    """Ticks between two steps of the proof."""
    return max(1, round(certificate.step_s / certificate.assumptions.tick_s))


def rollout(
    certificate: Certificate, trace: bool = False
) -> Callable[[Start, Attack], tuple[jax.Array, jax.Array, jax.Array]]:
    """Build the rollout of one start and one attack.

    Args:
        certificate: What was proven.
        trace: Give states instead of facets.

    Returns:
        Function to the largest share of an offset after each step of the certificate, shape (N / ticks per step,), or the state
        in the coordinates of the proof, shape (N / ticks per step, 4, 3); and the largest share of each output at any time, shape
        (2, 6), of the tube T and of the tube of the stage. N must be a multiple of the ticks per step.
    """
    a, law = certificate.assumptions, certificate.law
    stride = ticks_of_a_step(certificate)
    gains = [tuple(float(g) for g in law.gain[axis]) for axis in (0, 0, 1)]
    drag = (a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1])
    wind = (a.acceleration_m_s2[0], a.acceleration_m_s2[0], a.acceleration_m_s2[1])
    facets = [[jnp.asarray(column) for column in axis.facets.T] for axis in certificate.axes]
    offsets = [jnp.asarray(axis.offsets) for axis in certificate.axes]
    stage_tubes = jnp.asarray(np.concatenate([axis.stage_tube for axis in certificate.axes], axis=1))
    next_stage = jnp.asarray(following(certificate.axes[0].offsets.shape[0], certificate.stages.lasting))
    ahead_steps = int(np.ceil(SUBSTEPS * a.window_s / a.tick_s))
    weight = (0.0, 0.0, a.gravity_m_s2)

    def coordinates(x: Plant, held: Three) -> list[Three]:
        """Rows position, velocity, acceleration, jerk."""
        forward, left, up = jax.lax.optimization_barrier(_axes(x.q))
        acceleration = tuple(x.c * u - g + d for u, g, d in zip(up, weight, held, strict=True))
        jerk = tuple(
            x.slope * u + x.c * (x.w[1] * f - x.w[0] * s) for u, f, s in zip(up, forward, left, strict=True)
        )
        return [x.p, x.v, acceleration, jerk]  # type: ignore[list-item]

    def largest_facet(z: list[Three], stage: jax.Array) -> jax.Array:
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

    def fly(state: Plant, held: Three, rates, switch_s, alongs, x: Attack, steps: int, span_s: float, watch: bool):  # type: ignore[no-untyped-def]
        """From the earliest instant at which the tick's set-point can act, for `span_s`; also the largest outputs.

        The rate set-point changes from the first to the second of `rates` at `switch_s`; the modelled thrust follows `alongs`:
        of the set-point before the last one until window less tick, of the last one until window, and of this tick's one.
        """
        dt = span_s / steps
        decay = float(np.exp(-dt / a.rate_lag_s))
        ends = (np.arange(steps) + 1) * dt
        second = np.clip((ends - (a.window_s - a.tick_s)) / dt, 0.0, 1.0)  # parts of each step
        third = np.clip((ends - a.window_s) / dt, 0.0, 1.0)
        parts = jnp.asarray(np.stack([ends, 1.0 - second, second - third, third], axis=1))

        def substep(carry: tuple[Plant, jax.Array], part: jax.Array):  # type: ignore[no-untyped-def]
            now, share = carry
            along = part[1] * alongs[0] + part[2] * alongs[1] + part[3] * alongs[2]
            new = jnp.clip((part[0] - switch_s) / dt, 0.0, 1.0)  # part of the step after the switch
            angles, w = [], []
            for n, rate in enumerate(now.w):
                wanted = rates[0][n] + new * (rates[1][n] - rates[0][n]) + a.rate_residual_rad_s * x.rates[n]
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
                share = jnp.maximum(share, sizes(coordinates(now, held)))
            return (now, share), None

        (end, share), _ = jax.lax.scan(substep, (state, jnp.zeros(12)), parts)
        scale = 1.5 - 0.5 * sum(value * value for value in end.q)  # to length 1
        return end._replace(q=tuple(scale * value for value in end.q)), share

    def tick(state: Plant, sent: Sent, held: Three, x: Attack):  # type: ignore[no-untyped-def]
        missing = (x.miss > 0.0) & (sent.missed < a.missed_ticks)
        switch_s = 0.5 * (1.0 - x.early) * a.delay_max_s

        def wanted(guess, _):  # type: ignore[no-untyped-def]
            pair, alongs = (sent.rates, guess[0]), (sent.before, sent.along, sent.along)
            predicted, _ = fly(state, held, pair, switch_s, alongs, x, ahead_steps, a.window_s, False)
            return policy(predicted, held, x), None

        # the set-point is computed for the state to which it leads itself
        (rates, along), _ = jax.lax.scan(wanted, (sent.rates, sent.along), None, length=2)
        rates = tuple(jnp.where(missing, old, new) for old, new in zip(sent.rates, rates, strict=True))
        along = jnp.where(missing, sent.along, along)
        alongs = (sent.before, sent.along, along)
        end, share = fly(state, held, (sent.rates, rates), switch_s, alongs, x, SUBSTEPS, a.tick_s, True)
        return end, Sent(rates, along, sent.along, jnp.where(missing, sent.missed + 1, 0)), share  # type: ignore[arg-type]

    def step(carry: tuple[Plant, Sent, jax.Array, jax.Array], x: Attack):  # type: ignore[no-untyped-def]
        """The ticks from one stage to the next."""
        state, sent, held_row, stage = carry
        held = (held_row[0], held_row[1], held_row[2])

        def one(inner, x_one):  # type: ignore[no-untyped-def]
            end, following, share = tick(inner[0], inner[1], held, x_one)
            return (end, following, jnp.maximum(inner[2], share)), None

        (state, sent, share), _ = jax.lax.scan(one, (state, sent, jnp.zeros(12)), x)
        z = coordinates(state, held)
        after = next_stage[stage].astype(jnp.int32)
        seen = jnp.stack([jnp.stack(row) for row in z]) if trace else largest_facet(z, after)
        return (state, sent, held_row, after), (seen, share, share / stage_tubes[stage])

    def run(start: Start, attack: Attack) -> tuple[jax.Array, jax.Array, jax.Array]:
        state, held = plant(start), (start.held[0], start.held[1], start.held[2])
        rates, along = policy(state, held, jax.tree.map(lambda x: x[0], attack))
        first = Sent(rates, along, along, jnp.asarray(a.missed_ticks))  # nothing is missed right at the start
        grouped = jax.tree.map(lambda x: x.reshape(-1, stride, *x.shape[1:]), attack)
        stage = start.stage.astype(jnp.int32)
        _, (values, reached, shares) = jax.lax.scan(step, (state, first, start.held, stage), grouped)
        return values, (reached.max(axis=0) / stage_tubes.max(axis=0)).reshape(2, 6), shares.max(axis=0).reshape(2, 6)

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
