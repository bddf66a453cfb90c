"""Rates against the attitude they turn: the right full scale, a wrong one, and a craft that stands."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubepilot.firmware_bridge.betaflight_gyro import LEAST_FIT, GyroFit
from tubepilot.firmware_bridge.frames import Three, turned


def flown(scale: float, seconds: float = 3.0, noise_rad_s: float = 0.0) -> GyroFit:
    """A fit that saw a craft swing about all axes at 100 Hz, its gyro `scale` times too large."""
    fit, q, rng = GyroFit(), (1.0, 0.0, 0.0, 0.0), np.random.default_rng(1)
    for k in range(round(100 * seconds)):
        t_s = 0.01 * k
        true: Three = (1.2 * math.sin(4.0 * t_s), math.cos(3.0 * t_s), 0.4)
        noise = rng.normal(0.0, noise_rad_s, 3)
        p, y, r = (float(scale * rate + extra) for rate, extra in zip(true, noise, strict=True))
        fit.see(round(1e9 * t_s) + 1, q, (p, y, r))
        x, y, z = (1.2 * math.sin(4.0 * (t_s + 0.005)), math.cos(3.0 * (t_s + 0.005)), 0.4)
        q = turned(q, (x, y, z), 0.01)
    return fit


@pytest.mark.parametrize("scale", [1.0, 16.384, 0.5, 2.0, 1.147])
def test_ratio_is_the_inverse_of_the_scale(scale: float) -> None:
    fit = flown(scale)
    assert fit.ratio == pytest.approx(1.0 / scale, rel=0.01)
    assert fit.fits is (1.0 / scale > LEAST_FIT and scale > 0.7)


def test_noise_does_not_make_a_right_scale_wrong() -> None:
    assert flown(1.0, noise_rad_s=0.15).fits


def test_nothing_is_said_of_a_craft_that_stands() -> None:
    fit, rng = GyroFit(), np.random.default_rng(2)
    for k in range(3000):
        x, y, z = rng.normal(0.0, 0.03, 3).tolist()
        fit.see(10_000_000 * k + 1, (1.0, 0.0, 0.0, 0.0), (x, y, z))
    assert fit.ratio is None
    assert fit.fits


def test_a_pause_is_not_bridged() -> None:
    fit = GyroFit()
    for k in range(100):
        fit.see(200_000_000 * k + 1, (1.0, 0.0, 0.0, 0.0), (3.0, 0.0, 0.0))
    assert fit.ratio is None
