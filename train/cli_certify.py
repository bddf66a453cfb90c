"""Prove an invariant set of the closed loop under the backup policy, around hover and over the speeds that it can brake from.

Reads a checkpoint, chooses gains and limits of the backup policy, computes the set, proves it with outward-rounded
arithmetic, and writes certificate.toml, certificate.npz, backup.onnx and shield.onnx. What is assumed (estimate error E,
disturbance W, timing) is set by the options below; with the simulator installed, W is compared with flights of the very backup
policy in wind. What the certificate claims: docs/certificate.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import CertificateError, InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

TILT_DEG = 35.0
"""Tilt that a searched set should hold if nobody says otherwise [deg]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; pairs are (horizontal, vertical)."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder written by `tubepilot train`")
    parser.add_argument("--out", type=Path, default=Path("certificate"), help="folder to write")
    pair = {"type": float, "nargs": 2, "metavar": ("H", "V")}
    parser.add_argument(
        "--acceleration-m-s2", default=[0.4, 0.25], **pair,
        help="W: largest change of the unexplained acceleration (wind, residual) from its on-board estimate [m/s^2]",
    )
    parser.add_argument(
        "--disturbance-m-s2", default=[1.1, 0.4], **pair, help="largest disturbance estimate itself [m/s^2]"
    )
    parser.add_argument(
        "--rate-residual-rad-s", type=float, default=0.03, help="W: rate set-point error that explains the rate residual [rad/s]"
    )
    parser.add_argument("--position-error-m", type=float, default=0.03, help="E: of the predicted state [m]")
    parser.add_argument("--velocity-error-m-s", type=float, default=0.05, help="E: of the predicted state [m/s]")
    parser.add_argument("--attitude-error-rad", type=float, default=0.0075, help="E: of the predicted state [rad]")
    parser.add_argument("--rate-error-rad-s", type=float, default=0.05, help="E: of the predicted state, per axis [rad/s]")
    parser.add_argument("--yaw-rate-rad-s", type=float, default=0.2, help="largest yaw rate [rad/s]")
    parser.add_argument("--delay-max-ms", type=float, default=10.0, help="largest delay of a set-point beyond the usual [ms]")
    parser.add_argument("--missed-ticks", type=int, default=1, help="consecutive ticks without set-point that are covered")
    parser.add_argument(
        "--backup-rate-limit-rad-s", type=float, default=2.5,
        help="largest roll and pitch rate that the backup policy may ask for; the planner keeps to its own limit [rad/s]",
    )
    parser.add_argument(
        "--backup-thrust-shares", type=float, nargs=2, metavar=("MIN", "MAX"),
        help="range of the backup policy's thrust over that at throttle 1; the planner keeps to its own range [1]; if not given, 0.92, "
        "and 0.28 or 0.54 of what hovering takes, whichever is less",
    )
    parser.add_argument(
        "--speed-m-s", **pair, help="velocity that the set should hold, in every direction [m/s]; 4 and 2 m/s if not given"
    )
    parser.add_argument(
        "--tilt-deg", type=float, help="tilt that it should hold together with that velocity [deg]; 35 deg if not given"
    )
    parser.add_argument(
        "--search", type=int, default=300, metavar="VARIANTS",
        help="poles and anchors tried for this vehicle, about half a second each, if no known design holds, or --speed-m-s or "
        "--tilt-deg is given; as many again for each easier set, if nothing is proven; 0: no search",
    )
    parser.add_argument("--wind-m-s", type=float, default=3.0, help="mean wind of the flights that W is compared with [m/s]")
    parser.add_argument("--gust-m-s", type=float, default=0.5, help="largest gust of those flights [m/s]")
    parser.add_argument("--flights", type=int, default=2, help="flights of the backup policy in the simulator; 0: none")
    parser.add_argument("--rollouts", type=int, default=500, help="rollouts of the falsifier; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="seed of flights and falsifier")
    parser.add_argument(
        "--report", action="store_true", help="draw set, tube, worst trajectory found, and what limits the set; needs --rollouts"
    )


def run(args: argparse.Namespace) -> int:
    """Prove and write.

    Raises:
        CertificateError: nothing could be proven, or the flights exceed W.
    """
    import numpy as np

    from .atomic import require_writable
    from .checkpoint import load
    from .invariance.assumptions import Assumptions
    from .invariance.backup import BackupLaw
    from .invariance.certificate import save
    from .invariance.design import AT_ONCE_M_S, DESIGNS, Design, certify, gains
    from .invariance.picture import draw, draw_report
    from .invariance.search import Wanted, search
    from .invariance.sensitivity import sensitivity
    from .invariance.shield_graph import graphs_of

    asked = args.speed_m_s is not None or args.tilt_deg is not None
    if args.report and args.rollouts <= 0:
        raise InputError("--report shows what the falsifier found: give --rollouts above 0")
    if args.search < 0 or (args.search == 0 and asked):
        raise InputError(f"--search is {args.search}; it must not be negative, and above 0 with --speed-m-s or --tilt-deg")
    low, high = args.backup_thrust_shares or (0.0, 1.0)
    if not (args.backup_rate_limit_rad_s > 0.0 and 0.0 <= low < high <= 1.0):
        raise InputError(
            f"backup limits {args.backup_rate_limit_rad_s:g} rad/s and shares {low:g} to {high:g}: the rate must be above 0, and "
            "0 <= MIN < MAX <= 1"
        )
    require_writable(args.out)
    checkpoint = load(args.checkpoint)
    settings, physics = checkpoint.settings, checkpoint.model.physics
    tick_s, scale_m_s2 = 1.0 / settings.tick_hz, settings.thrust_scale_m_s2
    low, high = args.backup_thrust_shares or (min(0.28, 0.54 * GRAVITY_M_S2 / scale_m_s2), 0.92)
    lag = np.asarray(physics.rate_lag_s, dtype=np.float64)
    drag = np.asarray(physics.drag_1_s, dtype=np.float64)
    rate_lag_s, thrust_lag_s = float(lag[:2].mean()), float(physics.thrust_lag_s)
    sources = {
        "estimate": "declared for the predicted state; the simulated flight controller bounds its noise below it",
        "acceleration_m_s2": "declared; not compared with flights",
        "rate_residual_rad_s": "declared; not compared with flights",
        "timing": "declared; the shield counts ticks that exceed it",
        "lags, drag": f"identified from flights, checkpoint {args.checkpoint.name}",
    }
    assumptions = Assumptions(
        position_error_m=args.position_error_m,
        velocity_error_m_s=args.velocity_error_m_s,
        attitude_error_rad=args.attitude_error_rad,
        rate_error_rad_s=args.rate_error_rad_s,
        acceleration_m_s2=(args.acceleration_m_s2[0], args.acceleration_m_s2[1]),
        disturbance_estimate_m_s2=(args.disturbance_m_s2[0], args.disturbance_m_s2[1]),
        rate_residual_rad_s=args.rate_residual_rad_s,
        yaw_rate_rad_s=args.yaw_rate_rad_s,
        thrust_scale_error=0.0,
        tick_s=tick_s,
        delay_max_s=1e-3 * args.delay_max_ms,
        missed_ticks=args.missed_ticks,
        rate_lag_s=rate_lag_s,
        thrust_lag_s=thrust_lag_s,
        drag_1_s=(float(drag[:2].mean()), float(drag[2])),
        gravity_m_s2=GRAVITY_M_S2,
        command_delay_s=float(settings.command_delay_s),
        thrust_scale_m_s2=float(scale_m_s2),
        rate_lags_s=(float(lag[0]), float(lag[1]), float(lag[2])),
        drags_1_s=(float(drag[0]), float(drag[1]), float(drag[2])),
        sources=sources,
    )
    first = DESIGNS[0]
    law = BackupLaw(
        gain=np.array(
            [
                gains(poles, d, rate_lag_s)
                for poles, d in zip((first.horizontal_poles, first.vertical_poles), assumptions.drag_1_s, strict=True)
            ]
        ),
        rate_lag_s=rate_lag_s,
        thrust_lag_s=thrust_lag_s,
        tick_s=tick_s,
        thrust_gain=float(physics.thrust_gain),
        rate_gain=np.asarray(physics.rate_gain, dtype=np.float64),
        rate_offset_rad_s=np.asarray(physics.rate_offset_rad_s, dtype=np.float64),
        rate_limit_rad_s=np.array([args.backup_rate_limit_rad_s] * 2 + [settings.limits.rate_rad_s[2]], dtype=np.float64),
        thrust_min_m_s2=low * scale_m_s2,
        thrust_max_m_s2=high * scale_m_s2,
        gravity_m_s2=GRAVITY_M_S2,
    )
    speed, rise = args.speed_m_s or AT_ONCE_M_S
    wanted = Wanted((speed, rise), float(np.radians(TILT_DEG if args.tilt_deg is None else args.tilt_deg)))

    def designs(progress: Callable[[int, float], None]) -> Iterator[Design]:
        """Known ones, then those made for this vehicle."""
        if not asked:
            yield from DESIGNS
        if args.search > 0:
            yield from search(assumptions, law, wanted, args.search, args.seed, progress)

    start = time.monotonic()
    with tqdm(desc="certify", unit="stage", bar_format="{desc} [{elapsed}]") as bar:

        def say(text: str) -> None:
            bar.set_description_str(f"certify: {text}")
            bar.update()

        def searched(variant: int, tube_m: float) -> None:
            size = f"tube {tube_m:.1f} m" if np.isfinite(tube_m) else "nothing yet"
            bar.set_description_str(f"certify: search, variant {variant} of {args.search}, {size}")

        certificate = certify(assumptions, law, designs(searched), progress=say, refused=lambda text: bar.write(f"not proven: {text}"))
    proven_s = time.monotonic() - start
    if args.flights > 0:
        sources.update(_compare(args, certificate.assumptions, certificate.law, settings))
    graphs = graphs_of(certificate)
    _report(certificate, proven_s)
    seen = _attack(certificate, args.rollouts, args.seed) if args.rollouts > 0 else None
    save(certificate, graphs, args.out)
    draw(certificate, args.out / "certificate.png")
    print(f"picture: {args.out / 'certificate.png'}")
    if args.report and seen is not None:
        less = sensitivity(certificate)
        draw_report(certificate, seen, less, args.out / "report.png")
        print("what to tighten: less room [m] and less r [m/s^3] (horizontal / vertical) if the assumption is 10 % smaller")
        for name, gain in sorted(less.items(), key=lambda item: -item[1].room_m[0]):
            (room_h, room_v), (r_h, r_v) = gain.room_m, gain.jerk_m_s3
            print(f"  {name:<28} {room_h:6.3f} / {room_v:.3f} m   {r_h:.4f} / {r_v:.4f} m/s^3")
        print(f"report: {args.out / 'report.png'}")
    print(f"next: tubepilot export --checkpoint {args.checkpoint} --certificate {args.out} --out bundle")
    return 0


def _compare(args: argparse.Namespace, assumptions, law, settings) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Fly the backup policy in the independent simulator and hold W against it."""
    from tubepilot.firmware_bridge.simulator_airframes import named

    from .invariance.measure import measure

    try:
        airframe = named(settings.airframe)
    except InputError as error:
        raise InputError(f"{error}: give --flights 0, and set W from flights of your own") from error
    with tqdm(desc="flights", bar_format="{desc} [{elapsed}]") as bar:

        def say(text: str) -> None:
            bar.set_description_str(text)
            bar.update()

        seen = measure(
            assumptions, law, settings.thrust_scale_m_s2, round(settings.command_delay_s / assumptions.tick_s), args.seed, args.flights,
            wind_m_s=args.wind_m_s, gust_m_s=args.gust_m_s, airframe=airframe, progress=say,
        )
    h, v = seen.acceleration_m_s2
    text = (
        f"{100 * seen.coverage:g} % of {seen.samples} ticks of {args.flights} flights of the backup policy in the simulator "
        f"({args.wind_m_s:g} m/s wind, {args.gust_m_s:g} m/s gusts)"
    )
    asked_h, asked_v = assumptions.acceleration_m_s2
    print(f"W against {text}:")
    print(f"  acceleration  {h:.3f} / {v:.3f} m/s^2 seen, {asked_h:.3f} / {asked_v:.3f} assumed (horizontal / vertical)")
    print(f"  rate residual {seen.rate_residual_rad_s:.4f} rad/s seen, {assumptions.rate_residual_rad_s:.4f} assumed")
    if h > asked_h or v > asked_v or seen.rate_residual_rad_s > assumptions.rate_residual_rad_s:
        raise CertificateError(
            f"the assumption W does not cover {text}; raise --acceleration-m-s2 or --rate-residual-rad-s above what was seen"
        )
    return {
        "acceleration_m_s2": f"declared; covers {text}: {h:.4f} / {v:.4f} m/s^2",
        "rate_residual_rad_s": f"declared; covers {text}: {seen.rate_residual_rad_s:.4f} rad/s",
    }


def _report(certificate, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """What was proven, and what limits it."""
    facets = [axis.facets.shape[0] for axis in certificate.axes]
    tube = [axis.tube_bound for axis in certificate.axes]
    stages = certificate.stages.limits.shape[0]
    print(
        f"proven in {seconds:.1f} s: {facets[0]} horizontal and {facets[1]} vertical facet pairs; each of {stages} stages leads into "
        "the next, the last of a chain into itself"
    )
    print(f"  S: speed {certificate.speed_m_s:.2f} m/s in every horizontal direction, tilt {_degrees(certificate.tilt_rad):.1f} deg")
    both = certificate.at_once
    print(
        f"     all at once, in every direction: {both.velocity_m_s[0]:.2f} / {both.velocity_m_s[1]:.2f} m/s (horizontal / vertical) "
        f"and {_degrees(both.tilt_rad):.1f} deg"
    )
    print(
        f"  T: {tube[0][0]:.2f} / {tube[1][0]:.2f} m from the anchor, {tube[0][1]:.2f} / {tube[1][1]:.2f} m/s, "
        f"{tube[0][2]:.2f} / {tube[1][2]:.2f} m/s^2 (horizontal / vertical)"
    )
    h, v = (axis.stage_tube[-1] for axis in certificate.axes)
    print(
        f"     near hover it stays within {h[0]:.2f} / {v[0]:.2f} m of the anchor, up to {h[1]:.2f} / {v[1]:.2f} m/s: the room that "
        "stopping takes there"
    )
    print(f"  float32 rounding of the backup graph: {certificate.rounding_m_s3:.1e} m/s^3 of feedback, inside the bound")
    print("  what uses up the jerk disturbance [m/s^3] (horizontal / vertical):")
    for name, (h, v) in certificate.disturbance.parts.items():
        print(f"    {name:<44} {h:.3f} / {v:.3f}")


def _attack(certificate, rollouts: int, seed: int):  # type: ignore[no-untyped-def]
    """Try to break it; an escape is a bug and stops the command."""
    from .invariance.falsify import falsify

    with tqdm(total=rollouts, desc="falsifier", unit="rollout") as bar:
        seen = falsify(certificate, rollouts, seed, bar.update)
    print(
        f"falsifier: {seen.rollouts} rollouts of the nonlinear plant, {seen.escapes} escapes, "
        f"largest facet {seen.largest_facet:.6f} of 1"
    )
    if seen.escapes:
        raise CertificateError(f"the falsifier left the set {seen.escapes} times: the proof is wrong; do not fly, report this")
    return seen


def _degrees(radians: float) -> float:
    return radians * 57.29577951308232
