"""The invariant sets as an ONNX graph: margin of a batch of points, each with its box of possible errors.

For a facet f of the horizontal set, the largest |f . (z u)| over all horizontal directions u is the Euclidean norm of the two
numbers f Z, with Z the (4, 2) matrix of horizontal states; errors of radius e add |f| . e. The margin to a stage is one minus the
largest over all facets of both sets, each as a share of its offset there. Some of the stages are judged, the first and the last
among them. float64 throughout: its rounding is below 1e-12 here, and `ROUNDING` is taken off.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .certificate import Certificate
from .interval import Numbers

OPSET = 18
POINTS = 16
"""Points that one run judges."""
JUDGED = 8
"""Stages that are judged."""
ROUNDING = 1e-9


def judged(stages: int) -> Numbers:
    """Numbers of the stages that the graph judges: evenly spread, the first and the last among them, shape (JUDGED,)."""
    return np.linspace(0, stages - 1, JUDGED).round().astype(np.int64)


def _inverse(offsets: Numbers) -> Numbers:
    """One over the offsets of the judged stages, not below, shape (n, JUDGED)."""
    result: Numbers = (1.0 / offsets[judged(offsets.shape[0])].T) * (1.0 + 1e-15)
    return result


def shield_graph(
    horizontal: Numbers, vertical: Numbers, offsets: tuple[Numbers, Numbers], anchor: Numbers
) -> onnx.ModelProto:
    """Build the graph.

    Args:
        horizontal, vertical: Facets, shapes (n, 4) and (m, 4).
        offsets: Of both at each stage, shapes (stages, n) and (stages, m).
        anchor: Linear map (velocity, acceleration, jerk) to the position from the anchor with the most margin, shape (2, 3).

    Returns:
        Graph with inputs horizontal [P, 4, 2], vertical [P, 4, 1], radius_horizontal [P, 4, 1], radius_vertical [P, 4, 1] and
        output margin [P, JUDGED]: positive only if every point within the radii lies in that stage.
    """
    values = {
        "facets_horizontal": horizontal,
        "facets_vertical": vertical,
        "size_horizontal": np.nextafter(np.abs(horizontal), np.inf),
        "size_vertical": np.nextafter(np.abs(vertical), np.inf),
        "inverse_horizontal": _inverse(offsets[0]),
        "inverse_vertical": _inverse(offsets[1]),
        "one": np.array(1.0 - ROUNDING),
        "anchor": anchor,
    }
    initializers = [numpy_helper.from_array(v, k) for k, v in values.items() if k != "anchor"]
    axes = numpy_helper.from_array(np.array([2], dtype=np.int64), "last")
    facets_axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "middle")
    nodes = [
        helper.make_node("MatMul", ["facets_horizontal", "horizontal"], ["value_horizontal"]),
        helper.make_node("Mul", ["value_horizontal", "value_horizontal"], ["square"]),
        helper.make_node("ReduceSum", ["square", "last"], ["norm_squared"], keepdims=1),
        helper.make_node("Sqrt", ["norm_squared"], ["norm_horizontal"]),
        helper.make_node("MatMul", ["size_horizontal", "radius_horizontal"], ["slack_horizontal"]),
        helper.make_node("Add", ["norm_horizontal", "slack_horizontal"], ["used_horizontal"]),
        helper.make_node("MatMul", ["facets_vertical", "vertical"], ["value_vertical"]),
        helper.make_node("Abs", ["value_vertical"], ["size_value_vertical"]),
        helper.make_node("MatMul", ["size_vertical", "radius_vertical"], ["slack_vertical"]),
        helper.make_node("Add", ["size_value_vertical", "slack_vertical"], ["used_vertical"]),
        helper.make_node("Mul", ["used_horizontal", "inverse_horizontal"], ["share_horizontal"]),
        helper.make_node("ReduceMax", ["share_horizontal", "middle"], ["most_horizontal"], keepdims=0),
        helper.make_node("Mul", ["used_vertical", "inverse_vertical"], ["share_vertical"]),
        helper.make_node("ReduceMax", ["share_vertical", "middle"], ["most_vertical"], keepdims=0),
        helper.make_node("Max", ["most_horizontal", "most_vertical"], ["largest"]),
        helper.make_node("Sub", ["one", "largest"], ["margin"]),
    ]

    def value(name: str, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)

    graph = helper.make_graph(
        nodes,
        "shield",
        [
            value("horizontal", [POINTS, 4, 2]),
            value("vertical", [POINTS, 4, 1]),
            value("radius_horizontal", [POINTS, 4, 1]),
            value("radius_vertical", [POINTS, 4, 1]),
        ],
        [value("margin", [POINTS, JUDGED])],
        [*initializers, axes, facets_axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(
        model,
        {
            "horizontal": "position from the anchor [m], velocity [m/s], thrust vector plus held disturbance [m/s^2], "
            "its derivative [m/s^3]; world x and y",
            "vertical": "the same along z, gravity subtracted",
            "radius_horizontal": "Euclidean error radii of the four rows",
            "radius_vertical": "absolute error radii of the four rows",
            "margin": "1 - largest share of an offset, dimensionless; positive inside that stage; columns: judged stages",
            "anchor": str(anchor.tolist()),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def graphs_of(certificate: Certificate) -> dict[str, bytes]:
    """Bytes of the backup and the shield graph of a certificate, by name without suffix."""
    horizontal, vertical = certificate.axes
    shield = shield_graph(horizontal.facets, vertical.facets, (horizontal.offsets, vertical.offsets), certificate.anchor)
    return {
        "backup": certificate.law.graph().SerializeToString(deterministic=True),
        "shield": shield.SerializeToString(deterministic=True),
    }
