"""The shield once more, written with numpy's vectors and matrices: an oracle for the one that flies.

`tests/runtime/test_shield.py` compares the two tick by tick. It is written for comparison only: plain to read against
docs/certificate.md, section 6, and slow.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm

from tubepilot.firmware_bridge.types import Setpoint, Vector
from tubepilot.runtime.session import bind, buffers, open_session
from tubepilot.runtime.shield import Assumed, Decision, Reason, Verdict
from tubepilot.train.invariance.admission import FIRST, LAST, box
from tubepilot.train.invariance.shield_graph import ROUNDING, Tables

ANCHORS = (("calm", 0.7), ("calm", 1.0), ("swift", 1.0))
BLENDS = ((1.0, 0.0), (0.5, 0.5), (0.1, 0.9), (0.0, 0.5))
PATIENCE = BLIND_TICKS = 25


@dataclass(frozen=True, slots=True)
class _Flat:
    """A state in the coordinates of S: rows position, velocity, acceleration, jerk; columns world x, y, z."""

    rows: Vector
    thrust: float
    slope: float
    rotation: Vector


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Nominal state, what the set-point asks of the jerk there (3,) [m/s^3], and the doubts of the admission box."""

    flat: _Flat
    wanted: Vector
    doubts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """What the backup holds: anchor (3,) [m] and disturbance estimate (3,) [m/s^2]."""

    anchor: Vector
    disturbance: Vector


