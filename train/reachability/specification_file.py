"""Read a specification from TOML. The format is described in docs/specification.md.

What is written in decimals is meant exactly: boxes are rounded outward, and constants in formulas are combined in rational
arithmetic. Mistakes are errors with line and column, and so are statements that could only hold, or fail, for want of content:
empty intervals, conditions that contradict each other, windows outside the horizon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError

from .expression import parse_condition
from .network import Network, load_network
from .scope import Bounds, Scope, Vectors, boxes
from .specification import Hints, Property, Specification
from .syntax_tree import ExpressionError, Node
from .toml_places import read_document
from .toml_table import Table
from .vacuity import empty_region

MAX_STEPS = 1_000_000


def load_specification(
    path: Path | str, networks: Path | str | None = None, network_file: Path | str | None = None, scale: float = 1.0
) -> Specification:
    """Read a specification and the network of its controller.

    Args:
        path: TOML file.
        networks: Folder that the path of the network in the file is relative to.
        network_file: Network to use instead of the one in the file.
        scale: Shrinks the initial box about its centre, in every dimension; 1 leaves it, 0 makes it a point.

    Raises:
        InputError: The file or the network cannot be used; the message says where and why.
    """
    if not 0.0 <= scale <= 1.0:
        raise InputError(f"scale {scale}: the initial box can be shrunk by factors from 0 to 1")
    document = read_document(path)
    root = Table(document, (), document.data, {})
    name, source = root.text("name"), root.text("source")
    system = root.table("system")
    discrete = system.choice("kind", ("continuous", "discrete")) == "discrete"
    scope = Scope(system)
    root.constants = scope.constants
    equations = scope.formulas(system.table("equations"), scope.states, ("state", "input", "disturbance", "parameter"), "state")
    system.finish()
    groups = (scope.states, scope.inputs, scope.disturbances, scope.parameters)
    network, network_input, law = _controller(root, scope, networks, network_file)
    control = root.table("control")
    period, steps = control.number("period_s"), control.integer("steps", 1, MAX_STEPS)
    if period <= 0:
        raise control.error("period_s", f"the control period must be positive, found {float(period)}")
    delay = _delay(control, period)
    missed = control.integer("missed", 0, steps - 1) if control.given("missed") else 0
    control.finish()
    initial = boxes(root.table("initial"), scope.states)
    properties = tuple(_property(table, scope, period, steps, discrete) for table in root.tables("property"))
    hints = _hints(root.optional_table("analysis"), len(scope.states))
    root.finish()
    return Specification(
        name=name,
        source=source,
        states=scope.states,
        inputs=scope.inputs,
        disturbances=scope.disturbances,
        parameters=scope.parameters,
        dynamics=scope.function(equations, groups),
        discrete=discrete,
        disturbance_box=outward(scope.disturbance_bounds),
        parameter_box=outward(scope.parameter_bounds),
        initial_box=outward([_scaled(bounds, scale) for bounds in initial]),
        period_s=float(period),
        steps=steps,
        delay_s=delay,
        missed=missed,
        network=network,
        network_input=network_input,
        law=law,
        properties=properties,
        hints=hints,
    )


# --- numbers -----------------------------------------------------------------------------------------------


def rounded_down(value: Fraction) -> float:
    """The greatest float64 that is not above an exact number."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else float(np.nextafter(nearest, -np.inf))


def rounded_up(value: Fraction) -> float:
    """The least float64 that is not below an exact number."""
    return -rounded_down(-value)


def outward(bounds: Sequence[Bounds]) -> npt.NDArray[np.float64]:
    """Intervals, shape (k, 2), that contain the exact ones; equal to them where their ends are float64 numbers."""
    return np.array([[rounded_down(lo), rounded_up(hi)] for lo, hi in bounds], dtype=np.float64).reshape(-1, 2)


def _scaled(bounds: Bounds, scale: float) -> Bounds:
    """Shrunk about the centre; the scale is the decimal that a user writes for it."""
    centre, radius = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2 * Fraction(repr(float(scale)))
    return centre - radius, centre + radius


def _delay(control: Table, period: Fraction) -> tuple[float, float]:
    if not control.given("delay_s"):
        return 0.0, 0.0
    lo, hi = control.interval("delay_s")
    if lo < 0 or hi > period:
        raise control.error("delay_s", f"[{float(lo)}, {float(hi)}] is outside [0, {float(period)}], zero to one control period")
    return rounded_down(lo), float(period) if hi == period else rounded_up(hi)


# --- controller, properties, hints -------------------------------------------------------------------------


