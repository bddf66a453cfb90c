"""Planted bugs: each must be noticed by the containment checks that the engine passes without it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closed_loops import closed_loop, proper
from helpers.containment import escapes, exact, symbols, tube_of

from tubepilot.train.reachability import closed_loop as loop
from tubepilot.train.reachability import evaluation, fit, flow, network_bounds, polynomials, wrapping
from tubepilot.train.reachability.basis import basis
from tubepilot.train.reachability.closed_loop import Settings
from tubepilot.train.reachability.flow import FlowStep
from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.reference import Enclosure, integrate
from tubepilot.train.reachability.specification import Specification

COARSE = Settings(order=2, substeps=1, degree=1, window=1)
WITHIN = proper("stay", (0, 3), 0.2, lambda x: x[:1] - 99, 1)


def disturbed(lo: float, hi: float) -> tuple[Specification, list[Enclosure]]:
    """A disturbed flow with a product, and its corners."""
    spec = closed_loop(lambda x, u, w, p: x * x / 2 + u + w, [(lo, hi)], inputs=1, control=lambda y, x: -2 * x,
                       disturbances=[(-0.3, 0.3)], period_s=0.2, steps=3, properties=(WITHIN,))  # fmt: skip
    return spec, [integrate(spec, [x], w=np.full((3, 1, 1), w)) for x, w in product((lo, hi), (-0.3, 0.3))]


@functools.cache
def flowing() -> tuple[Specification, list[Enclosure]]:
    """From a wide box: what is cut off matters most."""
    return disturbed(0.0, 1.5)


@functools.cache
def blown() -> tuple[Specification, list[Enclosure]]:
    """From a narrow box: the disturbance matters most."""
    return disturbed(0.7, 0.75)


@functools.cache
def late() -> tuple[Specification, list[Enclosure]]:
    """An input up to half a period late."""
    spec = closed_loop(
        lambda x, u, w, p: 3 * u - x,
        [(0.5, 0.6)],
        inputs=1,
        control=lambda y, x: -3 * x,
        period_s=0.2,
        steps=3,
        delay_s=(0.0, 0.1),
        properties=(WITHIN,),
    )
    return spec, [integrate(spec, [x], delays_s=np.full(3, d)) for x, d in product((0.5, 0.6), (0.0, 0.1))]


@functools.cache
def jumping() -> tuple[Specification, list[Enclosure]]:
    """s+ = |t| - v, v+ = s, while t, r, q change places: errors two periods apart would cancel if they were the same symbol."""
    spec = closed_loop(
        lambda x, u, w, p: jnp.stack([u[0] - x[1], x[0], x[3], x[4], x[2]]),
        [(0.0, 0.0), (0.0, 0.0), *[(-1.0, 1.0)] * 3],
        inputs=1,
        control=lambda y, x: jnp.abs(x[2:3]),
        discrete=True,
        steps=3,
        properties=(WITHIN,),
    )
    return spec, [integrate(spec, [0.0, 0.0, t, 0.3, q]) for t, q in product((-1.0, 0.0, 0.4, 1.0), repeat=2)]


@functools.cache
def point() -> tuple[Specification, list[Enclosure]]:
    """A discrete loop from a point: all that its tube has is rounding."""
    spec = closed_loop(lambda x, u, w, p: 0.3 * x + 0.1 * x * x + 0.7, [(0.7, 0.7)], discrete=True, steps=3, properties=(WITHIN,))
    return spec, [integrate(spec, [0.7])]


def found(system: Callable[[], tuple[Specification, list[Enclosure]]], settings: Settings = COARSE) -> list[str]:
    """What the containment check reports of a freshly traced and compiled tube."""
    spec, paths = system()
    tube, spans = tube_of(spec, settings)
    assert np.asarray(tube.contracted).all(), "a step that failed claims nothing"
    return [e for path in paths for e in escapes(spec, tube, spans, path)]


@pytest.mark.parametrize("system", [flowing, blown, late, jumping, point], ids=lambda f: f.__name__)
def test_without_a_bug_nothing_is_found(system: Callable[[], tuple[Specification, list[Enclosure]]]) -> None:
    assert not found(system)


def test_a_dropped_truncation_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "multiply", lambda *a: (polynomials.multiply(*a)[0], 0.0 * polynomials.multiply(*a)[1]))
    assert found(flowing)


def test_remainders_rounded_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluation, polynomials, wrapping, loop, flow, fit, network_bounds):
        for name, value in {
            "U": 0.0,
            "TINY": 0.0,
            "raised": lambda r, n: r,
            "lifted": lambda v, m, n: v,
            "lowered": lambda v, m, n: v,
        }.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    assert found(point)


@pytest.mark.parametrize("name", ["raised", "lowered", "lifted"])
def test_outward_rounding_is_noticed_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of random coefficients miss the exact range in about half of the cases once nothing is moved outward."""
    made, rng = basis(3, 1, 0, 0), np.random.default_rng(0)

    def missed() -> int:
        count = 0
        for coefs in rng.normal(size=(40, made.monomials)):
            size = sum(abs(Fraction(float(c))) for c in coefs)
            spread, middle = sum(abs(Fraction(float(c))) for c in coefs[1:]), Fraction(float(coefs[0]))
            lo, hi = polynomials.bounds_of(made, jnp.asarray(coefs))
            whole = polynomials.magnitude(jnp.asarray(coefs)[None])
            count += {
                "raised": Fraction(float(whole)) < size,
                "lowered": Fraction(float(lo)) > middle - spread,
                "lifted": Fraction(float(hi)) < middle + spread,
            }[name]
        return count

    assert missed() == 0
    monkeypatch.setattr(polynomials, name, lambda value, *_: value)
    assert missed() > 3


