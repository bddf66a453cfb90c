"""The prover: what it proves survives attacks and a second implementation, and planted mistakes do not survive it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers.proven import certificate_files, proven
from scipy.linalg import expm

from tubepilot.export import bench_certificate
from tubepilot.firmware_bridge.errors import CertificateError
from tubepilot.runtime import bench_shield_ticks
from tubepilot.runtime.certificate_check import recheck_files
from tubepilot.train.invariance import planted, tampering
from tubepilot.train.invariance import proof as proof_module
from tubepilot.train.invariance.certificate import Certificate
from tubepilot.train.invariance.design import DESIGNS, at_once
from tubepilot.train.invariance.disturbance import bound
from tubepilot.train.invariance.interval import Interval, Numbers
from tubepilot.train.invariance.loop import AxisLoop
from tubepilot.train.invariance.maximal_set import support
from tubepilot.train.invariance.proof import AxisProof, prove
from tubepilot.train.invariance.sensitivity import sensitivity
from tubepilot.train.invariance.shield_graph import NOWHERE_M, ROUNDING, Tables, constants, judged
from tubepilot.train.invariance.stored import read

SEED = 3


def check(
    certificate: Certificate, axis: int, facets: Numbers | None = None, offsets: Numbers | None = None, bounds: Numbers | None = None
) -> AxisProof:
    """Run the proof of one axis again, with something changed."""
    a, own = certificate.assumptions, certificate.axes[axis]
    loop = AxisLoop(certificate.law.gain[axis], a.drag_1_s[axis], a.rate_lag_s)
    witnesses = (own.facet_multipliers, own.tube_multipliers)
    stages = certificate.stages
    return prove(
        axis, loop, stages.limits[:, :, axis], (stages.bounds if bounds is None else bounds)[:, axis],
        own.facets if facets is None else facets, own.offsets if offsets is None else offsets, witnesses, stages.lasting,
        certificate.step_s, certificate.substeps,
    )  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_proof_holds_again_and_refuses_larger_disturbances(axis: int) -> None:
    certificate = proven()
    check(certificate, axis)
    for stage in (0, certificate.stages.bounds.shape[0] // 2, -1):
        larger = certificate.stages.bounds.copy()
        larger[stage, :, 1] *= 1.01
        with pytest.raises(CertificateError):
            check(certificate, axis, bounds=larger)


@pytest.mark.parametrize("axis", [0, 1])
def test_proof_refuses_a_larger_set(axis: int) -> None:
    certificate = proven()
    facets = certificate.axes[axis].facets.copy()
    facets[40] *= 0.99
    with pytest.raises(CertificateError):
        check(certificate, axis, facets)
    for stage in (1, certificate.axes[axis].offsets.shape[0] // 2):
        offsets = certificate.axes[axis].offsets.copy()
        offsets[stage] *= 0.97  # a stage so small that the one before does not lead into it
        with pytest.raises(CertificateError):
            check(certificate, axis, offsets=offsets)


def test_both_chains_lead_to_rest_within_the_limits_of_neighbours() -> None:
    certificate = proven()
    stages = certificate.stages
    np.testing.assert_array_equal(stages.limits.max(axis=0), np.stack([certificate.limits.rows(axis) for axis in (0, 1)], axis=1))
    assert len(stages.lasting) == 2
    begin = 0
    for end in stages.lasting:
        for axis, proof in enumerate(certificate.axes):
            allowed, tube = stages.limits[begin : end + 1, :, axis], proof.stage_tube[begin : end + 1]
            for shift in (-1, 0, 1):
                assert (tube < allowed[np.clip(np.arange(end + 1 - begin) + shift, 0, end - begin)]).all()
        begin = end + 1
    fast, calm = stages.lasting[0], stages.lasting[1]
    horizontal = certificate.axes[0]
    assert horizontal.stage_tube[0, 2] > 6.8  # 35 degrees
    assert horizontal.stage_tube[fast, 2] < 0.6 * horizontal.stage_tube[0, 2]
    assert (horizontal.stage_tube[fast + 1 : calm + 1, 0] < 0.7 * horizontal.stage_tube[: fast + 1, 0].max()).all()


def test_the_first_stage_of_each_chain_holds_what_the_design_asks_for() -> None:
    certificate = proven()
    firsts = (0, certificate.stages.lasting[0] + 1)
    for stage, (starts, _) in zip(firsts, DESIGNS[0].chains(), strict=True):
        for axis, own in enumerate(certificate.axes):
            for start in starts:
                assert (start.largest(own.facets, axis) < own.offsets[stage]).all()


def test_following_ends_each_chain_in_itself() -> None:
    assert proof_module.following(6, (2, 5)).tolist() == [1, 2, 2, 4, 5, 5]
    assert proof_module.following(1, (0,)).tolist() == [0]
    assert judged(30, (29,)).tolist() == [0, 1, 2, 5, 9, 15, 21, 29]
    assert judged(90, (60, 89)).tolist() == [0, 4, 15, 34, 60, 61, 68, 89]


def test_exponential_without_remainder_is_seen_by_ball_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remainder matters at few terms; cutting it by 10 % of the enclosure's width breaks the enclosure of e."""
    found = proof_module.expm(Interval(np.array([[1.0]]), np.array([[1.0]])), terms=2)
    middle, radius = 0.5 * (found.lo + found.hi), 0.5 * (found.hi - found.lo)
    assert (np.e <= middle + radius).all()
    assert (np.e > middle + 0.65 * radius).all()


