"""The shield as an ONNX graph: one-tick admission box, membership in S with its margin, and the room that is needed to stop.

Docs: docs/certificate.md, section 6. Its constants are the tables of the certificate: gains, facets of S and of the levels
inside it, their tubes, and the coefficients of the admission box. Four anchors are judged at once, each at two instants and, at
each of these, as if the rates asked for act throughout and as if the backup's had replaced them as early as they can.

For a facet f of the horizontal set, the largest |f . (z u)| over all horizontal directions u is the Euclidean norm of the two
numbers f Z, with Z the (4, 2) matrix of horizontal states; errors of radius e add |f| . e. The margin to a stage is one minus the
largest over all facets of both sets, each as a share of its offset there. Some of the stages are judged, the first and the last
among them; the margin of an anchor is that to the stage that holds all its states best. float64
throughout: its rounding is below 1e-10 here, and `ROUNDING` is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .admission import Admission, box, shares, slower
from .certificate import Certificate
from .interval import Numbers

OPSET = 18
OPTIONS = 4
"""Anchors that one run judges."""
JUDGED = 8
"""Stages of S that are judged."""
ROUNDING = 1e-9
NOWHERE_M = 1e9
"""Room of an anchor for which the state does not lie in S."""
Constant = npt.NDArray[np.float64] | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tables:
    """What the graph is made of; pairs are (horizontal, vertical).

    Attributes:
        sets: Facets of S, shapes (n, 4) and (m, 4), and then of the levels inside it, from the largest to the smallest.
        offsets: Of S at each stage, shapes (stages, n) and (stages, m).
        tubes: Largest distance from the anchor in each of them [m].
        gain: Of the backup policy, shape (2, 3).
        gravity: [m/s^2].
        admission: See there.
        anchor: Linear map (velocity, acceleration, jerk) to the position from the anchor with the most margin, shape (2, 3).
    """

    sets: tuple[tuple[Numbers, Numbers], ...]
    offsets: tuple[Numbers, Numbers]
    tubes: tuple[tuple[float, float], ...]
    gain: Numbers
    gravity: float
    admission: Admission
    anchor: Numbers

    @classmethod
    def of(cls, certificate: Certificate) -> Tables:
        """Of a certificate."""
        axes = [certificate.axes, *(level.axes for level in reversed(certificate.levels))]
        return cls(
            tuple((h.facets, v.facets) for h, v in axes),
            (certificate.axes[0].offsets, certificate.axes[1].offsets),
            tuple((float(h.tube_bound[0]), float(v.tube_bound[0])) for h, v in axes),
            certificate.law.gain, certificate.assumptions.gravity_m_s2, Admission.of(certificate), certificate.anchor,
        )  # fmt: skip


def judged(stages: int) -> npt.NDArray[np.int64]:
    """Numbers of the stages that the graph judges: evenly spread, the first and the last among them, shape (JUDGED,)."""
    return np.linspace(0, stages - 1, JUDGED).round().astype(np.int64)


def constants(tables: Tables) -> dict[str, Constant]:
    """Initializers by name; x, y and z are the first axis wherever all three stand."""
    gain = np.zeros((3, 1, 1, 4))
    gain[:, 0, 0, :3] = tables.gain[[0, 0, 1]]
    result: dict[str, Constant] = {
        "gain": gain,
        "weight": np.array([0.0, 0.0, tables.gravity]).reshape(3, 1, 1),
        "shares": shares(tables.admission).reshape(3, 1),
        "slower": np.array(slower(tables.admission)),
        "box": box(tables.admission),
        "ones": np.ones((1, 2, 1)),
        "jerk_row": np.array([0.0, 0.0, 0.0, 1.0]),
        "one": np.array(1.0 - ROUNDING),
        "least": np.array(0.0),
        "nowhere": np.full((2, 1), NOWHERE_M),
        "row_2": np.array(2), "row_3": np.array(3), "axis_0": np.array([0]), "axis_2": np.array([2]), "axis_3": np.array([3]),
        "all_options": np.array([4, 2, OPTIONS]), "halves": np.array([4, 4]), "plane": np.array([2, 1]),
    }  # fmt: skip
    for n, (pair, tube) in enumerate(zip(tables.sets, tables.tubes, strict=True)):
        suffix = f"_{n}" if n else ""
        for name, facets in zip(("horizontal", "vertical"), pair, strict=True):
            result[f"facets_{name}{suffix}"] = np.ascontiguousarray(facets.T)
            result[f"size_{name}{suffix}"] = np.ascontiguousarray(np.nextafter(np.abs(facets), np.inf).T)
        result[f"tube{suffix}"] = np.array(tube).reshape(2, 1)
    for name, offsets in zip(("horizontal", "vertical"), tables.offsets, strict=True):
        result[f"inverse_{name}"] = np.ascontiguousarray(1.0 / offsets[judged(offsets.shape[0])].T) * (1.0 + 1e-15)
    return result


def nodes(count: int) -> list[onnx.NodeProto]:
    """The graph's nodes, for a set and `count - 1` levels inside it."""
    made: list[onnx.NodeProto] = []

    def add(op: str, inputs: str, outputs: str, **attributes: object) -> None:
        made.append(_node(op, inputs, outputs, **attributes))

    # feedback nu of the backup policy at each instant for each anchor; x, y, z first, then instants, anchors, rows
    add("Sub", "states held", "z")
    add("Mul", "z gain", "z_gain")
    add("ReduceSum", "z_gain axis_3", "nu", keepdims=0)
    # thrust vector, its direction and length, and the jerk
    add("Gather", "states row_2", "acceleration", axis=3)
    add("Add", "acceleration weight", "force")
    add("Gather", "states row_3", "jerk", axis=3)
    for name, first, second in (("force", "force", "force"), ("jerk", "jerk", "jerk")):
        add("Mul", f"{first} {second}", f"{name}_square")
        add("ReduceSum", f"{name}_square axis_0", f"{name}_squared", keepdims=1)
        add("Sqrt", f"{name}_squared", f"{name}_size")
    add("Div", "force force_size", "up")
    add("Mul", "up nu", "up_nu")
    add("ReduceSum", "up_nu axis_0", "along", keepdims=1)
    # how far the backup's rates can move the jerk until then, and its thrust slope
    add("Mul", "along up", "along_vector")
    add("Sub", "nu along_vector", "across")
    add("Sub", "across wanted", "off")
    add("Gather", "shares instants", "share", axis=0)
    add("Mul", "off share", "change")
    add("Mul", "change change", "change_square")
    add("ReduceSum", "change_square axis_0", "change_squared", keepdims=1)
    add("Sqrt", "change_squared", "change_size")
    add("Mul", "up jerk", "up_jerk")
    add("ReduceSum", "up_jerk axis_0", "along_jerk", keepdims=1)
    add("Mul", "along_jerk slower", "slowed")
    add("Sub", "along slowed", "slope")
    add("Abs", "slope", "late")
    # the admission box: radii of the four rows, horizontal and vertical
    add("Concat", "ones force_size jerk_size spread", "of_instant", axis=0)
    add("Expand", "of_instant all_options", "of_option")
    add("Concat", "of_option change_size late", "terms", axis=0)
    add("Transpose", "terms", "terms_last", perm=[1, 2, 0])
    add("Gather", "box instants", "coefficients", axis=0)
    add("MatMul", "terms_last coefficients", "radii")
    add("Concat", "radii radii", "radii_twice", axis=0)
    add("Split", "radii_twice halves", "radius_horizontal radius_vertical", axis=2)
    # the states as if the backup's rates had acted, beside those as if they had not
    add("Unsqueeze", "change axis_3", "change_column")
    add("Mul", "change_column jerk_row", "moved")
    add("Add", "z moved", "other")
    add("Concat", "z other", "points", axis=1)
    add("Split", "points plane", "horizontal vertical_plane", axis=0)
    add("Squeeze", "vertical_plane axis_0", "vertical")
    made += _membership("")
    add("Sub", "one most", "margins")
    # minima may drop what is no number, sums do not: zero times the margins is added
    add("Mul", "margins least", "nothing")
    add("ReduceSum", "nothing axis_0", "nothing_of_stages", keepdims=1)
    add("ReduceMin", "margins axis_0", "least_of_stages", keepdims=1)
    add("Add", "least_of_stages nothing_of_stages", "margins_of_stages")
    add("ReduceMax", "margins_of_stages axis_2", "margin", keepdims=0)
    # the tube of the smallest set that holds all states of an anchor; the levels only where the tube of S is too wide
    add("Greater", "margin least", "inside")
    add("Where", "inside tube nowhere", "outer_room")
    same = [_node("Identity", "outer_room", "kept")]
    return [*made, _node("If", "near", "room", then_branch=_branch(_levels(count) or same), else_branch=_branch(same))]


