"""Measure a certificate: how fast and how tilted its set is, how tight its tube, how long its proof takes, what its shield costs.

Proves the set again from the assumptions of the bundle, attacks it with rollouts of the nonlinear vehicle (random, bang-bang and
gradient ascent), plants mistakes that falsifier or checker must catch, hands changed certificates to the checker, and times the
shield's decisions on this machine. Exit status: 0 all of that went as it must, 1 something did not (the text says what).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import CertificateError, InputError
from tubepilot.runtime.bench_shield_ticks import lines, measure
from tubepilot.train.atomic import write_file
from tubepilot.train.workstation import require

FILES = ("certificate.toml", "certificate.npz", "backup.onnx", "shield.onnx")
ROWS = ("position", "velocity", "acceleration", "jerk", "feedback", "slope")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench certificate`."""
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"), metavar="BUNDLE",
                        help="bundle or certificate folder")  # fmt: skip
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file to write the figures to")
    parser.add_argument("--rollouts", type=int, default=20_000, help="rollouts of the falsifier, 1.5 s of flight each")
    parser.add_argument("--mutants", type=int, default=200, help="changed certificates for the checker; 0: none")
    parser.add_argument("--no-planted", action="store_true", help="plant no mistakes (each needs a proof of its own)")
    parser.add_argument("--ticks", type=int, default=20_000, help="decisions of the shield that are timed, of all kinds")
    parser.add_argument("--seed", type=int, default=0, help="seed of all of it")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write.

    Raises:
        InputError: the folder cannot be read.
        MissingExtraError: a package of the workstation is missing.
    """
    require("bench certificate")
    from tubepilot.train.invariance.design import certify
    from tubepilot.train.invariance.falsify import falsify
    from tubepilot.train.invariance.stored import read

    files = _files(arguments.bundle)
    certificate = read(files)
    faults: list[str] = []

    start = time.monotonic()
    again = certify(certificate.assumptions, certificate.law)
    seconds = time.monotonic() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    both = certificate.at_once
    facets = [int(axis.facets.shape[0]) for axis in certificate.axes]
    stages = int(certificate.stages.limits.shape[0])
    print(
        f"proven again in {seconds:.1f} s, peak memory {peak_mib:.0f} MiB: {facets[0]} + {facets[1]} facet pairs in {stages} stages"
    )
    if abs(again.at_once.tilt_rad - both.tilt_rad) > 1e-6:
        print("  (the designs of this version find another set than the one that the bundle holds)")
    tilt = float(np.degrees(both.tilt_rad))
    print(
        f"S: {both.velocity_m_s[0]:.2f} m/s horizontally, {both.velocity_m_s[1]:.2f} m/s vertically and {tilt:.1f} deg of tilt "
        f"at once, in every direction; alone {certificate.speed_m_s:.2f} m/s or {np.degrees(certificate.tilt_rad):.1f} deg"
    )
    stops = _stops(certificate)
    for line in stops:
        print(f"  from {line['speed_m_s']:.1f} m/s: all of it within {line['distance_m']:.2f} m of where it was")

    with tqdm(total=arguments.rollouts, desc="falsifier", unit="rollout") as bar:
        seen = falsify(certificate, arguments.rollouts, arguments.seed, bar.update)
    ratio = 1.0 / seen.tube_share
    print(f"falsifier: {seen.rollouts} rollouts, {seen.escapes} escapes, largest facet {seen.largest_facet:.6f} of 1")
    for n, name in enumerate(ROWS):
        print(f"  {name:<13} tube over falsifier {ratio[0, n]:.3f} horizontal, {ratio[1, n]:.3f} vertical")
    if seen.escapes:
        faults.append(f"{seen.escapes} rollouts left the set: the proof is wrong")

    result: dict[str, Any] = {
        "speed_m_s": both.velocity_m_s[0],
        "vertical_speed_m_s": both.velocity_m_s[1],
        "tilt_deg": tilt,
        "tube_over_falsifier": float(ratio.max()),
        "tube_over_falsifier_rows": {name: ratio[:, n].tolist() for n, name in enumerate(ROWS)},
        "rollouts": seen.rollouts,
        "escapes": seen.escapes,
        "largest_facet": seen.largest_facet,
        "seconds": seconds,
        "peak_mib": peak_mib,
        "cells": again.disturbance.cells * stages,
        "stages": stages,
        "facets": facets,
        "stops": stops,
        "seed": arguments.seed,
    }
    if not arguments.no_planted:
        result["planted"] = _planted(certificate, arguments.seed, faults)
    if arguments.mutants > 0:
        result["mutants"], result["rejected"] = arguments.mutants, _mutants(certificate, files, arguments, faults)
    decided = result["shield_us"] = measure(files, arguments.ticks, arguments.seed)
    for line in lines(decided):
        print(line)
    cost = result["cost"] = _cost(certificate)
    write_file(arguments.json, (json.dumps(result, indent=2) + "\n").encode())
    _draw_cost(cost, arguments.json.with_suffix(".png"))
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"figures: {arguments.json}; cost against cells and stages: {arguments.json.with_suffix('.png')}")
    print("next: tubepilot certify --help says which assumption each option changes")
    return 1 if faults else 0


def _files(folder: Path) -> dict[str, bytes]:
    """Of a certificate, and the manifest if it stands in a bundle."""
    names = [*FILES, *(["manifest.toml"] if (folder / "manifest.toml").exists() else [])]
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; make demo builds the bundle that is taken by default") from error


PIECES = (3, 6, 12, 24, 48)
"""Cells of the thrust vector from 0 to its largest value for which the bound of the disturbances is timed."""
STAGES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the stages for which sets, witnesses and proofs are timed: the last ones of the certificate."""
STATES = 8
"""Of one stage: four along every horizontal direction, four vertically."""
Cost = dict[str, list[dict[str, float]]]


