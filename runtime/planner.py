"""The planner on board: candidates, refinement steps until the deadline, ranking; every stage a complete graph, run by an `engine`.

Buffers are bound once, so that a tick allocates next to nothing. Any number of refinement steps (0 too) gives a usable
plan. Inputs are float64; the graphs see float32 positions relative to the reference. Frames: world ENU turned so that
the reference yaw is zero, body FLU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector

from .bundle import Bundle
from .engine import Engine, Onnxruntime, Stage
from .limits import Limits
from .manifest import Manifest
from .session import ORT_ERRORS, Buffer, buffers, open_session

RISE, FALL, SKIPPED = 1.25, 0.95, 0.99
"""A stage's estimated duration follows the measured one, by at most these factors per run: it settles near the 80th
percentile, and a single spike costs few refinement steps. The last is for a tick without any run: a stage that was
once too slow is tried again some time."""
COLD = 2.0
"""A graph takes this many times as long when the caches have gone cold."""
LOOK_BACK_TICKS = 10
"""Every so many ticks the candidates are ranked before refinement too, so that the log shows what it gains."""
FILE = "planner.npz"
WARM_UP_RUNS = 50

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one tick of planning gave.

    Attributes:
        ok: The set-point may be used; if not, it is not a number throughout.
        reason: Why not; empty if ok.
        setpoint: Set-point of the first action of the best plan.
        actions: Best plan in [-1, 1], shape (H, 4); the planner's own buffer, valid until the next tick.
        steps: Refinement steps done.
        best: Index of the best candidate; -1 if the deadline left no time to rank (then candidate 0 is taken).
        return_before: Greatest return of the candidates before refinement, nan if unknown: every `LOOK_BACK_TICKS` at most.
        return_after: Return of the best plan, nan if it was not ranked.
        disagreement: Mean ensemble disagreement along the best plan, nan if it was not ranked.
        tick: Number of the tick since the reset; it selects the row of the noise table.
    """

    ok: bool
    reason: str
    setpoint: Setpoint
    actions: Floats
    steps: int
    best: int
    return_before: float
    return_after: float
    disagreement: float
    tick: int


_STAGES = ("rollout", "refine", "rank")
_Buffers = Mapping[str, Buffer]


def _names(arguments: list[onnxruntime.NodeArg]) -> set[str]:
    return {argument.name for argument in arguments}


def _after(buffers_of_plans: _Buffers) -> _Buffers:
    """The outputs of a refinement step: trajectories by the name of the input with `_after`, plans as `refined`."""
    return {"refined" if name == "plans" else f"{name}_after": array for name, array in buffers_of_plans.items()}


