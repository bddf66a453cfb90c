"""From flights of rate set-points to a checkpoint: identify, fit the ensemble, train policy and value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .bounds import residual_bounds
from .checkpoint import Checkpoint, Limits, ResidualBounds, Settings, save
from .devices import describe as describe_devices
from .dynamics import Physics, WorldModel
from .flight import Flight
from .identify import Identification, identify
from .model_prediction import model_predictor
from .monitor import Interrupt, bar
from .picture import horizon_picture
from .policy import PolicySettings, default_task, make_network, train_policy
from .prediction import Errors, errors, format_table, mean_errors, predict_naive, window_starts
from .residual import ResidualSettings, train_residual, zero_residual
from .run_identity import choices, run_identity
from .stages import SAVE_EVERY_S, Run
from .task import OBSERVATION_SIZE, Network
from .value import train_value

DT_PLAN_S = 0.04
HORIZON = 12
THRUST_SHARES = (0.35, 0.72)
"""Range of thrust that a set-point may ask for, over the greatest; the rest is for the rate loop."""
LEAST_OVER_HOVER = 0.69
"""The least thrust of a strong vehicle, over what hovering takes."""
HELD_OUT = 3
FEWEST_ITERATIONS = 200
"""A policy interrupted before this many iterations is not worth a checkpoint; its state stays for --resume."""
SHARES = (1.0, 0.5, 0.25, 0.1)


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """Choices of one training run.

    Attributes:
        seed: Seed of everything random.
        rate_limit_rad_s: Greatest commanded body rates [rad/s].
        thrust_shares: Range of the commanded thrust over that at throttle 1; `usual_shares` if None.
        thrust_scale_m_s2: Collective acceleration at throttle 1 if the flights do not say it [m/s^2].
        residual: How the ensemble is trained.
        policy: How policy and value are trained.
        window_every: Evaluate one prediction window in this many.
        save_every_s: Time between two states of a stage, from which a run that was killed goes on [s].
    """

    seed: int
    rate_limit_rad_s: tuple[float, float, float]
    thrust_shares: tuple[float, float] | None
    thrust_scale_m_s2: float | None
    residual: ResidualSettings
    policy: PolicySettings
    window_every: int
    save_every_s: float = SAVE_EVERY_S


def usual_shares(thrust_scale_m_s2: float) -> tuple[float, float]:
    """Thrust shares for a vehicle of this acceleration at throttle 1: as `THRUST_SHARES`, but well below hovering [1]."""
    return min(THRUST_SHARES[0], LEAST_OVER_HOVER * GRAVITY_M_S2 / thrust_scale_m_s2), THRUST_SHARES[1]


@dataclass(frozen=True, slots=True)
class Split:
    """Flights to fit on, to calibrate bounds and the ensemble's share on, and to report on."""

    fit: list[Flight]
    calibration: list[Flight]
    test: list[Flight]


def split_flights(flights: Sequence[Flight], leave_out: Sequence[str]) -> Split:
    """Split by name: the flights left out, or the last three if none is named; the last of them is the test flight.

    Raises:
        InputError: a name is unknown, or too few flights are left.
    """
    names = [flight.name for flight in flights]
    for name in leave_out:
        if name not in names:
            raise InputError(f"--leave-out {name}: no such flight; there are {', '.join(names)}")
    out = list(leave_out) or names[-HELD_OUT:]
    fit = [flight for flight in flights if flight.name not in out]
    held = [flight for flight in flights if flight.name in out]
    if not fit or len(held) < 2:
        raise InputError(
            f"{len(fit)} flights to fit on and {len(held)} held out; at least 1 and 2 are needed "
            "(one to choose the ensemble's share on, one to report on): collect more flights"
        )
    return Split(fit, held[:-1], held[-1:])


def thrust_scale(flights: Sequence[Flight], given: float | None) -> float:
    """Commanded collective acceleration at throttle 1 [m/s^2]: what the flights say, else what was given.

    Raises:
        InputError: nobody says it, or the flights differ.
    """
    said = {float(str(f.meta["thrust_scale_m_s2"])) for f in flights if "thrust_scale_m_s2" in f.meta}
    if len(said) > 1:
        raise InputError(
            f"the flights have different thrust scales: {sorted(said)} m/s^2; train on one vehicle at a time"
        )
    if said:
        return said.pop()
    if given is None:
        raise InputError(
            "the flights do not say their thrust scale; give --thrust-scale-m-s2 (thrust-to-weight times 9.81)"
        )
    return given


def score(model: WorldModel, flights: Sequence[Flight], scale_m_s2: float, every: int) -> Errors:
    """Open-loop errors of a model on flights."""
    predict = model_predictor(model, scale_m_s2)
    parts = []
    for flight in flights:
        starts = window_starts(flight, every, first=100)
        parts.append(errors(flight, starts, predict(flight, starts)))
    return mean_errors(parts)


