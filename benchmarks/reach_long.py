"""Long tubes of a quadrotor under a network controller: how many are lost, and their volume over that of sampled trajectories.

    python benchmarks/reach_long.py [--boxes 1000] [--samples 500] [--json FILE]

The system is that of arXiv:2605.25346, Table IV, "CT controller", whose weights are not public: 12 states, a velocity command, a 64-64
ReLU network giving thrust and two torques, 20 Hz, 0.02 to each side of every state, horizons of 0.5 s to 2.5 s. The network is trained
here, by imitation of a cascade that tilts for the wanted acceleration (seed 0). Every box has its own centre and command. Volumes are
those of boxes around all twelve states at the end of a horizon; half of the trajectories start at corners.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from tubepilot.train.reachability.basis import basis
from tubepilot.train.reachability.closed_loop import Settings, middle_and_radius, prepare
from tubepilot.train.reachability.compiling import compiled
from tubepilot.train.reachability.examples import GRAVITY_M_S2, MASS_KG, STATES, quadrotor_derivative
from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.network_bounds import network_model
from tubepilot.train.reachability.sampling import sample
from tubepilot.train.reachability.simulation import Choices, Loop, loop_of, nominal, simulate, trajectory
from tubepilot.train.reachability.specification import Property, Specification

PERIOD_S, PERIODS, HORIZONS, HALF = 0.05, 50, 5, 0.02
WIDTH = 64
REGION = np.array([1.0] * 3 + [1.0] * 3 + [0.4, 0.4, 0.8] + [2.0] * 3 + [1.0] * 3)  # of states and commands the network learns on
BOUNDED = np.array([0.1] * 6 + [0.05] * 3 + [0.1] * 3 + [0.0] * 3)  # half widths of boxes over which its bounds are trained
LINEAR = basis(15, 1, 0, 0)
CENTRES = np.array([0.0] * 3 + [0.5] * 3 + [0.1, 0.1, 0.3] + [0.2] * 3 + [0.5] * 3)  # of the boxes


def teacher(x: jax.Array, command: jax.Array) -> jax.Array:
    """Thrust [N] and two torques [N m] that follow a velocity command [m/s]: velocity, tilt and rate loops; heading taken as 0."""
    ax, ay, az = 2.0 * (command - x[3:6])
    roll, pitch = -ay / GRAVITY_M_S2, ax / GRAVITY_M_S2
    thrust = MASS_KG * (GRAVITY_M_S2 + az) / (jnp.cos(x[6]) * jnp.cos(x[7]))
    return jnp.stack([thrust, 1.5 * (roll - x[6]) - 0.4 * x[9], 1.5 * (pitch - x[7]) - 0.4 * x[10]])


def controller(seed: int, share: float, iterations: int = 4000, batch: int = 512) -> Network:
    """A 64-64 ReLU network trained to imitate the teacher with bounds that stay tight; inputs are the states and the command."""
    keys = jax.random.split(jax.random.key(seed), 4)
    sizes = (15, WIDTH, WIDTH, 3)
    weights = [jax.random.normal(k, (o, i)) * np.sqrt(2.0 / i) for k, i, o in zip(keys, sizes, sizes[1:], strict=False)]
    network = Network(tuple(
        Layer(w, jnp.zeros(len(w)), "linear" if last else "relu") for w, last in zip(weights, (False, False, True), strict=True)
    ))  # fmt: skip
    scale = jnp.asarray([MASS_KG, 0.3, 0.3])
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, iterations))

    def loss(candidate: Network, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        wanted = jax.vmap(lambda v: teacher(v[:12], v[12:]))(points)
        miss = jnp.mean(((jax.vmap(candidate)(points) - wanted) / scale) ** 2)
        gaps = jax.vmap(gap, in_axes=(None, 0))(candidate, points[: batch // 64]) / scale
        return miss + share * jnp.mean(gaps), miss

    def gap(candidate: Network, point: jax.Array) -> jax.Array:
        """What the bounds of the network add over a box, per output."""
        box = jnp.concatenate([point[:, None], jnp.diag(jnp.asarray(BOUNDED))], axis=1)
        return network_model(LINEAR, candidate, box, jnp.zeros(15))[1]

    def step(carry: tuple[Network, optax.OptState], key: jax.Array) -> tuple[tuple[Network, optax.OptState], jax.Array]:
        candidate, state = carry
        points = jnp.asarray(REGION) * jax.random.uniform(key, (batch, 15), jnp.float64, -1.0, 1.0)
        (_, miss), slope = jax.value_and_grad(loss, has_aux=True)(candidate, points)
        change, state = adam.update(slope, state)
        return (optax.apply_updates(candidate, change), state), miss

    (network, _), values = jax.jit(lambda c: jax.lax.scan(step, c, jax.random.split(keys[3], iterations)))(
        (network, adam.init(network))
    )
    print(f"controller: root of the mean squared imitation error {float(np.sqrt(np.mean(values[-100:]))):.4f} of the scales")
    return network


def commanded(network: Network, command: np.ndarray) -> Network:
    """The network of the states alone: the command is folded into the first bias."""
    first, *rest = network.layers
    weight = np.asarray(first.weight)
    return Network((replace(first, weight=weight[:, :12], bias=np.asarray(first.bias) + weight[:, 12:] @ command), *rest))


def loop(network: Network, centre: np.ndarray) -> Specification:
    """The sampled loop from one box."""
    none, box = np.zeros((0, 2)), np.stack([centre - HALF, centre + HALF], axis=1)
    limit = Property("stay", (0.0, PERIODS * PERIOD_S), (Fraction(0), Fraction(PERIODS)), CONDITION, ("x <= 1000",))
    return Specification(
        "quadrotor", "arXiv:2605.25346", STATES, ("thrust", "torque_x", "torque_y"), (), (), DYNAMICS, False, none, none, box, PERIOD_S,
        PERIODS, (0.0, 0.0), 0, network, READ, LAW, (limit,),
    )  # type: ignore[arg-type]  # fmt: skip


def CONDITION(x: jax.Array) -> jax.Array:
    """Never broken: the tube is what counts."""
    return x[:1] - 1e3


def DYNAMICS(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
    """Rigid body without further force."""
    return quadrotor_derivative(x, u, jnp.zeros(3))


def READ(x: jax.Array) -> jax.Array:
    """The network sees every state."""
    return x


def LAW(y: jax.Array, x: jax.Array) -> jax.Array:
    """The network's outputs are the inputs."""
    return y