def _cost(certificate) -> Cost:  # type: ignore[no-untyped-def]
    """Seconds against cells of the thrust vector, with the bound that they give; and against the states of all stages proven."""
    from tubepilot.train.invariance.design import prove_stages
    from tubepilot.train.invariance.disturbance import bound
    from tubepilot.train.invariance.loop import AxisLoop
    from tubepilot.train.invariance.proof import following
    from tubepilot.train.invariance.stages import between

    cells, states = [], []
    a, stages = certificate.assumptions, certificate.stages
    for pieces in PIECES:
        begun = time.monotonic()
        d = bound(a, certificate.limits, certificate.law.gain, pieces, certificate.rounding_m_s3)
        cells.append({"cells": float(d.cells), "seconds": time.monotonic() - begun, "r_horizontal": d.jerk_m_s3[0]})
    loops = [AxisLoop(certificate.law.gain[axis], a.drag_1_s[axis], a.rate_lag_s) for axis in (0, 1)]
    total = stages.limits.shape[0]
    for count in sorted({max(2, round(share * total)) for share in STAGES}):
        limits, bounds = stages.limits[-count:], stages.bounds[-count:]
        lasting = [k - total + count for k in stages.lasting if k >= total - count]
        own = limits[following(count, lasting)]  # those of a stage itself are what the next one was bounded over
        begun = time.monotonic()
        try:
            proofs = prove_stages(loops, limits, own / between(a.rate_lag_s)[None, :, None], bounds, lasting)
        except CertificateError:
            continue
        facets = sum(proof.facets.shape[0] for proof in proofs)
        states.append({"states": float(STATES * limits.shape[0]), "facets": float(facets), "seconds": time.monotonic() - begun})
    return {"cells": cells, "states": states}


def _draw_cost(cost: Cost, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    left.plot([c["cells"] for c in cost["cells"]], [c["seconds"] for c in cost["cells"]], "o-", color="tab:blue")
    left.set(xscale="log", yscale="log", xlabel="cells of the thrust vector", ylabel="time to bound one stage's disturbances [s]")
    other = left.twinx()
    other.plot([c["cells"] for c in cost["cells"]], [c["r_horizontal"] for c in cost["cells"]], "s--", color="tab:orange")
    other.set_ylabel("bound of r, horizontal [m/s³] (dashed)")
    right.plot([s["states"] for s in cost["states"]], [s["seconds"] for s in cost["states"]], "o-", color="tab:blue")
    for s in cost["states"]:
        right.annotate(f"{s['facets']:.0f} facet pairs", (s["states"], s["seconds"]), xytext=(4, -12), textcoords="offset points")
    right.set(xlabel="states proven, all stages together", ylabel="time of sets, witnesses and proofs [s]", ylim=(0, None))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _stops(certificate) -> list[dict[str, float]]:  # type: ignore[no-untyped-def]
    """How far from where it is the vehicle can get, for speeds that S holds, level and without jerk: to the anchor, and the tube
    of the stage that makes it least and of those after it."""
    from tubepilot.train.invariance.design import best_anchor

    proof, result = certificate.axes[0], []
    tubes = np.maximum.accumulate(proof.stage_tube[::-1, 0])[::-1]
    for speed in np.arange(0.0, certificate.speed_m_s + 1e-9, 1.0):
        found = [(best_anchor(proof.stage(k), np.array([speed, 0.0, 0.0])), tube) for k, tube in enumerate(tubes)]
        distances = [abs(offset) + tube for (offset, margin), tube in found if margin > 0.0]
        if distances:
            result.append({"speed_m_s": float(speed), "distance_m": float(min(distances))})
    return result


def _check(files: dict[str, bytes]) -> str | None:
    """What the checker objects to; None if it passes."""
    from tubepilot.runtime import manifest
    from tubepilot.runtime.certificate_check import recheck_files
    from tubepilot.runtime.check_claims import check_manifest

    try:
        recheck_files(files)
        if "manifest.toml" in files:
            check_manifest(manifest.parse(files["manifest.toml"]), tomllib.loads(files["certificate.toml"].decode()))
    except CertificateError as error:
        return str(error).splitlines()[0]
    return None


def _planted(certificate, seed: int, faults: list[str]) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Each planted mistake, and who caught it."""
    from tubepilot.train.invariance.falsify import falsify
    from tubepilot.train.invariance.planted import planted

    caught = {}
    for name, made, files in planted(certificate):
        says = [f"checker: {text}" for text in [_check(files)] if text]
        if made is not None:
            escapes = falsify(made, 2000, seed, ascents=0).escapes
            says += [f"falsifier: {escapes} of 2000 rollouts escape"] if escapes else []
        caught[name] = "; ".join(says) or "NOT caught"
        if not says:
            faults.append(f"planted and not caught: {name}")
        print(f"planted, {name}: {caught[name]}")
    return caught


def _mutants(  # type: ignore[no-untyped-def]
    certificate, files: dict[str, bytes], arguments: argparse.Namespace, faults: list[str]
) -> int:
    """How many changed certificates the checker refuses."""
    from tubepilot.train.invariance.planted import mutants

    rejected = 0
    changed = mutants(certificate, arguments.mutants, arguments.seed, files.get("manifest.toml"))
    for name, content in tqdm(changed, total=arguments.mutants, desc="checker"):
        if _check(content) is None:
            faults.append(f"the checker passes a changed certificate: {name}")
        else:
            rejected += 1
    print(f"checker: {rejected} of {arguments.mutants} changed certificates and weights rejected")
    return rejected