def _controller(
    root: Table, scope: Scope, networks: Path | str | None, network_file: Path | str | None
) -> tuple[Network | None, Vectors, Vectors]:
    if not root.given("controller"):
        if scope.inputs:
            raise root.error("system", f"the inputs {', '.join(scope.inputs)} need a table [controller] that computes them")
        if network_file is not None:
            raise InputError(f"{root.document.name}: it has no controller, but the network {network_file} was given")
        return None, scope.function([], [scope.states]), scope.function([], [(), scope.states])
    table = root.table("controller")
    network, read = None, []
    outputs: tuple[str, ...] = ()
    if table.given("network"):
        network = _network(table, networks, network_file)
        texts = table.texts("inputs", 1)
        read = [scope.formula(table, ("inputs", i), text, ("state",)) for i, text in enumerate(texts)]
        outputs = table.texts("outputs", 1)
        for i, name in enumerate(outputs):
            scope.add(table, ("outputs", i), name, "output")
        for key, given, size in (("inputs", read, network.inputs), ("outputs", outputs, network.outputs)):
            if len(given) != size:
                raise table.error(key, f"{len(given)} {key} are given, but the network has {size}")
    elif network_file is not None:
        raise table.error((), f"this controller has no network, but {network_file} was given", at_key=True)
    law = scope.formulas(table.table("law"), scope.inputs, ("output", "state"), "input")
    table.finish()
    return network, scope.function(read, [scope.states]), scope.function(law, [outputs, scope.states])


def _network(table: Table, networks: Path | str | None, network_file: Path | str | None) -> Network:
    written = table.text("network")
    activations = table.texts("activations", 1) if table.given("activations") else None
    if network_file is not None:
        return load_network(Path(network_file))
    relative = PurePosixPath(written)
    if relative.is_absolute() or ".." in relative.parts or "\\" in written:
        raise table.error("network", f"{written!r} must be a path below the folder of networks; give other files by --network")
    if networks is None:
        raise table.error("network", f"the folder that holds {written!r} is not known; give it by --networks, or the file by --network")
    try:
        return load_network(Path(networks) / relative, activations)
    except InputError as error:
        raise table.error("network", str(error)) from error


def _property(table: Table, scope: Scope, period: Fraction, steps: int, discrete: bool) -> Property:
    kind = table.choice("kind", ("reach", "avoid", "stay"))
    start, stop = table.interval("window_s")
    if start < 0 or stop > period * steps:
        limit = f"[0, {float(period * steps)}], {steps} periods of {float(period)} s"
        raise table.error("window_s", f"the window [{float(start)}, {float(stop)}] is not within the horizon {limit}")
    if discrete and floor(stop / period) < ceil(start / period):
        raise table.error("window_s", f"the window holds no instant of the discrete system, which steps every {float(period)} s")
    nodes: list[Node] = []
    text: list[str] = []
    for i, written in enumerate(table.texts("conditions", 1)):
        try:
            parts = parse_condition(written, scope.constants)
        except ExpressionError as error:
            raise table.error(("conditions", i), error.reason, offset=error.offset) from error
        scope.check(table, ("conditions", i), [node for node, _ in parts], ("state",))
        for node, shown in parts:
            if not scope.rests_on(node) & set(scope.states):
                raise table.error(("conditions", i), f"{shown!r} does not depend on a state, so it says nothing")
            nodes.append(node)
            text.append(shown)
    table.finish()
    if empty_region(nodes, scope.definitions):
        effect = "the property would hold whatever the system does" if kind == "avoid" else "the property could never hold"
        raise table.error("conditions", f"no state satisfies all of these conditions, so that {effect}; correct them")
    return Property(
        kind=kind,  # type: ignore[arg-type]
        window_s=(float(start), float(stop)),
        window_periods=(start / period, stop / period),
        conditions=scope.function(nodes, [scope.states]),
        text=tuple(text),
    )


def _hints(table: Table, states: int) -> Hints:
    limits: Mapping[str, tuple[int, int]] = {"order": (1, 40), "substeps": (1, 10_000), "degree": (1, 8), "generators": (1, 1_000_000)}
    found = {key: table.integer(key, *limit) if table.given(key) else None for key, limit in limits.items()}
    splits = table.integers("splits", 1, 1_000_000) if table.given("splits") else None
    if splits is not None and len(splits) != states:
        raise table.error("splits", f"{len(splits)} numbers are given, one for each of the {states} states is expected")
    table.finish()
    return Hints(splits=splits, **found)
