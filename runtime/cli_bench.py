"""Measure: how close the vehicle tracks (`track`), how evenly it ticks (`tick`), what its link costs (`link`), how fast it decides
(`planner`) and whether that can be told beforehand (`cost`), whether faults get through (`faults`), whether an adversary does
(`shield`), what the shield costs (`shield-tasks`), what the reachability engine decides (`reach`), what a certificate is worth
(`certificate`), how well tasks are flown (`control`), what payload and wind beyond training do (`unseen`), how well real flights
are predicted (`prediction`), what bounds and disagreement of the model are worth (`calibration`), how tasks without a physical
state are learned (`latent`).

`tubepilot bench NAME --help` states the options of each.
"""

from __future__ import annotations

import argparse
import importlib

from .cli_options import checked

BENCHES: dict[str, tuple[str, str]] = {
    "track": ("tubepilot.runtime.bench_track", "figure-eight in wind against the simulator's own controller"),
    "tick": ("tubepilot.runtime.bench_tick", "timing of the ticks of a recorded flight, or of a bundle run live"),
    "link": ("tubepilot.runtime.bench_link", "codec, share of a core and round trip of the serial link"),
    "planner": ("tubepilot.export.bench_planner", "one decision beside jax2onnx, JAX, MPPI, nonlinear MPC and the FLOP limit"),
    "cost": ("tubepilot.export.bench_cost", "what the cost model predicts of planners that it was not calibrated on"),
    "faults": ("tubepilot.runtime.bench_faults", "the tick through seeded faults on a clock that does not wait"),
    "shield": ("tubepilot.runtime.bench_shield", "an adversary that asks for the worst admissible set-point, flown by the hundred"),
    "shield-tasks": ("tubepilot.export.bench_shield_tasks", "tasks with the shield and without: ticks replaced, tracking error"),
    "reach": ("tubepilot.train.bench_reach", "closed loops with neural networks, verified, timed, compared with simulation"),
    "control": ("tubepilot.train.bench_control", "tasks under gradient planner, policy, MPPI, CEM and the simulator's controller"),
    "unseen": ("tubepilot.train.bench_unseen", "payload and wind that training never saw: does it fly, does the disagreement rise"),
    "prediction": ("tubepilot.train.bench_prediction", "open-loop prediction of real flights, beside physics, naive and linear ridge"),
    "latent": ("tubepilot.train.latent.bench", "tasks of the control suite learned from observations; planners in the latent space"),
    "certificate": ("tubepilot.export.bench_certificate", "the certified set, attacked; its proof and its shield, timed"),
    "calibration": ("tubepilot.train.bench_calibration", "coverage of model-error boxes, disagreement of the ensemble"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench`."""
    described = "; ".join(f"{name}: {text}" for name, (_, text) in BENCHES.items())
    parser.add_argument("bench", choices=tuple(BENCHES), help=described)
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="options of that bench")


def run(arguments: argparse.Namespace) -> int:
    """Load the bench and run it with the rest of the options. A bench says itself which extra it lacks."""
    module = importlib.import_module(BENCHES[arguments.bench][0])
    parser = argparse.ArgumentParser(
        prog=f"tubepilot bench {arguments.bench}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    module.add_arguments(parser)
    status: int = module.run(checked(parser, parser.parse_args(arguments.rest)))
    return status
