"""The prover: what it proves survives attacks and a second implementation, and planted mistakes do not survive it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from helpers.proven import certificate_files, proven

from tubepilot.firmware_bridge.errors import CertificateError
from tubepilot.train.invariance import proof as proof_module
from tubepilot.train.invariance.certificate import Certificate
from tubepilot.train.invariance.disturbance import bound
from tubepilot.train.invariance.falsify import falsify
from tubepilot.train.invariance.interval import Interval, Numbers
from tubepilot.train.invariance.loop import AxisLoop
from tubepilot.train.invariance.maximal_set import support
from tubepilot.train.invariance.proof import AxisProof, prove
from tubepilot.train.invariance.shield_graph import POINTS

SEED = 3


def check(certificate: Certificate, axis: int, facets: Numbers | None = None) -> AxisProof:
    """Run the proof of one axis again."""
    a, own = certificate.assumptions, certificate.axes[axis]
    loop = AxisLoop(certificate.law.gain[axis], a.drag_1_s[axis], a.rate_lag_s)
    witnesses = (own.facet_multipliers, own.tube_multipliers)
    return prove(axis, loop, certificate.limits, certificate.disturbance, own.facets if facets is None else facets, witnesses,
                 certificate.step_s, certificate.substeps)  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_proof_holds_again_and_refuses_larger_disturbances(axis: int) -> None:
    certificate = proven()
    check(certificate, axis)
    d = certificate.disturbance
    larger = replace(d, jerk_m_s3=(1.01 * d.jerk_m_s3[0], 1.01 * d.jerk_m_s3[1]))
    with pytest.raises(CertificateError):
        check(replace(certificate, disturbance=larger), axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_proof_refuses_a_larger_set(axis: int) -> None:
    certificate = proven()
    facets = certificate.axes[axis].facets.copy()
    facets[40] *= 0.99
    with pytest.raises(CertificateError):
        check(certificate, axis, facets)


def test_exponential_without_remainder_is_seen_by_ball_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remainder matters at few terms; cutting it by 10 % of the enclosure's width breaks the enclosure of e."""
    found = proof_module.expm(Interval(np.array([[1.0]]), np.array([[1.0]])), terms=2)
    middle, radius = 0.5 * (found.lo + found.hi), 0.5 * (found.hi - found.lo)
    assert (np.e <= middle + radius).all()
    assert (np.e > middle + 0.65 * radius).all()


def reached(certificate: Certificate, axis: int) -> float:
    """Largest facet after a step, from vertices of the set and disturbances at the bound: what really happens."""
    from scipy.linalg import expm

    a, own = certificate.assumptions, certificate.axes[axis]
    loop = AxisLoop(certificate.law.gain[axis], a.drag_1_s[axis], a.rate_lag_s)
    dynamics, inputs = (0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs()))
    flow = expm(dynamics * certificate.step_s)
    fine = [expm(dynamics * certificate.step_s * (k + 0.5) / 200) @ inputs for k in range(200)]
    sizes = np.array([certificate.disturbance.acceleration_m_s2[axis], certificate.disturbance.jerk_m_s3[axis]])
    added = sum(np.abs(own.facets @ g) @ sizes for g in fine) * certificate.step_s / 200
    ones = np.ones(own.facets.shape[0])
    rows = range(0, own.facets.shape[0], 16)
    return max(support(own.facets, ones, own.facets[i] @ flow)[0] + float(added[i]) for i in rows)


def test_the_bound_of_a_step_is_above_what_happens_and_tight() -> None:
    """A proof that drops the disturbance integral, or a tenth of it, has a bound below what happens."""
    certificate = proven()
    for axis in (0, 1):
        bound_ = float(certificate.axes[axis].facet_bound.max())
        happens = reached(certificate, axis)
        assert happens <= bound_ < 1.0
        assert happens > 0.99
        d = certificate.disturbance
        for share in (0.0, 0.9):
            w, r = (tuple(share * x for x in pair) for pair in (d.acceleration_m_s2, d.jerk_m_s3))
            planted = replace(certificate, disturbance=replace(d, acceleration_m_s2=w, jerk_m_s3=r))
            assert float(check(planted, axis).facet_bound.max()) < happens


