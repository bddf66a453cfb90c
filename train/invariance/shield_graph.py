"""The shield as an ONNX graph: one-tick admission box, membership in S with its margin, and the room that is needed to stop.

Docs: docs/certificate.md, section 6. Its constants are the tables of the certificate: gains, facets, offsets and tubes of some of
the stages, and the coefficients of the admission box. Many options are judged at once, each where a set-point leads (or the present
state) with an anchor, at two instants and, at each of these, as if the rates asked for act throughout and as if the backup's had
replaced them as early as they can.

What an error moves across the thrust vector counts vertically by the sine of its tilt alone, that of the nominal state and, added,
the largest angle by which the thrust vector can be off.

For a facet f of the horizontal sets, the largest |f . (z u)| over all horizontal directions u is the Euclidean norm of the two
numbers f Z, with Z the (4, 2) matrix of horizontal states; errors of radius e add |f| . e. The margin to a stage is one minus the
largest over all facets of both axes and all states, each as a share of its offset there. float64 throughout: its rounding is below
1e-10 here, and `ROUNDING` is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .admission import Admission, box, shares, slower
from .certificate import Certificate
from .interval import Numbers

OPSET = 18
OPTIONS = "options"
"""Name of how many options, each a set-point or the present state with an anchor, one run judges; whoever runs it says how many."""
JUDGED = 8
"""Stages that are judged."""
ROUNDING = 1e-9
TINY = 1e-9
"""Thrust below which the direction counts as unknown [m/s^2]."""
NOWHERE_M = 1e9
"""Room of an option for which the state does not lie in S."""
Constant = npt.NDArray[np.float64] | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tables:
    """What the graph is made of; pairs are (horizontal, vertical).

    Attributes:
        facets: Shapes (n, 4) and (m, 4).
        offsets: Of the judged stages, shapes (JUDGED, n) and (JUDGED, m).
        tubes: Largest distance from the anchor in each judged stage and all that follow, shape (2, JUDGED) [m].
        gain: Of the backup policy, shape (2, 3).
        gravity: [m/s^2].
        admission: See there.
        anchor: See `Certificate`.
    """

    facets: tuple[Numbers, Numbers]
    offsets: tuple[Numbers, Numbers]
    tubes: Numbers
    gain: Numbers
    gravity: float
    admission: Admission
    anchor: Numbers

    @classmethod
    def of(cls, certificate: Certificate) -> Tables:
        """Of a certificate."""
        h, v = certificate.axes
        some = judged(h.offsets.shape[0], certificate.stages.lasting)
        tubes = [np.maximum.accumulate(axis.stage_tube[::-1, 0])[::-1][some] for axis in (h, v)]
        return cls(
            (h.facets, v.facets), (h.offsets[some], v.offsets[some]), np.array(tubes), certificate.law.gain,
            certificate.assumptions.gravity_m_s2, Admission.of(certificate), certificate.anchor,
        )  # fmt: skip


def judged(stages: int, lasting: Sequence[int]) -> npt.NDArray[np.int64]:
    """Numbers of the stages that the graph judges, shape (JUDGED,): of each chain its first and its last one, in which the backup
    stays, and some between, closer at first, where the sets differ most. Three of the last chain if there are two."""
    ends = [*lasting[:-1], stages - 1][-2:]
    counts = [JUDGED - 3, 3] if len(ends) == 2 else [JUDGED]
    starts = [0, ends[0] + 1]
    spread = [
        first + (last - first) * np.linspace(0.0, 1.0, count) ** 2 for first, last, count in zip(starts, ends, counts, strict=False)
    ]
    return np.concatenate(spread).round().astype(np.int64)


def constants(tables: Tables) -> dict[str, Constant]:
    """Initializers by name; x, y and z are the first axis wherever all three stand."""
    gain = np.zeros((3, 1, 1, 4))
    gain[:, 0, 0, :3] = tables.gain[[0, 0, 1]]
    result: dict[str, Constant] = {
        "gain": gain,
        "weight": np.array([0.0, 0.0, tables.gravity]).reshape(3, 1, 1),
        "shares": shares(tables.admission),
        "slower": np.array(slower(tables.admission)),
        "box": box(tables.admission),
        "level": np.array([1.0, 1.0, 0.0]).reshape(3, 1, 1),
        "tiny": np.array(TINY),
        "whole": np.array(1.0),
        "ones": np.ones((1, 2, 1)),
        "jerk_row": np.array([0.0, 0.0, 0.0, 1.0]),
        "one": np.array(1.0 - ROUNDING),
        "least": np.array(0.0),
        "nowhere": np.array(NOWHERE_M),
        "row_2": np.array(2), "row_3": np.array(3), "axis_0": np.array([0]), "axis_1": np.array([1]), "axis_2": np.array([2]),
        "axis_3": np.array([3]), "thirds": np.array([4, 4, 4]), "halves": np.array([4, 4]), "singles": np.array([1, 1, 1]),
        "pairs": np.array([2, 2]), "twice": np.array([1, 1]), "stages": np.array([0, 1]),
    }  # fmt: skip
    for name, facets, offsets in zip(("horizontal", "vertical"), tables.facets, tables.offsets, strict=True):
        result[f"facets_{name}"] = np.ascontiguousarray(facets.T)
        result[f"size_{name}"] = np.ascontiguousarray(np.nextafter(np.abs(facets), np.inf).T)
        result[f"inverse_{name}"] = ((1.0 / offsets) * (1.0 + 1e-15))[:, None]
    result["tube"] = tables.tubes[:, :, None]
    return result


def nodes() -> list[onnx.NodeProto]:
    """The graph's nodes."""
    made: list[onnx.NodeProto] = []

    def add(op: str, inputs: str, outputs: str, **attributes: object) -> None:
        made.append(helper.make_node(op, inputs.split(), outputs.split(), **attributes))

    # feedback nu of the backup policy at each instant for each option; x, y, z first, then instants, options, rows
    add("Sub", "states held", "z")
    add("Mul", "z gain", "z_gain")
    add("ReduceSum", "z_gain axis_3", "nu", keepdims=0)
    # thrust vector, its direction and length, and the jerk
    add("Gather", "states row_2", "acceleration", axis=3)
    add("Add", "acceleration weight", "force")
    add("Gather", "states row_3", "jerk", axis=3)
    for name in ("force", "jerk", "nu"):
        add("ReduceL2", f"{name} axis_0", f"{name}_size", keepdims=1)
    add("Div", "force force_size", "up")
    add("Mul", "up nu", "up_nu")
    add("ReduceSum", "up_nu axis_0", "along", keepdims=1)
    # how far the backup's rates can move the jerk until then, and its thrust slope
    add("Mul", "along up", "along_vector")
    add("Sub", "nu along_vector", "across")
    add("Sub", "across wanted", "off")
    add("Gather", "shares instants", "share", axis=0)
    add("Mul", "off share", "change")
    add("ReduceL2", "change axis_0", "change_size", keepdims=1)
    add("Mul", "up jerk", "up_jerk")
    add("ReduceSum", "up_jerk axis_0", "along_jerk", keepdims=1)
    add("Mul", "along_jerk slower", "slowed")
    add("Sub", "along slowed", "slope")
    add("Abs", "slope", "late")
    add("ReduceMax", "late axis_1", "late_most", keepdims=1)
    add("Concat", "late_most late_most", "late_both", axis=1)
    # the admission box: radii of the four rows, horizontal and vertical
    add("Shape", "force_size", "each")
    add("Expand", "ones each", "one_each")
    add("Concat", "one_each force_size jerk_size doubts nu_size change_size late_both", "terms", axis=0)
    add("Transpose", "terms", "terms_last", perm=[1, 2, 0])
    add("Unsqueeze", "terms_last axis_2", "terms_row")
    add("Gather", "box instants", "coefficients", axis=0)
    add("MatMul", "terms_row coefficients", "sums_row")
    add("Squeeze", "sums_row axis_2", "sums")
    add("Split", "sums thirds", "sums_level sums_any sums_across", axis=2)
    # the sine of the tilt, and by how much the direction can be off
    add("Mul", "up level", "lying")
    add("ReduceL2", "lying axis_0", "sine", keepdims=0)
    add("ReduceMax", "sine axis_0", "steepest", keepdims=1)
    add("Gather", "sums_level row_2", "loose", axis=2)
    add("Squeeze", "force_size axis_0", "least_force")
    add("Sub", "least_force loose", "surplus")
    add("Max", "surplus tiny", "divisor")
    add("Div", "loose divisor", "angle")
    add("ReduceMax", "angle axis_0", "widest", keepdims=1)
    add("Add", "steepest widest", "leaning")
    add("Min", "leaning whole", "upward")
    add("Unsqueeze", "upward axis_2", "upward_column")
    add("Mul", "sums_across upward_column", "sums_upward")
    add("Add", "sums_any sums_upward", "sums_vertical")
    add("Concat", "sums_level sums_vertical", "radii", axis=2)
    # the states as if the backup's rates had acted, beside those as if they had not
    add("Unsqueeze", "change axis_3", "change_column")
    add("Mul", "change_column jerk_row", "moved")
    add("Add", "z moved", "other")
    add("Concat", "z other", "points", axis=1)
    add("Split", "points singles", "x y vertical", axis=0)
    # every facet, at the state of each anchor where it is largest, as a share of its offset in each stage: first of the two
    # states of an instant, which have the same radii (horizontally by the square of the norm), then, radii added, of both instants
    for axis in ("x", "y"):
        add("MatMul", f"{axis} facets_horizontal", f"value_{axis}")
        add("Mul", f"value_{axis} value_{axis}", f"square_{axis}")
    add("Add", "square_x square_y", "square_horizontal")
    add("Split", "square_horizontal pairs", "square_as_is square_moved", axis=1)
    add("Max", "square_as_is square_moved", "square_larger")
    add("Sqrt", "square_larger", "size_value_horizontal")
    add("MatMul", "vertical facets_vertical", "value_vertical")
    add("Abs", "value_vertical", "size_vertical_all")
    add("Split", "size_vertical_all pairs", "size_as_is size_moved", axis=1)
    add("Max", "size_as_is size_moved", "size_value_vertical")
    add("Split", "radii halves", "radius_horizontal radius_vertical", axis=2)
    for name in ("horizontal", "vertical"):
        add("MatMul", f"radius_{name} size_{name}", f"slack_{name}")
        add("Add", f"size_value_{name} slack_{name}", f"used_{name}")
        add("Split", f"used_{name} twice", f"first_{name} last_{name}", axis=1)
        add("Max", f"first_{name} last_{name}", f"worst_{name}")
        add("Mul", f"worst_{name} inverse_{name}", f"share_{name}")
        add("ReduceMax", f"share_{name} axis_3", f"most_{name}", keepdims=0)
    add("Max", "most_horizontal most_vertical", "most")
    add("Sub", "one most", "margins")
    add("ReduceMax", "margins stages", "margin", keepdims=0)
    # the smallest tube of the stages that hold all states of an anchor
    add("Greater", "margins least", "inside")
    add("Where", "inside tube nowhere", "rooms")
    add("ReduceMin", "rooms axis_1", "room", keepdims=0)
    return made