def reached(certificate: Certificate, axis: int, stage: int) -> tuple[list[int], Numbers]:
    """Some facets, and the share of the next offset that a step from a stage reaches, its vertices and disturbances at the bound:
    what really happens."""
    a, own = certificate.assumptions, certificate.axes[axis]
    loop = AxisLoop(certificate.law.gain[axis], a.drag_1_s[axis], a.rate_lag_s)
    dynamics, inputs = (0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs()))
    flow = expm(dynamics * certificate.step_s)
    fine = [expm(dynamics * certificate.step_s * (k + 0.5) / 200) @ inputs for k in range(200)]
    added = sum(np.abs(own.facets @ g) @ certificate.stages.bounds[stage, axis] for g in fine) * certificate.step_s / 200
    after = own.offsets[proof_module.following(own.offsets.shape[0], certificate.stages.lasting)[stage]]
    now = own.offsets[stage : stage + 1] if stage >= 0 else own.offsets[stage:]
    rows = list(range(0, own.facets.shape[0], 16))
    return rows, np.array([support(own.facets, now, own.facets[i] @ flow, added[i : i + 1], after[i : i + 1])[0] for i in rows])


def test_the_bound_of_a_step_is_above_what_happens_and_tight() -> None:
    """A proof that drops the disturbance integral, or a tenth of it, has a bound below what happens."""
    certificate = proven()
    for axis in (0, 1):
        for stage in (0, certificate.stages.bounds.shape[0] - 1):
            bounds = certificate.axes[axis].facet_bound[stage]
            rows, happens = reached(certificate, axis, stage)
            assert (happens <= bounds[rows] + 1e-7).all()
            assert (bounds < 1.0).all()
            assert happens.max() > 0.99
            for share in (0.0, 0.9):
                less = check(certificate, axis, bounds=share * certificate.stages.bounds)
                assert (less.facet_bound[stage, rows] < happens - 1e-5).sum() > 3


def test_the_tube_lies_above_what_is_reached_between_samples_and_is_tight() -> None:
    """At 200 instants of a step, from the vertices of the last stage, disturbances at their bound; samples alone would not see it."""
    certificate = proven()
    a, one = certificate.assumptions, np.ones(1)
    for n, own in enumerate(certificate.axes):
        loop = AxisLoop(certificate.law.gain[n], a.drag_1_s[n], a.rate_lag_s)
        dynamics, inputs = (0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs()))
        piece_s, added, happens = certificate.step_s / 200, np.zeros(4), np.zeros(4)
        for k in range(201):
            flow = expm(dynamics * piece_s * k)
            reached = [support(own.facets, own.offsets[-1:], flow[i], added[i : i + 1], one)[0] for i in range(4)]
            happens = np.maximum(happens, reached)
            added = added + np.abs(expm(dynamics * piece_s * (k + 0.5)) @ inputs) @ certificate.stages.bounds[-1, n] * piece_s
        samples = 1.0 / np.diagonal(own.facets[:4])
        assert (happens > samples).all()
        assert happens[3] > 1.005 * samples[3]
        assert (own.stage_tube[-1, :4] > happens).all()
        assert (own.stage_tube[-1, :4] < 1.01 * happens).all()


