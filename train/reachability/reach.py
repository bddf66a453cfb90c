"""Decide a specification: tubes of boxes, cut where they do not suffice, and a search for a counterexample.

Boxes that are left to do are computed in batches, on as many devices as JAX has (on a CPU, on two threads). A box whose tube does not
show the properties is cut in two along the state that, halved, brings the tube closest to a proof.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from . import finished
from .closed_loop import Analysis, Settings, Tube, middle_and_radius, prepare
from .compiling import compiled
from .counterexample import Counterexample
from .specification import Specification
from .verdict import Finding, Verdict, judge

Numbers = npt.NDArray[np.float64]
FEW = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """When to give up.

    Attributes:
        boxes: most boxes whose tube is computed.
        seconds: no new batch starts after this time [s].
        batch: boxes per call.
        attack: whether a counterexample is searched when the first tubes do not suffice.
        refine: whether more steps per period are tried then.
    """

    boxes: int = 4096
    seconds: float = 3600.0
    batch: int = 16
    attack: bool = True
    refine: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Outcome of `reach`.

    Attributes:
        verdict, reason: what was found; the reason is empty when verified.
        seconds: time of all tubes and of the search for a counterexample, without compiling the tubes [s].
        compile_seconds: lowering and compiling the tubes [s].
        peak_mb: largest resident memory of the process so far [MB].
        boxes: pieces of the initial box that were proven, shape (b, n, 2), and how many tubes were computed in all.
        tubes: number of tubes computed.
        lo, hi: union over the proven pieces of the states per step, shape (steps, n).
        times_s: start and end of each step, shape (steps, 2).
        end_box: states at the end, shape (n, 2).
        settings: as used in the end.
        counterexample: a violation, if one was found.
        unproven: bounds of the initial box, shape (u, n, 2), for which nothing was shown.
    """

    verdict: Verdict
    reason: str
    seconds: float
    compile_seconds: float
    peak_mb: float
    boxes: Numbers
    tubes: int
    lo: Numbers
    hi: Numbers
    times_s: Numbers
    end_box: Numbers
    settings: Settings
    counterexample: Counterexample | None = None
    unproven: Numbers = field(default_factory=lambda: np.zeros((0, 0, 2)))