def spreads(spec: Specification, count: int, ends: np.ndarray) -> np.ndarray:
    """Widths of sampled states at the ends of some periods, shape (len(ends), 12).

    Besides random trajectories (half of them from corners) those that start where the linearised flow reaches furthest, per state and
    end: random corners of twelve dimensions miss these.
    """
    run = loop_of(spec, 1)
    centre, half = middle_and_radius(spec.initial_box)
    slopes = np.asarray(sensitivity(run, spec.network, spec.period_s, nominal(spec, centre[None])))[ends + 1]
    corners = (centre + half * np.sign(slopes)).reshape(-1, len(centre))
    starts = np.concatenate([corners, 2 * centre - corners])
    states = np.concatenate([simulate(spec, starts, samples_per_period=4)[1], sample(spec, count).states])
    return np.ptp(states[:, (ends + 1) * 4], axis=0)


@partial(jax.jit, static_argnames="run")
def sensitivity(run: Loop, network: Network, period_s: float, given: Choices) -> jax.Array:
    """Derivative of the states after every period by the initial state, along the middle trajectory."""
    one = jax.tree.map(lambda a: a[0], given)
    return jax.jacfwd(lambda x: trajectory(run, network, period_s, one._replace(x0=x), 8))(one.x0)


def main() -> None:
    """Train, compute all tubes on two threads, sample, print per horizon."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--substeps", type=int, default=2)
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument(
        "--share", type=float, default=10.0, help="weight of the width of the network's bounds in its training; 0: plain imitation"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    settings = Settings(chosen.order, chosen.substeps, chosen.degree, PERIODS)
    rng = np.random.default_rng(chosen.seed)
    points = rng.uniform(-CENTRES, CENTRES, (chosen.boxes, 15))
    with jax.enable_x64(True):
        network = controller(chosen.seed, chosen.share)
        specs = [loop(commanded(network, point[12:]), point[:12]) for point in points]
        begun = time.perf_counter()
        analysis = prepare(specs[0], settings)
        given = (specs[0].network, *middle_and_radius(specs[0].initial_box), jnp.zeros(0), jnp.zeros(0))
        call = compiled(analysis.tube).lower(*given).compile()
        compile_s = time.perf_counter() - begun
    ends = np.arange(1, HORIZONS + 1) * PERIODS // HORIZONS - 1

    def one(spec: Specification) -> tuple[np.ndarray, float]:
        with jax.enable_x64(True):
            start = time.perf_counter()
            tube = jax.tree.map(np.asarray, call(spec.network, *middle_and_radius(spec.initial_box), np.zeros(0), np.zeros(0)))
            seconds = time.perf_counter() - start
            lost = ~np.logical_and.accumulate(tube.contracted.all(axis=(1, 2)))
            widths = np.where(lost[:, None], np.inf, (tube.end_hi - tube.end_lo)[:, -1])
            spread = spreads(spec, chosen.samples, ends)
            return np.prod(widths[ends] / spread, axis=1), seconds

    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        found = list(tqdm(pool.map(one, specs), total=len(specs), unit="box", desc="tubes"))
    ratios, seconds = np.stack([r for r, _ in found]), np.array([s for _, s in found])
    print(f"{settings}: compile {compile_s:.1f} s, one tube {np.median(seconds):.3f} s with two at a time, "
          f"all with sampling {time.perf_counter() - begun:.0f} s")  # fmt: skip
    print(f"{'horizon [s]':>12} {'infinite':>9} {'volume over sampling: median':>29} {'90 %':>8} {'largest':>8}")
    rows = []
    for k, ratio in zip(ends, ratios.T, strict=True):
        rows.append({
            "horizon_s": float((k + 1) * PERIOD_S), "infinite": int(np.sum(~np.isfinite(ratio))), "median": float(np.median(ratio)),
            "p90": float(np.quantile(ratio, 0.9, method="higher")), "largest": float(ratio.max()),
        })  # fmt: skip
        row = rows[-1]
        print(f"{row['horizon_s']:>12.2f} {row['infinite']:>9} {row['median']:>29.4g} {row['p90']:>8.4g} {row['largest']:>8.4g}")
    if chosen.json:
        outcome = {"settings": str(settings), "boxes": chosen.boxes, "samples": chosen.samples, "seed": chosen.seed, "rows": rows,
                   "compile_s": compile_s, "tube_s": float(np.median(seconds))}  # fmt: skip
        chosen.json.write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
