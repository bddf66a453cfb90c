"""A whole flight in simulated time: real tick, phases and predictor on rotorpy's physics, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_wind import GustyWind
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector, VehicleState
from tubepilot.runtime.flight import Flight
from tubepilot.runtime.flight_settings import FlightSettings, StopSwitch
from tubepilot.runtime.local_frame import LocalFrame
from tubepilot.runtime.observer import DisturbanceObserver
from tubepilot.runtime.predictor import PhysicsParameters, Predictor
from tubepilot.runtime.realtime import Ticker
from tubepilot.runtime.reference import Hover, Reference
from tubepilot.runtime.tick import Tick, level
from tubepilot.runtime.tick_interfaces import PlannerLike, ShieldLike
from tubepilot.runtime.tick_types import TickSettings

PERIOD_NS = 10_000_000
HEIGHT_M = 0.6
PHYSICS = PhysicsParameters(1.0, 0.06, (1.0,) * 3, (0.0,) * 3, (0.03, 0.03, 0.05), (0.25, 0.25, 0.0))


class Rig:
    """Clock, vehicle and flight controller in one: simulated time passes when the loop sleeps or works."""

    arming_delay_s = 0.0

    def __init__(self, wind_m_s: float = 0.0, yaw_rad: float = 0.0, airborne: bool = False) -> None:
        self.now_ns = 10**9
        self.quadrotor = SimulatedQuadrotor(GustyWind(np.array([wind_m_s, 0.0, 0.0])), substep_s=0.005)
        start = np.array([3.0, -2.0, 1.2 if airborne else 0.0])
        self.quadrotor.reset(start, yaw_rad)
        self.start_ns, self.mode, self.armed = self.now_ns, FlightMode.HOLD, airborne
        self.refuse_arming = False
        self.texts: tuple[str, ...] = ()
        self.sent: list[tuple[int, Setpoint]] = []
        self.hooks: list[tuple[float, Callable[[], None]]] = []
        self.rng = np.random.default_rng(0)

    # clock
    def clock_ns(self) -> int:
        self.now_ns += 2000
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(1e9 * seconds)

    @property
    def elapsed_s(self) -> float:
        return 1e-9 * (self.now_ns - self.start_ns)

    # link
    def poll(self) -> None:
        while self.hooks and self.elapsed_s >= self.hooks[0][0]:
            self.hooks.pop(0)[1]()
        gap_s = self.elapsed_s - self.quadrotor.time_s
        if gap_s > 1e-6:
            setpoint = self._acting()
            throttle = setpoint.thrust_m_s2 / self.quadrotor.thrust_scale_m_s2
            self.quadrotor.step(setpoint.rates_rad_s, throttle, gap_s)
        if self.mode is FlightMode.LAND and self.quadrotor.on_ground:
            self.armed = False

    def _acting(self) -> Setpoint:
        if not self.armed:
            return Setpoint(np.zeros(3), 0.0)
        fresh = self.sent and self.now_ns - self.sent[-1][0] < 500_000_000
        if self.mode is FlightMode.OFFBOARD and fresh:
            return self.sent[-1][1]
        if self.mode is FlightMode.OFFBOARD:
            self.mode = FlightMode.LAND
        sinking = -0.4 if self.mode is FlightMode.LAND else 0.0
        return level(self._truth(), GRAVITY_M_S2 + 3.0 * (sinking - self.quadrotor.velocity_m_s[2]))

    def _truth(self) -> VehicleState:
        q = self.quadrotor
        return VehicleState(self.now_ns, q.position_m, q.velocity_m_s, q.quaternion_wxyz, q.rates_rad_s)

    def state(self) -> VehicleState | None:
        true = self._truth()
        noise = np.clip(self.rng.normal(0, [[0.005], [0.01], [0.01]], (3, 3)), -0.03, 0.03)
        return VehicleState(
            true.t_ns,
            true.position_m + noise[0],
            true.velocity_m_s + noise[1],
            true.quaternion_wxyz,
            true.rates_rad_s + noise[2],
        )

    def status(self) -> Rig:
        return self

    @property
    def landed(self) -> bool:
        return self.quadrotor.on_ground

    def send(self, setpoint: Setpoint) -> None:
        self.sent.append((self.now_ns, setpoint))

    def request_mode(self, mode: FlightMode) -> None:
        if mode is FlightMode.OFFBOARD and not self.sent:
            return
        self.mode = mode

    def request_arm(self, arm: bool) -> None:
        if arm and self.refuse_arming:
            self.texts = (*self.texts, "Arming denied: no GPS")
        elif not arm or self.mode is FlightMode.OFFBOARD:
            self.armed = arm


class Geometric:
    """Position and attitude law as a planner: enough to fly the phases, and no part of the product."""

    horizon, dt_plan_s = 12, 0.04
    steps, return_before, return_after, disagreement = 1, 0.0, 0.0, 0.0

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Geometric:
        row = reference[0]
        force = row[6:9] + 6.0 * (row[0:3] - state[0:3]) + 4.0 * (row[3:6] - state[3:6]) - disturbance
        force[2] += GRAVITY_M_S2
        w, x, y, z = state[6:10]
        up = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
        turn = np.cross(up, force / np.linalg.norm(force))
        ahead = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)])
        left = np.array([2 * (x * y - w * z), 1 - 2 * (x * x + z * z)])
        rates = np.array([10.0 * ahead @ turn[:2], 10.0 * left @ turn[:2], -4.0 * (w * z + x * y)])
        self.setpoint = Setpoint(rates, float(force @ up))
        return self

    def applied(self, setpoint: Setpoint) -> None:
        """Nothing to remember."""

    def reset(self) -> None:
        """Nothing to forget."""


@dataclass(frozen=True)
class Accepting:
    setpoint: Setpoint | None
    verdict: int
    reason: int
    margin: float

    def text(self) -> str:
        return "DISTURBANCE: 1.2 m/s^2, at most 1.0 m/s^2"


class Shield:
    """Accepts; calls it a backup, or voids after a time, if told to."""

    def __init__(self) -> None:
        self.void_after: int | None = None
        self.hold = False
        self.calls = 0

    lead_s = 0.0075

    def engage(self, predicted: Sequence[float]) -> None:
        self.calls = 0

    def decide(
        self, predicted: Sequence[float] | None, disturbance: Sequence[float], candidate: Setpoint | None, now_ns: int
    ) -> Accepting:
        self.calls += 1
        if self.void_after is not None and self.calls > self.void_after:
            return Accepting(None, 2, 3, -1.0)
        verdict = 0 if candidate and not self.hold else 1
        return Accepting(candidate or Setpoint(np.zeros(3), GRAVITY_M_S2), verdict, 0, 1.0)

    def settle(self) -> None:
        pass


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, text: str) -> None:
        self.lines.append(text)


HOVER = Hover(np.array([0.0, 0.0, HEIGHT_M]), 1.0)


def make_flight(
    rig: Rig, task: Reference = HOVER, resume: bool = False, planner: PlannerLike | None = None, real: ShieldLike | None = None
) -> tuple[Flight, StopSwitch, Shield, Log]:
    state = rig.state()
    frame = LocalFrame.at(state)
    frame.origin_m[2] = 0.0
    shield, stop, log = Shield(), StopSwitch(), Log()
    tick = Tick(
        rig, planner or Geometric(), real or shield, Predictor(PHYSICS, 0.005), DisturbanceObserver(),
        TickSettings(0.004, 0.008), frame, rig.clock_ns,
    )  # fmt: skip
    ticker = Ticker(PERIOD_NS, rig.clock_ns, rig.sleep, spin_ns=10_000)
    settings = FlightSettings(HEIGHT_M, climb_m_s=0.8, resume=resume)
    return Flight(rig, tick, task, settings, ticker, stop, log, lambda line: None, rig.clock_ns), stop, shield, log