def shield_graph(tables: Tables) -> onnx.ModelProto:
    """Build the graph.

    Args:
        tables: What it is made of.

    Returns:
        Graph with the inputs states [3, 2, n, 4], held [3, 1, n, 4], wanted [3, 2, n], doubts [5, 2, n] and instants [2, n], and the
        outputs margin [n], radii [2, n, 8] and room [2, n], for n options.
    """
    double, integer = TensorProto.DOUBLE, TensorProto.INT64

    def value(name: str, shape: list[int | str], kind: int = double) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes(),
        "shield",
        [
            value("states", [3, 2, OPTIONS, 4]),
            value("held", [3, 1, OPTIONS, 4]),
            value("wanted", [3, 2, OPTIONS]),
            value("doubts", [5, 2, OPTIONS]),
            value("instants", [2, OPTIONS], integer),
        ],
        [value("margin", [OPTIONS]), value("radii", [2, OPTIONS, 8]), value("room", [2, OPTIONS])],
        [numpy_helper.from_array(array, name) for name, array in constants(tables).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    texts = {
        "states": "world x, y, z; two instants; options; position [m], velocity [m/s], thrust vector minus gravity [m/s^2], its "
        "derivative [m/s^3]: where the set-point leads nominally",
        "held": "what is taken off: anchor [m], 0, minus the disturbance estimate held [m/s^2], 0",
        "wanted": "jerk across the thrust vector that the rate set-point asks for at each instant [m/s^3]",
        "doubts": "how much the set-point before asks differently, how much those before it differ, how far the rates were from it "
        "[m/s^3], what is left out of acceleration [m/s^2] and jerk [m/s^3]; at both instants",
        "instants": "rows of the admission box: 0 the present, 1 and 2 the first and last instant of a take-over",
        "margin": "for each option 1 - largest share of an offset, in the stage where it is least, the admission box taken off and all "
        "states taken together; dimensionless; positive inside S",
        "radii": "the admission box: radii of position, velocity, acceleration, jerk, horizontal and then vertical",
        "room": "horizontal and vertical distance from the anchor within which the vehicle stays [m]; 1e9 outside S",
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