def test_disturbance_bounds_cover_sampled_set_points() -> None:
    """r of random attitudes, feedbacks and errors, by the exact nonlinear formula, stays below its bound."""
    certificate = proven()
    a, limits, d = certificate.assumptions, certificate.limits, certificate.disturbance
    random = np.random.default_rng(SEED)

    def pick(pair: tuple[float, float]) -> Numbers:
        angle = random.uniform(0, 2 * np.pi)
        return np.array([pair[0] * np.cos(angle), pair[0] * np.sin(angle), pair[1] * random.choice([-1, 1])])

    def turn(vector: Numbers) -> Numbers:
        from scipy.spatial.transform import Rotation

        return Rotation.from_rotvec(vector).as_matrix()

    gains = certificate.law.gain[[0, 0, 1]]
    largest = np.zeros(2)
    for _ in range(4000):
        force = pick(tuple(x + y for x, y in zip(limits.acceleration_m_s2, a.disturbance_estimate_m_s2, strict=True)))
        force *= random.choice([0.3, 1.0])
        force[2] += a.gravity_m_s2
        c = np.linalg.norm(force)
        b = force / c
        j, nu = pick(limits.jerk_m_s3), pick(limits.feedback_m_s3)
        h = j - (b @ j) * b
        spin = np.cross(b, h / c)  # world angular velocity without yaw
        axis_ = random.normal(size=3)
        wrong = turn(axis_ / np.linalg.norm(axis_) * a.attitude_error_rad)

        s = random.choice([-1, 1]) * a.window_s
        held_s = -(1 + a.missed_ticks) * a.tick_s
        estimates = []
        for time in (s, held_s):  # estimated direction of thrust and feedback, so far away from the instant
            error = gains[:, 0] * pick((a.position_error_m, a.position_error_m))
            error += gains[:, 1] * pick((a.velocity_error_m_s, a.velocity_error_m_s))
            error += gains[:, 2] * c * (wrong @ b - b) + time * pick(limits.slope_m_s4)
            estimates.append((wrong @ turn(spin * time) @ b, nu + error))
        (b_hat, nu_hat), (b_held, nu_held) = estimates
        back = turn(spin * -s) @ turn(a.yaw_rate_rad_s * s * b) @ wrong.T
        late = (c / (c + (b @ j) * s)) * back @ (nu_hat - (b_hat @ nu_hat) * b_hat)
        r = late + b * (b_held @ nu_held) - nu
        r += a.rate_lag_s * (2 * (b @ j) * h / c - (h @ h) / c * b)
        r += c * a.rate_residual_rad_s * h / np.linalg.norm(h)
        largest = np.maximum(largest, [np.hypot(r[0], r[1]), abs(r[2])])
    assert (largest <= d.jerk_m_s3).all()
    assert (largest > 0.5 * np.array(d.jerk_m_s3)).all()


def test_bounds_grow_with_every_assumption() -> None:
    certificate = proven()
    a, limits, gain = certificate.assumptions, certificate.limits, certificate.law.gain
    base = bound(a, limits, gain)
    errors = ("position_error_m", "velocity_error_m_s", "attitude_error_rad")
    for name in (*errors, "rate_residual_rad_s", "yaw_rate_rad_s", "delay_max_s"):
        grown = bound(replace(a, **{name: 1.2 * getattr(a, name)}), limits, gain)
        assert (np.array(grown.jerk_m_s3) > base.jerk_m_s3).all(), name
    more = bound(replace(a, missed_ticks=a.missed_ticks + 1), limits, gain)
    assert (np.array(more.jerk_m_s3) > base.jerk_m_s3).all()
    with pytest.raises(CertificateError, match="thrust lag"):
        bound(replace(a, thrust_lag_s=0.012), limits, gain)
    with pytest.raises(CertificateError, match="free fall"):
        bound(a, replace(limits, acceleration_m_s2=(1.0, 10.0)), gain)


