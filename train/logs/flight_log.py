"""tubepilot's own flight logs (MCAP) as training flights, so that what was flown can be learned from.

Of each `/tick` the state as received (world ENU, body FLU, SI) and the set-point sent are used, while the vehicle was
armed, in OFFBOARD, off the ground and flown by a set-point. Format: docs/flight-log.md. The reader is one of its own,
since training imports nothing of the on-board program.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Footer, Message, Metadata
from mcap.stream_reader import StreamReader

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import FlightMode, Vector
from tubepilot.train.flight import RATES, Flight, MetaValue, make_flight

from .alignment import lag_samples
from .gaps import in_order, longest_gap_s, longest_stretch
from .table import grid, hold, resample, resample_attitude

RATE_HZ = 100.0
FORMAT = 1
GAP_S = 0.1
"""A pause of this length ends the usable stretch [s]: ten ticks, after which interpolated states say little."""
FLOWN_PHASES = (3, 4, 5, 6)
"""CLIMB, TRACK, BRAKE and LAND of runtime/phases.py, as numbered in the log; before them the vehicle is on the ground."""
_OFFBOARD = list(FlightMode).index(FlightMode.OFFBOARD)
_LONGEST_LAG_S = 0.3
_BROKEN = (McapError, struct.error, ValueError, TypeError, KeyError, RuntimeError, zstandard.ZstdError, zlib.error)
_SCALARS = ("t_ns", "late_us", "tick_us", "state_age_ms", "phase", "armed", "vehicle_mode")
_WIDTHS = {**dict.fromkeys(_SCALARS, 1), "measured": 13, "sent": 4}


@dataclass(frozen=True, slots=True)
class _Log:
    """Field to values, shape (T, width); meta data; whether the end is there; ticks that the recorder dropped, -1: unknown."""

    fields: dict[str, Vector]
    meta: dict[str, object]
    complete: bool
    ticks_dropped: int


def _read(path: Path) -> _Log:
    """Everything up to the last whole record; the file may be cut off at any byte."""
    topics: dict[int, str] = {}
    rows: list[list[float]] = []
    meta: dict[str, object] = {}
    complete, dropped, origin_ns = False, -1, None
    try:
        with path.open("rb") as stream:
            for record in StreamReader(stream, record_size_limit=1 << 28).records:
                if isinstance(record, Channel):
                    topics[record.id] = record.topic
                elif isinstance(record, Message) and topics.get(record.channel_id) == "/tick":
                    tick = json.loads(record.data)
                    missing = [name for name in _WIDTHS if name not in tick]
                    if missing:
                        raise LogFormatError(f"{path}: lacks the channel /tick.{missing[0]}; it is not a log of tubepilot fly")
                    origin_ns = tick["t_ns"] if origin_ns is None else origin_ns
                    tick["t_ns"] -= origin_ns  # in integers: float64 holds CLOCK_MONOTONIC to a fraction of a microsecond only
                    rows.append(_row(tick))
                elif isinstance(record, Metadata) and record.name == "flight":
                    meta = json.loads(record.metadata["json"])
                elif isinstance(record, Metadata) and record.name == "recorder":
                    dropped = int(record.metadata["ticks_dropped"])
                elif isinstance(record, Footer):
                    complete = True
    except LogFormatError:
        raise
    except OSError as error:
        raise LogFormatError(f"{path}: cannot be read: {error}") from error
    except _BROKEN as error:
        if not meta:
            raise LogFormatError(f"{path}: cannot be read as a flight log, not even its beginning: {error}") from error
    if meta.get("format") != FORMAT:
        raise LogFormatError(f"{path}: has flight log format {meta.get('format')!r}; this version reads {FORMAT}")
    table = np.array(rows, dtype=np.float64).reshape(len(rows), sum(_WIDTHS.values()))
    split = np.split(table, np.cumsum(list(_WIDTHS.values()))[:-1], axis=1)
    return _Log(dict(zip(_WIDTHS, split, strict=True)), meta, complete, dropped)


def _row(tick: dict[str, object]) -> list[float]:
    """The numbers of one tick in the order of `_WIDTHS`; null becomes NaN."""
    row: list[object] = []
    for name, width in _WIDTHS.items():
        value = tick[name]
        values = value if isinstance(value, list) else [value]
        if len(values) != width:
            raise ValueError(f"/tick.{name} has {len(values)} numbers instead of {width}")
        row += values
    return [np.nan if value is None else float(str(value)) for value in row]


def read_flight_log(path: Path) -> Flight:
    """Read the longest stretch in which set-points were sent and states received without a pause.

    A state counts at the instant it was measured, a set-point at the nominal instant of its tick plus the median time
    from there to sending.

    Args:
        path: .mcap file that `tubepilot fly --log` wrote, possibly cut off.

    Returns:
        Flight of action level "rates" at 100 Hz. `meta.lag_s` is the delay of the body rates behind their set-points,
        `meta.send_s` the median time from a tick's nominal instant to sending, `meta.lost` what was not used.

    Raises:
        LogFormatError: not a flight log, an entry is absent, or nothing in it was flown under set-points.
    """
    log = _read(path)
    scale = log.meta.get("thrust_scale_m_s2")
    if not isinstance(scale, int | float) or not scale > 0:
        raise LogFormatError(
            f"{path}: its meta data lacks thrust_scale_m_s2, by which thrust becomes throttle; the log is of an older "
            f"tubepilot, fly again with this version"
        )
    one = {name: log.fields[name][:, 0] for name in _SCALARS}
    sent, measured = log.fields["sent"], log.fields["measured"]
    nominal_s, late_s = 1e-9 * one["t_ns"], 1e-6 * one["late_us"]
    flown = np.isin(one["phase"], FLOWN_PHASES) & (one["armed"] == 1) & (one["vehicle_mode"] == _OFFBOARD)
    flown &= np.isfinite(sent).all(axis=1) & np.isfinite(late_s + one["tick_us"]) & (sent[:, 3] > 0)
    known = flown & np.isfinite(measured).all(axis=1) & np.isfinite(one["state_age_ms"])
    if np.sum(known) < 2:
        raise LogFormatError(
            f"{path}: of {len(flown)} ticks {int(np.sum(known))} were flown in OFFBOARD with a set-point and a known state "
            f"(/tick.sent, /tick.measured), at least 2 are needed"
        )
    send_s = float(np.median((late_s + 1e-6 * one["tick_us"])[flown]))
    command_s, command = nominal_s[flown] + send_s, sent[flown]
    state_s, state = (nominal_s + late_s - 1e-3 * one["state_age_ms"])[known], measured[known]
    ordered, fresh = in_order(command_s), in_order(state_s)
    command_s, command, state_s, state = command_s[ordered], command[ordered], state_s[fresh], state[fresh]
    start, stop = longest_stretch((command_s, state_s), GAP_S)
    if stop - start < 2 / RATE_HZ:
        raise LogFormatError(f"{path}: set-points and states overlap for {stop - start:.3f} s only without a pause above {GAP_S} s")
    # The grid lies on the instants of sending, so that a row's action is the one its tick sent; half a tick of slack
    # keeps rounding from choosing the tick before.
    first = command_s[np.searchsorted(command_s, start)]
    at_s = grid(float(first), stop, RATE_HZ)
    action = hold(command_s - 0.5 * float(np.median(np.diff(command_s))), command, at_s) / np.array([1.0, 1.0, 1.0, scale])
    rates = resample(state_s, state[:, 10:13], at_s)
    lag, correlation = lag_samples(action[:, 0:3], rates, int(_LONGEST_LAG_S * RATE_HZ))
    inside = int(np.sum((command_s >= at_s[0]) & (command_s <= at_s[-1])))
    end = "whole" if log.complete else "cut off"
    dropped = "an unknown number of" if log.ticks_dropped < 0 else str(log.ticks_dropped)
    meta: dict[str, MetaValue] = {
        "source": f"tubepilot:{path.name}",
        "action_level": RATES,
        "rate_hz": RATE_HZ,
        "airframe": str(log.meta.get("airframe", "unknown")),
        "thrust_scale_m_s2": float(scale),
        "lag_s": lag / RATE_HZ,
        "lag_correlation": round(correlation, 3),
        "dropped_samples": int(np.sum(flown & ~known) + np.sum(~ordered)),
        "repeated_states": int(np.sum(~fresh)),
        "longest_gap_s": round(longest_gap_s((state_s, command_s), start, stop), 3),
        "send_s": round(send_s, 6),
        "complete": log.complete,
        "lost": f"log {end}, {dropped} ticks lost by the recorder, {len(flown) - inside} of {len(flown)} ticks outside the "
        f"longest stretch flown",
    }
    return make_flight(
        path.stem,
        at_s,
        resample(state_s, state[:, 0:3], at_s),
        resample(state_s, state[:, 3:6], at_s),
        resample_attitude(state_s, state[:, 6:10], at_s),
        rates,
        action,
        meta,
    )