def reach(
    spec: Specification,
    settings: Settings | None = None,
    limits: Limits | None = None,
    resume: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Result:
    """Decide the properties of a specification.

    Args:
        spec: the closed loop and its properties.
        settings: numerical settings; None: chosen from the size and speed of the system and the hints of the specification.
        limits: when to give up.
        resume: file to keep the finished boxes in after every batch; if it exists and fits, the work goes on from there.
        progress: called with the share of the initial box that is decided, and a line of text.

    Returns:
        the result; `Verdict.UNKNOWN` says why.

    Raises:
        InputError: a function of the specification has no enclosure, or `resume` belongs to another analysis.
    """
    with jax.enable_x64(True):
        return _Search(spec, settings or automatic(spec), limits or Limits(), resume, progress or (lambda _share, _text: None)).run()


def automatic(spec: Specification) -> Settings:
    """Settings from the hints, and where there are none from the number of symbols and the fastest rate of the plant."""
    hints = spec.hints
    symbols = int(np.sum(np.ptp(spec.initial_box, axis=1) > 0)) + int(np.sum(np.ptp(spec.parameter_box, axis=1) > 0))
    degree = hints.degree or (2 if symbols <= 24 else 1)
    order = hints.order or 4
    # several conditions take turns in keeping a set off a region, so the steps there must be short
    fewest = 4 if any(p.kind == "avoid" for p in spec.properties) else 1
    substeps = hints.substeps or (1 if spec.discrete else int(np.clip(np.ceil(_rate(spec) * spec.period_s / 0.25), fewest, 64)))
    return Settings(order, substeps, degree, hints.generators or 50)


def _rate(spec: Specification) -> float:
    """Largest row sum of the Jacobian of the plant with respect to its states along the middle trajectory [1/s]."""
    from .simulation import nominal, simulate

    centre = 0.5 * spec.initial_box.sum(axis=1)
    given = nominal(spec, centre[None])
    _, states = simulate(spec, centre[None], samples_per_period=1)
    w, p = jnp.asarray(given.w[0, 0, 0]), jnp.asarray(given.p[0])
    points = jnp.asarray(states[0][:: max(1, len(states[0]) // 64)])
    jacobian = jax.jit(jax.vmap(lambda x: jax.jacfwd(lambda y: spec.dynamics(y, spec.control(x), w, p))(x)))(points)
    rates = np.abs(np.asarray(jacobian)).sum(axis=-1).max(axis=-1)
    return float(np.median(rates[np.isfinite(rates)])) if np.isfinite(rates).any() else 1.0


class _Search:
    """State of one analysis."""

    def __init__(
        self, spec: Specification, settings: Settings, limits: Limits, resume: Path | None, progress: Callable[[float, str], None]
    ) -> None:
        self.spec, self.settings, self.limits, self.resume, self.progress = spec, settings, limits, resume, progress
        self.compile_seconds = self.seconds = 0.0
        self.tubes = 0
        self.begun = time.perf_counter()
        self.calls: dict[int, Callable[..., Tube]] = {}
        self.analysis: Analysis = prepare(spec, settings)
        self.done: list[Numbers] = []
        self.union: Tube | None = None  # of the proven boxes
        self.tried: Tube | None = None  # of the boxes of the first round that were not
        self.tried_all = False

    def run(self) -> Result:
        root = self.spec.initial_box
        queue = [root]
        if self.resume is not None and self.resume.exists():
            settings, self.done, queue = finished.load(self.resume, self.spec)
            self.settings, self.analysis = settings, prepare(self.spec, settings)
            self.union = finished.union(self.resume, jax.eval_shape(self.analysis.tube, *self._arguments())) if self.done else None
        if len(queue) == 1 and not self.done:
            queue = self._halved(root, self.spec.hints.splits)
        findings = self._findings(queue)
        attacked, finer_left = False, 3 if self.limits.refine else 0
        volume = self._volume(root)
        while True:
            self.tried_all = True
            open_now = [(box, finding) for box, finding in findings if not finding.proven]
            queue = [box for box, _ in open_now]
            if not queue:
                return self._result(Verdict.VERIFIED, "", [])
            reason = open_now[0][1].reason
            if self.limits.attack and not attacked:
                attacked = True
                found = self._attack()
                if found is not None:
                    text = f"{found.kind}: '{found.condition}' is broken by {found.margin:.4g} at t = {found.time_s:.4g} s"
                    return self._result(Verdict.FALSIFIED, text, queue, found)
            if finer_left and not self.done:
                finer_left -= 1
                if self._finer(*open_now[0]):
                    findings = self._findings(queue)
                    continue
                finer_left = 0
            if self.tubes + 2 * len(queue) > self.limits.boxes or time.perf_counter() - self.begun > self.limits.seconds:
                return self._result(Verdict.UNKNOWN, f"{reason}; gave up after {self.tubes} tubes with {len(queue)} boxes open", queue)
            dimension = self._cut(queue)
            if dimension is None:
                return self._result(Verdict.UNKNOWN, f"{reason}; no state is wide enough to be cut", queue)
            halves = [half for box in queue for half in _bisect(box, dimension)]
            findings = self._findings(halves)
            queue = [box for box, finding in findings if not finding.proven]
            if self.resume is not None:
                finished.save(self.resume, self.spec, self.settings, self.done, queue, self.union)
            left = sum(self._volume(b) for b in queue) / volume
            self.progress(1.0 - left, f"{len(self.done)} boxes proven, {len(queue)} open, cut along {self.spec.states[dimension]}")

    def _halved(self, box: Numbers, splits: tuple[int, ...] | None) -> list[Numbers]:
        pieces = [box]
        for state, count in enumerate(splits or ()):
            pieces = [piece for b in pieces for piece in _slices(b, state, count)]
        return pieces

    def _volume(self, box: Numbers) -> float:
        widths = np.ptp(self.spec.initial_box, axis=1)
        return float(np.prod(np.ptp(box, axis=1)[widths > 0] / widths[widths > 0])) if (widths > 0).any() else 1.0

    def _call(self, count: int) -> Callable[..., Tube]:
        """The compiled tube of `count` boxes, sharded over the devices when there are several."""
        if count not in self.calls:
            begun = time.perf_counter()
            n, k = len(self.spec.states), len(self.spec.parameters)
            batched = jax.vmap(self.analysis.tube, in_axes=(None, 0, 0, None, None)) if count > 1 else self.analysis.tube
            lead = (count,) if count > 1 else ()
            shapes = [jax.ShapeDtypeStruct((*lead, n), jnp.float64)] * 2 + [jax.ShapeDtypeStruct((k,), jnp.float64)] * 2
            devices, shardings = jax.devices(), {}
            if count > 1 and len(devices) > 1 and count % len(devices) == 0:
                mesh = jax.sharding.Mesh(np.array(devices), ("boxes",))
                spread, whole = (
                    jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("boxes")),
                    jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()),
                )
                shardings = {"in_shardings": (whole, spread, spread, whole, whole)}
            self.calls[count] = compiled(batched, **shardings).lower(self.spec.network, *shapes).compile()
            if count == 1:  # the first run of a program touches its memory for the first time
                centre, half = middle_and_radius(self.spec.initial_box)
                jax.block_until_ready(
                    self.calls[count](self.spec.network, centre, 0.0 * half, *middle_and_radius(self.spec.parameter_box))
                )
            self.compile_seconds += time.perf_counter() - begun
        return self.calls[count]

    def _tubes(self, boxes: list[Numbers]) -> list[Tube]:
        """Tubes of boxes, in batches; the last batch is padded."""
        if not boxes:
            return []
        centre, half = middle_and_radius(np.stack(boxes))
        p_centre, p_half = middle_and_radius(self.spec.parameter_box)
        # on one CPU, boxes run one by one on two threads: a batched program only pays for its compilation when there are many
        alone = jax.default_backend() == "cpu" and len(jax.devices()) == 1
        size = 1 if len(boxes) == 1 or (alone and len(boxes) <= FEW) else self.limits.batch
        call = self._call(size)
        begun = time.perf_counter()

        def one(start: int) -> list[Tube]:
            chosen = np.minimum(np.arange(start, start + size), len(boxes) - 1)
            picked = (centre[chosen], half[chosen]) if size > 1 else (centre[start], half[start])
            tube = jax.tree.map(np.asarray, call(self.spec.network, *picked, p_centre, p_half))
            count = min(size, len(boxes) - start)
            return [tube] if size == 1 else [jax.tree.map(lambda leaf, i=i: leaf[i], tube) for i in range(count)]

        if len(boxes) <= size:
            tubes = one(0)
        else:
            with ThreadPoolExecutor(2 if alone else 1) as pool:
                tubes = [t for part in pool.map(partial(_in_double, one), range(0, len(boxes), size)) for t in part]
        self.seconds += time.perf_counter() - begun
        self.tubes += len(boxes)
        return tubes

    def _findings(self, boxes: list[Numbers]) -> list[tuple[Numbers, Finding]]:
        found = []
        for box, tube in zip(boxes, self._tubes(boxes), strict=True):
            finding = judge(self.spec, tube, self.analysis.spans)
            found.append((box, finding))
            if finding.proven:
                self.union = tube if self.union is None else _union(self.union, tube)
                self.done.append(box)
            elif not self.tried_all:
                self.tried = tube if self.tried is None else _union(self.tried, tube)
        return found

    def _cut(self, queue: list[Numbers]) -> int | None:
        """The state along which the open boxes are cut: that of the largest box among them, each state tried."""
        box = max(queue, key=self._volume)
        widths = np.ptp(self.spec.initial_box, axis=1)
        wide = [int(i) for i in np.flatnonzero(np.ptp(box, axis=1) > np.maximum(1e-9 * widths, 1e-13))]
        if len(wide) <= 1:
            return wide[0] if wide else None
        trials = []
        for state in wide:
            centre, quarter = box[state].mean(), 0.25 * np.ptp(box[state])
            trial = box.copy()
            trial[state] = centre - quarter, centre + quarter
            trials.append(trial)
        scores = [(judge(self.spec, tube, self.analysis.spans).badness, _size(tube)) for tube in self._tubes(trials)]
        return wide[min(range(len(wide)), key=lambda i: scores[i])]

    def _finer(self, box: Numbers, finding: Finding) -> bool:
        """Try a higher degree, then twice as many steps per period, on one box; keep what brings its tube clearly closer to a proof."""
        s, symbols = self.settings, self.analysis.basis.symbols
        trials = [replace(s, degree=3)] if s.degree == 2 and symbols <= 8 else []
        trials += [] if self.spec.discrete else [replace(s, substeps=2 * s.substeps)]
        for trial in trials:
            before = self.settings, self.analysis, self.calls
            self.settings, self.analysis, self.calls = trial, prepare(self.spec, trial), {}
            steps, miss = judge(self.spec, self._tubes([box])[0], self.analysis.spans).badness
            # steps that are not validated are counted in steps, of which there may now be more
            factor = trial.substeps / s.substeps
            closer = steps < 0.8 * factor * finding.badness[0] if finding.badness[0] else steps == 0 and miss < 0.7 * finding.badness[1]
            if closer and not self.done:
                self.tried, self.tried_all = None, False
                return True
            self.settings, self.analysis, self.calls = before
        return False

    def _attack(self) -> Counterexample | None:
        from .falsify import falsify

        begun = time.perf_counter()
        found = falsify(self.spec, samples=64, ascents=4, iterations=20)
        self.seconds += time.perf_counter() - begun
        return found if found is not None and found.confirmed else None

    def _result(self, verdict: Verdict, reason: str, queue: list[Numbers], found: Counterexample | None = None) -> Result:
        known = [t for t in (self.union, None if verdict is Verdict.VERIFIED else self.tried) if t is not None]
        tube = _known(reduce(_union, known)) if known else self._nothing()
        n = len(self.spec.states)
        lo, hi = tube.lo.reshape(-1, n), tube.hi.reshape(-1, n)
        edges = [
            (float(k + a) * self.spec.period_s, float(k + b) * self.spec.period_s)
            for k in range(self.spec.steps)
            for a, b in self.analysis.spans
        ]
        end = np.stack([tube.end_lo[-1, -1], tube.end_hi[-1, -1]], axis=-1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        done = np.stack(self.done) if self.done else np.zeros((0, n, 2))
        left = np.stack(queue) if queue else np.zeros((0, n, 2))
        return Result(
            verdict,
            reason,
            self.seconds,
            self.compile_seconds,
            peak,
            done,
            self.tubes,
            lo,
            hi,
            np.array(edges),
            end,
            self.settings,
            found,
            left,
        )

    def _arguments(self) -> tuple[object, ...]:
        """Arguments of the tube of the whole initial box."""
        return (self.spec.network, *middle_and_radius(self.spec.initial_box), *middle_and_radius(self.spec.parameter_box))

    def _nothing(self) -> Tube:
        """A tube about which nothing is known."""
        shapes = jax.eval_shape(
            self.analysis.tube,
            self.spec.network,
            *middle_and_radius(self.spec.initial_box),
            *middle_and_radius(self.spec.parameter_box),
        )
        return _known(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def _in_double(function: Callable[[int], list[Tube]], start: int) -> list[Tube]:
    with jax.enable_x64(True):  # the switch belongs to the thread
        return function(start)


def _known(tube: Tube) -> Tube:
    """The same with NaN in every state from the first step on that was not validated."""
    bad = ~np.asarray(tube.contracted).all(axis=-1)
    lost = (np.cumsum(bad.ravel()) > 0).reshape(bad.shape)[..., None]
    return tube._replace(**{name: np.where(lost, np.nan, getattr(tube, name)) for name in ("lo", "hi", "end_lo", "end_hi")})


def _bisect(box: Numbers, state: int) -> list[Numbers]:
    return _slices(box, state, 2)


def _slices(box: Numbers, state: int, count: int) -> list[Numbers]:
    edges = np.linspace(box[state, 0], box[state, 1], count + 1)
    edges[0], edges[-1] = box[state]
    pieces = []
    for lo, hi in pairwise(edges):
        piece = box.copy()
        piece[state] = lo, hi
        pieces.append(piece)
    return pieces


def _size(tube: Tube) -> float:
    """Sum of log widths at the last step that is known for every trial: a measure of how fast a tube grows."""
    widths = np.asarray(tube.end_hi - tube.end_lo).reshape(-1, tube.end_hi.shape[-1])
    return float(np.sum(np.log(np.maximum(np.nan_to_num(widths, nan=1e30, posinf=1e30), 1e-300))))


def _union(a: Tube, b: Tube) -> Tube:
    low = {"lo", "end_lo"}
    merged = {
        name: (np.minimum if name in low else np.maximum)(getattr(a, name), getattr(b, name))
        for name in ("lo", "hi", "end_lo", "end_hi")
    }
    pairs = {
        name: tuple((np.minimum(x[0], y[0]), np.maximum(x[1], y[1])) for x, y in zip(getattr(a, name), getattr(b, name), strict=True))
        for name in ("conditions", "end_conditions")
    }
    return a._replace(contracted=a.contracted & b.contracted, **merged, **pairs)
