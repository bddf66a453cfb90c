"""Vehicles that the independent simulator can fly: parameters in rotorpy's own form, and the gains of the rate loop that suit them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rotorpy.vehicles.crazyflie_params import quad_params as crazyflie_params

from .errors import InputError
from .rate_loop import CRAZYFLIE_GAINS, RateGains


@dataclass(frozen=True, slots=True, eq=False)
class Airframe:
    """One kind of vehicle.

    Attributes:
        name: As in logs, checkpoints and bundles.
        parameters: rotorpy's dictionary of a multirotor: SI, body FLU.
        gains: Of the simulated rate loop.
    """

    name: str
    parameters: Mapping[str, Any]
    gains: RateGains


FIVE_INCH_GAINS = RateGains(
    p_1_s=(171.0, 171.0, 110.0),
    i_1_s2=(100.0, 100.0, 60.0),
    d=(3.28, 3.28, 2.3),
    i_limit_rad_s2=(60.0, 60.0, 30.0),
    filter_s=0.002,
)
"""For 33 ms motors: damping 0.9 and a lag of (1 + d) / p = 25 ms in roll and pitch, 30 ms in yaw."""

FIVE_INCH_PARAMETERS: Mapping[str, Any] = {
    "mass": 0.75,
    "Ixx": 2.41e-3, "Iyy": 1.80e-3, "Izz": 3.759e-3, "Ixy": 0.0, "Iyz": 0.0, "Ixz": 0.0,
    "num_rotors": 4,
    "rotor_radius": 0.0648,
    "rotor_pos": {
        "r1": np.array([0.075, 0.10, 0.0]),
        "r2": np.array([0.075, -0.10, 0.0]),
        "r3": np.array([-0.075, -0.10, 0.0]),
        "r4": np.array([-0.075, 0.10, 0.0]),
    },
    "rotor_directions": np.array([1, -1, 1, -1]),
    "rI": np.zeros(3),
    "c_Dx": 0.0, "c_Dy": 0.0, "c_Dz": 0.0,
    "k_eta": 1.562522e-6,
    "k_m": 0.022 * 1.562522e-6,
    "k_d": 6.9e-5,
    "k_z": 5.1e-5,
    "k_h": 0.0,
    "k_flap": 0.0,
    "tau_m": 0.033,
    "rotor_speed_min": 0,
    "rotor_speed_max": 2332,
    "motor_noise_std": 0.0,
    "k_w": 200, "k_v": 10, "kp_att": 450, "kd_att": 45.0,
}  # fmt: skip
"""A racing quadrotor with 5.1 inch propellers: mass, inertia, arms, thrust and torque coefficient, motor lag and the 8.5 N of a rotor
are those that the Agilicious and Flightmare simulators of the University of Zurich ship for theirs. Drag is ours: rotor drag that gives
0.4 1/s at hover, between the two axes of Faessler et al. 2018 (arXiv 1712.02402), 0.54 and 0.39 1/s; induced inflow in proportion."""

CRAZYFLIE = Airframe("rotorpy-crazyflie", crazyflie_params, CRAZYFLIE_GAINS)
FIVE_INCH = Airframe("rotorpy-five-inch", FIVE_INCH_PARAMETERS, FIVE_INCH_GAINS)

AIRFRAMES: Mapping[str, Airframe] = {"crazyflie": CRAZYFLIE, "five-inch": FIVE_INCH}
"""By the name that options use."""


def named(name: str) -> Airframe:
    """The airframe that a log, checkpoint or bundle names.

    Raises:
        InputError: it is none of the simulated ones.
    """
    for airframe in AIRFRAMES.values():
        if airframe.name == name:
            return airframe
    known = ", ".join(airframe.name for airframe in AIRFRAMES.values())
    raise InputError(f"the simulator has no airframe {name!r}; it has {known}")