def test_tube_covers_more_than_end_points() -> None:
    """The tube of the fast outputs lies above the set's own limits: a proof of the samples alone would not see it."""
    for axis in proven().axes:
        inner = 1.0 / np.array([axis.facets[k, k] for k in range(4)])
        assert (axis.tube_bound[:4] > inner).all()
        assert axis.tube_bound[3] > 1.02 * inner[3]


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
        b_hat = wrong @ turn(spin * s) @ b
        error = gains[:, 0] * pick((a.position_error_m, a.position_error_m))
        error += gains[:, 1] * pick((a.velocity_error_m_s, a.velocity_error_m_s))
        error += gains[:, 2] * c * (wrong @ b - b) + s * pick(limits.slope_m_s4)
        nu_hat = nu + error
        across = nu_hat - (b_hat @ nu_hat) * b_hat
        back = turn(spin * -s) @ turn(a.yaw_rate_rad_s * s * b) @ wrong.T
        late = (c / (c + (b @ j) * s)) * back @ across
        r = late + b * (b_hat @ nu_hat) - nu
        r += a.rate_lag_s * (2 * (b @ j) * h / c - (h @ h) / c * b)
        largest = np.maximum(largest, [np.hypot(r[0], r[1]), abs(r[2])])
    assert (largest <= d.jerk_m_s3).all()
    assert (largest > 0.25 * np.array(d.jerk_m_s3)).all()


def test_bounds_grow_with_every_assumption() -> None:
    certificate = proven()
    a, limits, gain = certificate.assumptions, certificate.limits, certificate.law.gain
    base = bound(a, limits, gain)
    errors = ("position_error_m", "velocity_error_m_s", "attitude_error_rad")
    for name in (*errors, "rate_residual_rad_s", "yaw_rate_rad_s", "delay_max_s"):
        grown = bound(replace(a, **{name: 1.2 * getattr(a, name)}), limits, gain)
        assert (np.array(grown.jerk_m_s3) > base.jerk_m_s3).all(), name
    with pytest.raises(CertificateError, match="missed ticks"):
        bound(replace(a, missed_ticks=1, delay_max_s=0.0), limits, gain)


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


def test_shield_graph_agrees_with_numpy() -> None:
    session = onnxruntime.InferenceSession(certificate_files()["shield.onnx"], providers=["CPUExecutionProvider"])
    horizontal, vertical = (axis.facets for axis in proven().axes)
    random = np.random.default_rng(SEED)
    for _ in range(50):
        feed = {
            "horizontal": random.normal(size=(POINTS, 4, 2)),
            "vertical": random.normal(size=(POINTS, 4, 1)),
            "radius_horizontal": random.uniform(0, 0.1, (POINTS, 4, 1)),
            "radius_vertical": random.uniform(0, 0.1, (POINTS, 4, 1)),
        }
        used = [
            np.linalg.norm(horizontal @ feed["horizontal"], axis=2) + (np.abs(horizontal) @ feed["radius_horizontal"])[..., 0],
            np.abs(vertical @ feed["vertical"])[..., 0] + (np.abs(vertical) @ feed["radius_vertical"])[..., 0],
        ]
        margin = session.run(None, feed)[0]
        wanted = 1.0 - np.concatenate(used, axis=1).max(axis=1)
        assert (margin < wanted).all()
        np.testing.assert_allclose(margin, wanted, rtol=0, atol=2e-9)


def test_attacks_do_not_leave_a_proven_set() -> None:
    seen = falsify(proven(), 200, SEED)
    assert seen.rollouts >= 200
    assert seen.escapes == 0
    assert seen.largest_facet <= 1.0
    assert (seen.tube_share <= 1.0).all()
    assert (seen.tube_share > 0.8).all()


def test_attacks_break_an_unsound_certificate() -> None:
    certificate = proven()
    stronger = replace(certificate.assumptions, acceleration_m_s2=(0.75, 0.45))
    assert falsify(replace(certificate, assumptions=stronger), 200, SEED).escapes > 10