def test_rounding_bound_covers_onnxruntime() -> None:
    certificate = proven()
    law, limits = certificate.law, certificate.limits
    session = onnxruntime.InferenceSession(certificate_files()["backup.onnx"], providers=["CPUExecutionProvider"])
    random = np.random.default_rng(SEED)
    decay, from_nu, _, response = law.constants()
    worst = 0.0
    for _ in range(20_000):
        position, velocity, held = (
            random.uniform(-1, 1, 3) * np.array([p[0], p[0], p[1]]) / np.sqrt([2, 2, 1])
            for p in (limits.position_m, limits.velocity_m_s, certificate.assumptions.disturbance_estimate_m_s2)
        )
        thrust, slope = random.uniform(*certificate.disturbance.thrust_m_s2), random.uniform(-5, 5)
        q, _ = np.linalg.qr(np.eye(3) + 0.3 * random.normal(size=(3, 3)))
        q = q * np.sign(np.diagonal(q))
        rates, command, slope_next = law.evaluate(position, velocity, q, thrust, slope, held)
        setpoint, following = session.run(None, {
            "state": np.concatenate([position, velocity, held])[None].astype(np.float32),
            "rotation": q.astype(np.float32),
            "thrust": np.array([[thrust]], np.float32),
            "slope": np.array([[slope]], np.float32),
        })  # fmt: skip
        worst = max(
            worst,
            float(np.linalg.norm((setpoint[0, :2] - rates[:2]) * law.rate_gain[:2])) * thrust,
            abs(float(setpoint[0, 3]) - command) * law.thrust_gain / (response * from_nu),
            abs(float(following[0, 0]) - slope_next) / (1 - decay),
        )
    assert worst <= certificate.rounding_m_s3
    assert worst > 0.01 * certificate.rounding_m_s3


def _judged(random: np.random.Generator, speed: float) -> dict[str, np.ndarray]:
    """Random inputs of the shield graph, as a flight makes them."""
    scale = np.array([1.0, speed, 1.0, 2.0])
    held = np.zeros((3, 1, 4, 4))
    held[:, 0, :, 0], held[:, 0, :, 2] = random.normal(0.0, 2.0, (3, 4)), random.normal(0.0, 0.3, (3, 1))
    return {
        "states": random.normal(size=(3, 2, 4, 4)) * 0.4 * scale,
        "held": held,
        "wanted": random.normal(size=(3, 2, 4)),
        "doubts": random.uniform(0.0, 1.0, (5, 2, 4)),
        "instants": np.array([[1, 2], [0, 0]])[random.integers(2, size=4)].T,
    }


def test_the_shield_graph_gives_margin_box_and_room_of_numpy() -> None:
    """The twin takes the facets from the proof and goes through the points one by one."""
    certificate = proven()
    session = onnxruntime.InferenceSession(certificate_files()["shield.onnx"], providers=["CPUExecutionProvider"])
    tables = Tables.of(certificate)
    table = constants(tables)
    gain, gravity = certificate.law.gain[[0, 0, 1]], np.array([0.0, 0.0, tables.gravity])
    horizontal, vertical = tables.facets
    random, seen = np.random.default_rng(SEED), set()

    def slope(state: Numbers, held: Numbers) -> float:
        force = state[:, 2] + gravity
        up, nu = force / np.linalg.norm(force), ((state - held)[:, :3] * gain).sum(axis=1)
        return abs(float(up @ nu - float(table["slower"]) * (up @ state[:, 3])))

    for _ in range(60):
        feed = _judged(random, float(random.choice([0.2, 1.0, 3.0])))
        margin, radii, room = session.run(None, feed)
        for option in range(4):
            late = max(slope(feed["states"][:, n, option], feed["held"][:, 0, option]) for n in (0, 1))
            worst = np.full(len(tables.offsets[0]), np.inf)
            leaning = []
            for instant in (0, 1):
                force = feed["states"][:, instant, option, 2] + gravity
                c = float(np.linalg.norm(force))
                off = radii[instant, option, 2]
                leaning.append((float(np.hypot(*force[:2])) / c, off / (c - off) if off < c else np.inf))
            tilt, angle = np.max(leaning, axis=0)
            for instant, kind in enumerate(feed["instants"][:, option]):
                z = feed["states"][:, instant, option] - feed["held"][:, 0, option]
                force, jerk = feed["states"][:, instant, option, 2] + gravity, feed["states"][:, instant, option, 3]
                c = np.linalg.norm(force)
                up, nu = force / c, (z[:, :3] * gain).sum(axis=1)
                change = table["shares"][kind] * (nu - up * (up @ nu) - feed["wanted"][:, instant, option])
                sizes = [float(np.linalg.norm(vector)) for vector in (jerk, nu, change)]
                terms = np.array([1.0, c, sizes[0], *feed["doubts"][:, instant, option], *sizes[1:], late])
                sums = terms @ table["box"][kind]
                box = np.concatenate([sums[:4], sums[4:8] + min(tilt + angle, 1.0) * sums[8:]])
                np.testing.assert_allclose(radii[instant, option], box, rtol=1e-12)
                for moved in (np.zeros(3), change):
                    point = z.copy()
                    point[:, 3] += moved
                    level = np.linalg.norm(horizontal @ point[:2].T, axis=1) + np.abs(horizontal) @ box[:4]
                    upright = np.abs(vertical @ point[2]) + np.abs(vertical) @ box[4:]
                    for n, (own_h, own_v) in enumerate(zip(*tables.offsets, strict=True)):
                        worst[n] = min(worst[n], 1.0 - ROUNDING - max((level / own_h).max(), (upright / own_v).max()))
            assert margin[option] == pytest.approx(worst.max(), abs=1e-11)
            holds = tables.tubes[:, worst > 0.0]
            assert tuple(room[:, option]) == (tuple(holds.min(axis=1)) if holds.size else (NOWHERE_M, NOWHERE_M))
            seen.add(float(room[0, option]))
    assert len(seen) >= 2


