"""Files of surroundings: what they say, in which frame, what is refused; and that plans on board and their replay heed them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.flyable import make_certified_bundle

from tubepilot.export.constraint_graph import ConstraintSize
from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.runtime.bundle import read_bundle
from tubepilot.runtime.decision_log import decision_dtype
from tubepilot.runtime.keep_clear import Wall
from tubepilot.runtime.keep_clear_file import read_keep_clear
from tubepilot.runtime.local_frame import LocalFrame
from tubepilot.runtime.planner import Planner
from tubepilot.runtime.shield_decision import Reason
from tubepilot.runtime.surroundings import META, Surroundings, from_meta

TASKS = Path(__file__).parents[2] / "train" / "tasks"
HEAD = "vehicle_radius_m = 0.1\nobstacle_margin_m = 0.2\nspeed_limit_m_s = 2.5\n"
TREE = "[[obstacles]]\ncentre_m = [1.0, 0.05]\nradius_m = 0.2\n"
FENCE = "[geofence]\nlow_m = [-3.0, -3.0, 0.2]\nhigh_m = [3.0, 3.0, 4.0]\n"


def _read(tmp_path: Path, text: str) -> Surroundings:
    path = tmp_path / "around.toml"
    path.write_text(text, encoding="utf-8")
    return read_keep_clear(path)


def test_a_file_says_cylinders_fence_and_speed(tmp_path: Path) -> None:
    found = _read(tmp_path, HEAD + TREE + FENCE)
    assert not found.at_take_off
    obstacles, faces = found.for_planner()
    np.testing.assert_allclose(obstacles, [[1.0, 0.05, 0.0, 4.0, 4.0, 0.0]])
    assert faces.shape == (6, 4)
    assert found.speed_m_s == 2.5
    inside, beyond = found.depth(np.array([[1.0, 0.05, 9.0], [0.0, 0.0, 1.0], [1.5, 0.05, 0.1]]))
    np.testing.assert_allclose(inside, [1.0, 1.0 - 4.0 * (1.0 + 0.05**2), 0.0], atol=1e-12)
    np.testing.assert_allclose(beyond, [5.0, -0.8, 0.1], atol=1e-12)


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_task_file_is_taken_or_says_why_not(path: Path) -> None:
    if path.stem == "obstacle_forest":
        with pytest.raises(InputError, match="draws its obstacles at random"):
            read_keep_clear(path)
        return
    assert read_keep_clear(path).for_planner()[1].shape == (6, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "nothing to keep clear of"),
        (HEAD + TREE + "hight_m = 2.0\n", "unknown key `obstacles\\[0\\].hight_m`"),
        (HEAD + 'frame = "body"\n' + TREE, "one of world, take-off"),
        (HEAD + "[geofence]\nlow_m = [0.0, 0.0, 1.0]\nhigh_m = [1.0, 1.0, 1.0]\n", "below high_m"),
        (HEAD.replace("2.5", "0.0") + TREE, "speed_limit_m_s"),
        (HEAD + "fence_m = 0.05\n", "fence_m"),
        (HEAD + '[[obstacles]]\nshape = "cone"\n', "one of cylinder, sphere, box"),
        (HEAD + '[[obstacles]]\nshape = "sphere"\ncentre_m = [1.0, 2.0]\nradius_m = 1.0\n', "3 numbers"),
        (HEAD + TREE + "low_m = 2.0\nhigh_m = 1.0\n", "high_m"),
        (HEAD + "[[walls]]\nnormal = [0.0, 0.0, 0.0]\noffset_m = 1.0\n", "longer than 0"),
        (TREE, "vehicle_radius_m` is missing"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        _read(tmp_path, text)


EVERY_SHAPE = (
    TREE
    + "[[obstacles]]\ncentre_m = [2.0, 1.0]\nradius_m = 0.3\nlow_m = 0.0\nhigh_m = 2.0\n"
    + '[[obstacles]]\nshape = "sphere"\ncentre_m = [-1.0, 0.5, 1.0]\nradius_m = 0.4\n'
    + '[[obstacles]]\nshape = "box"\nlow_m = [-2.0, -2.0, 0.0]\nhigh_m = [-1.5, -1.0, 1.0]\n'
    + "[[walls]]\nnormal = [3.0, 4.0, 0.0]\noffset_m = 2.0\n"
)


def test_the_take_off_frame_sees_the_same_places(tmp_path: Path) -> None:
    world = _read(tmp_path, HEAD + TREE + FENCE)
    frame = LocalFrame(np.array([0.4, -0.7, 0.3]), 0.9)
    local = np.random.default_rng(0).uniform(-4.0, 4.0, size=(50, 3))
    for here, there in zip(world.seen_from(frame).depth(local), world.depth(frame.positions_to_world(local)), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-12)
    at_take_off = _read(tmp_path, 'frame = "take-off"\n' + HEAD + TREE)
    assert at_take_off.seen_from(frame) is at_take_off


def test_what_touches_a_shape_touches_it_in_every_frame_and_is_inside_of_the_planners_ellipsoid(tmp_path: Path) -> None:
    world = _read(tmp_path, HEAD + EVERY_SHAPE)
    rng = np.random.default_rng(1)
    frame = LocalFrame(np.array([0.4, -0.7, 0.3]), 2.1)
    turned = world.seen_from(frame)
    touched = 0
    for point in rng.uniform([-2.5, -2.5, -0.5], [2.5, 2.5, 2.5], size=(2000, 3)):
        there = (point - frame.origin_m) @ frame.rotation()
        for k, (before, after) in enumerate(zip(world.obstacles, turned.obstacles, strict=True)):
            if before.touches((point[0], point[1], point[2]), 0.0, 0.0):
                touched += 1
                assert after.touches((there[0], there[1], there[2]), 1e-9, 1e-9)
                alone = Surroundings(obstacles=(after,), margin_m=world.margin_m)
                assert alone.depth(there[None, :])[0][0] > 0.0, k
    assert touched > 100


def test_a_flight_log_holds_them_to_the_last_bit(tmp_path: Path) -> None:
    found = _read(tmp_path, HEAD + EVERY_SHAPE + FENCE).seen_from(LocalFrame(np.array([0.1, 0.2, 0.3]), 0.4))
    assert from_meta(found.meta()) == found
    assert from_meta({}) is None
    for damaged in ("{}", "[]", "{"):
        with pytest.raises(LogFormatError, match="damaged"):
            from_meta({META: damaged})


def test_the_shield_judges_the_same_things(tmp_path: Path) -> None:
    clear = _read(tmp_path, "fence_m = 20.0\n" + HEAD + EVERY_SHAPE + FENCE).for_shield()
    assert clear.fence_m == pytest.approx(19.9)
    assert clear.blocked((0.0, -0.5, 1.5), 0.3, 0.3) is Reason.OK
    assert clear.blocked((0.75, 0.05, 1.5), 0.3, 0.3) is Reason.OBSTACLE
    assert clear.blocked((0.0, -0.5, 0.4), 0.3, 0.3) is Reason.GEOFENCE
    assert clear.walls[0] == Wall((0.6, 0.8, 0.0), pytest.approx(1.9))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certified_bundle(tmp_path_factory.mktemp("bundle"), ConstraintSize(2, 6))


def _fly(planner: Planner, around: Surroundings, origin: np.ndarray, ticks: int) -> tuple[np.ndarray, list[np.void]]:
    """First actions of plans along +x through the tree, all candidates from one state, and the decisions."""
    planner.keep_clear(*around.for_planner(), around.speed_m_s)
    planner.reset()
    state = np.zeros(14)
    state[0:3], state[3], state[6], state[13] = origin, 1.5, 1.0, GRAVITY_M_S2
    times = planner.dt_plan_s * np.arange(planner.horizon + 1)
    rows = np.zeros((len(times), 9))
    rows[:, 0:3], rows[:, 3] = origin, 1.5
    rows[:, 0] += 1.5 * times
    plans, records = [], []
    for _ in range(ticks):
        plan = planner.plan(state, rows, np.zeros(3), 2**62)
        record = np.zeros(1, decision_dtype(planner.horizon))[0]
        planner.note(record, plan)
        plans.append(plan.actions.copy())
        records.append(record)
    return np.array(plans), records


def test_plans_turn_away_from_a_tree_and_replay_alike(made: tuple[Path, Path], tmp_path: Path) -> None:
    tree = replace(_read(tmp_path, HEAD + TREE), speed_m_s=100.0)
    nothing = replace(tree, obstacles=())
    planner = Planner(read_bundle(*made))
    origin = np.array([0.3, 0.0, 1.5])
    free, _ = _fly(planner, nothing, origin, 5)
    turned, records = _fly(planner, tree, origin, 5)
    assert np.abs(turned[-1] - free[-1]).max() > 0.05
    assert turned[-1][:3, 0].min() > 0.1  # the tree stands to the left: roll to the right first
    assert np.abs(free[-1][:3, 0]).max() < 0.01
    planner.reset()
    for record, actions in zip(records, turned, strict=True):
        np.testing.assert_array_equal(planner.replay(record).actions, actions)


def test_a_bundle_without_rows_for_them_refuses(made: tuple[Path, Path]) -> None:
    planner = Planner(read_bundle(*made))
    with pytest.raises(InputError, match="--obstacles 3"):
        planner.keep_clear(np.tile([0.0, 0.0, 0.0, 1.0, 1.0, 0.0], (3, 1)), np.zeros((0, 4)), 1.0)
