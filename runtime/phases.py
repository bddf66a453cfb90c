"""The phases of a flight as an explicit table: in which phase, on which event, to which phase.

An event that is not in a phase's row changes nothing. The table is the only place where phases change.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class Phase(IntEnum):
    """What the vehicle is doing; the value stands in the flight log."""

    INIT = 0
    """Connecting and checking; nothing but idle set-points is sent."""
    READY = 1
    """Checks passed; idle set-points are streamed, OFFBOARD and arming are asked for."""
    ARMED = 2
    """Armed on the ground; thrust is ramped up until the vehicle leaves the ground."""
    CLIMB = 3
    """Climbs to the task's height under the plan."""
    TRACK = 4
    """Flies the task."""
    BRAKE = 5
    """Comes to rest where it is."""
    LAND = 6
    """Descends under the plan, then the flight controller's own landing."""
    DONE = 7
    """Disarmed; nothing is sent."""
    VOID = 8
    """The shield ended the flight: nothing is sent, the flight controller's failsafe acts."""
    MANUAL = 9
    """Pilot or flight controller took over: nothing is sent."""


class FlightEvent(Enum):
    """What can change the phase."""

    CHECKS_PASSED = "checks passed"
    FOUND_IN_AIR = "found armed in the air"
    ARM_CONFIRMED = "OFFBOARD and armed, by heartbeat"
    LIFTED_OFF = "left the ground"
    NO_LIFT_OFF = "did not leave the ground"
    AT_HEIGHT = "at the task's height"
    TASK_DONE = "end of the task"
    STOP = "stop asked for"
    AT_REST = "came to rest"
    AT_REST_TO_CONTINUE = "came to rest, task to be flown"
    DISARMED = "disarmed, by heartbeat"
    TAKEN_OVER = "mode is no longer OFFBOARD"
    VOIDED = "the shield gave up"
    STALLED = "the machine stalled while the vehicle stood on the ground"
    ABANDONED = "second stop: streaming ends at once"


_IN_AIR = {
    FlightEvent.TAKEN_OVER: Phase.MANUAL,
    FlightEvent.VOIDED: Phase.VOID,
    FlightEvent.ABANDONED: Phase.VOID,
    FlightEvent.DISARMED: Phase.DONE,
}

TRANSITIONS: dict[Phase, dict[FlightEvent, Phase]] = {
    Phase.INIT: {
        FlightEvent.CHECKS_PASSED: Phase.READY,
        FlightEvent.FOUND_IN_AIR: Phase.BRAKE,
        FlightEvent.STOP: Phase.DONE,
        FlightEvent.ABANDONED: Phase.DONE,
    },
    Phase.READY: {
        FlightEvent.ARM_CONFIRMED: Phase.ARMED,
        FlightEvent.STOP: Phase.DONE,
        FlightEvent.ABANDONED: Phase.DONE,
    },
    Phase.ARMED: {
        **_IN_AIR,
        FlightEvent.LIFTED_OFF: Phase.CLIMB,
        FlightEvent.NO_LIFT_OFF: Phase.LAND,
        FlightEvent.STOP: Phase.LAND,
        FlightEvent.STALLED: Phase.READY,
    },
    Phase.CLIMB: {**_IN_AIR, FlightEvent.AT_HEIGHT: Phase.TRACK, FlightEvent.STOP: Phase.BRAKE},
    Phase.TRACK: {**_IN_AIR, FlightEvent.TASK_DONE: Phase.BRAKE, FlightEvent.STOP: Phase.BRAKE},
    Phase.BRAKE: {**_IN_AIR, FlightEvent.AT_REST: Phase.LAND, FlightEvent.AT_REST_TO_CONTINUE: Phase.CLIMB},
    Phase.LAND: {
        FlightEvent.DISARMED: Phase.DONE,
        FlightEvent.TAKEN_OVER: Phase.MANUAL,
        FlightEvent.VOIDED: Phase.VOID,
        FlightEvent.ABANDONED: Phase.VOID,
    },
    Phase.DONE: {},
    Phase.VOID: {FlightEvent.DISARMED: Phase.DONE},
    Phase.MANUAL: {FlightEvent.DISARMED: Phase.DONE},
}

PLANNED = frozenset({Phase.CLIMB, Phase.TRACK, Phase.BRAKE, Phase.LAND})
"""Phases in which the planner flies."""

SILENT = frozenset({Phase.DONE, Phase.VOID, Phase.MANUAL})
"""Phases in which nothing is sent."""


def next_phase(phase: Phase, event: FlightEvent) -> Phase:
    """The phase after an event; the same one if the event means nothing in it."""
    return TRANSITIONS[phase].get(event, phase)


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> INIT"]
    for phase, row in TRANSITIONS.items():
        lines += [f"    {phase.name} --> {target.name}: {event.value}" for event, target in row.items()]
    return "\n".join([*lines, "    DONE --> [*]"]) + "\n"
