"""Faults on request and by seed: the line's one by one and in pairs, and mishaps inside the simulated firmware."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from tubepilot.firmware_bridge import mavlink_messages as m
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.frames import swap_world
from tubepilot.firmware_bridge.mavlink import Parser, encode
from tubepilot.firmware_bridge.sim_events import Mishap, TimedMishap, parse_mishap
from tubepilot.firmware_bridge.sim_firmware import FirmwareSettings
from tubepilot.firmware_bridge.sim_line import FaultyLine, LinkFaults
from tubepilot.firmware_bridge.sim_px4 import SimulatedPx4
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.state import Refusal, StateMerger

FAULTS = {
    "drop": 0.2, "corrupt": 0.2, "delay_ms": 30.0, "jitter_ms": 20.0, "reorder": 0.2, "duplicate": 0.2, "truncate": 0.2, "stall": 0.02,
}  # fmt: skip
SINGLE = [{name: value} for name, value in FAULTS.items()]
PAIRS = [dict(pair) for pair in itertools.combinations(FAULTS.items(), 2)]
TICK_NS = 10_000_000


def sent_messages(count: int) -> list[m.LocalPositionNed]:
    return [m.LocalPositionNed(10 * k + 1, 0.125 * k, 2.0, -1.0, 10.0, 0.0, 0.0) for k in range(count)]


def through(faults: LinkFaults, count: int = 400) -> tuple[list[m.Message], list[m.LocalPositionNed], Parser]:
    """What comes out of the line, what went in, and the parser at its end."""
    line, parser, sent = FaultyLine(faults), Parser(), sent_messages(count)
    came: list[m.Message] = []
    for k, message in enumerate([*sent, *([None] * 300)]):
        frames = [] if message is None else [encode(message, k, 1, 1)]
        came += [frame.message for frame in parser.feed(line.outgoing(frames, k * TICK_NS)) if frame.message is not None]
    return came, sent, parser


@pytest.mark.parametrize("faults", [*SINGLE, *PAIRS], ids=lambda faults: "+".join(faults))
def test_nothing_comes_out_that_did_not_go_in(faults: dict[str, float]) -> None:
    came, sent, _ = through(LinkFaults(seed=3, **faults))
    assert set(came) <= set(sent)
    assert len(came) > 100
    merger = StateMerger()
    times = [message.time_boot_ms for message in came if merger.add_position(message) is None]
    assert times == sorted(set(times)), "the state never goes back"


def test_each_fault_does_what_it_says() -> None:
    clean = through(LinkFaults())[0]
    assert clean == sent_messages(400)
    count = {name: len(through(LinkFaults(seed=1, **{name: FAULTS[name]}))[0]) for name in FAULTS}
    assert count["duplicate"] > 440
    assert count["reorder"] == count["delay_ms"] == count["jitter_ms"] == count["stall"] == 400
    assert all(250 < count[name] < 380 for name in ("drop", "corrupt", "truncate"))
    reordered = through(LinkFaults(seed=1, reorder=0.2))[0]
    assert reordered != clean
    assert set(reordered) == set(clean)
    assert through(LinkFaults(seed=1, corrupt=0.2))[2].counts.crc_errors > 0
    assert through(LinkFaults(seed=7, drop=0.3))[0] == through(LinkFaults(seed=7, drop=0.3))[0]


@pytest.mark.parametrize(
    ("name", "value"), [("drop", 1.1), ("stall", -0.1), ("truncate", math.nan), ("jitter_ms", -1.0), ("delay_ms", 1e9)]
)
def test_faults_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        LinkFaults(**{name: value})


# --- inside the firmware -------------------------------------------------------------------------------------


def estimates(mishap: TimedMishap, seconds: float = 3.0) -> tuple[list[m.Message], SimulatedPx4, StateMerger]:
    """Messages of a vehicle on the ground, and what our merger made of them."""
    vehicle = SimulatedQuadrotor()
    vehicle.reset()
    firmware = SimulatedPx4(vehicle, FirmwareSettings(mishaps=(mishap,), boot_offset_ns=10**10))
    parser, merger = Parser(), StateMerger()
    said: list[m.Message] = []
    for _ in range(round(300 * seconds)):
        firmware.step(1.0 / 300.0)
        for data in firmware.outgoing:
            for frame in parser.feed(data):
                said.append(frame.message)
                if isinstance(frame.message, m.AttitudeQuaternion):
                    merger.add_attitude(frame.message)
                elif isinstance(frame.message, m.LocalPositionNed):
                    merger.add_position(frame.message)
        firmware.outgoing.clear()
    assert any("mishap" in event for event in firmware.events)
    return said, firmware, merger


def test_a_reboot_starts_the_clock_anew_and_is_noticed() -> None:
    said, firmware, merger = estimates(TimedMishap(Mishap.REBOOT, 1.0, 0.5))
    times = [x.time_boot_ms for x in said if isinstance(x, m.LocalPositionNed)]
    assert min(times[50:]) < 3000 < max(times)
    assert merger.refusals[Refusal.REBOOT] >= 1
    assert not firmware.armed


def test_an_estimate_that_is_not_a_number_is_refused() -> None:
    said, _, merger = estimates(TimedMishap(Mishap.NAN, 1.0, 0.5))
    assert sum(isinstance(x, m.LocalPositionNed) and math.isnan(x.x) for x in said) > 10
    assert merger.refusals[Refusal.NOT_FINITE] > 20


def test_a_reset_of_the_estimator_is_refused_until_it_is_confirmed() -> None:
    said, _, merger = estimates(TimedMishap(Mishap.RESET, 1.0, 2.0))
    places = [swap_world(x.x, x.y, x.z)[0] for x in said if isinstance(x, m.LocalPositionNed)]
    assert places[-1] == pytest.approx(2.0, abs=0.1)
    assert 1 <= merger.refusals[Refusal.JUMP] <= 12


def test_a_frozen_estimate_repeats_itself_with_new_stamps() -> None:
    said, _, _ = estimates(TimedMishap(Mishap.FREEZE, 1.0, 0.5))
    places = [x[1:] for x in said if isinstance(x, m.LocalPositionNed)]
    longest = max(len(list(group)) for _, group in itertools.groupby(places))
    assert 20 <= longest <= 30
    times = [x.time_boot_ms for x in said if isinstance(x, m.LocalPositionNed)]
    assert np.all(np.diff(times) > 0)


def test_a_clock_jump_moves_the_stamps() -> None:
    said, _, _ = estimates(TimedMishap(Mishap.CLOCK, 1.0, 5.0))
    steps = np.diff([x.time_boot_ms for x in said if isinstance(x, m.LocalPositionNed)])
    assert steps.max() > 4900


def test_mishaps_are_read() -> None:
    assert parse_mishap("reboot@12") == TimedMishap(Mishap.REBOOT, 12.0, 1.5)
    assert parse_mishap("clock@3:-0.5") == TimedMishap(Mishap.CLOCK, 3.0, -0.5)
    garbage = "".join(random.Random(1).choices("@:1n", k=9))
    for text in ("x@1", "reboot", "reboot@", "freeze@1:-1", "nan@1:nan", "reset@-1", "clock@1:1e9", garbage):
        with pytest.raises(InputError):
            parse_mishap(text)
