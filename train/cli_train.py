"""Learn the world model and the policy from flight logs.

DATA is a folder of flights: NPZ flights of `tubepilot collect`, or logs that it imports: nano-drone or NanoBench CSV,
PX4 .ulg, ArduPilot .bin, tubepilot's own .mcap. Flights of body-rate set-points give a complete checkpoint: identified
physics, residual ensemble, policy, value, and bounds of the model error for the prover. Flights of rotor speeds give a
prediction model of the rotor level and its table of open-loop errors. Ctrl-C while the policy is trained ends that
stage and writes a complete checkpoint; earlier, or twice, it stops at once and leaves the previous one. Whatever ends
a run, a kill at any moment too, --resume goes on from its last state to the checkpoint that it would have written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError

from .atomic import require_writable
from .flight import RATES, Flight


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of flights, or one file")
    parser.add_argument("--out", type=Path, default=Path("checkpoint"), help="checkpoint directory to write")
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="NAME",
        help="flights to hold out by name; rates: default the last three"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--policy-iterations", type=int, default=800, help="gradient steps of the policy")
    parser.add_argument("--residual-iterations", type=int, default=500, help="gradient steps of the ensemble")
    parser.add_argument(
        "--rate-limit-rad-s", type=float, nargs=3, default=[1.5, 1.5, 0.28],
        help="largest body-rate set-points; more than the certified set can use only gets rejected [rad/s]"
    )
    parser.add_argument(
        "--thrust-shares", type=float, nargs=2, metavar=("MIN", "MAX"),
        help="least and greatest ratio of the thrust set-point to the thrust at throttle 1 [1]; the rest is for the rate loop; if not "
        "given, 0.72, and 0.35 or 0.69 of what hovering takes, whichever is less"
    )
    parser.add_argument(
        "--thrust-scale-m-s2", type=float,
        help="collective acceleration at throttle 1, if the logs do not say it [m/s^2]"
    )
    parser.add_argument(
        "--reference-limits", type=float, nargs=2, metavar=("SPEED", "ACCELERATION"), default=[2.6, 2.0],
        help="greatest speed and acceleration of the paths that policy and value are trained on [m/s, m/s^2]"
    )
    parser.add_argument("--window-every", type=int, default=1, help="evaluate one prediction window in this many")
    parser.add_argument("--resume", action="store_true", help="go on from what an interrupted run left in OUT.partial")
    parser.add_argument(
        "--save-every-s", type=float, default=10.0,
        help="time between two states of a stage in OUT.partial, from which --resume goes on [s]"
    )


def run(args: argparse.Namespace) -> int:
    """Train; 130 if Ctrl-C cut it short.

    Raises:
        InputError: an option or the data cannot be used.
    """
    if args.policy_iterations < 1 or args.residual_iterations < 1 or args.window_every < 1:
        raise InputError("--policy-iterations, --residual-iterations and --window-every must be at least 1")
    if not args.save_every_s >= 0:
        raise InputError(f"--save-every-s is {args.save_every_s}, it must be at least 0")
    if min(args.rate_limit_rad_s) <= 0:
        raise InputError(f"--rate-limit-rad-s must be positive, got {args.rate_limit_rad_s}")
    low, high = args.thrust_shares or (0.0, 1.0)
    if not 0 <= low < high <= 1:
        raise InputError(f"--thrust-shares are {low:g} and {high:g}; 0 <= MIN < MAX <= 1 is needed")
    speed, acceleration = args.reference_limits
    if not (0 < speed <= 50 and 0 < acceleration <= 50):
        raise InputError(f"--reference-limits are {speed:g} m/s and {acceleration:g} m/s^2; each must be above 0 and at most 50")
    if args.thrust_scale_m_s2 is not None and not 1.0 <= args.thrust_scale_m_s2 <= 500.0:
        raise InputError(f"--thrust-scale-m-s2 is {args.thrust_scale_m_s2:g}, the acceleration at full throttle; 1 to 500 m/s^2")
    require_writable(args.out)
    flights = read_flights(args.data)
    levels = {flight.action_level for flight in flights}
    if len(levels) > 1:
        raise InputError(f"{args.data} mixes flights of action levels {sorted(levels)}; train on one at a time")
    from .devices import ask_for_repeatable_sums
    from .monitor import interruptible

    ask_for_repeatable_sums()

    with interruptible() as interrupt:
        if levels == {RATES}:
            from .episodes import Variation
            from .learn import LearnSettings, learn
            from .policy import PolicySettings
            from .residual import ResidualSettings

            x, y, z = args.rate_limit_rad_s
            settings = LearnSettings(
                args.seed,
                (x, y, z),
                (low, high) if args.thrust_shares else None,
                args.thrust_scale_m_s2,
                ResidualSettings(iterations=args.residual_iterations),
                PolicySettings(
                    iterations=args.policy_iterations, variation=Variation(speed_m_s=speed, acceleration_m_s2=acceleration)
                ),
                args.window_every,
                args.save_every_s,
            )
            learn(flights, args.leave_out, args.out, args.resume, settings, interrupt)
            following = f"tubepilot certify {args.out} --out certificate"
        else:
            from .rotor_learn import learn_rotor_model

            learn_rotor_model(flights, args.leave_out, args.out, args.seed, args.window_every, interrupt, args.resume)
            following = (
                "tubepilot collect --out flights, then tubepilot train flights: "
                "a policy needs flights of rate set-points"
            )
    cut = " (cut short by Ctrl-C)" if interrupt.requested else ""
    print(f"checkpoint{cut}: {args.out}\nnext: {following}")
    return 130 if interrupt.requested else 0


def read_flights(data: Path) -> list[Flight]:
    """All flights of a folder, by name.

    Raises:
        InputError: there are none.
    """
    from .logs import SUFFIXES, read_log

    files = [data] if data.is_file() else sorted(p for p in data.glob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{data}: no flights there ({', '.join(sorted(SUFFIXES))}); run `tubepilot collect --out {data}`")
    return [read_log(path) for path in tqdm(files, desc="read", unit="flight", disable=len(files) < 4)]