def test_the_graph_admits_nothing_that_the_prover_holds_for_outside() -> None:
    """States inside, on and outside the facets of each judged stage: the margin is theirs less the box, whatever the direction."""
    certificate = proven()
    session = onnxruntime.InferenceSession(certificate_files()["shield.onnx"], providers=["CPUExecutionProvider"])
    random, proof = np.random.default_rng(SEED), certificate.axes[0]
    stages = [proof.stage(int(k)) for k in judged(proof.offsets.shape[0], certificate.stages.lasting)]
    for _ in range(40):
        z = random.normal(size=4) / np.diagonal(stages[0][:4])
        heading = random.uniform(0.0, 2.0 * np.pi)
        for share in (0.3, 1.0 - 1e-7, 1.0 + 1e-7):
            edge = share * z / min(np.abs(facets @ z).max() for facets in stages)
            states = np.zeros((3, 2, 4, 4))
            states[:2] = np.outer([np.cos(heading), np.sin(heading)], edge)[:, None, None]
            feed = {"states": states, "held": np.zeros((3, 1, 4, 4)), "wanted": np.zeros((3, 2, 4)), "doubts": np.zeros((5, 2, 4))}
            margin, radii, _ = session.run(None, {**feed, "instants": np.zeros((2, 4), np.int64)})
            slack = max((np.abs(facets) @ radii[0, 0, :4]).max() for facets in stages)
            assert 1.0 - share - slack - 2e-9 <= margin[0] < 1.0 - share
            assert margin[0] < 0.0 or share < 1.0


def test_rooms_are_the_tubes_of_a_stage_and_of_all_after_it() -> None:
    certificate = proven()
    tubes = Tables.of(certificate).tubes
    for axis in (0, 1):
        own = certificate.axes[axis].stage_tube[:, 0]
        assert tubes[axis, -1] == own[-1]
        assert tubes[axis, 0] == own.max()
        assert (np.diff(tubes[axis]) <= 0.0).all()
    assert tubes[0, -1] < tubes[0, 0]


