"""What a model and its ensemble make of a flight that they were not fitted on: residuals of ticks, errors and disagreement of windows.

Both action levels give the same numbers. At level "rates" the ensemble is that of the world model, each member rolled out by itself
over the whole window, and the tick residuals are those of the physics alone, which the prover uses. At level "rotors" the residuals
are those of the prediction one step ahead, and the members are rotor models fitted on halves of the flights (the delete-half
jackknife, whose spread estimates that of the fit: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982). The
members of a flight are those whose half does not hold it, so one set of members serves all flights left out; the main model is not
changed by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

from .bounds import scores
from .dynamics import Residual, WorldModel
from .flight import Flight
from .model_prediction import model_predictor, observed_disturbance, one_step_residuals
from .prediction import Prediction, quaternion_multiply, window_starts, windows
from .rotor_model import RotorModel, RotorSettings, fit_rotor_model, predict_rotor_model

HORIZONS = (1, 10, 50)
"""Steps ahead at which error and disagreement are compared."""
FIRST = 100
"""First sample that starts a window: the observer and the features of the past need one second."""
PAIRS = 8
"""Complementary halves of the flights; each flight has this many members that have not seen it."""
FEWEST_FLIGHTS = 4
MEMBER = RotorSettings(members=1, every=5, passes=1)
"""Members need their differences, not the last per cent of accuracy: fewer windows, one pass of reweighting."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A flight seen by a model that was not fitted on it; T ticks, W windows, 3 horizons, 4 quantities as in `prediction.QUANTITIES`.

    Attributes:
        name: Of the flight.
        speed_m_s: Speed at each tick, shape (T,) [m/s].
        scores: Sizes of the six residuals of each tick, see `bounds.scores`, shape (T, 6). At level "rotors" columns 3 to 5 are angular
            accelerations [rad/s^2].
        starts: First samples of the windows, shape (W,).
        error: Error norms, shape (W, 3, 4) [m, m/s, rad, rad/s].
        disagreement: Root mean square distance of the members from their mean, same shape and units.
        observed_m_s2: Size of the disturbance that the observer has found at the start of each window, shape (W,); empty at "rotors".
    """

    name: str
    speed_m_s: Vector
    scores: Vector
    starts: np.ndarray
    error: Vector
    disagreement: Vector
    observed_m_s2: Vector


def angle_rad(p_wxyz: Vector, q_wxyz: Vector) -> Vector:
    """Rotation angle between unit quaternions over the last axis [rad]."""
    difference = quaternion_multiply(p_wxyz * np.array([1.0, -1.0, -1.0, -1.0]), q_wxyz)
    result: Vector = 2 * np.arctan2(np.linalg.norm(difference[..., 1:], axis=-1), np.abs(difference[..., 0]))
    return result


def _at(values: Vector) -> Vector:
    return values[:, np.array(HORIZONS) - 1]


def distances(p: Prediction, q: Prediction) -> Vector:
    """Position, velocity, attitude and rate distance of two predictions at `HORIZONS`, shape (W, 3, 4)."""
    pairs = ((p.position_m, q.position_m), (p.velocity_m_s, q.velocity_m_s), (p.rates_rad_s, q.rates_rad_s))
    position, velocity, rates = (np.linalg.norm(_at(a) - _at(b), axis=2) for a, b in pairs)
    return np.stack([position, velocity, angle_rad(_at(p.quaternion_wxyz), _at(q.quaternion_wxyz)), rates], axis=2)


def flown(flight: Flight, starts: np.ndarray) -> Prediction:
    """What a perfect predictor would have said."""
    values = (flight.position_m, flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s)
    return Prediction(*(windows(v, starts) for v in values))


def spread(members: Sequence[Prediction]) -> Vector:
    """Root mean square distance of members from their mean, shape (W, 3, 4); quaternions are averaged with equal signs.

    Raises:
        InputError: fewer than two members.
    """
    if len(members) < 2:
        raise InputError(f"disagreement needs at least 2 ensemble members, there are {len(members)}; train again with more")
    parts = [np.mean([m[k] for m in members], axis=0) for k in (0, 1, 3)]
    first = members[0].quaternion_wxyz
    sign = [np.where(np.sum(m.quaternion_wxyz * first, axis=-1, keepdims=True) < 0, -1.0, 1.0) for m in members]
    turned = np.sum([s * m.quaternion_wxyz for s, m in zip(sign, members, strict=True)], axis=0)
    middle = Prediction(parts[0], parts[1], turned / np.linalg.norm(turned, axis=-1, keepdims=True), parts[2])
    result: Vector = np.sqrt(np.mean([distances(m, middle) ** 2 for m in members], axis=0))
    return result


def single_members(model: WorldModel) -> list[WorldModel]:
    """World models of one member each."""
    r = model.residual
    count, width = r.w2.shape[0], r.w2.shape[1]
    return [
        WorldModel(
            model.physics,
            Residual(
                r.feature_mean, r.feature_scale, r.w1[:, m * width : (m + 1) * width], r.b1[m * width : (m + 1) * width],
                r.w2[m : m + 1], r.b2[m : m + 1], r.output_scale,
            ),
        )
        for m in range(count)
    ]


def unseen_rates(model: WorldModel, flight: Flight, scale_m_s2: float, every: int) -> Unseen:
    """A flight of rate set-points through a world model.

    Args:
        model: Physics and ensemble, not fitted on the flight.
        flight: Of action level "rates".
        scale_m_s2: Commanded collective acceleration at throttle 1 [m/s^2].
        every: One window in this many samples.

    Raises:
        InputError: the ensemble has one member, or the flight is too short.
    """
    starts = window_starts(flight, every, FIRST)
    # The members start from one disturbance, that of the whole model: what differs is what they predict, not what they observed.
    acceleration = one_step_residuals(model, flight, scale_m_s2)[0]
    disturbance = observed_disturbance(acceleration, flight.dt_s)[starts]
    members = [model_predictor(m, scale_m_s2)(flight, starts) for m in single_members(model)]
    predicted = model_predictor(model, scale_m_s2)(flight, starts)
    speed = np.linalg.norm(flight.velocity_m_s[:-1], axis=1)
    return Unseen(
        flight.name, speed, scores(model.physics, flight, scale_m_s2), starts, distances(predicted, flown(flight, starts)),
        spread(members), np.linalg.norm(disturbance, axis=1),
    )


def unseen_rotors(model: RotorModel, members: Sequence[RotorModel], flight: Flight, every: int) -> Unseen:
    """A flight of rotor speeds through a rotor model.

    Args:
        model: Not fitted on the flight.
        members: Neither.
        flight: Of action level "rotors".
        every: One window in this many samples.

    Raises:
        InputError: there are fewer than two members, or the flight is too short.
    """
    ticks = window_starts(flight, 1, FIRST)
    predicted = predict_rotor_model(model, flight, ticks)
    acceleration = (flight.velocity_m_s[ticks + 1] - predicted.velocity_m_s[:, 0]) / flight.dt_s
    angular = (flight.rates_rad_s[ticks + 1] - predicted.rates_rad_s[:, 0]) / flight.dt_s
    horizontal = np.linalg.norm(acceleration[:, 0:2], axis=1)
    rows = np.column_stack([horizontal, horizontal, np.abs(acceleration[:, 2]), np.abs(angular)])
    starts = ticks[::every]
    here = Prediction(*(v[::every] for v in predicted))
    others = [predict_rotor_model(m, flight, starts) for m in members]
    speed = np.linalg.norm(flight.velocity_m_s[ticks], axis=1)
    return Unseen(flight.name, speed, rows, starts, distances(here, flown(flight, starts)), spread(others), np.zeros(0))


def halves(count: int, pairs: int, seed: int) -> np.ndarray:
    """Complementary random halves of `count` flights, shape (2 pairs, count), True where the flight is fitted on.

    Each flight is missing in exactly `pairs` of them.

    Raises:
        InputError: there are too few flights.
    """
    if count < FEWEST_FLIGHTS:
        raise InputError(f"there are {count} flights, members that differ by flights need at least {FEWEST_FLIGHTS}; add flights")
    generator = np.random.default_rng(seed)
    result = np.zeros((2 * pairs, count), dtype=bool)
    for k in range(pairs):
        result[2 * k, generator.permutation(count)[: count // 2]] = True
        result[2 * k + 1] = ~result[2 * k]
    return result


def rotor_members(
    flights: Sequence[Flight], seed: int, report: Callable[[str], None], settings: RotorSettings = MEMBER, pairs: int = PAIRS
) -> Callable[[Flight], list[RotorModel]]:
    """Fit members on halves of the flights.

    Args:
        flights: Of action level "rotors".
        seed: Of the halves.
        report: Told each member.
        settings: How to fit a member.
        pairs: See `halves`.

    Returns:
        Gives the members whose half does not hold a flight: all of them for a flight that is not in `flights`.
    """
    chosen = halves(len(flights), pairs, seed)
    models = []
    for k, row in enumerate(chosen):
        report(f"member {k + 1} of {len(chosen)}")
        models.append(fit_rotor_model([f for f, use in zip(flights, row, strict=True) if use], replace(settings, members=1), seed))
    names = [flight.name for flight in flights]

    def without(flight: Flight) -> list[RotorModel]:
        if flight.name not in names:
            return models
        return [m for m, row in zip(models, chosen, strict=True) if not row[names.index(flight.name)]]

    return without