def _node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def _membership(suffix: str) -> list[onnx.NodeProto]:
    """Largest facet at each state of each anchor, [4, 4], for the facets of that suffix; of S, without suffix, as a share of the
    offset at each judged stage, [4, 4, JUDGED]."""
    made = []
    for name, norm in (("horizontal", "ReduceSum"), ("vertical", "Abs")):
        value, size = f"value_{name}{suffix}", f"size_value_{name}{suffix}"
        made.append(_node("MatMul", f"{name} facets_{name}{suffix}", value))
        if norm == "Abs":
            made.append(_node("Abs", value, size))
        else:
            made.append(_node("Mul", f"{value} {value}", f"square{suffix}"))
            made.append(_node("ReduceSum", f"square{suffix} axis_0", f"squared{suffix}", keepdims=0))
            made.append(_node("Sqrt", f"squared{suffix}", size))
        made.append(_node("MatMul", f"radius_{name} size_{name}{suffix}", f"slack_{name}{suffix}"))
        made.append(_node("Add", f"{size} slack_{name}{suffix}", f"used_{name}{suffix}"))
        share = f"used_{name}{suffix}"
        if not suffix:
            made.append(_node("Unsqueeze", f"{share} axis_3", f"column_{name}"))
            made.append(_node("Mul", f"column_{name} inverse_{name}", f"share_{name}"))
            share = f"share_{name}"
        made.append(_node("ReduceMax", f"{share} axis_2", f"most_{name}{suffix}", keepdims=0))
    return [*made, _node("Max", f"most_horizontal{suffix} most_vertical{suffix}", f"most{suffix}")]


