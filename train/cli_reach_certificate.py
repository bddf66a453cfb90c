"""`tubepilot reach CERTIFICATE`: the tube of the certified loop under the backup policy, from a box of states, and its picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError

SAMPLES = 200


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare the options of a certificate; pairs are (horizontal, vertical)."""
    pair = {"type": float, "nargs": 2, "metavar": ("H", "V")}
    group.add_argument("--velocity-m-s", default=[1.5, 0.3], **pair, help="centre of the initial velocity [m/s]")
    group.add_argument("--radius-m-s", default=[0.1, 0.05], **pair, help="half width of the initial velocity [m/s]")
    group.add_argument("--radius-m", default=[0.05, 0.05], **pair, help="half width of the initial position [m]")
    group.add_argument("--radius-m-s2", default=[0.2, 0.1], **pair, help="half width of the initial thrust vector [m/s^2]")
    group.add_argument("--horizon-s", type=float, default=3.0, help="length of the tube [s]")


def run(args: argparse.Namespace) -> int:
    """Compute, print, draw.

    Raises:
        InputError: an option cannot be used.
    """
    import numpy as np

    from .invariance.stored import load
    from .invariance.tube import draw, sample, tube

    if not 0.02 <= args.horizon_s <= 20.0:
        raise InputError(f"--horizon-s is {args.horizon_s} s; it must lie between 0.02 and 20 s")
    stored = load(args.path)
    picture = Path("reach.png") if args.plot is None else args.plot
    samples = SAMPLES if args.samples is None else args.samples
    results = []
    for axis, name in enumerate(("horizontal", "vertical")):
        velocity = args.velocity_m_s[axis]
        centre = np.array([0.0, velocity, 0.0, 0.0])
        centre[0] = float(stored.anchor[-1, axis] @ centre[1:])
        radius = np.array([args.radius_m[axis], args.radius_m_s[axis], args.radius_m_s2[axis], 0.1])
        result = tube(stored, axis, centre, radius, args.horizon_s)
        seen = sample(stored, axis, centre, radius, args.horizon_s, samples, args.seed)
        results.append((name, result, seen))
        widths = result.hi[-1] - result.lo[-1]
        spread = seen[:, -1].max(axis=0) - seen[:, -1].min(axis=0)
        print(f"{name}: {'verified' if result.inside else 'unknown: the initial box is not inside the invariant set'}")
        print(
            f"  after {args.horizon_s:g} s: position {result.lo[-1, 0]:.3f} to {result.hi[-1, 0]:.3f} m from the anchor, "
            f"velocity {result.lo[-1, 1]:.3f} to {result.hi[-1, 1]:.3f} m/s; width {widths[1]:.3f} m/s, "
            f"sampled {spread[1]:.3f} m/s"
        )
        outside = int(((seen < result.lo[None]) | (seen > result.hi[None])).any(axis=(1, 2)).sum())
        print(f"  {outside} of {samples} sampled trajectories leave the tube")
    draw(results, picture)
    if args.json is not None:
        table = {
            name: {"t_s": r.t_s.tolist(), "lo": r.lo.tolist(), "hi": r.hi.tolist(), "verified": r.inside}
            for name, r, _ in results
        }
        args.json.write_text(json.dumps(table), encoding="utf-8")
    print(f"picture: {picture}; next: docs/certificate.md says what the tube means")
    return 0
