"""Falsifier of the admission box: the exact plant flown with every error at its bound, early and late set-points, stays inside the box
that the shield's own float path and graph give (docs/certificate.md, section 6)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from helpers.proven import certificate_files, proven
from scipy.spatial.transform import Rotation

from tubepilot.runtime.keep_clear import KeepClear
from tubepilot.runtime.shield import Shield, assumed_from
from tubepilot.runtime.shield_margins import taking_over
from tubepilot.runtime.shield_states import flatten
from tubepilot.train.invariance.assumptions import Assumptions
from tubepilot.train.invariance.shield_graph import Tables, shield_graph

Numbers = npt.NDArray[np.float64]
STEP_S = 5e-4
SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=7)))
"""Of the errors of position, velocity, attitude and rates, of wind, rate residual and yaw rate."""
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Flight:
    """States of many vehicles: position, velocity (n, 3), rotation (n, 3, 3), roll and pitch rate (n, 2), modelled thrust (n,)."""

    p: Numbers
    v: Numbers
    rotation: Numbers
    rates: Numbers
    thrust: Numbers

    def flat(self, slope: Numbers) -> Numbers:
        """Position, velocity, acceleration, jerk, shape (n, 4, 3)."""
        forward, left, up = (self.rotation[:, :, k] for k in range(3))
        turn = self.rates[:, 1:] * forward - self.rates[:, :1] * left
        c = self.thrust[:, None]
        return np.stack([self.p, self.v, c * up - 9.80665 * UP, slope[:, None] * up + c * turn], axis=1)


def moved(x: Flight, a: Assumptions, rates: Numbers, target: float, push: Numbers, yaw: Numbers) -> Flight:
    """One step: lags exactly, the attitude by the rates in the middle, the velocity by the midpoint rule."""
    after, middle = (rates + (x.rates - rates) * math.exp(-share * STEP_S / a.rate_lag_s) for share in (1.0, 0.5))
    thrust, half = (target + (x.thrust - target) * math.exp(-share * STEP_S / a.thrust_lag_s) for share in (1.0, 0.5))
    omega = np.concatenate([middle, yaw[:, None]], axis=1)
    between, rotation = (x.rotation @ Rotation.from_rotvec(share * STEP_S * omega).as_matrix() for share in (0.5, 1.0))
    drag = np.array([a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1]])
    force = half[:, None] * between[:, :, 2] - a.gravity_m_s2 * UP + push
    v = x.v + STEP_S * (force - drag * (x.v + 0.5 * STEP_S * (force - drag * x.v)))
    return Flight(x.p + 0.5 * STEP_S * (x.v + v), v, rotation, after, thrust)


def along(a: Assumptions, x: Flight, u: Numbers) -> tuple[Flight, Numbers, Numbers, Numbers]:
    """The predicted vehicle (one) with all errors along u, both ways; wind, rate residual and yaw rate that go with them."""
    rotation = x.rotation[0]
    axis = np.cross(rotation[:, 2], u)
    axis = axis / np.linalg.norm(axis) if np.linalg.norm(axis) > 1e-6 else rotation[:, 0]
    body = np.array([-rotation[:, 1] @ u, rotation[:, 0] @ u])  # rates that move the jerk along u
    body /= max(float(np.linalg.norm(body)), 1e-9)
    s = SIGNS.T[:, :, None]
    wrong = Flight(
        x.p + s[0] * a.position_error_m * u,
        x.v + s[1] * a.velocity_error_m_s * u,
        Rotation.from_rotvec(s[2] * a.attitude_error_rad * axis).as_matrix() @ x.rotation,
        x.rates + s[3] * a.rate_error_rad_s * np.sign(body),
        np.repeat(x.thrust, len(SIGNS)),
    )
    wind = a.acceleration_m_s2[1 if abs(u[2]) > 0.5 else 0]
    return wrong, s[4] * wind * u, s[5] * a.rate_residual_rad_s * body, SIGNS[:, 6] * a.yaw_rate_rad_s


def drawn(random: np.random.Generator, a: Assumptions) -> tuple[Flight, Numbers, Numbers, float, float]:
    """A vehicle at s_k less the window, effective rates of the set-point before and of the one judged, their thrusts."""
    tilt = random.normal(size=2) * 0.2
    rotation = (Rotation.from_rotvec([*tilt, 0.0]) * Rotation.from_euler("z", random.uniform(-3.0, 3.0))).as_matrix()
    thrust = float(random.uniform(9.0, 11.5))
    x = Flight(
        np.zeros((1, 3)), random.normal(size=(1, 3)) * np.array([2.0, 2.0, 0.7]), rotation[None], random.normal(size=(1, 2)) * 0.4,
        np.array([thrust]),
    )  # fmt: skip
    before, judged = random.normal(size=(2, 2)) * random.choice([0.1, 0.6, 1.2], size=(2, 1))
    return x, before, judged, thrust + float(random.normal()) * 0.2, thrust + float(random.normal()) * 0.5


def shares_of_the_box(seed: int, graph: bytes | None = None) -> Numbers:
    """Largest deviation from the nominal state over the radius, shape (instants, horizontal and vertical, rows).

    Args:
        seed: Of the vehicle and its set-points.
        graph: Bytes of the shield graph; that of the certificate if None.
    """
    certificate, files = proven(), certificate_files()
    a, law = certificate.assumptions, certificate.law
    sets = files["shield.onnx"] if graph is None else graph
    shield = Shield(files["backup.onnx"], sets, assumed_from(files["certificate.toml"]), KeepClear(fence_m=1e7))
    random, held = np.random.default_rng(seed), np.array([0.4, -0.3, 0.2])
    early, before, judged, target_before, target = drawn(random, a)
    span = round(a.window_s / STEP_S)
    predicted = early
    for _ in range(span):  # the tick knows the set-point before, and no other
        predicted = moved(predicted, a, before[None], target_before, held[None], np.zeros(1))

    def command(rates: Numbers, thrust: float) -> tuple[float, float, float, float]:
        roll, pitch = ((rates - law.rate_offset_rad_s[:2]) / law.rate_gain[:2]).tolist()
        return roll, pitch, 0.0, thrust / law.thrust_gain

    x, y, z, w = Rotation.from_matrix(predicted.rotation[0]).as_quat().tolist()
    modelled = float(predicted.thrust[0])
    state = [*predicted.p[0].tolist(), *predicted.v[0].tolist(), w, x, y, z, *predicted.rates[0].tolist(), 0.0, modelled]
    now = flatten(state, (target_before - state[13]) / a.thrust_lag_s, a.gravity_m_s2)
    acting = (command(before, target_before),) * max(shield._prediction.remembered, 1)
    d = (float(held[0]), float(held[1]), float(held[2]))
    ahead = shield._prediction.ahead(shield._prediction.start(now, d, acting), command(judged, target))
    options = shield._set.anchors(ahead.states[1], d, None)
    shield._set.ask([taking_over(ahead, options)])
    radii = shield._set._runs[0].radii.copy()[:, 1]  # of every anchor but for what its own backup would do, which is more
    nominal = [np.array([s.position, s.velocity, s.acceleration, s.jerk]) for s in ahead.states]
    result = np.zeros((2, 2, 4))
    for u in (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), UP):
        for begin in (-a.window_s, -a.window_s + a.delay_max_s):
            true = early
            for k in range(span):
                rates = before if (k + 0.5) * STEP_S - a.window_s < begin else judged
                true = moved(true, a, rates[None], target_before, held[None], np.zeros(1))
            flight, wind, residual, yaw = along(a, true, u)
            for k in range(round(max((1 + a.missed_ticks) * a.tick_s, a.window_s) / STEP_S)):
                flight = moved(flight, a, judged[None] + residual, target, held + wind, yaw)
                for n, instant in enumerate((a.tick_s, max((1 + a.missed_ticks) * a.tick_s, a.window_s))):
                    if k + 1 == round(instant / STEP_S):
                        off = np.abs(flight.flat((target - flight.thrust) / a.thrust_lag_s) - nominal[n])
                        level, rise = np.linalg.norm(off[:, :, :2], axis=2).max(axis=0), off[:, :, 2].max(axis=0)
                        result[n] = np.maximum(result[n], np.stack([level / radii[n, :4], rise / radii[n, 4:]]))
    return result


@pytest.fixture(name="shares", scope="module")
def _shares() -> Numbers:
    return np.max([shares_of_the_box(seed) for seed in range(40)], axis=0)


def test_no_error_leads_out_of_the_admission_box(shares: Numbers) -> None:
    assert (shares < 1.0).all(), shares


def test_the_attack_comes_near_the_box(shares: Numbers) -> None:
    """Position and velocity within 10 %, the horizontal thrust vector within 25 %."""
    assert (shares[:, :, :2] > 0.9).all()
    assert (shares[:, 0, 2] > 0.75).all()


@pytest.mark.parametrize(("place", "row"), [(0, 0), (1, 1), (2, 2)], ids=["position", "velocity", "attitude"])
def test_the_attack_leaves_a_box_that_forgets_part_of_an_error(place: int, row: int) -> None:
    """The same flights against a graph whose box assumes two thirds of one error of the estimate."""
    tables = Tables.of(proven())
    errors = list(tables.admission.errors)
    errors[place] *= 2.0 / 3.0
    small = shield_graph(replace(tables, admission=replace(tables.admission, errors=tuple(errors))))
    shares = np.max([shares_of_the_box(seed, small.SerializeToString()) for seed in range(3)], axis=0)
    assert (shares[:, 0, row] > 1.0).any()
