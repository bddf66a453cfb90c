"""Random sampled closed loops, for property tests of enclosures by the thousand.

A family fixes the functions, sizes, period and activation; its cases differ in numbers only: coefficients (parameters with boxes of
width zero), weights, boxes. All cases of a family therefore share one jaxpr and one compiled program, and ten thousand cases compile
as many programs as there are families. Every term is defined for all states, and horizons are short enough that none escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.simulation import Choices, Loop, loop_of, trajectory
from tubepilot.train.reachability.specification import Hints, Specification

from .closed_loops import closed_loop, proper

PER_STATE = 5  # coefficients: own, next state's, nonlinear term's, scale inside it, constant
ESCAPED = 1e3

TERMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "square": lambda a, b, s: 0.3 * a * b + s * a * a / 4,
    "cubic": lambda a, b, s: -(a**3) / 4 + s * a * b * b / 8,
    "sin": lambda a, b, s: jnp.sin(2 * s * a + b),
    "cos": lambda a, b, s: jnp.cos(a) * b * s,
    "tan": lambda a, b, s: jnp.tan(0.6 * s * jnp.sin(a + b)),
    "rational": lambda a, b, s: (a + s) / (1.5 + b * b),
    "reciprocal": lambda a, b, s: b / (1.2 + jnp.sin(s * a)),
    "exp": lambda a, b, s: jnp.exp(-a * a / 2 + 0.3 * s * jnp.sin(b)),
    "sqrt": lambda a, b, s: s * jnp.sqrt(1 + a * a + b * b),
    "log": lambda a, b, s: s * jnp.log(1.5 + a * a) - b / 8,
    "tanh": lambda a, b, s: jnp.tanh(2 * a - s * b),
    "sigmoid": lambda a, b, s: b * jax.nn.sigmoid(3 * s * a),
    "atan": lambda a, b, s: jnp.arctan(a + 2 * s * b) - a / 4,
    "abs": lambda a, b, s: s * jnp.abs(a) - b / 4,
}
NETWORKS = ("relu", "tanh", "sigmoid", "elu", "softplus", "silu")
BOXES = ("normal", "zero", "thin", "mixed")
_WIDTHS = {"normal": (0.02, 0.4), "zero": (0.0, 0.0), "thin": (1e-7, 1e-7)}


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """What all cases have in common.

    Attributes:
        name: For messages: number, terms, activation, box kind.
        example: One case; all others have the same functions and sizes.
        sides: Kind of every side of the initial box.
        disturbed: Whether there is a disturbance, added to the last state.
        hidden: Sizes of the hidden layers; empty: no network.
        activation: Of the hidden layers.
        residual: Whether the second hidden layer adds the first one's output.
    """

    name: str
    example: Specification
    sides: tuple[str, ...]
    disturbed: bool
    hidden: tuple[int, ...]
    activation: str
    residual: bool

    def case(self, seed: int) -> Specification:
        """The closed loop with this number; equal numbers give equal loops."""
        rng = np.random.default_rng([seed, len(self.name), *self.name.encode()])
        n, centre = len(self.example.states), rng.uniform(-1, 1, len(self.example.states))
        half = np.array([rng.uniform(*_WIDTHS[side]) for side in self.sides]) / 2
        p = rng.uniform(-1, 1, PER_STATE * n)
        strength = rng.choice([0.0, 1e-4, 0.1])
        return _with(self.example, f"{self.name}-{seed}", np.stack([centre - half, centre + half], -1), np.stack([p, p], -1),
                     np.array([[-strength, strength]])[: int(self.disturbed)], self._network(rng))  # fmt: skip

    def _network(self, rng: np.random.Generator) -> Network | None:
        if not self.hidden:
            return None
        sizes, layers = (len(self.example.states), *self.hidden, 1), []
        for i, (read, write) in enumerate(pairwise(sizes)):
            last = i == len(sizes) - 2
            weight = rng.normal(size=(write, read)) * rng.choice([0.5, 1.5]) / np.sqrt(read)
            added = 1 if self.residual and i == 1 and not last else None
            layers.append(Layer(weight, rng.normal(size=write) / 2, "linear" if last else self.activation, added))
        return Network(tuple(layers))


def _with(spec: Specification, name: str, initial: np.ndarray, p: np.ndarray, w: np.ndarray, network: Network | None) -> Specification:
    table = {field: getattr(spec, field) for field in spec.__dataclass_fields__}
    return Specification(**table | {"name": name, "initial_box": initial, "parameter_box": p, "disturbance_box": w, "network": network})


def _dynamics(terms: Sequence[str], disturbed: bool, discrete: bool, x: Any, u: Any, w: Any, p: Any) -> Any:
    n, rows = len(terms), []
    for i, term in enumerate(terms):
        own, coupling, strength, scale, constant = (p[PER_STATE * i + j] for j in range(PER_STATE))
        a, b = x[i], x[(i + 1) % n]
        row = own * a + coupling * b + strength * TERMS[term](a, b, scale) + constant
        row = row + u[0] if i == n - 1 else row
        row = row + w[0] if i == n - 1 and disturbed else row
        rows.append(a + 0.2 * row if discrete else row)
    return jnp.stack(rows)


def families(seed: int = 0, count: int = 28) -> tuple[Family, ...]:
    """Families that between them use every term, activation, kind of box and dimension 1 to 4, for `count` of at least 14."""
    rng = np.random.default_rng(seed)
    names, made = list(TERMS), []
    for number in range(count):
        n = number % 4 + 1
        terms = tuple(names[(number + i * int(rng.integers(1, len(names)))) % len(names)] for i in range(n))
        activation, kind = NETWORKS[number % len(NETWORKS)], BOXES[number // 2 % len(BOXES)]
        disturbed, discrete = bool(number % 3 == 1), number % 9 == 8
        late, missed = not discrete and number % 7 == 5, int(number % 11 == 6)
        hidden = [(4,), (3, 3), (), (5, 5)][int(rng.integers(4))] if number % 5 else (4, 4)
        sides = tuple(str(rng.choice(["normal", "zero", "thin"])) if kind == "mixed" else kind for _ in range(n))
        period = float(rng.choice([0.02, 0.05, 0.1, 0.1 if {"square", "cubic"} & set(terms) else 0.3]))  # polynomials may escape
        limits = proper("stay", (0, 4), period, _within, 2 * n)
        law = _feedback if number % 2 or not hidden else _output
        example = closed_loop(
            partial(_dynamics, terms, disturbed, discrete), [(0, 0)] * n, inputs=1, control=law, period_s=period, steps=4,
            disturbances=[(0, 0)] * disturbed, parameters=[(0, 0)] * (PER_STATE * n), discrete=discrete,
            delay_s=(0.25 * period, 0.75 * period) if late else (0.0, 0.0), missed=missed, properties=(limits,),
        )  # fmt: skip
        hints = Hints(order=int(rng.integers(1, 5)), substeps=int(rng.integers(1, 5)), degree=int(rng.integers(1, 3)))
        example = Specification(**{f: getattr(example, f) for f in example.__dataclass_fields__}
                                | {"hints": hints, "network_input": _read if hidden else _nothing})  # fmt: skip
        made.append(Family(f"{number}:{'+'.join(terms)}:{activation if hidden else 'law'}:{kind}", example, sides, disturbed, hidden,
                           activation, number % 5 == 0))  # fmt: skip
    return tuple(made)


def _within(x: Any) -> Any:
    return jnp.concatenate([x - ESCAPED, -ESCAPED - x])


def _read(x: Any) -> Any:
    return x


def _nothing(x: Any) -> Any:
    return x[:0]


def _output(y: Any, x: Any) -> Any:
    return y


def _feedback(y: Any, x: Any) -> Any:
    return -x[-1:] + (jnp.tanh(y) if y.shape[0] else 0.3 * jnp.sin(2 * x[:1]))


def choices(spec: Specification, rng: np.random.Generator, count: int, pieces: int = 2) -> Choices:
    """Random ways through a case: corners of all boxes and points within, constant and switching disturbances, delays, lost updates."""

    def within(box: np.ndarray, *shape: int) -> np.ndarray:
        z = rng.random((count, *shape, len(box)))
        z = np.where((np.arange(count) % 2 == 0).reshape(-1, *(1,) * (z.ndim - 1)), np.round(z), z)
        return np.clip(box[:, 0] + z * (box[:, 1] - box[:, 0]), box[:, 0], box[:, 1])

    received = np.ones((count, spec.steps), bool)
    if spec.missed:
        received[np.arange(count), rng.integers(1, spec.steps, count)] = False
    delays = within(np.array([spec.delay_s]), spec.steps)[..., 0]
    disturbances = within(spec.disturbance_box, spec.steps, 1 if spec.discrete else pieces)
    return Choices(within(spec.initial_box), within(spec.parameter_box), disturbances, delays, received)


def simulate_cases(cases: Sequence[Specification], given: Sequence[Choices], samples: int = 2, substeps: int = 2) -> np.ndarray:
    """States of all ways through all cases of one family, shape (cases, count, steps * samples + 1, n); compiled once per family."""
    with jax.enable_x64(True):
        stacked = Choices(*(np.stack(a) for a in zip(*given, strict=True)))
        networks = None if cases[0].network is None else jax.tree.map(lambda *a: np.stack(a), *(case.network for case in cases))
        return np.asarray(_simulate(loop_of(cases[0], samples), networks, np.float64(cases[0].period_s), stacked, substeps))


@partial(jax.jit, static_argnames=("loop", "substeps"))
def _simulate(loop: Loop, networks: Network | None, period_s: Any, given: Choices, substeps: int) -> Any:
    def one(network: Network | None, ways: Choices) -> Any:
        return jax.vmap(lambda way: trajectory(loop, network, period_s, way, substeps))(ways)

    return jax.vmap(one)(networks, given)
