"""A proven certificate for a small vehicle, made once per test process (about 20 s), and the files that go with it."""

from __future__ import annotations

import functools

import numpy as np

from tubepilot.train.invariance.assumptions import Assumptions
from tubepilot.train.invariance.backup import BackupLaw
from tubepilot.train.invariance.certificate import Certificate, files_of
from tubepilot.train.invariance.design import certify
from tubepilot.train.invariance.shield_graph import graphs_of


def single(*values: float) -> tuple[float, ...]:
    """Numbers as a checkpoint keeps them, in float32."""
    return tuple(float(np.float32(value)) for value in values)


(LAG_S, THRUST_LAG_S, YAW_LAG_S), (DRAG_1_S, RISE_DRAG_1_S) = single(0.0452, 0.0705, 0.054), single(0.2563, 0.1845)
ASSUMED = Assumptions(
    position_error_m=0.03,
    velocity_error_m_s=0.05,
    attitude_error_rad=0.0075,
    rate_error_rad_s=0.05,
    acceleration_m_s2=(0.4, 0.25),
    disturbance_estimate_m_s2=(1.1, 0.4),
    rate_residual_rad_s=0.03,
    yaw_rate_rad_s=0.2,
    thrust_scale_error=0.0,
    tick_s=0.01,
    delay_max_s=0.01,
    missed_ticks=1,
    rate_lag_s=LAG_S,
    thrust_lag_s=THRUST_LAG_S,
    drag_1_s=(DRAG_1_S, RISE_DRAG_1_S),
    gravity_m_s2=9.80665,
    command_delay_s=0.0,
    thrust_scale_m_s2=19.1667,
    rate_lags_s=(LAG_S, LAG_S, YAW_LAG_S),
    drags_1_s=(DRAG_1_S, DRAG_1_S, RISE_DRAG_1_S),
    sources={"all": "a simulated small quadrotor"},
)
LAW = BackupLaw(
    gain=np.zeros((2, 3)),
    rate_lag_s=LAG_S,
    thrust_lag_s=THRUST_LAG_S,
    tick_s=0.01,
    thrust_gain=single(0.9987)[0],
    rate_gain=np.array(single(1.03, 1.039, 1.063)),
    rate_offset_rad_s=np.array(single(0.01, -0.02, 0.005)),
    rate_limit_rad_s=np.array([6.0, 6.0, 3.0]),
    thrust_min_m_s2=2.0,
    thrust_max_m_s2=17.25,
    gravity_m_s2=9.80665,
)


@functools.cache
def proven() -> Certificate:
    """The certificate; its gains replace those of `LAW`."""
    return certify(ASSUMED, LAW)


@functools.cache
def certificate_files() -> dict[str, bytes]:
    """Content of the files of its folder by name."""
    return files_of(proven(), graphs_of(proven()))
