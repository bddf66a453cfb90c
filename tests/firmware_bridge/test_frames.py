"""Frame changes against rotation matrices and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.frames import rotate, swap_attitude, swap_body, swap_world, turned

NED_TO_ENU = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FRD_TO_FLU = np.diag([1.0, -1.0, -1.0])
ROOT_HALF = math.sqrt(0.5)


def quaternions(count: int) -> np.ndarray:
    """Random unit quaternions, scalar first."""
    q = np.random.default_rng(0).normal(size=(count, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def matrix(q: np.ndarray) -> np.ndarray:
    return Rotation.from_quat(np.roll(q, -1)).as_matrix()


@pytest.mark.parametrize("q", quaternions(50))
def test_attitude_agrees_with_matrices_and_is_its_own_inverse(q: np.ndarray) -> None:
    swapped = np.array(swap_attitude(*q))
    assert np.allclose(matrix(swapped), NED_TO_ENU @ matrix(q) @ FRD_TO_FLU.T, atol=1e-14)
    assert np.allclose(swap_attitude(*swapped), q, atol=1e-15)


@pytest.mark.parametrize(
    ("ned", "enu"),
    [
        # level, facing north: yaw 90 deg from east
        ((1.0, 0.0, 0.0, 0.0), (ROOT_HALF, 0.0, 0.0, ROOT_HALF)),
        # level, facing east (NED yaw 90 deg): no turn in ENU
        ((ROOT_HALF, 0.0, 0.0, ROOT_HALF), (1.0, 0.0, 0.0, 0.0)),
    ],
)
def test_known_attitudes(ned: tuple[float, ...], enu: tuple[float, ...]) -> None:
    assert np.allclose(swap_attitude(*ned), enu, atol=1e-15)


def test_roll_right_stays_roll_right_and_nose_up_changes_sign() -> None:
    # NED, facing east: roll right by 0.1 rad leans the thrust axis to the south, which is -y in ENU.
    yaw, roll = Rotation.from_euler("z", math.pi / 2), Rotation.from_euler("x", 0.1)
    q = np.roll((yaw * roll).as_quat(), 1)
    up = rotate(swap_attitude(*q), (0.0, 0.0, 1.0))
    assert np.allclose(up, [0.0, -math.sin(0.1), math.cos(0.1)], atol=1e-15)
    # nose up by 0.1 rad leans the thrust axis backwards, to the west.
    pitch = Rotation.from_euler("y", 0.1)
    q = np.roll((yaw * pitch).as_quat(), 1)
    up = rotate(swap_attitude(*q), (0.0, 0.0, 1.0))
    assert np.allclose(up, [-math.sin(0.1), 0.0, math.cos(0.1)], atol=1e-15)


def test_vectors() -> None:
    assert swap_world(1.0, 2.0, 3.0) == (2.0, 1.0, -3.0)
    assert swap_world(*swap_world(1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert swap_body(1.0, 2.0, 3.0) == (1.0, -2.0, -3.0)
    assert swap_body(*swap_body(1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("q", quaternions(20))
def test_rotate_and_turned_agree_with_scipy(q: np.ndarray) -> None:
    rates = (1.0, -2.0, 0.5)
    assert np.allclose(rotate(tuple(q), (1.0, 2.0, 3.0)), matrix(q) @ [1.0, 2.0, 3.0], atol=1e-14)
    expected = matrix(q) @ Rotation.from_rotvec(0.03 * np.array(rates)).as_matrix()
    assert np.allclose(matrix(np.array(turned(tuple(q), rates, 0.03))), expected, atol=1e-14)
    assert np.allclose(turned(tuple(q), (0.0, 0.0, 0.0), 0.1), q, atol=1e-15)