def shrink(model: WorldModel, flights: Sequence[Flight], scale_m_s2: float) -> tuple[WorldModel, float]:
    """The ensemble times the share that predicts best on flights it was not fitted on.

    On a vehicle that the physics already describes, a full-size ensemble mostly repeats its training flights.

    Returns:
        The model, and the share chosen, one of `SHARES`.
    """
    still = score(WorldModel(model.physics, zero_residual()), flights, scale_m_s2, 10)

    def scaled(share: float) -> WorldModel:
        residual = model.residual
        return WorldModel(model.physics, residual._replace(w2=share * residual.w2, b2=share * residual.b2))

    def relative(share: float) -> float:
        seen = score(scaled(share), flights, scale_m_s2, 10)
        return sum(
            float(getattr(seen, q).sum() / getattr(still, q).sum()) for q in ("velocity", "attitude", "rates")
        )

    best = min(SHARES, key=relative)
    return scaled(best), best


def learn_model(
    split: Split, scale_m_s2: float, settings: LearnSettings, interrupt: Interrupt, run: Run
) -> tuple[Identification, WorldModel]:
    """Identify the physics and fit the ensemble; prints what was found."""
    found = resumed_identification(split, scale_m_s2, run)
    print(describe(found, split.fit))
    stage = run.stage("ensemble", found.physics)
    with bar("residual ensemble", settings.residual.iterations, interrupt) as monitor:
        residual = train_residual(
            split.fit, [scale_m_s2] * len(split.fit), found.physics, settings.residual, settings.seed, monitor, stage
        )
    model, share = shrink(WorldModel(found.physics, residual), split.calibration, scale_m_s2)
    print(
        f"ensemble: {settings.residual.members} members, share {share:g} chosen on "
        f"{len(split.calibration)} held-out flights"
    )
    return found, model


def resumed_identification(split: Split, scale_m_s2: float, run: Run) -> Identification:
    """The identification of an interrupted run, or a new one."""
    stage = run.stage("physics", np.float64(scale_m_s2))
    zeros = Physics(*(jnp.zeros(shape) for shape in ((), (), 3, 3, 3, 3)))
    # Disturbance of each flight, then delay, rms of the three rates, rms of the acceleration.
    like = (zeros, np.zeros((len(split.fit), 3)), np.zeros(5))
    before = stage.load(like)
    if before is None:
        found = identify(split.fit, [scale_m_s2] * len(split.fit))
        fit = np.array([found.delay_s, *found.rate_rms_rad_s, found.acceleration_rms_m_s2])
        stage.save((found.physics, found.disturbance_m_s2, fit), 1)
        return found
    physics, disturbance, fit = before[0]
    delay, x, y, z, acceleration = (float(v) for v in fit)
    return Identification(Physics(*(jnp.asarray(v) for v in physics)), disturbance, delay, (x, y, z), acceleration)


def describe(found: Identification, flights: Sequence[Flight]) -> str:
    """Identified parameters, one line each."""
    physics = found.physics

    def show(values: object, digits: int = 3) -> str:
        return " ".join(f"{float(v):.{digits}f}" for v in np.ravel(np.asarray(values)))

    wind = "; ".join(f"{f.name} {show(d, 2)}" for f, d in zip(flights, found.disturbance_m_s2, strict=True))
    return (
        f"thrust: gain {show(physics.thrust_gain)}, lag {show(physics.thrust_lag_s)} s\n"
        f"rates: gain {show(physics.rate_gain)}, offset {show(physics.rate_offset_rad_s, 4)} rad/s, lag "
        f"{show(physics.rate_lag_s)} s (with a delay of {found.delay_s:.2f} s beside a lag the fit would be best)\n"
        f"drag: {show(physics.drag_1_s)} 1/s; disturbance per flight [m/s^2]: {wind}\n"
        f"fit: rates {show(found.rate_rms_rad_s)} rad/s rms over 0.25 s, acceleration "
        f"{found.acceleration_rms_m_s2:.3f} m/s^2 rms over 0.2 s"
    )


