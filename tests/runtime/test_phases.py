"""The phase table: every transition as written here by hand, completeness, and the diagram."""

from __future__ import annotations

import itertools

import pytest

from tubepilot.runtime.phases import PLANNED, SILENT, TRANSITIONS, FlightEvent, Phase, mermaid, next_phase

EXPECTED = """
INIT CHECKS_PASSED READY
INIT FOUND_IN_AIR BRAKE
INIT STOP DONE
INIT ABANDONED DONE
READY ARM_CONFIRMED ARMED
READY STOP DONE
READY ABANDONED DONE
ARMED LIFTED_OFF CLIMB
ARMED NO_LIFT_OFF LAND
ARMED STOP LAND
ARMED STALLED READY
ARMED TAKEN_OVER MANUAL
ARMED VOIDED VOID
ARMED ABANDONED VOID
ARMED DISARMED DONE
CLIMB AT_HEIGHT TRACK
CLIMB STOP BRAKE
CLIMB TAKEN_OVER MANUAL
CLIMB VOIDED VOID
CLIMB ABANDONED VOID
CLIMB DISARMED DONE
TRACK TASK_DONE BRAKE
TRACK STOP BRAKE
TRACK TAKEN_OVER MANUAL
TRACK VOIDED VOID
TRACK ABANDONED VOID
TRACK DISARMED DONE
BRAKE AT_REST LAND
BRAKE AT_REST_TO_CONTINUE CLIMB
BRAKE TAKEN_OVER MANUAL
BRAKE VOIDED VOID
BRAKE ABANDONED VOID
BRAKE DISARMED DONE
LAND DISARMED DONE
LAND TAKEN_OVER MANUAL
LAND VOIDED VOID
LAND ABANDONED VOID
VOID DISARMED DONE
MANUAL DISARMED DONE
"""
TABLE = {(Phase[a], FlightEvent[b]): Phase[c] for a, b, c in map(str.split, EXPECTED.strip().splitlines())}


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, FlightEvent)))
def test_every_pair_goes_where_this_list_says(phase: Phase, event: FlightEvent) -> None:
    assert next_phase(phase, event) is TABLE.get((phase, event), phase)


def test_every_phase_has_a_row_and_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(Phase)
    reached, frontier = {Phase.INIT}, [Phase.INIT]
    while frontier:
        for target in TRANSITIONS[frontier.pop()].values():
            if target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == set(Phase)
    assert [phase for phase in Phase if not TRANSITIONS[phase]] == [Phase.DONE]


def test_every_event_is_used_and_silence_is_never_left_for_flight() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(FlightEvent)
    assert all(set(TRANSITIONS[phase].values()) <= {Phase.DONE} for phase in SILENT)
    assert not PLANNED & SILENT


def test_whatever_flies_can_be_silenced() -> None:
    for phase in PLANNED | {Phase.ARMED}:
        assert next_phase(phase, FlightEvent.VOIDED) is Phase.VOID
        assert next_phase(phase, FlightEvent.ABANDONED) is Phase.VOID


def test_the_diagram_names_every_transition() -> None:
    text = mermaid()
    assert text.startswith("stateDiagram-v2\n    [*] --> INIT\n")
    for (phase, event), target in TABLE.items():
        assert f"    {phase.name} --> {target.name}: {event.value}\n" in text
    assert text.count("-->") == len(TABLE) + 2