def _levels(count: int) -> list[onnx.NodeProto]:
    """Each level's tube where all states of an anchor lie in the level, else what the larger sets say."""
    made, wider = [], "outer_room"
    for n in range(1, count):
        suffix = f"_{n}"
        made += _membership(suffix)
        made.append(_node("Sub", f"one most{suffix}", f"margin{suffix}"))
        made.append(_node("ReduceMin", f"margin{suffix} axis_0", f"worst{suffix}", keepdims=1))
        made.append(_node("Greater", f"worst{suffix} least", f"inside{suffix}"))
        made.append(_node("Where", f"inside{suffix} tube{suffix} {wider}", f"room{suffix}"))
        wider = f"room{suffix}"
    return made


def _branch(made: list[onnx.NodeProto]) -> onnx.GraphProto:
    """A branch that gives what its last node gives."""
    name = made[-1].output[0]
    return helper.make_graph(made, name, [], [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [2, OPTIONS])])


def shield_graph(tables: Tables) -> onnx.ModelProto:
    """Build the graph.

    Args:
        tables: What it is made of.

    Returns:
        Graph with the inputs states [3, 2, 1, 4], held [3, 1, 4, 4], wanted [3, 1, 1], spread [1, 2, 1], instants [2] and near [1],
        and the outputs margin [1, 4], radii [2, 4, 8] and room [2, 4].
    """
    count = len(tables.sets)
    double, integer = TensorProto.DOUBLE, TensorProto.INT64

    def value(name: str, shape: list[int], kind: int = double) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes(count),
        "shield",
        [
            value("states", [3, 2, 1, 4]),
            value("held", [3, 1, OPTIONS, 4]),
            value("wanted", [3, 1, 1]),
            value("spread", [1, 2, 1]),
            value("instants", [2], integer),
            value("near", [1], TensorProto.BOOL),
        ],
        [value("margin", [1, OPTIONS]), value("radii", [2, OPTIONS, 8]), value("room", [2, OPTIONS])],
        [numpy_helper.from_array(array, name) for name, array in constants(tables).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    texts = {
        "states": "world x, y, z; two instants; position [m], velocity [m/s], thrust vector minus gravity [m/s^2], its derivative "
        "[m/s^3]: where the set-point leads nominally",
        "held": "for each anchor what is taken off: anchor [m], 0, minus the disturbance estimate held [m/s^2], 0",
        "wanted": "jerk across the thrust vector that the rate set-point asks for [m/s^3]",
        "spread": "how much set-points that may act too long or too early differ from that [m/s^3]",
        "instants": "rows of the admission box: 0 the present, 1 and 2 the first and last instant of a take-over",
        "near": "whether to look for the smallest tube: for room too narrow for that of S",
        "margin": "1 - largest share of an offset, the admission box taken off, dimensionless, for each anchor: of the stage of S that "
        "holds all its states best; positive inside S",
        "radii": "the admission box: radii of position, velocity, acceleration, jerk, horizontal and then vertical",
        "room": "horizontal and vertical distance from each anchor within which the vehicle stays [m]; 1e9 outside S",
        "anchor": str(tables.anchor.tolist()),
    }
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model


def graphs_of(certificate: Certificate) -> dict[str, bytes]:
    """Bytes of the backup and the shield graph of a certificate, by name without suffix."""
    return {
        "backup": certificate.law.graph().SerializeToString(deterministic=True),
        "shield": shield_graph(Tables.of(certificate)).SerializeToString(deterministic=True),
    }