def test_a_certificate_is_read_back_as_it_was() -> None:
    own, back = proven(), read(certificate_files())
    assert (back.assumptions, back.limits, back.at_once) == (own.assumptions, own.limits, own.at_once)
    assert back.disturbance.jerk_m_s3 == own.disturbance.jerk_m_s3
    for one, other in zip(own.axes, back.axes, strict=True):
        for name in ("facets", "offsets", "facet_multipliers", "tube_multipliers", "stage_tube"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert back.law.graph().SerializeToString(deterministic=True) == certificate_files()["backup.onnx"]
    with pytest.raises(CertificateError, match="another version or damaged"):
        read({"certificate.toml": b"format = 2"})


def test_velocity_and_tilt_at_once_lie_in_the_set_for_every_angle_between_them() -> None:
    certificate = proven()
    both, facets = certificate.at_once, certificate.axes[0].stage(0)
    assert both.velocity_m_s == (4.0, 2.0)
    a = certificate.assumptions.gravity_m_s2 * np.tan(both.tilt_rad)
    assert np.degrees(both.tilt_rad) > 35.0
    for angle in np.linspace(0.0, np.pi, 13):
        v, tilt = np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
        z = np.stack([both.anchor_m[0] * v + both.anchor_m[1] * tilt, both.velocity_m_s[0] * v, a * tilt, np.zeros(2)])
        assert np.linalg.norm(facets @ z, axis=1).max() < 1.0
    tilted = 1.01 * a  # and no more than that
    worst = [np.abs(facets @ np.array([p, 4.0, tilted, 0.0])).max() for p in np.linspace(-15.0, 15.0, 600)]
    assert min(worst) > 1.0
    none = at_once((np.vstack([facets, [[0.0, 100.0, 0.0, 0.0]]]), certificate.axes[1].stage(0)), 9.8)
    assert none.velocity_m_s == (0.0, 0.0)


def test_every_kind_of_changed_certificate_is_refused() -> None:
    count = planted.EACH * len(planted.DRAWN)
    drawn = [(name, files) for name, files in planted.mutants(proven(), count, SEED) if name not in tampering.EDITS]
    assert len(drawn) == len(planted.DRAWN)
    for name, files in drawn:  # those that are listed are tests of their own, in test_certificate_check
        assert bench_certificate._check(files), name
    assert bench_certificate._check(certificate_files()) is None


def test_two_hundred_changes_take_in_every_kind() -> None:
    names = planted.listed(200, np.random.default_rng(SEED), with_manifest=True)
    assert {*tampering.EDITS, *tampering.MANIFEST} <= set(names)
    assert names.count(None) == 4 * len(planted.DRAWN)
    manifest = (Path(__file__).parents[2] / "bundles" / "demo" / "manifest.toml").read_bytes()
    changed = dict(planted.mutants(proven(), 8, 9, manifest))
    assert len({files["certificate.toml"] + files["manifest.toml"] for files in changed.values()}) == 8


@pytest.mark.slow
def test_a_proof_of_half_the_wind_is_refused_and_falsified() -> None:
    (_, cut, files), (_, half, others), (_, _, weight) = planted.planted(proven())
    for content in (files, others, weight):
        with pytest.raises(CertificateError):
            recheck_files(content)
    assert cut is not None
    assert half is not None
    assert half.at_once.tilt_rad == proven().at_once.tilt_rad  # what it claims is not what was proven
    assert half.disturbance.acceleration_m_s2[0] < 0.6 * proven().disturbance.acceleration_m_s2[0]


def test_what_to_tighten_is_what_r_grows_with() -> None:
    less = sensitivity(proven(), ("rate_residual_rad_s", "position_error_m", "acceleration_m_s2"))
    assert all(min(*gain.jerk_m_s3, *gain.room_m) >= -1e-9 for gain in less.values())
    assert less["rate_residual_rad_s"].jerk_m_s3[0] > less["position_error_m"].jerk_m_s3[0]
    assert less["acceleration_m_s2"].room_m[0] > less["position_error_m"].room_m[0] > 0.0


def test_stop_distances_grow_with_speed_and_decisions_are_timed() -> None:
    stops = bench_certificate._stops(proven())
    assert len(stops) > 4
    distances = [line["distance_m"] for line in stops]
    assert distances == sorted(distances)
    assert distances[0] > proven().axes[0].stage_tube[-1, 0] - 1e-9
    took = bench_shield_ticks.measure(certificate_files(), 600, SEED)
    assert sum(kind["ticks"] for kind in took["kinds"].values()) == 600
    assert {"accepted", "softened"} <= set(took["kinds"])
    assert 0.0 < took["p50"] <= took["p99"] == took["kinds"][took["worst"]]["p99"]
    assert len(bench_shield_ticks.lines(took)) == 2 + len(took["kinds"])
