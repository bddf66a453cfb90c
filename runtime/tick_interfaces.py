"""What the tick needs of the parts around it, and nothing more: link, planner, shield, recorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tubepilot.firmware_bridge.types import FlightMode, Setpoint, Vector, VehicleState


class Status(Protocol):
    """What tick and flight read of `firmware_bridge`'s VehicleStatus."""

    @property
    def mode(self) -> FlightMode: ...
    @property
    def armed(self) -> bool: ...
    @property
    def landed(self) -> bool | None: ...
    @property
    def texts(self) -> tuple[str, ...]: ...


class VehicleLink(Protocol):
    """What a tick needs of `firmware_bridge`'s Vehicle."""

    def poll(self) -> None: ...
    def state(self) -> VehicleState | None: ...
    def send(self, setpoint: Setpoint) -> None: ...
    def status(self) -> Status: ...


class VehicleControl(VehicleLink, Protocol):
    """What a flight needs beyond the tick: requests, which only a heartbeat confirms."""

    @property
    def arming_delay_s(self) -> float: ...
    def request_mode(self, mode: FlightMode) -> None: ...
    def request_arm(self, arm: bool) -> None: ...


class PlanLike(Protocol):
    """What a tick needs of a plan."""

    @property
    def setpoint(self) -> Setpoint: ...
    @property
    def steps(self) -> int: ...
    @property
    def return_before(self) -> float: ...
    @property
    def return_after(self) -> float: ...
    @property
    def disagreement(self) -> float: ...


class PlannerLike(Protocol):
    """What a tick needs of the planner."""

    @property
    def horizon(self) -> int: ...
    @property
    def dt_plan_s(self) -> float: ...
    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> PlanLike: ...
    def applied(self, setpoint: Setpoint) -> None: ...
    def reset(self) -> None: ...


class DecisionLike(Protocol):
    """What a tick needs of a decision of the shield."""

    @property
    def setpoint(self) -> Setpoint | None: ...
    @property
    def verdict(self) -> int: ...
    @property
    def reason(self) -> int: ...
    @property
    def margin(self) -> float: ...
    def text(self) -> str: ...


class ShieldLike(Protocol):
    """What a tick needs of the shield."""

    @property
    def lead_s(self) -> float: ...
    def engage(self, predicted: Sequence[float]) -> None: ...
    def decide(
        self, predicted: Sequence[float] | None, disturbance: Sequence[float], candidate: Setpoint | None, now_ns: int
    ) -> DecisionLike: ...


class RecorderLike(Protocol):
    """What a tick needs of the recorder."""

    def tick(self) -> Any: ...
    def commit(self) -> None: ...


class DecisionLogLike(Protocol):
    """What a tick needs to record what planner and shield decided from."""

    def decision(self) -> Any: ...
    def commit_decision(self) -> None: ...


class NotingPlanner(Protocol):
    """A planner that says what a plan was made from."""

    def note(self, record: Any, plan: Any) -> None: ...


class EventLog(Protocol):
    """What a flight needs of the recorder."""

    def event(self, text: str) -> None: ...
