"""Reference trajectories: they contain closed forms, agree with the simulation, and refuse or widen where nothing is proven."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, arb_mat, arb_series
from helpers.closed_loops import closed_loop, double_pendulum

from tubepilot.firmware_bridge.errors import CertificateError, InputError, ShapeError
from tubepilot.train.reachability.arb_network import ACTIVATIONS, BallNetwork
from tubepilot.train.reachability.arb_program import KinkError, program, working_precision
from tubepilot.train.reachability.arb_step import taylor_coefficients
from tubepilot.train.reachability.network import ACTIVATIONS as PLAIN
from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.reference import enclose, integrate
from tubepilot.train.reachability.simulation import simulate

PERIOD = Fraction(0.1)


def middle(box: list[arb]) -> np.ndarray:
    return np.array([float(v.mid()) for v in box])


def everything(x: jax.Array) -> jax.Array:
    """Uses every kind of operation that ball arithmetic knows, away from kinks."""
    a, b = x[0], x[1]
    matrix = jnp.array([[0.3, -1.2], [2.0, 0.7]])
    first = jnp.sin(a) / (2 + jnp.cos(b) ** 2) + jnp.tanh(a) * jnp.exp(-b) + jnp.sqrt(2 + a) + jnp.abs(a) - a**-2
    second = jax.nn.sigmoid(a) + jnp.maximum(a, b) - jnp.minimum(a, 0.1) + jnp.arctan(b) + jnp.log(3 + b) + jnp.tan(b / 2)
    third = jnp.linalg.norm(x) + jnp.sum(jnp.square(matrix @ x[::-1])) + jax.nn.softplus(a) + jnp.where(b > 0.2, a, b) + jnp.expm1(b)
    fourth = jax.lax.rsqrt(1 + a * a) + jnp.log1p(a * a) + (1 + a) ** 1.5 + jnp.prod(x) + jnp.max(x) + jnp.stack([a, b]).T.reshape(2)[1]
    return jnp.concatenate([jnp.stack([first, second]), third[None], fourth[None]])


def test_programs_of_balls_contain_what_jax_computes() -> None:
    made = program(everything, 2)
    for x in ([0.7, 0.3], [1.9, -0.4]):
        with working_precision(128):
            found = made.run([arb(v) for v in x])
        assert all(float(v.rad()) < 1e-30 for v in found)
        np.testing.assert_allclose(middle(found), everything(jnp.asarray(x, jnp.float64)), rtol=1e-14)


def test_programs_of_series_give_the_derivatives_of_jax() -> None:
    """Second-order Taylor coefficients of f(x + s d + s^2 e) against nested directional derivatives of JAX."""
    made, x, d, e = program(everything, 2), np.array([0.7, 0.3]), np.array([0.2, -0.5]), np.array([0.3, 0.1])

    def along(s: jax.Array) -> jax.Array:
        return everything(x + s * d + s * s * e)

    with working_precision(128):
        series = made.run([arb_series([arb(u), arb(v), arb(w)], prec=3) for u, v, w in zip(x, d, e, strict=True)])
    zero = jnp.asarray(0.0, jnp.float64)
    expected = jax.jit(lambda s: (along(s), jax.jacfwd(along)(s), jax.jacfwd(jax.jacfwd(along))(s) / 2))(zero)
    for k in range(3):
        np.testing.assert_allclose([float(s[k].mid()) for s in series], expected[k], rtol=1e-12, atol=1e-13)


def test_a_series_at_a_kink_is_refused_and_a_ball_covers_both_sides() -> None:
    for f in (jnp.abs, lambda x: jnp.maximum(x, 0.0), lambda x: jnp.where(x > 0, x, -x)):
        made = program(f, 1)
        with pytest.raises(KinkError):
            made.run([arb_series([arb(0, 0.1), arb(1)], prec=2)])
        (ball,) = made.run([arb(0, 0.5)])
        assert ball.contains(arb(0.4)) or ball.overlaps(arb(0.4))


def test_unknown_operations_are_named() -> None:
    with pytest.raises(InputError, match="floor"):
        program(jnp.floor, 2)
    with pytest.raises(InputError, match="float32"):
        program(lambda x: x.astype(jnp.float32).astype(jnp.float64), 2)


def test_taylor_coefficients_of_the_exponential() -> None:
    with working_precision(128):
        (coefficients,) = taylor_coefficients(program(lambda x: x, 1).run, [arb(1)], 12)
    with working_precision(256):
        assert all(c.contains(1 / arb(k).fac()) for k, c in enumerate(coefficients))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_networks_of_balls(name: str) -> None:
    """Against plain evaluation at points (rounding of float64: 1e-12), and over a ball: every point's value lies inside."""
    rng = np.random.default_rng(3)
    layers = (Layer(rng.normal(size=(6, 2)), rng.normal(size=6), name), Layer(rng.normal(size=(6, 6)), rng.normal(size=6), name, 1),
              Layer(rng.normal(size=(2, 6)), rng.normal(size=2), "linear"))  # fmt: skip
    network = Network(layers)
    balls = BallNetwork(network)
    for x in rng.uniform(-2, 2, (5, 2)):
        with working_precision(128):
            found, wide = balls([arb(v) for v in x]), balls([arb(v, 0.3) for v in x])
        np.testing.assert_allclose(middle(found), network(jnp.asarray(x)), rtol=1e-12, atol=1e-12)
        for shift in rng.uniform(-0.3, 0.3, (10, 2)):
            inside = network(jnp.asarray(x + shift))
            assert all(abs(float(v) - float(b.mid())) <= float(b.rad()) + 1e-12 for v, b in zip(inside, wide, strict=True))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_over_balls_across_zero(name: str) -> None:
    wide = ACTIVATIONS[name](arb(0.1, 0.5))
    for v in np.linspace(-0.4, 0.6, 41):
        assert abs(float(PLAIN[name](jnp.asarray(v))) - float(wide.mid())) <= float(wide.rad()) + 1e-15


