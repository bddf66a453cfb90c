"""Attack the reachability engine: tubes of random closed loops and of the benchmarks against trajectories, between steps as well.

    python tests/helpers/adversary.py --cases 10000                      # random loops, about an hour on two cores
    python tests/helpers/adversary.py --cases 0 --networks shared/bench/archcomp --trajectories 1000

Cases of one family share one compiled program. Every case is attacked by simulated trajectories (suspicious ones, beyond 1e-8, are
then enclosed in ball arithmetic), and every `proven_every`-th by a proven one, without tolerance. Exit status 1 if anything escapes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers.containment import Spans, batch_of_tubes, escapes, tube_of
from helpers.random_systems import Family, choices, families, simulate_cases

from tubepilot.firmware_bridge.errors import CertificateError
from tubepilot.train.reachability.closed_loop import Settings, Tube
from tubepilot.train.reachability.reach import automatic
from tubepilot.train.reachability.reference import Reference, integrate, reference
from tubepilot.train.reachability.simulation import Choices
from tubepilot.train.reachability.specification import Specification
from tubepilot.train.reachability.specification_file import load_specification

SUSPICIOUS = 1e-8
WAYS = 8
SPECS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "specs"


@dataclass
class Report:
    """What an attack did.

    Attributes:
        cases, trajectories: tubes computed; simulated trajectories.
        validated: share of the steps that were validated (the others claim nothing).
        proven: trajectories enclosed in ball arithmetic.
        widths: median width of the last step over the spread of the simulated trajectories, per family, where there is a spread.
        found: escapes.
    """

    cases: int = 0
    trajectories: int = 0
    validated: float = 0.0
    proven: int = 0
    widths: dict[str, float] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)


def suspicious(tube: Tube, spans: Spans, states: np.ndarray, samples: int) -> np.ndarray:
    """Which simulated trajectories, shape (ways, periods * samples + 1, n), leave the tube of one case by more than SUSPICIOUS."""
    good = np.asarray(tube.contracted).all(axis=-1)
    out = np.zeros(len(states), bool)
    for k in range(good.shape[0]):
        for j, (start, end) in enumerate(spans):
            if not good[k, j]:
                return out
            first, last = -(-(k + start) * samples // 1), (k + end) * samples // 1
            seen = states[:, int(first) : int(last) + 1]
            slack = SUSPICIOUS * (1 + np.abs(seen))
            out |= ((seen < tube.lo[k, j] - slack) | (seen > tube.hi[k, j] + slack)).any(axis=(1, 2))
    return out


def prove(ready: Reference, tube: Tube, spans: Spans, given: Choices, way: int, rng: np.random.Generator) -> list[str]:
    """Escapes of one way through a case, proven; empty if the trajectory has no enclosure."""
    x0, p, w, delays, received = (a[way] for a in given)
    try:
        path = integrate(ready, x0, p, w, delays_s=delays, received=received)
    except CertificateError:
        return []
    inner = [Fraction(float(f)) for f in rng.uniform(0, 1, 2)]
    return escapes(ready.spec, tube, spans, path, inner)


def groups(cases: Sequence[Specification]) -> list[list[int]]:
    """Numbers of the cases with equal disturbance boxes, which a compiled tube holds fixed."""
    keys: dict[bytes, list[int]] = {}
    for i, case in enumerate(cases):
        keys.setdefault(case.disturbance_box.tobytes(), []).append(i)
    return list(keys.values())


def attack_family(
    family: Family, count: int, seed: int, report: Report, settings: Settings | None = None, proven_every: int = 10
) -> None:
    """Attack cases `seed * count` ... of one family."""
    rng = np.random.default_rng([seed, len(family.name)])
    cases = [family.case(seed * count + i) for i in range(count)]
    hints = family.example.hints
    chosen = settings or Settings(hints.order or 3, hints.substeps or 2, hints.degree or 2, int(rng.integers(1, 4)))
    given = [choices(case, rng, WAYS) for case in cases]
    samples = 1 if family.example.discrete else 6
    states = simulate_cases(cases, given, samples)
    ratios = []
    for numbers in groups(cases):
        tubes, spans = batch_of_tubes([cases[i] for i in numbers], chosen)
        report.validated += float(np.asarray(tubes.contracted).all(axis=-1).mean(axis=(1, 2)).sum())
        for row, i in enumerate(numbers):
            tube: Tube = jax.tree.map(lambda leaf, row=row: leaf[row], tubes)
            ways = {int(v) for v in np.flatnonzero(suspicious(tube, spans, states[i], samples))[:2]}
            ways |= {i % WAYS} if i % proven_every == 0 else set()
            spread, width = np.ptp(states[i][:, -1], axis=0), (tube.end_hi - tube.end_lo)[-1, -1]
            ratios += [float(b / a) for a, b in zip(spread, width, strict=True) if a > 1e-3 and np.isfinite(b)]
            ready = reference(cases[i]) if ways else None
            for way in ways:
                report.proven += 1
                report.found += prove(ready, tube, spans, given[i], way, rng)
    report.cases += count
    report.trajectories += count * WAYS
    if ratios:
        report.widths[family.name] = float(np.median(ratios))


def attack(
    cases: int,
    seed: int = 0,
    chosen: Sequence[Family] | None = None,
    proven_every: int = 10,
    say: bool = False,
    settings: Settings | None = None,
) -> Report:
    """Attack about `cases` random closed loops, equally many of every family.

    Args:
        cases: how many.
        seed: of everything.
        chosen: families; None: all.
        proven_every: every how many cases one trajectory is enclosed in ball arithmetic.
        say: print progress.
        settings: of the engine; None: those of the family.
    """
    report, chosen = Report(), families() if chosen is None else chosen
    for family in chosen:
        begun = time.perf_counter()
        attack_family(family, -(-cases // len(chosen)), seed, report, settings, proven_every)
        if say:
            print(
                f"{family.name}: {time.perf_counter() - begun:.0f} s, {report.cases} cases, {report.proven} proven, "
                f"width / spread {report.widths.get(family.name, float('nan')):.2f}, {len(report.found)} escapes",
                flush=True,
            )
    report.validated /= max(1, report.cases)
    return report


def attack_benchmark(path: Path, networks: Path, count: int, scale: float, seed: int, proven: int = 2) -> tuple[float, list[str]]:
    """Attack one specification of the benchmarks: share of validated steps, and escapes."""
    spec = load_specification(path, networks, scale=scale)
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        settings = automatic(spec)
    tube, spans = tube_of(spec, settings)
    given = choices(spec, rng, count)
    samples = 1 if spec.discrete else 6
    states = simulate_cases([spec], [given], samples, substeps=8)[0]
    ways = {int(v) for v in np.flatnonzero(suspicious(tube, spans, states, samples))[:2]} | set(range(proven))
    ready = reference(spec)
    return float(np.asarray(tube.contracted).all(axis=-1).mean()), [
        e for way in ways for e in prove(ready, tube, spans, given, way, rng)
    ]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--proven-every", type=int, default=10)
    parser.add_argument("--families", type=int, default=28)
    parser.add_argument("--networks", type=Path, help="folder of the benchmark networks; without it the benchmarks are left out")
    parser.add_argument("--trajectories", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="benchmarks to attack; all if not given")
    parser.add_argument("--scale", type=float, default=0.05, help="of the initial boxes of the benchmarks")
    args = parser.parse_args()
    found: list[str] = []
    if args.cases:
        report = attack(args.cases, args.seed, families(count=args.families), args.proven_every, say=True)
        found += report.found
        print(
            f"{report.cases} cases, {report.trajectories} simulated and {report.proven} proven trajectories, "
            f"{100 * report.validated:.1f} % of the steps validated, {len(report.found)} escapes"
        )
    for path in sorted(SPECS.glob("*.toml")) if args.networks else ():
        if args.only and path.stem not in args.only:
            continue
        begun = time.perf_counter()
        share, escaped = attack_benchmark(path, args.networks, args.trajectories, args.scale, args.seed)
        found += escaped
        print(
            f"{path.stem}: {time.perf_counter() - begun:.0f} s, {100 * share:.0f} % of the steps validated, {len(escaped)} escapes",
            flush=True,
        )
    print("\n".join(found[:20]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