@functools.cache
def _flow(drag_1_s: float, t: float) -> Vector:
    """What position, velocity, acceleration and its slope become, with linear drag, shape (4, 4)."""
    result: Vector = expm(t * np.array([[0, 1, 0, 0], [0, -drag_1_s, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=np.float64))
    return result


class OracleShield:
    """Takes and gives what `tubepilot.runtime.shield.Shield` does."""

    def __init__(self, backup: bytes, tables: Tables, assumed: Assumed, fence_m: float = 30.0, floor_m: float = -math.inf) -> None:
        self.assumed, self.fence_m, self.floor_m, self.tables = assumed, fence_m, floor_m, tables
        self._backup = open_session(backup, "backup.onnx")
        self._backup_in, self._backup_out = buffers(self._backup, "backup.onnx")
        self._backup_binding = bind(self._backup, self._backup_in, self._backup_out)
        self._home: Vector = np.zeros(3)
        self._held: _Held | None = None
        self._next_slope: float | None = None
        self._last: Setpoint | None = None
        self._sent: list[Setpoint] = []
        self._targets: list[Vector] = []
        self._slacks: list[float] = [1.0]
        self._moved = 0
        self._broken = dict.fromkeys(Reason, 0)
        self._last_ns = 0
        self._thrust: float | None = None
        self._along = 0.0
        self.upward = 1.0  # less: the admission box is made too small upwards

    def engage(self, predicted: Sequence[float]) -> None:
        """Start to judge."""
        self._home = np.array(predicted[0:3], dtype=np.float64)
        self._held = self._next_slope = self._last = None
        self._targets, self._slacks, self._moved = [], [1.0], 0
        self._sent = []
        self._broken = dict.fromkeys(Reason, 0)
        self._last_ns = 0
        self._thrust = None

    def decide(
        self, predicted: Sequence[float] | None, disturbance: Sequence[float], candidate: Setpoint | None, now_ns: int
    ) -> Decision:
        """Judge one tick."""
        gap = (now_ns - self._last_ns) / (1e9 * self.assumed.tick_s) if self._last_ns > 0 else 0.0
        late = gap > 1.5 + self.assumed.missed_ticks
        self._last_ns = now_ns
        if late:
            self._thrust = None  # ticks were skipped: start again from the predictor's thrust
            self._slacks = [1.0]
        elif gap > 1.5:
            self._run_on(round(gap) - 1)
            for _ in range(round(gap) - 1 if self._targets else 0):
                self._expect(self._targets[-1])
        if predicted is None:
            return self._blind(Reason.NO_STATE)
        x = np.array(predicted, dtype=np.float64)
        d = np.array(disturbance, dtype=np.float64)
        if x.shape != (14,) or not (np.isfinite(x).all() and np.isfinite(d).all()) or not x[13] > 1.0:
            return self._blind(Reason.NOT_FINITE)
        self._broken[Reason.NO_STATE] = self._broken[Reason.NOT_FINITE] = 0
        if self._thrust is not None:
            x[13] = self._thrust  # the thrust that the certificate speaks of: one set-point a tick, each held for a tick
        slope = self._slope(float(x[13]))
        now = self._flat(x, slope)
        broken, ticks = self._watch(x, d, late)
        if broken is not None and ticks > PATIENCE:
            return Decision(None, Verdict.VOID, broken, math.nan)
        if broken is not None and ticks >= 3:
            self._held = None if broken is Reason.DISTURBANCE else self._held
            return self._fall_back(x, now, d, broken, True)
        reason, held, margin = self._admit(now, d, candidate)
        accepted, softened = candidate, False
        if candidate is not None and reason in (Reason.WOULD_LEAVE_SET, Reason.SETPOINT_LIMIT):
            for blend in self._blends(now, d, candidate)[int(reason is Reason.WOULD_LEAVE_SET) :]:
                milder, held, margin = self._admit(now, d, blend)
                if milder is Reason.OK:
                    reason, accepted, softened = Reason.OK, blend, True
                    break
        if reason is Reason.OK and accepted is not None:
            self._broken[Reason.OUTSIDE_SET] = 0
            self._held, self._next_slope = held, None
            self._keep(x, accepted)
            return Decision(accepted, Verdict.ACCEPT, Reason.SOFTENED if softened else (broken or Reason.OK), margin)
        return self._fall_back(x, now, d, reason, broken is not None)

    # --- ACCEPT: does every state that the candidate can lead to lie in S? -----------------------------------

    def _admit(self, now: _Flat, d: Vector, candidate: Setpoint | None) -> tuple[Reason, _Held | None, float]:
        a = self.assumed
        if candidate is None:
            return Reason.NO_PLAN, None, math.nan
        if not (np.isfinite(candidate.rates_rad_s).all() and math.isfinite(candidate.thrust_m_s2)):
            return Reason.NOT_FINITE, None, math.nan
        limits = np.array(a.rate_limit_rad_s)
        limits[2] = min(limits[2], (a.yaw_rate_rad_s - abs(a.rate_offset_rad_s[2])) / abs(a.rate_gain[2]))
        inside = a.thrust_min_m_s2 <= candidate.thrust_m_s2 <= a.thrust_max_m_s2
        if not inside or bool((np.abs(candidate.rates_rad_s) > limits).any()):
            return Reason.SETPOINT_LIMIT, None, math.nan
        times = (a.tick_s, max((1 + a.missed_ticks) * a.tick_s, a.window_s))
        ahead = [self._ahead(now, candidate, t, d) for t in times]
        holds = self._anchors(ahead[-1].flat, d)
        points = []
        for held in holds:
            points += [(one, held, radii) for one, radii in self._points(ahead, times, held)]
        worst = self._margins(points).reshape(-1, len(holds), 4).min(axis=2)  # stages, anchors: all states in one stage
        best = worst.max(axis=0)
        for n in np.argsort(-best, kind="stable"):
            if best[n] > 0.0 and self._has_room(holds[n], worst[:, n]):
                return Reason.OK, holds[n], float(best[n])
        return Reason.GEOFENCE if best.max() > 0.0 else Reason.WOULD_LEAVE_SET, None, float(best.max())

    def _blends(self, now: _Flat, d: Vector, candidate: Setpoint) -> list[Setpoint]:
        """The candidate, cut to its limits and drawn towards the backup policy's set-point; each is judged like any other."""
        a = self.assumed
        held = self._held if self._held is not None else self._anchors(now, d)[1]
        backup, _ = self._policy(now, held)
        if backup is None:
            return []
        limits = np.array(a.rate_limit_rad_s)
        limits[2] = min(limits[2], (a.yaw_rate_rad_s - abs(a.rate_offset_rad_s[2])) / abs(a.rate_gain[2]))
        asked = np.array([*np.clip(candidate.rates_rad_s, -limits, limits), candidate.thrust_m_s2])
        asked[3] = min(max(asked[3], a.thrust_min_m_s2), a.thrust_max_m_s2)
        other = np.array([*backup.rates_rad_s, backup.thrust_m_s2])
        last = np.array([*self._last.rates_rad_s, self._last.thrust_m_s2]) if self._last is not None else other
        mixed = [share * asked + kept * last + (1.0 - share - kept) * other for share, kept in BLENDS]
        return [Setpoint(one[:3], float(one[3])) for one in mixed]

    def _ahead(self, now: _Flat, setpoint: Setpoint, t: float, d: Vector) -> _Ahead:
        """Nominal state `t` after the instant of the tick: the set-point before acts, and from an instant on this one."""
        a = self.assumed
        lag, window = a.rate_lag_s, a.window_s
        delay = 2.0 * window - a.tick_s  # how late a set-point may be
        starts = (t + window, max(t + window - delay, 0.0))  # how long this one has acted, at most and at least

        def drawn(time: float) -> float:
            return 1.0 - math.exp(-time / lag)

        def turned(time: float) -> float:
            return time - lag * drawn(time)

        wanted = self._turn(now, setpoint)
        before = [self._turn(now, old) for old in self._sent] or [wanted]
        turn = now.rows[3] - now.slope * now.rotation[:, 2]
        target = a.thrust_gain * setpoint.thrust_m_s2
        thrust = target + (now.thrust - target) * math.exp(-t / a.thrust_lag_s)
        up = now.rotation[:, 2] + (
            lag * drawn(t) * turn + turned(t) * before[0] + 0.5 * sum(map(turned, starts)) * (wanted - before[0])
        ) / now.thrust  # fmt: skip
        up = up / math.sqrt(float(up @ up))
        across = (thrust / now.thrust) * (np.eye(3) - np.outer(up, up))
        rates = turn + (before[0] - turn) * drawn(t) + 0.5 * sum(map(drawn, starts)) * (wanted - before[0])
        acceleration = thrust * up - np.array([0.0, 0.0, a.gravity_m_s2])
        # linear drag under an acceleration that goes straight from the present one to that
        drag = np.array([a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1]])
        first, change = now.rows[2] + np.clip(d, *self._estimate_box()), (acceleration - now.rows[2]) / t
        position, velocity = now.rows[0].copy(), now.rows[1].copy()
        for axis in range(3):
            then = _flow(float(drag[axis]), t) @ [position[axis], velocity[axis], first[axis], change[axis]]
            position[axis], velocity[axis] = then[:2]
        slope = (target - thrust) / a.thrust_lag_s
        flat = _Flat(np.stack([position, velocity, acceleration, slope * up + across @ rates]), thrust, slope, now.rotation)

        # what the nominal state leaves out
        length = lambda vector: float(np.linalg.norm(vector))  # noqa: E731
        timing, older = length(wanted - before[0]), sum(length(x - y) for x, y in itertools.pairwise(before))
        swing, last = length(before[0] - turn), max((1 + a.missed_ticks) * a.tick_s, window)
        fastest = max(map(length, (turn, wanted, *before))) / now.thrust
        fastest += math.sqrt(2.0) * a.rate_error_rad_s + a.rate_residual_rad_s
        most, growth = max(now.thrust, target), abs(target - now.thrust) / a.thrust_lag_s / min(now.thrust, target)
        angle, early = (fastest + a.yaw_rate_rad_s) * (t + window), turned(window) * timing / now.thrust
        tilt = a.yaw_rate_rad_s * fastest * (t + window) ** 2 + angle**3 + 2.0 * early * angle
        path = last**2 / 8.0 * (fastest**2 + 2.0 * fastest * growth + a.yaw_rate_rad_s * fastest + growth / a.thrust_lag_s)
        twist = a.yaw_rate_rad_s * (t + 2.0 * window) + 2.0 * angle**2 + 2.0 * early
        drawing = 3.0 * fastest * most / now.thrust * (swing + timing) / lag
        swerve = last**2 / 8.0 * (drawing + 3.0 * most * fastest**2 * (fastest + growth))
        grown = max(1.0, (target + (now.thrust - target) * math.exp(-last / a.thrust_lag_s)) / now.thrust)
        doubts = (grown * timing, grown * older, grown * swing, most * (tilt + path), most * (fastest + growth) * twist + swerve)
        return _Ahead(flat, across @ wanted, doubts)

    def _turn(self, now: _Flat, setpoint: Setpoint) -> Vector:
        """c times the derivative of the up direction that the rate set-point asks for [m/s^3], world."""
        a = self.assumed
        rates = np.array(a.rate_gain) * setpoint.rates_rad_s + np.array(a.rate_offset_rad_s)
        result: Vector = now.thrust * (rates[1] * now.rotation[:, 0] - rates[0] * now.rotation[:, 1])
        return result

    def _feedback(self, flat: _Flat, held: _Held) -> tuple[Vector, Vector]:
        """Feedback of the backup policy at a state, and the up direction there."""
        horizontal, vertical = self.tables.gain
        z = flat.rows[:3].copy()
        z[0] -= held.anchor
        z[2] += held.disturbance
        nu = np.array([horizontal @ z[:, 0], horizontal @ z[:, 1], vertical @ z[:, 2]])
        return nu, (flat.rows[2] + np.array([0.0, 0.0, self.assumed.gravity_m_s2])) / flat.thrust

    def _late(self, flat: _Flat, held: _Held) -> float:
        """By how much the backup's thrust slope can differ [m/s^3]."""
        a = self.assumed
        nu, up = self._feedback(flat, held)
        return abs(float(up @ nu) - (1.0 - a.rate_lag_s / a.thrust_lag_s) * float(up @ flat.rows[3]))

    def _points(self, ahead: Sequence[_Ahead], times: Sequence[float], held: _Held) -> list[tuple[_Flat, Vector]]:
        """All states that are judged for an anchor, each with its radii, shape (4, 2): horizontal and vertical."""
        late = max(self._late(each.flat, held) for each in ahead)
        parts = [part for each, t in zip(ahead, times, strict=True) for part in self._judged(each, t, held, late)]
        tilt = max(math.hypot(*self._feedback(each.flat, held)[1][:2]) for each in ahead)
        off = max(radii[2, 0] / max(flat.thrust - radii[2, 0], 1e-9) for flat, radii in parts)
        share = self.upward * min(tilt + off, 1.0)
        return [(flat, np.stack([radii[:, 0], radii[:, 1] + share * radii[:, 2]], axis=1)) for flat, radii in parts]

    def _judged(self, ahead: _Ahead, t: float, held: _Held, late: float) -> list[tuple[_Flat, Vector]]:
        """A nominal state, and the same with the backup's rates acting as early as they can, each with its radii, shape (4, 3):
        horizontal, vertical whatever the direction of the thrust, and across it."""
        a, flat = self.assumed, ahead.flat
        nu, up = self._feedback(flat, held)
        change = (1.0 - math.exp(-a.window_s / a.rate_lag_s)) * (nu - up * float(up @ nu) - ahead.wanted)
        rows = flat.rows.copy()
        rows[3] += change
        length = np.linalg.norm
        terms = np.array([1.0, flat.thrust, length(flat.rows[3]), *ahead.doubts, length(nu), length(change), late])
        instant = FIRST if t == a.tick_s else LAST
        radii = (terms @ box(self.tables.admission)[instant]).reshape(3, 4).T
        return [(flat, radii), (_Flat(rows, flat.thrust, flat.slope, flat.rotation), radii)]

    def _still(self, now: _Flat) -> Vector:
        """Radii (4, 2) of the present state."""
        a = self.assumed
        position, velocity, attitude, _ = self.tables.admission.errors
        rates, turned = math.sqrt(2.0) * now.thrust * a.rate_error_rad_s, float(np.linalg.norm(now.rows[3])) * attitude
        share = min(math.hypot(*now.rotation[:2, 2]) + attitude / (1.0 - attitude), 1.0)
        level = np.array([position, velocity, now.thrust * attitude, rates + turned])
        return np.stack([level, np.array([position, velocity, share * level[2], turned + share * rates])], axis=1)

    def _anchors(self, flat: _Flat, d: Vector) -> list[_Held]:
        """Anchors to try, each with the disturbance estimate to hold; the one held last comes along."""
        a = self.assumed
        held = np.clip(d, *self._estimate_box())
        rest = np.array([flat.rows[1], flat.rows[2] + held, flat.rows[3]])
        best = {
            chain: np.array([level @ rest[:, 0], level @ rest[:, 1], upright @ rest[:, 2]])
            for chain, (level, upright) in zip(("swift", "calm"), np.array(a.anchors), strict=True)
        }
        result = [_Held(flat.rows[0] - factor * best[chain], held) for chain, factor in ANCHORS]
        return [*result, _Held(self._held.anchor, held) if self._held is not None else result[1]]

    def _estimate_box(self) -> tuple[Vector, Vector]:
        h, v = self.assumed.disturbance_estimate_m_s2
        high = np.array([h / math.sqrt(2.0), h / math.sqrt(2.0), v])
        return -high, high

    def _margins(self, points: list[tuple[_Flat, _Held, Vector]]) -> Vector:
        """Margin of each point to the edge of each judged stage, all errors within the radii, shape (stages, points)."""
        rows = np.stack([flat.rows for flat, _, _ in points])
        rows[:, 0] -= np.stack([held.anchor for _, held, _ in points])
        rows[:, 2] += np.stack([held.disturbance for _, held, _ in points])
        radii = np.stack([radius for _, _, radius in points])
        (horizontal, vertical), result = self.tables.facets, []
        level = np.linalg.norm(horizontal @ rows[:, :, :2], axis=2) + radii[:, :, 0] @ np.abs(horizontal).T
        upright = np.abs(rows[:, :, 2] @ vertical.T) + radii[:, :, 1] @ np.abs(vertical).T
        for offsets in zip(*self.tables.offsets, strict=True):
            margins = 1.0 - ROUNDING - np.maximum((level / offsets[0]).max(axis=1), (upright / offsets[1]).max(axis=1))
            result.append(np.where(np.isfinite(margins), margins, -np.inf))
        return np.array(result)

    def _has_room(self, held: _Held, margins: Vector) -> bool:
        """Whether the smallest tube that holds a state of these margins, one for each stage, lies within fence and floor."""
        across, high = self.tables.tubes[:, margins > 0.0].min(axis=1) + 0.01
        away = held.anchor[:2] - self._home[:2]
        return math.sqrt(float(away @ away)) + across <= self.fence_m and held.anchor[2] - high >= self.floor_m

    # --- BACKUP ----------------------------------------------------------------------------------------------

    def _fall_back(self, x: Vector, now: _Flat, d: Vector, reason: Reason, broken: bool) -> Decision:
        """The backup policy towards the anchor held last; from outside S it is sent all the same, but not for long."""
        held, margin, _ = self._best(now, [self._held] if self._held is not None else self._anchors(now, d))
        self._broken[Reason.OUTSIDE_SET] = self._broken[Reason.OUTSIDE_SET] + 1 if margin <= 0.0 else 0
        if margin <= 0.0 and (broken or self._broken[Reason.OUTSIDE_SET] > PATIENCE):
            # nothing is claimed any more: the anchor that is best for the present state
            other, better, has_room = self._best(now, self._anchors(now, d))
            if has_room:
                held, margin = other, better
                self._broken[Reason.OUTSIDE_SET] = 0
        if self._broken[Reason.OUTSIDE_SET] > 2 * PATIENCE:
            return Decision(None, Verdict.VOID, Reason.OUTSIDE_SET, margin)
        setpoint, slope = self._policy(now, held)
        if setpoint is None:
            return Decision(None, Verdict.VOID, Reason.NOT_FINITE, margin)
        self._held, self._next_slope = held, slope
        self._along = now.slope + (slope - now.slope) / (1.0 - math.exp(-self.assumed.tick_s / self.assumed.rate_lag_s))
        if margin <= 0.0:
            # the anchor held stays covered; another one is from the next tick on if the set-point leads into its set, whatever acts
            admitted, other_held, _ = self._admit(now, d, setpoint)
            if admitted is Reason.OK:
                self._held, self._next_slope = other_held, None
        self._keep(x, setpoint)
        return Decision(setpoint, Verdict.BACKUP, Reason.OUTSIDE_SET if margin <= 0.0 else reason, margin)

    def _best(self, now: _Flat, options: list[_Held]) -> tuple[_Held, float, bool]:
        """The anchor with the largest margin of those with room, else of all, its margin, and whether it has room."""
        still = self._still(now)
        margins = self._margins([(now, held, still) for held in options])
        best = margins.max(axis=0)
        order = np.argsort(-best, kind="stable")
        for n in order:
            if best[n] > 0.0 and self._has_room(options[n], margins[:, n]):
                return options[n], float(best[n]), True
        return options[order[0]], float(best[order[0]]), False

    def _policy(self, now: _Flat, held: _Held) -> tuple[Setpoint | None, float]:
        """Run the backup graph."""
        inputs = self._backup_in
        inputs["state"][0] = np.concatenate([now.rows[0] - held.anchor, now.rows[1], held.disturbance])
        inputs["rotation"][:] = now.rotation
        inputs["thrust"][0, 0], inputs["slope"][0, 0] = now.thrust, now.slope
        self._backup.run_with_iobinding(self._backup_binding)
        out = np.array(self._backup_out["setpoint"][0], dtype=np.float64)
        slope = float(self._backup_out["slope_next"][0, 0])
        if not (np.isfinite(out).all() and math.isfinite(slope)):
            return None, math.nan
        return Setpoint(out[:3], float(out[3])), slope

    # --- what is carried along, and the watch over the assumptions -------------------------------------------

    def _slope(self, thrust: float) -> float:
        """Thrust slope now: the backup's own if it acted, else what the last set-point implies."""
        if self._next_slope is not None:
            return self._next_slope
        if self._last is None:
            return 0.0
        return (self.assumed.thrust_gain * self._last.thrust_m_s2 - thrust) / self.assumed.thrust_lag_s

    def _run_on(self, ticks: int) -> None:
        """Carry the modelled thrust through skipped ticks."""
        a = self.assumed
        for _ in range(ticks):
            if self._thrust is None or self._last is None:
                return
            if self._next_slope is None:
                share = 1.0 - math.exp(-a.tick_s / a.thrust_lag_s)
                self._thrust += share * (a.thrust_gain * self._last.thrust_m_s2 - self._thrust)
            else:
                share = 1.0 - math.exp(-a.tick_s / a.rate_lag_s)
                self._thrust += self._along * a.tick_s + (self._next_slope - self._along) * a.rate_lag_s * share
                self._next_slope += share * (self._along - self._next_slope)

    def _flat(self, x: Vector, slope: float) -> _Flat:
        """State in the coordinates of S (docs/certificate.md, section 2)."""
        w, i, j, k = x[6:10] / math.sqrt(float(x[6:10] @ x[6:10]))
        rotation = np.array(
            [
                [1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j)],
                [2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i)],
                [2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)],
            ]
        )
        thrust, up = float(x[13]), rotation[:, 2]
        turn = thrust * (x[11] * rotation[:, 0] - x[10] * rotation[:, 1])
        acceleration = thrust * up - np.array([0.0, 0.0, self.assumed.gravity_m_s2])
        return _Flat(np.stack([x[0:3], x[3:6], acceleration, slope * up + turn]), thrust, slope, rotation)

    def _keep(self, x: Vector, setpoint: Setpoint) -> None:
        """Remember what acts now, and the rates that it should lead to by the next tick."""
        a = self.assumed
        self._expect((np.array(a.rate_gain) * setpoint.rates_rad_s + np.array(a.rate_offset_rad_s))[:2])
        remembered = max(math.ceil((2.0 * a.window_s - a.tick_s) / a.tick_s - 1e-9), 1)
        self._last, self._sent = setpoint, [setpoint, *self._sent][:remembered]
        share = 1.0 - math.exp(-a.tick_s / a.thrust_lag_s)
        self._thrust = float(x[13]) + share * (a.thrust_gain * setpoint.thrust_m_s2 - float(x[13]))

    def _blind(self, reason: Reason) -> Decision:
        """No usable state: the last set-point once more, for `BLIND_TICKS` at most, then nothing."""
        self._broken[reason] += 1
        self._thrust = None
        if self._last is None or self._broken[reason] > BLIND_TICKS:
            return Decision(None, Verdict.VOID, reason, math.nan)
        self._expect(self._targets[-1])
        return Decision(self._last, Verdict.BACKUP, reason, math.nan)

    def _expect(self, target: Vector) -> None:
        """Note to where a set-point leads the rates, and how far off its timing can make them."""
        a = self.assumed
        step = float(np.linalg.norm(target - self._targets[-1])) if self._targets else None
        if step is not None:
            late = 1.0 - math.exp(-(2.0 * a.window_s - a.tick_s) / a.rate_lag_s)
            self._slacks.append(math.exp(-a.window_s / a.rate_lag_s) * late * step)
        self._targets.append(target)

    def _modelled(self, late: int) -> Vector:
        """Rates at s_k if set-points act so many ticks late."""
        a = self.assumed
        acted = [np.zeros(2)] * late + self._targets[: len(self._targets) - late]
        acted = acted[len(acted) - len(self._targets) :] if self._targets else []
        decay, rates = math.exp(-a.tick_s / a.rate_lag_s), np.zeros(2)
        for n, target in enumerate(reversed(acted)):
            rates = rates + (1.0 - decay) * decay**n * target
        last = acted[-1] if acted else np.zeros(2)
        return last + (rates - last) * math.exp(-a.window_s / a.rate_lag_s)

    def _watch(self, x: Vector, d: Vector, late: bool) -> tuple[Reason | None, int]:
        """Count how long each assumption has been broken; the worst one, or None, and for how long."""
        a = self.assumed
        low, high = self._estimate_box()
        reach = np.array([a.acceleration_m_s2[0], a.acceleration_m_s2[0], a.acceleration_m_s2[1]])
        outside, moved = bool(((d < low - reach) | (d > high + reach)).any()), False
        if self._held is not None and self._next_slope is not None:
            # the backup acts and holds its estimate: the present one may differ by W and its own error, taken as W / 2
            change = d - self._held.disturbance
            horizontal = math.sqrt(float(change[0]) ** 2 + float(change[1]) ** 2)
            moved = horizontal > 1.5 * a.acceleration_m_s2[0] or abs(change[2]) > 1.5 * a.acceleration_m_s2[1]
        self._moved = self._moved + 1 if moved and not outside else 0
        decay = math.exp(-a.tick_s / a.rate_lag_s)
        slack = sum(value * decay**n for n, value in enumerate(reversed(self._slacks)))
        apart, delayed = (float(np.linalg.norm(x[10:12] - self._modelled(late))) for late in (0, math.ceil(0.05 / a.tick_s)))
        rates = apart > a.rate_residual_rad_s + math.sqrt(2.0) * a.rate_error_rad_s + slack
        for reason, happened in ((Reason.DISTURBANCE, outside), (Reason.RATE_RESIDUAL, rates), (Reason.MISSED_TICKS, late)):
            self._broken[reason] = self._broken[reason] + 1 if happened else 0
        answer = Reason.DELAY if 2.0 * delayed < apart else Reason.RATE_RESIDUAL
        counts = (
            (self._broken[Reason.DISTURBANCE], Reason.DISTURBANCE), (self._moved, Reason.DISTURBANCE),
            (self._broken[Reason.RATE_RESIDUAL], answer), (self._broken[Reason.MISSED_TICKS], Reason.MISSED_TICKS),
        )  # fmt: skip
        most = max(ticks for ticks, _ in counts)
        return next((reason, ticks) for ticks, reason in counts if ticks == most) if most > 0 else (None, 0)