def learn(
    flights: Sequence[Flight],
    leave_out: Sequence[str],
    out: Path,
    resume: bool,
    settings: LearnSettings,
    interrupt: Interrupt,
) -> Checkpoint:
    """Run all stages and write the checkpoint directory.

    Until the last stage is done, the state of each stage lies in `<out>.partial`, from which `resume` goes on after a
    kill at any moment; the result is that of a run that was never interrupted, bit for bit on the same machine.

    Args:
        flights: All flights, of action level "rates", of one vehicle.
        leave_out: Names of the held-out flights; the last three if empty.
        out: Checkpoint directory.
        resume: Go on from `<out>.partial`; from the beginning if nothing is there.
        settings: Choices.
        interrupt: A Ctrl-C while the policy is trained ends that stage; the value is still fitted to what the policy
            has become, and a complete checkpoint is written.

    Returns:
        The checkpoint.

    Raises:
        InputError: `resume` with other settings or flights than the interrupted run's; the message names them.
        CheckpointError: a state cannot be written, or is of another version.
        KeyboardInterrupt: Ctrl-C came too early for a usable policy; the previous checkpoint is untouched.
    """
    split = split_flights(flights, leave_out)
    scale = thrust_scale(flights, settings.thrust_scale_m_s2)
    low, high = settings.thrust_shares or usual_shares(scale)
    limits = Limits(settings.rate_limit_rad_s, low * scale, high * scale)
    task = default_task(limits.rate_rad_s, limits.thrust_min_m_s2, limits.thrust_max_m_s2)
    partial = out.with_name(f"{out.name}.partial")
    held_out = [*split.calibration, *split.test]
    known = choices(settings, ("window_every", "save_every_s")) | {"thrust_scale_m_s2": scale}
    run = Run(partial, run_identity(known, flights, held_out), resume, settings.save_every_s)
    print(describe_devices({"ensemble": settings.residual.batch, "policy": settings.policy.batch}))
    found, model = learn_model(split, scale, settings, interrupt, run)
    if interrupt.requested:
        print(f"stopped before the policy was begun; go on with --resume from {partial}")
        raise KeyboardInterrupt
    bounds = residual_bounds(found.physics, held_out, scale)
    print_bounds(bounds)
    rows = {
        "naive": mean_errors([errors(f, s, predict_naive(f, s)) for f in split.test for s in [window_starts(f)]]),
        "physics only": score(WorldModel(model.physics, zero_residual()), split.test, scale, settings.window_every),
        "physics + ensemble": score(model, split.test, scale, settings.window_every),
    }
    title = f"Open-loop prediction, flight left out: {', '.join(f.name for f in split.test)}"
    table = format_table(rows, title)
    print(table)

    def assemble(policy: Network, value: Network) -> Checkpoint:
        fixed = Settings(
            action_level="rates",
            airframe=str(flights[0].meta["airframe"]),
            thrust_scale_m_s2=scale,
            dt_plan_s=DT_PLAN_S,
            horizon=HORIZON,
            tick_hz=1.0 / flights[0].dt_s,
            seed=settings.seed,
            command_delay_s=found.delay_s,
            limits=limits,
            residual_bounds=bounds,
        )
        return Checkpoint(model, task.action_scale, task.observation_scale, task.cost, policy, value, fixed)

    generator = np.random.default_rng(settings.seed)
    make_network(generator, OBSERVATION_SIZE, settings.policy.width, 1, 0.0)  # keeps the weights of a seed what they were
    policy = make_network(generator, OBSERVATION_SIZE, settings.policy.width, 4, 0.1)
    stage = run.stage("policy", (model, task, np.float64(DT_PLAN_S)))
    with bar("policy", settings.policy.iterations, interrupt) as monitor:
        policy = train_policy(model, task, DT_PLAN_S, settings.policy, settings.seed, monitor, policy, stage)
    if interrupt.requested and stage.iteration < min(FEWEST_ITERATIONS, settings.policy.iterations):
        print(f"the policy had {stage.iteration} of at least {FEWEST_ITERATIONS} iterations; go on with --resume from {partial}")
        raise KeyboardInterrupt
    stage = run.stage("value", (model, task, policy, np.float64(DT_PLAN_S)))
    with bar("value", settings.policy.value_iterations, Interrupt()) as monitor:
        value = train_value(model, task, policy, DT_PLAN_S, settings.policy, settings.seed, monitor, stage)
    checkpoint = assemble(policy, jax.tree.map(jnp.asarray, value))
    picture = horizon_picture(rows, title, flights[0].dt_s)
    save(out, checkpoint, {"prediction.png": picture, "prediction.txt": f"{table}\n".encode()})
    run.finish()
    return checkpoint


def print_bounds(bounds: ResidualBounds) -> None:
    """Say what the prover will assume about model error."""
    a, r = bounds.acceleration_m_s2, bounds.rate_rad_s
    print(
        f"residual bounds of the physics, coverage asked {bounds.coverage_asked}, seen {bounds.coverage_seen:.4f} on "
        f"held-out flights: acceleration {a[0]:.2f} {a[1]:.2f} {a[2]:.2f} m/s^2, rate target {r[0]:.2f} {r[1]:.2f} "
        f"{r[2]:.2f} rad/s"
    )
