"""Flights for identification, flown in an independent simulator by rotorpy's controller along rotorpy's trajectories."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rotorpy.trajectories.circular_traj import ThreeDCircularTraj
from rotorpy.trajectories.hover_traj import HoverTraj
from rotorpy.trajectories.lissajous_traj import TwoDLissajous
from rotorpy.trajectories.minsnap import MinSnap
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import TubepilotError
from tubepilot.firmware_bridge.simulator import Factors, SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_airframes import AIRFRAMES
from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector
from tubepilot.firmware_bridge.types import Vector

from .baseline import BaselineController, NominalController, Trajectory
from .flight import RATES, Flight, MetaValue, make_flight, save_flight
from .task_vehicle import Vehicle

RATE_HZ = 100.0
CRAZYFLOW_AIRFRAME = "crazyflow-crazyflie-brushless"
SHAPES = ("circle", "lissajous", "waypoints", "steps")
WIND_M_S = (0.0, 2.0, 3.0, 4.0, 1.0, 3.0, 3.0, 3.0)
"""Mean wind of one flight after the other [m/s]; the last ones, at the 3 m/s that a certificate assumes, are held
out."""
_HEIGHT_M = 3.0
_STEP_EVERY_S = 2.0
_SETTLE_S = 2.0
_NOISE_CORRELATION_S = 0.15
_RATE_NOISE_RAD_S = np.array([0.35, 0.35, 0.25])
_THROTTLE_NOISE = 0.03


@dataclass(frozen=True, slots=True)
class Mission:
    """One flight to make.

    Attributes:
        name: Stem of the file.
        shape: One of `SHAPES`.
        wind_m_s: Mean wind speed [m/s].
        wind_from_deg: Where it comes from, clockwise from north [deg].
        gust_m_s: Bound of the gusts [m/s].
        duration_s: Length of the record [s].
        seed: Seed of trajectory, gusts and excitation.
        mass_factor: Mass over nominal; neither the controller nor the log's thrust scale knows.
        simulator: rotorpy or crazyflow.
        airframe: What rotorpy flies, one of `AIRFRAMES`; crazyflow has its own.
    """

    name: str
    shape: str
    wind_m_s: float
    wind_from_deg: float
    gust_m_s: float
    duration_s: float
    seed: int
    mass_factor: float = 1.0
    simulator: str = "rotorpy"
    airframe: str = "crazyflie"


def missions(
    count: int, duration_s: float, seed: int, wind_m_s: Sequence[float] = WIND_M_S, mass_factor: float = 1.0,
    simulator: str = "rotorpy", airframe: str = "crazyflie",
) -> list[Mission]:  # fmt: skip
    """The flights of one data set: shapes and mean winds [m/s] in turn, wind from random directions."""
    generator = np.random.default_rng(seed)
    return [
        Mission(
            name=f"flight{k:02d}_{SHAPES[k % len(SHAPES)]}",
            shape=SHAPES[k % len(SHAPES)],
            wind_m_s=wind_m_s[k % len(wind_m_s)],
            wind_from_deg=float(generator.uniform(0, 360)),
            gust_m_s=0.5 if wind_m_s[k % len(wind_m_s)] > 0 else 0.0,
            duration_s=duration_s,
            seed=seed * 1000 + k,
            mass_factor=mass_factor,
            simulator=simulator,
            airframe=airframe,
        )
        for k in range(count)
    ]


class PositionSteps:
    """rotorpy's hover at one random point after the other, two seconds each: step inputs.

    Args:
        centre: Middle of the box of points [m].
        generator: Random source.
        duration_s: How long it will be flown [s].
    """

    def __init__(self, centre: Vector, generator: np.random.Generator, duration_s: float) -> None:
        count = int(np.ceil(duration_s / _STEP_EVERY_S)) + 1
        points = centre + generator.uniform(-1, 1, (count, 3)) * np.array([0.6, 0.6, 0.25])
        self._hovers = [HoverTraj(x0=point) for point in points]

    def update(self, t: float) -> Mapping[str, Vector]:
        """Flat outputs at time t [s]."""
        hover = self._hovers[min(int(t / _STEP_EVERY_S), len(self._hovers) - 1)]
        output: Mapping[str, Vector] = hover.update(t)
        return output


def make_trajectory(shape: str, generator: np.random.Generator, duration_s: float) -> Trajectory:
    """A rotorpy trajectory with random parameters: speeds up to about 3 m/s.

    Args:
        shape: One of `SHAPES`.
        generator: Random source.
        duration_s: How long it will be flown [s].
    """
    centre = np.array([0.0, 0.0, _HEIGHT_M])
    if shape == "circle":
        radius = np.array([*generator.uniform(0.8, 1.6, 2), 0.5])
        frequency = np.array([generator.uniform(0.2, 0.3)] * 2 + [generator.uniform(0.2, 0.4)])
        circle: Trajectory = ThreeDCircularTraj(center=centre, radius=radius, freq=frequency)
        return circle
    if shape == "lissajous":
        figure: Trajectory = TwoDLissajous(
            A=generator.uniform(1.0, 1.8), B=generator.uniform(0.6, 1.0), a=1.3, b=2.6, height=_HEIGHT_M
        )
        return figure
    if shape == "waypoints":
        points = centre + generator.uniform(-1, 1, (max(3, int(duration_s / 1.6)), 3)) * np.array([2.0, 2.0, 0.8])
        path: Trajectory = MinSnap(
            points, yaw_angles=np.zeros(len(points)), v_max=4.0, v_avg=1.1, verbose=False
        )
        return path
    return PositionSteps(centre, generator, duration_s)


def _vehicle(
    mission: Mission, wind: GustyWind, start_m: Vector
) -> tuple[SimulatedQuadrotor | Vehicle, Callable[[float, Trajectory], tuple[Vector, float]], float]:
    """A vehicle at its start, what flies it, and its nominal thrust scale [m/s^2]."""
    if mission.simulator == "crazyflow":
        from .task_vehicle_crazyflow import CrazyflowVehicle

        other = CrazyflowVehicle()
        other.wind = wind
        other.set_factors(Factors(mass=mission.mass_factor))
        other.reset(start_m, np.zeros(3))
        nominal = NominalController(other)
        return other, lambda t_s, path: nominal.setpoint(other, t_s, path), other.thrust_scale_m_s2
    vehicle = SimulatedQuadrotor(wind, airframe=AIRFRAMES[mission.airframe])
    scale_m_s2 = vehicle.thrust_scale_m_s2
    vehicle.factors = Factors(mass=mission.mass_factor)
    vehicle.reset(start_m)
    control = BaselineController(vehicle)
    return vehicle, lambda t_s, path: control.setpoint(vehicle, t_s, path), scale_m_s2


def fly(mission: Mission) -> Flight:
    """Make one flight.

    The set-points carry a small correlated excitation, so that rate and thrust responses can be told from the motion
    that the controller would have chosen. The first two seconds, in which the vehicle joins the trajectory, are not
    recorded.

    Args:
        mission: What to fly.

    Returns:
        The flight, true states of the simulator at 100 Hz.
    """
    generator = np.random.default_rng(mission.seed)
    wind = GustyWind(wind_vector(mission.wind_m_s, mission.wind_from_deg), mission.gust_m_s, mission.seed)
    trajectory = make_trajectory(mission.shape, generator, mission.duration_s + _SETTLE_S)
    start_m = np.asarray(trajectory.update(0.0)["x"], dtype=np.float64)
    vehicle, setpoint, nominal_scale_m_s2 = _vehicle(mission, wind, start_m)
    settle, count = int(_SETTLE_S * RATE_HZ), int(mission.duration_s * RATE_HZ)
    excitation = correlated_noise(generator, settle + count)
    states: list[Vector] = []
    actions: list[Vector] = []
    for k in range(settle + count):
        rates, throttle = setpoint(k / RATE_HZ, trajectory)
        rates = rates + excitation[k, 0:3]
        throttle = float(np.clip(throttle + excitation[k, 3], 0.0, 1.0))
        states.append(
            np.concatenate([vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz, vehicle.rates_rad_s])
        )
        actions.append(np.array([*rates, throttle]))
        vehicle.step(rates, throttle, 1 / RATE_HZ)
    x, u = np.array(states[settle:]), np.array(actions[settle:])
    meta: dict[str, MetaValue] = {
        "source": mission.simulator,
        "action_level": RATES,
        "rate_hz": RATE_HZ,
        "airframe": CRAZYFLOW_AIRFRAME if mission.simulator == "crazyflow" else AIRFRAMES[mission.airframe].name,
        "thrust_scale_m_s2": nominal_scale_m_s2,
        "mass_factor": mission.mass_factor,
        "shape": mission.shape,
        "wind_m_s": mission.wind_m_s,
        "wind_from_deg": mission.wind_from_deg,
        "gust_m_s": mission.gust_m_s,
        "seed": mission.seed,
        "lag_s": 0.0,
        "dropped_samples": 0,
    }
    return make_flight(mission.name, np.arange(count) / RATE_HZ, x[:, 0:3], x[:, 3:6], x[:, 6:10], x[:, 10:13], u, meta)


def correlated_noise(generator: np.random.Generator, count: int) -> Vector:
    """Excitation of rates [rad/s] and throttle, shape (count, 4): first-order noise of 0.15 s correlation time."""
    decay = np.exp(-1 / (RATE_HZ * _NOISE_CORRELATION_S))
    scale = np.array([*_RATE_NOISE_RAD_S, _THROTTLE_NOISE]) * np.sqrt(1 - decay**2)
    noise = generator.normal(size=(count, 4)) * scale
    for k in range(1, count):
        noise[k] += decay * noise[k - 1]
    return noise


def _fly_and_save(mission: Mission, folder: Path) -> Path:
    path = folder / f"{mission.name}.npz"
    save_flight(path, fly(mission))
    return path


def collect(folder: Path, plan: list[Mission], processes: int) -> list[Path]:
    """Fly all missions, several at a time; each finished flight is on disk at once.

    Args:
        folder: Where the NPZ files go.
        plan: Missions.
        processes: Flights in the air at the same time.

    Returns:
        The files, in the order of the missions; on Ctrl-C those that are finished.

    Raises:
        TubepilotError: a worker process died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: list[Path] = []
    # Ctrl-C reaches the workers too: they end the flight that they are in, so that it is kept, and say nothing
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    waiting = [pool.submit(_fly_and_save, mission, folder) for mission in plan]
    try:
        with tqdm(total=len(plan), desc="flights", unit="flight") as bar:
            for future in as_completed(waiting):
                done.append(future.result())
                bar.update()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        if not done:
            raise
    except BrokenProcessPool as error:
        raise TubepilotError(f"a simulation process died after {len(done)} of {len(plan)} flights: {error}") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return sorted(done)
