"""What is to be shown of a closed loop: plant, sampled controller, initial set, properties; read by `specification_file`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

from .network import Network

Kind = Literal["reach", "avoid", "stay"]
Dynamics = Callable[[Float[Array, "n"], Float[Array, "m"], Float[Array, "q"], Float[Array, "k"]], Float[Array, "n"]]


@dataclass(frozen=True, slots=True, eq=False)
class Property:
    """A statement on the states in a window of time. The region is the closed set {x : every condition(x) <= 0}.

    Attributes:
        kind: "reach": in the region at some instant of the window; "stay": at all of its instants; "avoid": at none.
        window_s: Start and end, both included [s].
        window_periods: The same, exactly, in control periods.
        conditions: From a state, shape (n,), to values, shape (c,); all <= 0 inside the region.
        text: The conditions as written, one per value of `conditions` (a chain a <= b <= c gives two).
    """

    kind: Kind
    window_s: tuple[float, float]
    window_periods: tuple[Fraction, Fraction]
    conditions: Callable[[Float[Array, "n"]], Float[Array, "c"]]
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hints:
    """What the author of a specification advises the analysis to use; None leaves the choice to it. None affects soundness.

    Attributes:
        order: Order of the Taylor expansion in time.
        substeps: Integration steps per control period.
        splits: Pieces the initial box is cut into, per state.
        degree: Degree of the Taylor models in the initial state.
        generators: Terms that a set representation may keep.
    """

    order: int | None = None
    substeps: int | None = None
    splits: tuple[int, ...] | None = None
    degree: int | None = None
    generators: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Specification:
    """A sampled closed loop and what is to be shown of it.

    At the instants k * period_s the controller reads the state and computes u = law(network(network_input(x)), x). The input
    takes effect after a delay within `delay_s` and is then held until the next one takes effect. Up to `missed` updates in a
    row may be lost; the input is held then, too.

    Attributes:
        name, source: Of the problem.
        states, inputs: Names, n and m of them.
        disturbances: Names of the q unknowns that may vary with time, measurably, within their box.
        parameters: Names of the k unknowns that are constant in time, within their box.
        dynamics: (x (n,), u (m,), w (q,), p (k,)) -> derivative (n,), or the next state if `discrete`.
        discrete: Whether `dynamics` gives the next state.
        disturbance_box, parameter_box, initial_box: float64, shapes (q, 2), (k, 2), (n, 2): lo and hi, rounded outward from the
            decimal text (equal to it where it is a float64 number).
        period_s: Control period, for discrete systems the time per step [s].
        steps: Control periods to be analysed.
        delay_s: Least and greatest time from sample to effect, within [0, period_s] [s].
        missed: Greatest number of updates in a row that are lost.
        network: None if the law uses the states only.
        network_input: State (n,) -> input of the network; shape (0,) without network.
        law: (output of the network, empty without one; state (n,)) -> input (m,).
        properties: At least one.
        hints: Advice for the analysis.
    """

    name: str
    source: str
    states: tuple[str, ...]
    inputs: tuple[str, ...]
    disturbances: tuple[str, ...]
    parameters: tuple[str, ...]
    dynamics: Dynamics
    discrete: bool
    disturbance_box: npt.NDArray[np.float64]
    parameter_box: npt.NDArray[np.float64]
    initial_box: npt.NDArray[np.float64]
    period_s: float
    steps: int
    delay_s: tuple[float, float]
    missed: int
    network: Network | None
    network_input: Callable[[Float[Array, "n"]], Float[Array, "inputs"]]
    law: Callable[[Float[Array, "outputs"], Float[Array, "n"]], Float[Array, "m"]]
    properties: tuple[Property, ...]
    hints: Hints = field(default_factory=Hints)

    @property
    def horizon_s(self) -> float:
        """Length of time to be analysed [s]."""
        return self.steps * self.period_s

    def control(self, x: Float[Array, "n"]) -> Float[Array, "m"]:
        """The input the controller computes from a sampled state; plain evaluation, for simulation."""
        read = self.network_input(x)
        return self.law(read if self.network is None else self.network(read), x)
