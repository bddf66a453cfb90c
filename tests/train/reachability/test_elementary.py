"""Elementary functions against ball arithmetic of 500 to 1500 bits: soundness without any tolerance, sharpness within a stated factor.

A bound fails when the ball (relative radius below 1e-100) lies outside for certain: equality counts as inside.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability import elementary as functions
from tubepilot.train.reachability.error_model import TINY, U

SEED = 11
SMOOTH = ("sin", "cos", "tan", "exp", "log", "sqrt", "reciprocal", "tanh", "sigmoid", "softplus", "silu", "atan", "square")
KINKED = ("elu", "relu", "abs", "leaky_relu")
POSITIVE = ("log", "sqrt")
arb, series = flint.arb, flint.arb_series


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    before = flint.ctx.prec, flint.ctx.cap
    flint.ctx.prec, flint.ctx.cap = 500, 6
    yield
    flint.ctx.prec, flint.ctx.cap = before


def of_exp(x: series, even: bool) -> series:
    """tanh x, or ln(1 + e^x), by exponentials that do not overflow."""
    falling = bool(x[0] > 0)
    e = (-2 * x if falling else 2 * x).exp() if not even else (-x if falling else x).exp()
    if even:
        return (1 + e).log() + (x if falling else 0)
    return (1 - e) / (1 + e) if falling else (e - 1) / (e + 1)


REFERENCE: dict[str, Callable[[series], series]] = {
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.sin() / x.cos(),
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "reciprocal": lambda x: 1 / x,
    "tanh": lambda x: of_exp(x, False),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()) if x[0] > 0 else x.exp() / (1 + x.exp()),
    "softplus": lambda x: of_exp(x, True),
    "silu": lambda x: x / (1 + (-x).exp()) if x[0] > 0 else x * x.exp() / (1 + x.exp()),
    "atan": lambda x: x.atan(),
    "square": lambda x: x * x,
    "elu": lambda x: x if x[0] > 0 else x.exp() - 1,
    "relu": lambda x: x if x[0] > 0 else 0 * x,
    "abs": lambda x: x if x[0] > 0 else -x,
    "leaky_relu": lambda x: x if x[0] > 0 else arb(0.01) * x,
}


def exact(name: str, c: float | arb, order: int) -> list[arb]:
    """Derivatives 0 ... order at c; e^690 and 1e-310 take a thousand bits."""
    size = abs(float(c))
    flint.ctx.prec = 400 if 1e-30 < size < 40 else 2400
    flint.ctx.cap = order + 1
    found = REFERENCE[name](series([arb(c), 1]))
    values = [found[i] * math.factorial(i) for i in range(order + 1)]
    assert all(float(v.rad()) <= 1e-100 * (1 + float(abs(v).upper())) for v in values)
    return values


def arguments(name: str, random: np.random.Generator) -> np.ndarray:
    """Points of all sizes, near every branch of the reductions, denormal, huge; inside the supported domain."""
    near = [k * math.pi / 4 * (1 + s) for k in range(-9, 10) for s in (0.0, 1e-15, -1e-9, 1e-4)]
    steps = [k * math.log(2) / 2 * (1 + s) for k in range(-12, 13) for s in (0.0, 1e-15, -1e-15)]
    special = [0.0, 5e-324, 1e-310, 1e-300, 1e-200, 1e-100, 1e-20, 0.236, 0.25, 0.75, 1.0, math.sqrt(2)]
    special += [math.sqrt(0.5), 20.0, 37.0, 40.0, 333.9, 334.1, 600.0, 667.9, 668.1, 689.9, 1e4, 1e6, 1e8, 99999999.5]
    points = np.array(near + steps + special + [-s for s in special])
    points = np.concatenate(
        [points, random.uniform(-3, 3, 60), random.uniform(-30, 30, 60), random.normal(size=40) * 10.0 ** random.uniform(-12, 8, 40)]
    )
    if name in POSITIVE:
        points = np.concatenate([np.abs(points[points != 0]), 10.0 ** random.uniform(-280, 290, 60)])
        points = points[points >= 1e-280]
    if name == "reciprocal":
        points = points[np.abs(points) >= 1e-45]
    if name == "sqrt":
        points = points[points >= 1e-60]
    if name == "exp":
        points = points[points <= 690]
    return points[np.abs(points) <= (1e290 if name in POSITIVE else 1e8)]


def below(number: arb, bound: float) -> bool:
    """Whether |number| <= bound."""
    return not bool(abs(number) > arb(bound)) and not math.isnan(bound)


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_taylor_coefficients_are_within_their_error_bounds(name: str) -> None:
    points = arguments(name, np.random.default_rng(SEED))
    if name == "tan":
        points = points[np.asarray(functions.defined(name, jnp.asarray(points), jnp.asarray(points)))]
    if name in KINKED:
        points = points[np.abs(points) > 1e-300]  # the kink has a test of its own
    computed = jax.jit(lambda c: (*functions.taylor(name, c, 4), functions.value(name, c)))(jnp.asarray(points))
    v, e, single = map(np.array, computed)
    assert len(points) > 250
    assert np.all(np.isfinite(e) | (name in POSITIVE and points[None] < 1e-40))  # there z^-5 overflows
    for i, c in enumerate(points):
        truth = exact(name, c, 4)
        assert below(truth[0] - arb(single[0, i]), single[1, i]), (name, c)
        for k in range(5):
            assert below(truth[k] / math.factorial(k) - arb(v[k, i]), e[k, i]), (name, c, k, v[k, i], e[k, i])


# Declared error over U |value|, at ordinary arguments (|z| <= 10): the reductions by multiples of pi/2 and ln 2 dominate.
VALUE_FACTOR = {"exp": 170, "sigmoid": 180, "tanh": 60, "softplus": 180, "silu": 200, "elu": 40, "log": 32, "atan": 25}


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_declared_errors_are_small(name: str) -> None:
    c = jnp.asarray(np.random.default_rng(SEED).uniform(0.01 if name in (*POSITIVE, "reciprocal") else -10, 10, 2000))
    v, e = functions.value(name, c)
    if name in ("sin", "cos"):
        assert float(jnp.max(e)) <= 160 * U
        assert float(jnp.max(jnp.where(jnp.abs(c) < 0.78, e, 0))) <= 5 * U
    elif name == "tan":
        assert float(jnp.max(e / (1 + v * v))) <= 230 * U
    else:
        assert float(jnp.max((e - 1e3 * TINY) / jnp.abs(v))) <= VALUE_FACTOR.get(name, 3) * U


def intervals(name: str, random: np.random.Generator) -> np.ndarray:
    """Rows (lo, hi): points, 1e-7 wide, ordinary and wide, also around the turning points, inside the domain."""
    centre = np.concatenate([random.uniform(-4, 4, 30), random.uniform(-30, 30, 15), 10.0 ** random.uniform(-6, 6, 6)])
    if name not in POSITIVE:
        turning = [t.z[0] for row in functions.elementary(name).table for t in row]
        centre = np.concatenate([centre, turning, -centre[-6:], [0.0, math.pi, 1.5, 100.0]])
    width = random.choice([0.0, 1e-15, 1e-7, 1e-3, 0.1, 1.0, 5.0], centre.size) * random.uniform(0.1, 1, centre.size)
    lo, hi = centre - width * random.uniform(0, 1, centre.size), centre + width * random.uniform(0, 1, centre.size)
    if name in (*POSITIVE, "reciprocal"):
        lo, hi = np.abs(centre), np.abs(centre) + width
    if name == "reciprocal":
        sign = random.choice([-1.0, 1.0], centre.size)
        lo, hi = np.minimum(sign * lo, sign * hi), np.maximum(sign * lo, sign * hi)
    if name == "exp":
        lo, hi = np.minimum(lo, 600), np.minimum(hi, 600)
    rows = np.stack([lo, hi], axis=1)
    return rows[np.asarray(functions.defined(name, jnp.asarray(lo), jnp.asarray(hi)))]


def inside(name: str, lo: float, hi: float, random: np.random.Generator) -> list[arb]:
    """End points, random points and every turning point of any order in [lo, hi] (to 1e-16)."""
    points = [lo, hi, *random.uniform(lo, hi, 3)]
    for row in functions.elementary(name).table:
        for t in row:
            shifts = range(math.ceil((lo - t.z[0]) / t.period), math.floor((hi - t.z[0]) / t.period) + 1)[:4] if t.period else (0,)
            points += [t.z[0] + n * t.period for n in shifts]
    return [arb(p) for p in points if lo <= p <= hi]


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_ranges_enclose_and_are_sharp(name: str) -> None:
    """Every value lies inside; the bound exceeds the largest value found by at most 1e-12 of it and of the scale of rounding."""
    random = np.random.default_rng(SEED)
    rows = intervals(name, random)
    if name in KINKED:
        rows = rows[(rows[:, 0] > 0) | (rows[:, 1] < 0)]
    assert len(rows) > 40

    def every(a: jax.Array, b: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        bounds = [functions.derivative_bound(name, a, b, k) for k in range(6)]
        return bounds, [*functions.value_range(name, a, b), *functions.derivative_range(name, a, b)]

    bounds, ranges = map(np.array, jax.jit(every)(*jnp.asarray(rows.T)))
    for i, (a, b) in enumerate(rows):
        found = [exact(name, x, 5) for x in inside(name, a, b, random)]
        for order in range(6):
            values, bound, case = [f[order] for f in found], bounds[order, i], (name, order, a, b)
            assert all(below(x, bound) for x in values), case
            largest = max(float(abs(x).upper()) for x in values)
            slack = largest * 1e-12 + sharpness(name, order, a, b)
            assert bound <= largest + slack, (*case, bound, largest)
            if order < 2:
                low, high = ranges[2 * order : 2 * order + 2, i]
                assert low <= high
                assert not any(bool(x < arb(low)) or bool(x > arb(high)) for x in values), case
                assert low >= min(float(x.lower()) for x in values) - slack, case
                assert high <= max(float(x.upper()) for x in values) + slack, case


def sharpness(name: str, order: int, lo: float, hi: float) -> float:
    """Absolute excess allowed besides 1e-12 of the value."""
    size = max(abs(lo), abs(hi))
    if name in ("sin", "cos"):
        return 40 * U * size + 1e4 * TINY  # of the argument reduction
    if name == "tan":  # its conditioning: the next derivative times the error of the reduced argument, to first order
        peak = max(float(abs(exact(name, x, order + 1)[order + 1]).upper()) for x in (lo, hi))
        return 60 * U * (1 + size) * peak * (1 + 1e-6) + 1e-12
    if name in ("exp", "elu"):
        return 1e4 * TINY + (0.0 if size < 50 else 40 * U * size * math.exp(min(hi, 600)))
    scale = {2: 2.0, 3: 3.0, 4: 10.0, 5: 200.0}.get(order, 1.0)
    if name in ("log", "sqrt", "reciprocal", "square", "relu", "abs", "leaky_relu"):
        return 1e4 * TINY
    return 200 * scale * U * (1 + (size if name == "silu" else 0))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "silu", "atan", "sin", "cos", "tan"])
def test_turning_points_are_enclosed(name: str) -> None:
    """At both ends of each enclosure the next derivative has opposite signs; the value is that of the table."""
    for order, row in enumerate(functions.elementary(name).table):
        for turn in row:
            width = 1e-9
            before, after = exact(name, turn.z[0] - width, order + 1)[-1], exact(name, turn.z[1] + width, order + 1)[-1]
            assert bool(before * after < 0), (name, order, turn)
            if turn.period:
                continue  # z is a float64 near a multiple of pi / 2; the value is exact
            lo, hi = turn.z
            inner = lo if lo == hi else zero_between(name, order + 1, lo, hi)
            truth = exact(name, inner, order)[-1]
            assert not bool(truth < arb(turn.value[0])) and not bool(truth > arb(turn.value[1])), (name, order, turn)  # noqa: PT018


def zero_between(name: str, order: int, lo: float, hi: float) -> arb:
    """Zero of the derivative `order` by bisection, to 1e-60; the signs at lo and hi differ."""
    a, b = arb(lo), arb(hi)
    sign = bool(exact(name, a, order)[-1] > 0)
    assert bool(exact(name, b, order)[-1] > 0) != sign
    for _ in range(120):
        middle = ((a + b) / 2).mid()
        a, b = (middle, b) if bool(exact(name, middle, order)[-1] > 0) == sign else (a, middle)
    return a


@pytest.mark.parametrize("name", ["tanh", "atan", "tan"])
def test_no_turning_point_is_missing(name: str) -> None:
    """Zeros of the next derivative, a polynomial in t = tanh z, z or t = tan z, counted exactly (Sturm) by sympy."""
    t, z = sympy.symbols("t z")
    row = t if name != "atan" else None
    for order in range(6):
        if row is None:
            numerator, low, high = sympy.numer(sympy.together(sympy.diff(sympy.atan(z), z, order + 1))), None, None
        else:
            row = sympy.expand(sympy.diff(row, t) * (1 + (1 if name == "tan" else -1) * t**2))
            low, high = (-1, 1) if name == "tanh" else (None, None)
            numerator = sympy.cancel(row / (1 - t**2)) if name == "tanh" else row
        polynomial = sympy.Poly(numerator, z if row is None else t)
        count = 0 if polynomial.degree() == 0 else polynomial.count_roots(low, high)
        assert count == len(functions.elementary(name).table[order]), (name, order)


@pytest.mark.parametrize("order", range(6))
def test_no_turning_point_of_silu_is_missing(order: int) -> None:
    """By bisection of balls, the next derivative has no zero in [-50, 50] but near the table's; beyond, z e^-|z| prevails."""
    flint.ctx.prec = 120
    turns = sorted(t.z[0] for t in functions.elementary("silu").table[order])
    gaps = zip([-50.0, *(t + 0.02 for t in turns)], [*(t - 0.02 for t in turns), 50.0], strict=True)
    todo = [(t - 0.02, t + 0.02, order + 2) for t in turns]  # simple zeros: the derivative after has none
    for start, end in gaps:
        cuts = np.linspace(start, end, math.ceil((end - start) * 8) + 1)
        todo += [(a, b, order + 1) for a, b in itertools.pairwise(cuts)]
    while todo:
        a, b, k = todo.pop()
        flint.ctx.cap = k + 1
        if REFERENCE["silu"](series([arb((a + b) / 2, (b - a) / 2 * 1.001), 1]))[k].contains(0):
            assert b - a > 1e-6, (a, b, k)
            todo += [(a, (a + b) / 2, k), ((a + b) / 2, b, k)]