def test_linear_loop_contains_the_matrix_exponential() -> None:
    """x' = A x + B K x(kT): the exponential is taken in ball arithmetic, with exactly the same numbers."""
    a, b, gain = np.array([[-0.3, 2.0], [-2.0, 0.1]]), np.array([[0.0], [1.0]]), np.array([[-0.4, -0.9]])
    spec = closed_loop(lambda x, u, w, p: jnp.asarray(a) @ x + jnp.asarray(b) @ u, [(-1, 1)] * 2, inputs=1,
                       control=lambda y, x: jnp.asarray(gain) @ x)  # fmt: skip
    path = integrate(spec, [0.3, -0.7])
    assert path.radius < 1e-15
    with working_precision(200):
        x, length = [arb(0.3), arb(-0.7)], arb(0.1)
        for k in range(10):
            u = gain[0, 0] * x[0] + gain[0, 1] * x[1]
            rows = [[*map(arb, a[i]), b[i, 0] * u] for i in range(2)] + [[arb(0)] * 3]
            half = path.at(Fraction(2 * k + 1, 2))
            for time, box in ((length / 2, half), (length, path.instants[k + 1])):
                truth = ((arb_mat(rows) * time).exp() * arb_mat([[x[0]], [x[1]], [arb(1)]])).entries()[:2]
                assert all(v.overlaps(t) and v.contains(arb(t.mid())) for v, t in zip(box, truth, strict=True))
            x = truth


@pytest.mark.parametrize(
    ("f", "start", "truth"),
    [
        (lambda x, u, w, p: x * (1 - x), [0.25], lambda t: [1 / (1 + 3 * (-t).exp())]),
        (lambda x, u, w, p: jnp.stack([x[1], -x[0]]), [1.0, 0.0], lambda t: [t.cos(), -t.sin()]),
        (lambda x, u, w, p: -x * x, [2.0], lambda t: [1 / (arb(0.5) + t)]),
        (lambda x, u, w, p: jnp.sqrt(x), [1.0], lambda t: [(1 + t / 2) ** 2]),
        (lambda x, u, w, p: jnp.stack([jnp.exp(-x[0]), 1 / (1 + x[1])]), [0.0, 0.0], lambda t: [(1 + t).log(), (1 + 2 * t).sqrt() - 1]),
    ],
)
@pytest.mark.parametrize("bits", [64, 128, 300])
def test_trajectories_contain_closed_forms(f, start, truth, bits) -> None:
    spec = closed_loop(f, [(0, 2)] * len(start), period_s=0.25)
    path = integrate(spec, start, bits=bits, radius=1.0)
    assert path.radius < 2.0 ** (-0.45 * bits)
    with working_precision(2 * bits):
        for instant in (Fraction(k, 3) for k in range(31)):
            for box, exact in zip(path.at(instant), truth(arb(0.25) * instant.numerator / instant.denominator), strict=True):
                assert box.contains(exact)


def test_enclosures_over_a_time_interval_contain_the_instants() -> None:
    spec = closed_loop(lambda x, u, w, p: jnp.stack([x[1], -jnp.sin(x[0])]), [(0, 2)] * 2)
    path = integrate(spec, [1.0, 0.5])
    pieces = path.pieces(Fraction(1, 3), Fraction(8, 3))
    assert pieces[0][0] == 0
    assert pieces[-1][0] == 2
    for k, segment, lo, hi in pieces:
        with working_precision(path.bits):
            ends = [arb(v.numerator) / v.denominator for v in (lo, hi)]
            over = segment.at(ends[0].union(ends[1]))
            at = path.at(k + (segment.start + (lo + hi) / 2) / PERIOD)
        assert all(a.contains(b) for a, b in zip(over, at, strict=True))


