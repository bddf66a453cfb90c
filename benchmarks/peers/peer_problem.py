"""One closed loop as arrays in an .npz file: what a peer tool in another interpreter is given. Needs numpy only.

The law of the controller is folded into the network as a last linear layer: the input of the plant is the output of the network.
Equations cannot be written into arrays; a peer states them in its own terms and holds them against the derivatives sampled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A sampled closed loop.

    Attributes:
        name: Of the case.
        weights, biases, activations: Of the layers in order of evaluation; shapes (out, in) and (out,).
        lo, hi: Bounds of the initial states, shape (n,).
        period_s: Between two samples [s].
        steps: Number of periods.
        probe_x, probe_u, probe_dx: States, inputs and the derivatives there, shapes (count, n), (count, m), (count, n).
    """

    name: str
    weights: tuple[Numbers, ...]
    biases: tuple[Numbers, ...]
    activations: tuple[str, ...]
    lo: Numbers
    hi: Numbers
    period_s: float
    steps: int
    probe_x: Numbers
    probe_u: Numbers
    probe_dx: Numbers


_ARRAYS = ("lo", "hi", "probe_x", "probe_u", "probe_dx")


def write_problem(path: Path, problem: Problem) -> None:
    """Write to an .npz file; numbers and short texts only, nothing pickled."""
    arrays = {name: getattr(problem, name) for name in _ARRAYS}
    for i, (weight, bias) in enumerate(zip(problem.weights, problem.biases, strict=True)):
        arrays |= {f"weight_{i}": weight, f"bias_{i}": bias}
    np.savez(
        path,
        name=np.array(problem.name),
        activations=np.array(problem.activations),
        period_s=np.float64(problem.period_s),
        steps=np.int64(problem.steps),
        **arrays,
    )


def read_problem(path: Path) -> Problem:
    """Read what `write_problem` wrote."""
    with np.load(path, allow_pickle=False) as file:
        activations = tuple(str(name) for name in file["activations"])
        return Problem(
            name=str(file["name"]),
            weights=tuple(file[f"weight_{i}"] for i in range(len(activations))),
            biases=tuple(file[f"bias_{i}"] for i in range(len(activations))),
            activations=activations,
            period_s=float(file["period_s"]),
            steps=int(file["steps"]),
            **{name: file[name] for name in _ARRAYS},
        )