class Planner:
    """Plans tick after tick; keeps the candidates of the last one. Nothing here raises once it is constructed."""

    def __init__(
        self, bundle: Bundle, clock_ns: Callable[[], int] = time.monotonic_ns, engine: Engine | None = None
    ) -> None:
        """Load the graphs of a verified bundle.

        Args:
            bundle: From `read_bundle`.
            clock_ns: Clock of the deadlines [ns]; another one only in tests.
            engine: What runs the graphs; onnxruntime if None. `engine_choice.choose` finds the one to fly with.

        Raises:
            BundleError: a graph or the noise table does not fit the manifest.
        """
        manifest = bundle.manifest
        self.horizon = manifest.planner.horizon
        self.dt_plan_s = manifest.dt_plan_s
        self.steps_max = manifest.planner.steps
        self._reuse = manifest.planner.reuse
        self.engine = Onnxruntime() if engine is None else engine
        self._clock_ns = clock_ns
        self._centre = np.array(manifest.action_scale.centre)
        self._half = np.array(manifest.action_scale.half)
        self._noise_table, self._shell_m = _tables(bundle)
        self._make_buffers(manifest)
        self._make_stages(bundle)
        self._estimate_ns = {"rollout": 0.0, "refine": 0.0, "rank": 0.0}
        self.reset()

    def _make_buffers(self, manifest: Manifest) -> None:
        shape = (manifest.planner.candidates, manifest.planner.horizon, 4)
        self._state = np.zeros((1, 14), np.float32)
        self._reference = np.zeros((shape[1] + 1, 9), np.float32)
        self._disturbance = np.zeros((1, 3), np.float32)
        self._previous_action = np.zeros((1, 4), np.float32)
        self._previous = np.zeros(shape, np.float32)
        self._noise = np.zeros(shape, np.float32)
        self._share = np.zeros(1, np.float32)
        self._plans = tuple(np.zeros((shape[1] * shape[0], 4), np.float32) for _ in range(2))  # row h * N + n
        self._candidates = tuple(plans.reshape(shape[1], shape[0], 4).swapaxes(0, 1) for plans in self._plans)
        self._ranked = np.zeros(shape[0], np.float32)
        self._best = np.zeros(1, np.int64)
        self._plan = np.zeros(shape[1:], np.float32)
        self._disagreement = np.zeros(1, np.float32)
        self._relative = np.zeros((shape[1] + 1, 9))
        self._origin = np.zeros(3)
        self._nothing = np.zeros(shape[1:], np.float32)

    def _make_stages(self, bundle: Bundle) -> None:
        """Stages of the three graphs on fixed buffers.

        Plans and their trajectories lie in two sets of buffers: `rollout` fills the first, every `refine` reads one and
        fills the other, `rank` reads the one filled last. What `rollout` prepares for a tick lies in a third.
        """
        sessions = {name: open_session(bundle.files[f"{name}.onnx"], f"{name}.onnx") for name in _STAGES}
        carried = self._check_ports(sessions)
        trajectory = [name for name in carried if f"{name}_after" in _names(sessions["refine"].get_outputs())]
        shared = {name: np.zeros(shape, np.float32) for name, shape in carried.items() if name not in trajectory}
        paths = [{name: np.zeros(carried[name], np.float32) for name in trajectory} for _ in range(2)]
        task = {
            "state": self._state, "reference": self._reference, "disturbance": self._disturbance,
            "previous_action": self._previous_action, **self.limits.buffers, **shared,
        }  # fmt: skip
        here, there = ({**path, "plans": plans} for path, plans in zip(paths, self._plans, strict=True))
        blend = {"previous_plans": self._previous, "noise": self._noise, "reuse": self._share}
        stage = self.engine.maker(sessions)
        self._rollout = stage("rollout", {**task, **blend}, {**shared, **here})
        self._refine = tuple(stage("refine", {**task, **old}, _after(new)) for old, new in ((here, there), (there, here)))
        result: dict[str, Buffer] = {
            "returns": self._ranked,
            "best": self._best,
            "plan": self._plan,
            "disagreement": self._disagreement,
        }
        self._rank = tuple(stage("rank", {**task, **plans}, result) for plans in (here, there))

    def _check_ports(self, sessions: dict[str, onnxruntime.InferenceSession]) -> dict[str, tuple[int, ...]]:
        """Shapes of what `rollout` hands on.

        Raises:
            BundleError: a graph's shapes are not the manifest's, or the graphs do not fit each other.
        """
        plans, rows = self._previous.shape, self._plans[0].shape
        expected: dict[str, tuple[int, ...]] = {
            "state": (1, 14), "reference": self._reference.shape, "disturbance": (1, 3), "previous_action": (1, 4),
            "previous_plans": plans, "noise": plans, "reuse": (1,), "plans": rows, "refined": rows,
            "returns": plans[:1], "best": (1,), "plan": plans[1:], "disagreement": (1,),
        }  # fmt: skip
        ports = {name: buffers(session, f"{name}.onnx") for name, session in sessions.items()}
        carried = {name: array.shape for name, array in ports["rollout"][1].items() if name not in expected}
        self.limits = Limits.of(ports["refine"][0])
        known = {**expected, **carried, **{f"{name}_after": shape for name, shape in carried.items()}}
        known.update({name: array.shape for name, array in self.limits.buffers.items()})
        for graph, (given, made) in ports.items():
            for port, array in (*given.items(), *made.items()):
                if array.shape != known.get(port) or (array.dtype == np.int64) != (port == "best"):
                    raise BundleError(
                        f"{graph}.onnx: {port} is {array.dtype} of shape {array.shape}, the manifest asks for "
                        f"{known.get(port)}; export the bundle again"
                    )
        return carried

    def reset(self) -> None:
        """Forget the previous plans; the next tick starts from the policy alone, with the first row of the noise."""
        self._tick = 0
        self._have_previous = False
        self._current = 0
        self._previous.fill(0.0)
        self._share.fill(0.0)  # what a first tick without time to plan is recorded with
        hover = (np.array([0.0, 0.0, 0.0, GRAVITY_M_S2]) - self._centre) / self._half
        self._previous_action[0] = np.clip(hover, -1.0, 1.0)

    def keep_clear(self, obstacles: Vector, faces: Vector, speed_m_s: float) -> None:
        """Say what plans keep clear of, in the frame of states and references; nothing if it is never called.

        Args:
            obstacles: Centre (3) [m] and inverse squared semi-axes (3) [1/m^2] of each, shape (n, 6).
            faces: Outward unit normal (3) and offset [m] of each face of the fence, shape (n, 4).
            speed_m_s: Greatest speed [m/s].

        Raises:
            InputError: the bundle was exported for fewer, or a number is not usable.
        """
        self.limits.set(obstacles, faces, speed_m_s, self._shell_m)

    def warm_up(self) -> None:
        """Run every stage until its time is steady, then forget; call it before arming."""
        state = np.zeros(14)
        state[6], state[13] = 1.0, GRAVITY_M_S2
        rows, disturbance = np.zeros((self.horizon + 1, 9)), np.zeros(3)
        for _ in range(WARM_UP_RUNS):
            self.plan(state, rows, disturbance, self._clock_ns() + 10**9)
        self.reset()

    def pre_warm(self, until_ns: int) -> None:
        """Run each of the graphs on whatever the buffers hold, right before a tick: what it needs is in the caches then.

        It changes nothing that a tick reads: everything that the graphs write is written anew before it is used.

        Args:
            until_ns: The tick's instant, by the planner's clock: no graph is begun that may not end before it [ns].
        """
        try:
            for name, stage in (("rollout", self._rollout), ("refine", self._refine[0]), ("rank", self._rank[1])):
                if self._clock_ns() + COLD * self._estimate_ns[name] > until_ns:
                    return
                stage.run()
        except ORT_ERRORS:
            return  # the tick will meet it too, and say so

    @property
    def pre_warm_ns(self) -> int:
        """How long before a tick `pre_warm` should begin: what its graphs take when cold, at most 2 ms [ns]."""
        return min(2_000_000, round(COLD * sum(self._estimate_ns.values())))

    def applied(self, setpoint: Setpoint) -> None:
        """Tell what was really sent in this tick; the next plan's smoothness starts from it."""
        sent = np.append(setpoint.rates_rad_s, setpoint.thrust_m_s2)
        if np.isfinite(sent).all():
            self._previous_action[0] = np.clip((sent - self._centre) / self._half, -1.0, 1.0)

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Plan:
        """Plan one tick.

        Args:
            state: Position [m], velocity [m/s], quaternion wxyz, body rates [rad/s], thrust [m/s^2], shape (14,).
            reference: Position, velocity and acceleration at h * dt_plan from now, shape (H + 1, 9).
            disturbance: Estimated constant acceleration in the world [m/s^2], shape (3,).
            deadline_ns: Time of the planner's clock after which no stage may start that would end later [ns].

        Returns:
            The plan; `ok` is False, with the reason, if there is none. It never raises.
        """
        tick = self._tick
        self._tick += 1
        problem = self.load(state, reference, disturbance)
        if problem:
            return self._failed(problem, tick)
        try:
            return self._run(tick, deadline_ns)
        except ORT_ERRORS as error:
            return self._failed(f"onnxruntime: {error}", tick)

    def load(self, state: Vector, reference: Vector, disturbance: Vector) -> str:
        """Copy the inputs of a tick into the buffers, positions relative to the first row of the reference.

        Returns:
            What is wrong with them; empty if nothing is.
        """
        for name, array, shape in (
            ("state", state, (14,)),
            ("reference", reference, self._reference.shape),
            ("disturbance", disturbance, (3,)),
        ):
            if array.shape != shape:
                return f"{name} has shape {array.shape}, must be {shape}"
            if not np.isfinite(array).all():
                return f"{name} is not finite"
        norm = math.sqrt(float(np.dot(state[6:10], state[6:10])))
        if not 0.5 < norm < 2.0:
            return f"quaternion has norm {norm:.3g}, must be 1"
        np.copyto(self._relative, reference)
        self._relative[:, 0:3] -= reference[0, 0:3]
        np.copyto(self._reference, self._relative, casting="same_kind")
        np.copyto(self._state[0], state, casting="same_kind")
        self._state[0, 0:3] = state[0:3] - reference[0, 0:3]
        self._state[0, 6:10] = state[6:10] / norm
        np.copyto(self._disturbance[0], disturbance, casting="same_kind")
        np.copyto(self._origin, reference[0, 0:3])
        self.limits.load(self._origin)
        return ""

    def _run(self, tick: int, deadline_ns: int) -> Plan:
        if self._clock_ns() >= deadline_ns:
            return self._failed("no time: the deadline has passed", tick)
        self.rollout(tick)
        steps, before = 0, self._look_back(tick, deadline_ns)
        while steps < self.steps_max and self._fits(("refine", "rank"), deadline_ns):
            self.refine()
            steps += 1
        if steps == 0:
            self._estimate_ns["refine"] *= SKIPPED
        ranked = self._fits(("rank",), deadline_ns)
        if ranked:
            self.rank()
        else:
            self._estimate_ns["rank"] *= SKIPPED
        return self._finish(tick, steps, before, ranked)

    def _look_back(self, tick: int, deadline_ns: int) -> float:
        """Greatest return before refinement, if it is due and costs no refinement step; nan otherwise."""
        everything = ("rank", *("refine",) * self.steps_max, "rank")
        if tick % LOOK_BACK_TICKS != 0 or not self._fits(everything, deadline_ns):
            return math.nan
        self.rank()
        return float(self._ranked.max())

    def _finish(self, tick: int, steps: int, before: float, ranked: bool) -> Plan:
        """The plan from the candidates in the buffers, kept for the next tick."""
        best, after, disagreement = -1, math.nan, math.nan
        if ranked:
            best, after, disagreement = int(self._best[0]), float(self._ranked.max()), float(self._disagreement[0])
        plans = self._candidates[self._current]
        if not np.isfinite(plans).all() or (best >= 0 and not np.isfinite(self._ranked).all()):
            return self._failed("a plan or a return is not finite", tick)
        self._keep(plans, max(best, 0))
        return Plan(
            True, "", self._setpoint(), self._previous[0], steps, best, before, after, disagreement, tick
        )

    def note(self, record: Any, plan: Plan) -> None:
        """Copy what a plan was made from, and the plan's set-point, into a record of `decision_log`.

        Args:
            record: Filled in place.
            plan: Of this tick; nothing may have been applied since.
        """
        record["planned"], record["ok"], record["tick"] = True, plan.ok, plan.tick
        record["steps"], record["ranked"], record["share"] = plan.steps, plan.best >= 0, self._share[0]
        record["state"], record["reference"], record["disturbance"] = self._state[0], self._reference, self._disturbance[0]
        record["previous_action"], record["origin"] = self._previous_action[0], self._origin
        record["planned_setpoint"][:3], record["planned_setpoint"][3] = plan.setpoint.rates_rad_s, plan.setpoint.thrust_m_s2

    def replay(self, record: Any) -> Plan:
        """Plan again what a record of `decision_log` says, with its number of steps; raises what onnxruntime raises."""
        tick = int(record["tick"])
        if not record["ok"]:
            return self._failed("as recorded", tick)
        self._state[0], self._reference[:], self._disturbance[0] = record["state"], record["reference"], record["disturbance"]
        self._previous_action[0] = record["previous_action"]
        self.limits.load(record["origin"])
        self._have_previous = float(record["share"]) > 0.0
        self.rollout(tick)
        for _ in range(int(record["steps"])):
            self.refine()
        if record["ranked"]:
            self.rank()
        return self._finish(tick, int(record["steps"]), math.nan, bool(record["ranked"]))

    def rollout(self, tick: int) -> Floats:
        """Candidates from the loaded inputs, the previous plans and row `tick` of the noise table.

        Returns:
            The buffer of candidates (N, H, 4). Onnxruntime errors pass through; `plan` catches them.
        """
        np.copyto(self._noise, self._noise_table[tick % len(self._noise_table)])
        self._share[0] = self._reuse if self._have_previous else 0.0
        self._timed("rollout", self._rollout)
        self._current = 0
        return self._candidates[0]

    def refine(self) -> Floats:
        """One refinement step of the candidates; see `rollout` for the result and errors."""
        self._timed("refine", self._refine[self._current])
        self._current = 1 - self._current
        return self._candidates[self._current]

    def rank(self) -> int:
        """Score the candidates; returns the index of the best. See `rollout` for errors."""
        self._timed("rank", self._rank[self._current])
        return int(self._best[0])

    def _fits(self, stages: tuple[str, ...], deadline_ns: int) -> bool:
        """Whether the stages, one after the other, are expected to end before the deadline."""
        return self._clock_ns() + sum(self._estimate_ns[stage] for stage in stages) <= deadline_ns

    def _timed(self, name: str, stage: Stage) -> None:
        start_ns = self._clock_ns()
        stage.run()
        spent_ns = float(self._clock_ns() - start_ns)
        held_ns = self._estimate_ns[name] or spent_ns
        self._estimate_ns[name] = min(max(spent_ns, FALL * held_ns), RISE * held_ns)

    def _keep(self, plans: Floats, best: int) -> None:
        """Store the candidates for the next tick, the best one first, the first one in its place."""
        np.copyto(self._previous, plans)
        if best != 0:
            self._previous[best] = plans[0]
            self._previous[0] = plans[best]
        self._have_previous = True

    def _setpoint(self) -> Setpoint:
        values = self._centre + self._half * self._previous[0, 0]
        return Setpoint(values[:3], float(values[3]))

    def _failed(self, reason: str, tick: int) -> Plan:
        """No plan; the next tick starts from the policy alone, since the kept plans are no longer one tick old."""
        self._have_previous = False
        setpoint = Setpoint(np.full(3, math.nan), math.nan)
        return Plan(False, reason, setpoint, self._nothing, 0, -1, math.nan, math.nan, math.nan, tick)


def _tables(bundle: Bundle) -> tuple[Floats, float]:
    """Noise rows (T, N, H, 4), and the distance that plans keep from obstacles and faces [m].

    Raises:
        BundleError: another shape or type, not finite, or an unknown array beside them.
    """
    arrays = bundle.arrays(FILE)
    table, shell = arrays.get("noise"), arrays.get("shell_m")
    planner = bundle.manifest.planner
    shape = (planner.candidates, planner.horizon, 4)
    if set(arrays) != {"noise", "shell_m"} or table is None or table.dtype != np.float32:
        raise BundleError(f"{FILE}: must hold two float32 arrays named noise and shell_m; export the bundle again")
    if table.ndim != 4 or table.shape[1:] != shape or len(table) < 1 or not np.isfinite(table).all():
        raise BundleError(f"{FILE}: noise has shape {table.shape}, must be finite (rows, {shape}); export again")
    if shell is None or shell.dtype != np.float32 or shell.shape != (1,) or not 0.0 <= float(shell[0]) <= 10.0:
        raise BundleError(f"{FILE}: shell_m must be one float32 number within [0, 10]; export the bundle again")
    return table.astype(np.float32), float(shell[0])