@pytest.mark.parametrize("start", [0.5, 1.0, 0.03])
def test_kinks_of_the_dynamics_are_crossed(start: float) -> None:
    """x' = -1 - |x|: x + 1 decays with e^-t until x is 0, then x = 1 - e^(t - t0)."""
    spec = closed_loop(lambda x, u, w, p: -1 - jnp.abs(x), [(0, 1)])
    path = integrate(spec, [start])
    assert path.radius < 1e-10
    with working_precision(200):
        kink = (1 + arb(start)).log()
        for k in range(11):
            t = arb(0.1) * k
            exact = (1 + arb(start)) * (-t).exp() - 1 if t < kink else 1 - (t - kink).exp()
            assert path.instants[k][0].contains(exact)


def test_delays_lost_updates_and_disturbances_agree_with_the_simulation() -> None:
    spec = closed_loop(lambda x, u, w, p: jnp.stack([x[1], u[0] + w[0] * jnp.cos(x[0]) - p[0] * x[0]]), [(0, 1)] * 2, inputs=1,
                       control=lambda y, x: -jnp.tanh(x[:1] + x[1:]), steps=8, disturbances=[(-1, 1)], parameters=[(1, 2)],
                       delay_s=(0.0, 0.1), missed=2)  # fmt: skip
    rng = np.random.default_rng(4)
    x0, p, w, delays = rng.uniform(0, 1, 2), rng.uniform(1, 2, 1), rng.uniform(-1, 1, (8, 3, 1)), rng.uniform(0, 0.1, 8)
    delays[3:5] = (0.0, 0.1)
    received = ~np.isin(np.arange(8), [2, 5, 6])
    path = integrate(spec, x0, p, w, delays_s=delays, received=received)
    _, states = simulate(spec, x0[None], w[None], p[None], delays_s=delays[None], received=received[None], samples_per_period=3)
    found = np.array([middle(path.at(Fraction(i, 3))) for i in range(25)])
    np.testing.assert_allclose(states[0], found, rtol=0, atol=1e-12)
    assert path.radius < 1e-15


def test_discrete_systems() -> None:
    """The logistic map at r = 4 has x_k = sin^2(2^k asin(sqrt(x_0))): doubling errors need more bits, which are taken."""
    spec = closed_loop(lambda x, u, w, p: 4 * x * (1 - x), [(0, 1)], discrete=True, steps=150)
    path = integrate(spec, [0.3])
    assert path.radius < 1e-12
    assert path.bits > 128
    with working_precision(2000):
        assert path.instants[150][0].contains((arb(2) ** 150 * arb(0.3).sqrt().asin()).sin() ** 2)
    with pytest.raises(InputError, match="whole numbers"):
        path.at(Fraction(1, 2))


def test_unstable_loops_get_more_bits_and_balls_as_initial_states_are_kept() -> None:
    spec = closed_loop(lambda x, u, w, p: 40 * x, [(0, 1)], steps=20)
    path = integrate(spec, [2.0**-60])
    assert path.bits > 128
    with working_precision(600):
        assert path.instants[20][0].contains(arb(2) ** -60 * (40 * 20 * arb(0.1)).exp())
    wide = integrate(closed_loop(lambda x, u, w, p: x, [(0, 1)]), [arb(0.5, 1e-4)])
    assert 2e-4 < wide.radius < 4e-4


def test_blow_up_is_an_error() -> None:
    spec = closed_loop(lambda x, u, w, p: x * x, [(0, 2)])
    with pytest.raises(CertificateError, match="leaves the domain"):
        integrate(spec, [1.5])
    assert integrate(spec, [1.5], steps=6).radius < 1e-12


def test_wrong_sizes_are_refused() -> None:
    spec = closed_loop(lambda x, u, w, p: w - x, [(0, 1)], disturbances=[(-1, 1)])
    with pytest.raises(ShapeError, match="needs"):
        integrate(spec, [0.0])
    with pytest.raises(ShapeError, match="needs"):
        integrate(spec, [0.0, 1.0], w=np.zeros((10, 1, 1)))


def test_double_pendulum_agrees_with_the_simulation(archcomp) -> None:
    spec = double_pendulum(archcomp)
    x0 = np.array([1.0, 1.3, 1.05, 1.2])
    _, states = simulate(spec, x0[None])
    path = enclose(spec, x0)
    assert len(path) == 21
    assert all(float(v.rad()) < 1e-12 for _, box in path for v in box)
    np.testing.assert_allclose([middle(box) for _, box in path], states[0, ::4], rtol=0, atol=1e-12)
