"""What every simulated firmware has, whatever it speaks: a vehicle, arming, landing, mishaps, and a clock of its own.

Time here is simulated time; the process around it (`sim_fc`) makes it real. Each personality (`sim_px4`, `sim_ardupilot`,
`sim_betaflight`) adds its protocol, its modes and its failsafe.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .autopilot import Autopilot
from .errors import InputError
from .sim_estimate import Estimator
from .sim_events import Mishap, TimedMishap
from .simulator import SimulatedQuadrotor
from .types import Vector

AUTOPILOT_STEPS = 3
"""Physics steps per pass of the autopilot: 100 Hz at 300 Hz."""

DISARM_LANDED_S = 1.0
DISARM_PREFLIGHT_S = 10.0
LANDED_S = 0.3


@dataclass(frozen=True, slots=True)
class FirmwareSettings:
    """How a simulated firmware is set up.

    Attributes:
        failsafe_s: Silence after which its failsafe acts [s].
        seed: Seed of the estimator noise.
        boot_offset_ns: Its clock at simulated time 0 [ns].
        skew: Rate of its clock over simulated time, minus 1.
        noise: Whether the streamed state carries estimator noise.
        mishaps: What goes wrong inside it, and when.
    """

    failsafe_s: float = 0.5
    seed: int = 0
    boot_offset_ns: int = 0
    skew: float = 0.0
    noise: bool = True
    mishaps: tuple[TimedMishap, ...] = ()

    def __post_init__(self) -> None:
        if not 0.05 <= self.failsafe_s <= 60.0:
            raise InputError(f"failsafe time is {self.failsafe_s!r} s; it must be 0.05..60 s")
        if not -0.1 <= self.skew <= 0.1:
            raise InputError(f"clock skew is {self.skew!r}; it must be within +-0.1")


@dataclass(slots=True)
class OffboardInput:
    """Newest set-point from the companion: body rates FLU [rad/s], throttle 0..1, time of arrival [s]."""

    rates_rad_s: Vector = field(default_factory=lambda: np.zeros(3))
    throttle: float = 0.0
    time_s: float = -math.inf


class FrameParser(Protocol):
    """Bytes to the frames of a protocol."""

    def feed(self, data: bytes) -> list[Any]: ...


class SimulatedFirmware(ABC):
    """The flight controller's program around one simulated quadrotor.

    Args:
        vehicle: The quadrotor, standing or flying.
        settings: Failsafe, clock, noise, mishaps.
    """

    title: str
    """Name for people."""

    landed_text = "Landing detected"

    def __init__(self, vehicle: SimulatedQuadrotor, settings: FirmwareSettings | None = None) -> None:
        self.settings = settings or FirmwareSettings()
        self.vehicle = vehicle
        self.autopilot = Autopilot(vehicle)
        self.estimator = Estimator(vehicle, self.settings.seed if self.settings.noise else None)
        self.armed = False
        self.landed = vehicle.on_ground
        self.failsafes = 0
        self.setpoints = 0
        self.outgoing: list[bytes] = []
        self.events: list[str] = []
        self.paused_ns = 0
        self._boot_offset_ns = self.settings.boot_offset_ns
        self._rate = 1.0 + self.settings.skew
        self._offboard = OffboardInput()
        self._steps = 0
        self._grounded_s = 0.0
        self._armed_s = 0.0
        self._flown = False
        self._mishaps = sorted(self.settings.mishaps, key=lambda mishap: mishap.time_s)
        self._silent_until_s = -math.inf
        self._command = (np.zeros(3), 0.0)

    # --- what differs between firmwares -----------------------------------------------------------------

    @abstractmethod
    def parser(self) -> FrameParser:
        """A new parser of what it understands."""

    @abstractmethod
    def receive(self, frame: Any, time_s: float) -> None:
        """Act on one frame.

        Args:
            frame: What the companion sent, as `parser` gives it.
            time_s: Simulated time of its arrival [s].
        """

    @property
    @abstractmethod
    def mode_number(self) -> int:
        """Its mode as it numbers it itself."""

    @abstractmethod
    def _control(self, dt_s: float) -> tuple[Vector, float]:
        """Body rates FLU, shape (3,) [rad/s], and throttle for the coming physics step; called while armed."""

    @abstractmethod
    def _check_failsafe(self) -> None:
        """Act if set-points stopped; called every physics step."""

    @abstractmethod
    def _talk(self) -> None:
        """Send what is due; called every physics step."""

    @abstractmethod
    def _restart(self) -> None:
        """Forget what a firmware forgets when it starts anew."""

    @abstractmethod
    def _text(self, severity: int, text: str) -> None:
        """Say something to people, where the protocol has a way (MAVLink severity, 0 worst)."""

    # --- time -------------------------------------------------------------------------------------------

    @property
    def command(self) -> tuple[Vector, float]:
        """What the rate loop follows now: body rates FLU, shape (3,) [rad/s], and throttle 0..1."""
        return self._command if self.armed else (np.zeros(3), 0.0)

    @property
    def setpoint_time_s(self) -> float:
        """Simulated time of the newest set-point from outside; minus infinity before the first [s]."""
        return self._offboard.time_s

    @property
    def is_silent(self) -> bool:
        """Whether it is starting anew and neither hears nor says anything."""
        return self.vehicle.time_s < self._silent_until_s

    def clock_ns(self, time_s: float) -> int:
        """This flight controller's clock at a simulated time [ns]; it runs on while the physics pause."""
        return self._boot_offset_ns + round((time_s * 1e9 + self.paused_ns) * self._rate)

    # --- physics and control ----------------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        """Advance control, physics, failsafe and streams by one physics step."""
        vehicle = self.vehicle
        self._go_wrong()
        self._check_failsafe()
        if not self.armed:
            vehicle.step_motors(np.zeros(4), dt_s)
        else:
            self._command = self._control(dt_s)
            vehicle.step(self._command[0], self._command[1], dt_s)
            self._armed_s += dt_s
        self._steps += 1
        self._check_ground(dt_s)
        if not self.is_silent:
            self._talk()

    def _fly_itself(self, dt_s: float) -> tuple[Vector, float]:
        """The autopilot's command, new every `AUTOPILOT_STEPS` physics steps."""
        if self._steps % AUTOPILOT_STEPS == 0:
            return self.autopilot.update(dt_s * AUTOPILOT_STEPS)
        return self._command

    def _go_wrong(self) -> None:
        """Let the mishaps happen whose time has come."""
        while self._mishaps and self._mishaps[0].time_s <= self.vehicle.time_s:
            mishap = self._mishaps.pop(0)
            self.events.append(f"mishap: {mishap.kind.value} {mishap.value:g}")
            if mishap.kind is Mishap.REBOOT:
                self._reboot(mishap.value)
            elif mishap.kind is Mishap.CLOCK:
                self._boot_offset_ns = max(self._boot_offset_ns + round(1e9 * mishap.value), 0)
            elif mishap.kind is Mishap.FREEZE:
                self.estimator.freeze(mishap.value)
            elif mishap.kind is Mishap.NAN:
                self.estimator.break_down(mishap.value)
            else:
                self.estimator.shift_east(mishap.value)

    def _reboot(self, silence_s: float) -> None:
        """Start anew; the vehicle falls meanwhile."""
        self.armed = False
        self._offboard, self._command = OffboardInput(), (np.zeros(3), 0.0)
        self._silent_until_s = self.vehicle.time_s + silence_s
        self._boot_offset_ns = -round((self.vehicle.time_s * 1e9 + self.paused_ns) * self._rate)
        self._restart()

    def _offboard_age_s(self) -> float:
        return self.vehicle.time_s - self._offboard.time_s

    def _take_setpoint(self, rates_rad_s: Vector, throttle: float) -> None:
        """Keep a set-point: body rates FLU, shape (3,) [rad/s], and throttle, clipped to 0..1."""
        self._offboard.rates_rad_s = rates_rad_s
        self._offboard.throttle = min(max(throttle, 0.0), 1.0)
        self._offboard.time_s = self.vehicle.time_s
        self.setpoints += 1

    def _check_ground(self, dt_s: float) -> None:
        self._grounded_s = self._grounded_s + dt_s if self.vehicle.on_ground else 0.0
        if not self.vehicle.on_ground:
            self._flown = self._flown or self.armed
        was, self.landed = self.landed, self._grounded_s >= LANDED_S or (self.landed and self.vehicle.on_ground)
        if self.landed and not was:
            self._text(6, self.landed_text)
        if not self.armed or not self.landed:
            return
        if self._flown and self._grounded_s >= DISARM_LANDED_S and self._command[1] < 0.1:
            self._disarm("Disarmed by landing")
        elif not self._flown and self._armed_s >= DISARM_PREFLIGHT_S:
            self._disarm("Disarmed by auto preflight disarming")

    def _arm_now(self, words: str) -> None:
        """Motors on; the way home is known from here."""
        self.armed, self._flown, self._armed_s = True, False, 0.0
        self.autopilot.set_home()
        self._text(6, words)

    def _disarm(self, why: str) -> None:
        self.armed = False
        self._text(6, why)