def quick(function: Callable[..., object]) -> Callable[..., tuple[jax.Array, ...]]:
    """Compiled with little optimisation, where the time to compile is most of the test."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})  # type: ignore[return-value]


def number(x: float) -> jax.Array:
    return jnp.asarray(x)


def test_kinks() -> None:
    """One-sided slopes up to the order that jumps, nothing above; each side alone is smooth."""
    for name, slope in (("relu", 0.0), ("abs", -1.0), ("leaky_relu", 0.01), ("leaky_relu:0.2", 0.2)):
        lo, hi = map(float, functions.derivative_range(name, number(-1.0), number(2.0)))
        assert slope - 1e-15 <= lo <= slope
        assert hi == 1.0
        assert float(functions.derivative_bound(name, number(-1.0), number(2.0), 1)) == 1.0
        for order in (2, 5):
            assert float(functions.derivative_bound(name, number(-1.0), number(2.0), order)) == math.inf
            assert float(functions.derivative_bound(name, number(0.0), number(2.0), order)) == 0.0
            assert float(functions.derivative_bound(name, number(-2.0), number(0.0), order)) == 0.0
        coefficients, errors = functions.taylor(name, number(0.0), 2)
        assert coefficients[1] - errors[1] <= slope
        assert coefficients[1] + errors[1] >= 1.0
        low, high = map(float, functions.value_range(name, number(-1.0), number(2.0)))
        assert low <= min(slope * -1.0, 0.0)
        assert high == 2.0
    assert tuple(map(float, functions.value_range("relu", number(-3.0), number(-1.0)))) == (0.0, 0.0)
    assert tuple(map(float, functions.value_range("abs", number(-3.0), number(2.0)))) == (0.0, 3.0)
    bounds = [float(functions.derivative_bound("elu", number(-1.0), number(2.0), k)) for k in range(6)]
    assert bounds == [2.0, 1.0, 1.0, math.inf, math.inf, math.inf]
    lo, hi = map(float, functions.derivative_range("elu", number(-1.0), number(2.0)))
    assert math.exp(-1) - 1e-14 <= lo <= math.exp(-1)
    assert hi == 1.0
    _, errors = functions.taylor("elu", number(0.0), 2)
    assert [float(e) for e in errors] == [TINY, float(errors[1]), 0.25]


@pytest.mark.parametrize("name", functions.NAMES)
def test_nan_infinite_and_empty_input_gives_infinite_bounds(name: str) -> None:
    nan, inf = math.nan, math.inf
    ends = jnp.asarray([(nan, 1.0), (0.5, nan), (nan, nan), (2.0, 1.0), (-inf, 1.0), (0.5, inf), (-inf, inf), (inf, -inf)]).T

    def every(lo: jax.Array, hi: jax.Array) -> tuple[jax.Array, ...]:
        bound = functions.derivative_bound(name, lo, hi, 2)
        return functions.defined(name, lo, hi), *functions.value_range(name, lo, hi), bound, *functions.value(name, lo)

    is_defined, low, high, bound, v, e = map(np.array, quick(every)(*ends))
    assert not is_defined.any()
    assert (low == -inf).all()
    assert (high == inf).all()
    assert (bound == inf).all()
    unknown = ~np.isfinite(np.array(ends[0]))
    assert (v[unknown] == 0.0).all()
    assert (e[unknown] == inf).all()


@pytest.mark.parametrize(
    ("name", "lo", "hi"),
    [
        ("tan", 1.5, 1.6), ("tan", -1.6, -1.5), ("tan", 1.5707963267948966, 1.5707963267948966), ("tan", 0.0, 4.0), ("tan", 4.0, 5.0),
        ("tan", 2e8, 2e8), ("reciprocal", -1.0, 1.0), ("reciprocal", 0.0, 0.0), ("reciprocal", 0.0, 1.0), ("reciprocal", -1.0, -0.0),
        ("reciprocal", 5e-324, 1.0), ("log", 0.0, 1.0), ("log", -1.0, 1.0), ("log", -2.0, -1.0), ("log", 5e-324, 1.0),
        ("sqrt", -1.0, 1.0),
    ],
)  # fmt: skip
def test_outside_the_domain_bounds_are_infinite(name: str, lo: float, hi: float) -> None:
    assert not bool(functions.defined(name, number(lo), number(hi)))
    assert tuple(map(float, functions.value_range(name, number(lo), number(hi)))) == (-math.inf, math.inf)
    assert tuple(map(float, functions.derivative_range(name, number(lo), number(hi)))) == (-math.inf, math.inf)
    assert float(functions.derivative_bound(name, number(lo), number(hi), 3)) == math.inf


def test_root_at_zero() -> None:
    """The value exists at 0, the derivatives do not; a denormal number may count as 0, its root is far larger."""
    lo, hi = map(float, functions.value_range("sqrt", number(0.0), number(4.0)))
    assert lo == 0.0
    assert 2.0 <= hi <= 2 + 2e-15
    assert float(functions.derivative_bound("sqrt", number(0.0), number(4.0), 1)) == math.inf
    assert not bool(functions.defined("sqrt", number(0.0), number(4.0)))
    for z in (0.0, 5e-324, 1e-310, 3e-308):
        v, e = map(float, functions.value("sqrt", number(z)))
        assert below(arb(z).sqrt() - arb(v), e)
        assert float(functions.taylor("sqrt", number(z), 1)[1][1]) == math.inf


def test_beyond_the_reductions_the_global_range_is_given() -> None:
    for name in ("sin", "cos"):
        assert tuple(map(float, functions.value_range(name, number(1.0), number(3e8)))) == (-1.0, 1.0)
        assert tuple(map(float, functions.value(name, number(1e300)))) == (0.0, 1.0)
        assert float(functions.derivative_bound(name, number(2e8), number(2e8), 4)) == 1.0
        assert bool(functions.defined(name, number(2e8), number(2e8)))
    assert tuple(map(float, functions.value_range("exp", number(1.0), number(800.0)))) == (0.0, math.inf)
    assert float(functions.value("exp", number(800.0))[1]) == math.inf
    lo, hi = map(float, functions.value_range("exp", number(-1e9), number(-800.0)))
    assert 0.0 == lo <= hi <= 1e-289
    assert float(functions.value("log", number(1e305))[1]) == math.inf


@pytest.mark.parametrize("name", functions.NAMES)
def test_gradients_are_finite(name: str) -> None:
    """At ordinary arguments, and for elements outside the domain beside others inside."""
    inner = np.array([0.3, 1.2, 3.0, 30.0, 300.0])
    c = jnp.asarray(np.concatenate([inner, -inner, [0.0, 1e3, 1e9, math.nan, math.inf, -math.inf]]))

    def total(c: jax.Array) -> jax.Array:
        numbers = [
            *functions.taylor(name, c, 4)[0],
            *functions.value_range(name, c, c + 0.01),
            functions.derivative_bound(name, c, c + 0.01, 3),
        ]
        return sum(jnp.sum(jnp.where(jnp.isfinite(x), x, 0.0)) for x in numbers)

    assert bool(jnp.all(jnp.isfinite(quick(jax.grad(total))(c))))


@pytest.mark.parametrize("name", ["sin", "tanh", "exp", "log", "silu", "atan", "tan"])
def test_gradient_of_the_value_is_the_derivative(name: str) -> None:
    c = jnp.asarray(np.random.default_rng(SEED).uniform(0.05, 1.4, 50))
    gradient = jax.jit(jax.vmap(jax.grad(lambda x: functions.value(name, x)[0])))(c)
    coefficients, _ = jax.jit(lambda x: functions.taylor(name, x, 1))(c)
    np.testing.assert_allclose(gradient, coefficients[1], rtol=1e-12)


def test_few_operations() -> None:
    """What is compiled stays small, as these sit in inner loops."""
    x = jnp.zeros(3)
    for name in functions.NAMES:
        assert len(jax.make_jaxpr(lambda c, name=name: functions.taylor(name, c, 4))(x).eqns) < 300, name


def test_broken_requests_are_errors() -> None:
    with pytest.raises(InputError, match="unknown; known are"):
        functions.value("sine", number(0.0))
    with pytest.raises(InputError, match="order 5"):
        functions.taylor("sin", number(0.0), 5)
    with pytest.raises(InputError, match="order 6"):
        functions.derivative_bound("sin", number(0.0), number(1.0), 6)
    with pytest.raises(InputError, match="slope"):
        functions.value("leaky_relu:steep", number(0.0))
    with pytest.raises(InputError, match="float32"):
        functions.value("sin", jnp.zeros(2, jnp.float32))