def test_a_wrong_slope_at_a_kink(monkeypatch: pytest.MonkeyPatch) -> None:
    network, made = (
        Network((Layer(np.array([[1.0], [-0.7]]), np.array([0.1, 0.3]), "relu"), Layer(np.array([[1.0, 0.8]]), np.zeros(1), "linear"))),
        basis(1, 1, 0, 0),
    )
    rng = np.random.default_rng(1)

    def outside() -> int:
        coefs, radius = network_bounds.network_model(made, network, jnp.array([[0.05, 1.0]]), jnp.zeros(1))
        count = 0
        for _ in range(40):
            at = symbols(made, rng)
            x = Fraction(0.05) + at[1][0]
            truth = max(Fraction(0), x + Fraction(0.1)) + Fraction(0.8) * max(Fraction(0), Fraction(-0.7) * x + Fraction(0.3))
            count += abs(truth - exact(made, np.asarray(coefs), at)) > Fraction(float(radius[0]))
        return count

    assert outside() == 0
    right = network_bounds.candidates
    monkeypatch.setattr(network_bounds, "candidates", lambda *a: [([c[0], 0.9 * c[1], *c[2:]], e) for c, e in right(*a)])
    assert outside() > 0


def stepping(**changes: Callable[[FlowStep], object]) -> Callable[..., FlowStep]:
    right = flow.flow_step
    return lambda *a: (lambda made: made._replace(**{name: change(made) for name, change in changes.items()}))(right(*a))


def test_a_missed_disturbance(monkeypatch: pytest.MonkeyPatch) -> None:
    right = flow.flow_step
    monkeypatch.setattr(loop, "flow_step", lambda p, b, c, r, held, held_radius, t: right(p, b, c, r, held, 0 * held_radius, t))
    assert found(blown)


def test_a_missed_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_hull", lambda acting: acting[0])
    assert found(late)


def test_end_points_instead_of_tubes(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(made: object, coefs: jnp.ndarray) -> object:
        return polynomials.bounds_of(made, jnp.sum(coefs, axis=-2))

    monkeypatch.setattr(loop, "bounds", ended)
    assert found(flowing)


def test_a_retired_symbol_that_is_still_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest column is not merged, and its place is given to a new error."""

    def keep(axes: jnp.ndarray, columns: jnp.ndarray, radius: jnp.ndarray, inputs: int) -> object:
        rows = columns.shape[0]
        merged, _, box = wrapping.parallelotope(axes)
        return merged, jnp.roll(columns, -(inputs + rows), axis=1).at[:, -rows:].add(jnp.diag(radius)), box

    monkeypatch.setattr(loop, "fold", keep)
    assert found(jumping)


def test_a_retired_symbol_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(axes: jnp.ndarray, columns: jnp.ndarray, radius: jnp.ndarray, inputs: int) -> object:
        return wrapping.fold(axes, columns.at[:, : inputs + len(radius)].set(0.0), radius, inputs)

    monkeypatch.setattr(loop, "fold", forget)
    assert found(jumping)


def test_coordinates_that_leave_the_unit_box(monkeypatch: pytest.MonkeyPatch) -> None:
    right = wrapping.parallelotope
    monkeypatch.setattr(loop, "parallelotope", lambda columns: (lambda a, z, b: (0.5 * a, z, b))(*right(columns)))
    assert found(jumping)


def test_a_remainder_that_was_not_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No round of the Picard test is run, and the step passes all the same."""
    monkeypatch.setattr(flow, "ROUNDS", 0)
    monkeypatch.setattr(loop, "flow_step", stepping(contracted=lambda made: jnp.ones_like(made.contracted)))
    assert found(flowing)


def test_a_remainder_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "flow_step", stepping(radius=lambda made: 0 * made.radius))
    assert found(flowing)
