"""Certificates that say something else than was proven, or in another form than the one that is: a list of what to change.

None of it depends on the numbers of a certificate: each change makes any of them wrong. `planted` takes these beside mistakes of its
own; hashes are made right again afterwards, so that only what is said can be objected to.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import tomli_w
from onnx import numpy_helper

from .interval import Numbers

Table = dict[str, Any]
Arrays = dict[str, Numbers]
Edit = Callable[[Table, Arrays, onnx.ModelProto, onnx.ModelProto], object]
"""Changes the table, the arrays, the backup graph and the shield graph in place."""


def edited(files: Mapping[str, bytes], edit: Edit) -> dict[str, bytes]:
    """The files of a certificate after an edit, all hashes consistent.

    Args:
        files: Content by name; what is none of the certificate's comes along.
        edit: What to change.
    """
    table = tomllib.loads(files["certificate.toml"].decode())
    with np.load(io.BytesIO(files["certificate.npz"]), allow_pickle=False) as source:
        arrays = {key: np.array(source[key]) for key in source.files}
    graphs = {name: onnx.load_model_from_string(files[f"{name}.onnx"]) for name in ("backup", "shield")}
    edit(table, arrays, graphs["backup"], graphs["shield"])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    made = {**files, "certificate.npz": buffer.getvalue()} | {f"{name}.onnx": m.SerializeToString() for name, m in graphs.items()}
    return hashed(made, table)


def hashed(files: Mapping[str, bytes], table: Table) -> dict[str, bytes]:
    """Files with this table, which names the hashes that they have, where it names any."""
    if "arrays_sha256" in table.get("proof", {}):
        table["proof"]["arrays_sha256"] = hashlib.sha256(files["certificate.npz"]).hexdigest()
    for name in ("backup", "shield"):
        if f"{name}_sha256" in table.get("graphs", {}):
            table["graphs"][f"{name}_sha256"] = hashlib.sha256(files[f"{name}.onnx"]).hexdigest()
    return {**files, "certificate.toml": tomli_w.dumps(table).encode()}


def put(part: str, key: str, value: Any) -> Edit:
    """Set an entry of a table."""
    return lambda table, arrays, backup, shield: table[part].__setitem__(key, value)


def drop(part: str, key: str) -> Edit:
    """Leave an entry of a table out."""
    return lambda table, arrays, backup, shield: table[part].__delitem__(key)


def scale(part: str, key: str, factor: float, index: int | None = None) -> Edit:
    """Multiply a number of the table."""

    def edit(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
        value = table[part][key]
        if isinstance(value, list):
            value[index or 0] *= factor
        else:
            table[part][key] = value * factor

    return edit


def array(key: str, change: Callable[[Numbers], object]) -> Edit:
    """Change an array in place."""
    return lambda table, arrays, backup, shield: change(arrays[key])


def lasting(change: Callable[[list[int]], Any]) -> Edit:
    """Other last stages of the chains."""
    return lambda table, arrays, backup, shield: table["proof"].__setitem__("lasting", change(table["proof"]["lasting"]))


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """A constant of a graph."""
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def constant(model: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    """Replace a constant of a graph by what a function makes of it."""
    tensor = initializer(model, name)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(value.copy()).astype(value.dtype), name))


def backup_constant(name: str, change: Callable[[Any], Any]) -> Edit:
    """`constant` of the backup graph."""
    return lambda table, arrays, backup, shield: constant(backup, name, change)


def shield_constant(name: str, change: Callable[[Any], Any]) -> Edit:
    """`constant` of the shield graph."""
    return lambda table, arrays, backup, shield: constant(shield, name, change)


def field(change: Callable[[onnx.ModelProto], object]) -> Edit:
    """Set what no graph of a certificate has, in the backup graph."""
    return lambda table, arrays, backup, shield: change(backup)


def node_added(which: str) -> Edit:
    """A graph whose first output is negated."""

    def edit(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
        model = backup if which == "backup" else shield
        output = model.graph.output[0].name
        node = next(node for node in model.graph.node if output in node.output)
        node.output[list(node.output).index(output)] = "before"
        model.graph.node.append(onnx.helper.make_node("Neg", ["before"], [output]))

    return edit


def _inputs_swapped(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
    node = next(node for node in backup.graph.node if node.op_type == "Sub")
    node.input[0], node.input[1] = node.input[1], node.input[0]


def _joined_names(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
    """One input whose name reads like two."""
    node = shield.graph.node[0]
    name = ", ".join(node.input)
    del node.input[:]
    node.input.append(name)


def _name_like_an_attribute(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
    node = next(node for node in backup.graph.node if node.op_type == "Transpose")
    node.output[0] = "up perm=[1, 0]"
    del node.attribute[:]


def _attribute(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
    node = next(node for node in shield.graph.node if node.op_type == "Gather")
    node.attribute[0].i = 2


def _other_gain(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
    """A gain that is another one in graphs, arrays and table alike: the law is the one that is named, the sets are not its own."""
    gain = arrays["gain"].copy()
    gain[1, 1] = float(np.float32(gain[1, 1] * 0.9))
    arrays["gain"], table["backup"]["gain"] = gain, gain.tolist()

    def of_backup(value: Any) -> Any:
        value[5, 2] = gain[1, 1]
        return value

    def of_shield(value: Any) -> Any:
        value[2, ..., 1] = gain[1, 1]
        return value

    constant(backup, "weights", of_backup)
    constant(shield, "gain", of_shield)


def _transpose(model: onnx.ModelProto) -> Any:
    return next(node for node in model.graph.node if node.op_type == "Transpose").attribute[0]


WORDS: dict[str, Edit] = {
    "statement": lambda t, a, b, s: t.update(statement="Safe in any wind, for ever."),
    "another format": lambda t, a, b, s: t.update(format=t["format"] + 1),
    "unknown table": lambda t, a, b, s: t.update(extra={"x": 1}),
    "a table that is none": lambda t, a, b, s: t.update(backup=3),
    "claim that nothing checks": put("set", "vertical_speed_m_s", 30.0),
    "assumption that nothing reads": put("assumptions", "wind_m_s", 30.0),
    "graph that is not certified": put("graphs", "planner_sha256", "0" * 64),
    "hash of a graph missing": drop("graphs", "shield_sha256"),
    "sources missing": drop("assumptions", "sources"),
    "assumption missing": drop("assumptions", "delay_max_s"),
    "not a number": put("assumptions", "attitude_error_rad", float("nan")),
    "infinite": put("assumptions", "velocity_error_m_s", float("inf")),
    "negative": put("assumptions", "rate_residual_rad_s", -0.1),
    "text": put("assumptions", "yaw_rate_rad_s", "0.3"),
    "true for a number": put("assumptions", "yaw_rate_rad_s", True),
    "true for a count": put("proof", "substeps", True),
    "number of 400 digits": put("assumptions", "position_error_m", 10**400),
    "stages of 400 digits": put("proof", "stages", 10**400),
    "half a stage": put("proof", "stages", 41.5),
    "one stage less": scale("proof", "stages", 0.99),
    "part of a facet": put("proof", "facets", [0.5, 0.5]),
    "substeps": put("proof", "substeps", 9),
    "step doubled": scale("proof", "step_s", 2.0),
    "no step": put("proof", "step_s", 0.0),
    "half a missed tick": put("assumptions", "missed_ticks", 0.5),
    "many missed ticks": put("assumptions", "missed_ticks", 5),
    "window longer than a step": put("assumptions", "delay_max_s", 0.07),
    "period next to nothing": put("assumptions", "tick_s", 5e-324),
    "thrust scale missing": drop("assumptions", "thrust_scale_m_s2"),
    "lag of one axis": scale("assumptions", "rate_lags_s", 1.01),
    "lag in assumptions only": scale("assumptions", "rate_lag_s", 1.01),
    "thrust lag of the law only": scale("backup", "thrust_lag_s", 1.01),
    "gain only in the table": put("backup", "gain", [[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]]),
    "rate gain": scale("backup", "rate_gain", 1.01),
    "thrust gain": scale("backup", "thrust_gain", 1.01),
    "rate gain of nothing": put("backup", "rate_gain", [1e-300, 1.0, 1.0]),
    "rate limit of the table": scale("backup", "rate_limit_rad_s", 0.5),
    "rounding": scale("proof", "rounding_m_s3", 0.1),
    "largest facet beyond 1": put("proof", "largest_facet", [1.0, 1.0]),
    "smaller largest facet": put("proof", "largest_facet", [0.9, 0.9]),
    "no stage lasts": lasting(lambda ends: []),
    "a stage lasts that is none": lasting(lambda ends: [*ends, 1000]),
    "lasting stages in words": lasting(lambda ends: "the last"),
    "a lasting stage is true": lasting(lambda ends: [True, *ends]),
    "a lasting stage is negative": lasting(lambda ends: [-1, *ends]),
    "a stage lasts twice": lasting(lambda ends: [*ends, ends[-1]]),
    "the first stage lasts": lasting(lambda ends: [0, *ends]),
    "the last stage does not last": lasting(lambda ends: [end - 1 for end in ends]),
    "lasting limits": scale("lasting_limits", "jerk_m_s3", 0.9),
    "tube 1 % in table": scale("tube", "position_m", 0.99),
    "thrust range": scale("tube", "thrust_m_s2", 0.9, 1),
    "largest rates": scale("tube", "largest_rates_rad_s", 0.9),
    "tilt cosine": scale("tube", "smallest_tilt_cosine", 1.06),
    "speed": scale("set", "speed_m_s", 1.02),
    "speed in the seventh digit": scale("set", "speed_m_s", 1.0 + 5e-7),
    "tilt": scale("set", "tilt_deg", 1.02),
    "tilt beyond the horizon": put("set", "tilt_deg", 216.0),
    "velocity at once": scale("set", "at_once_velocity_m_s", 1.5),
    "rise at once": scale("set", "at_once_velocity_m_s", 1.5, 1),
    "tilt at once": scale("set", "at_once_tilt_deg", 1.02),
    "tilt at once beyond the horizon": put("set", "at_once_tilt_deg", 200.0),
    "anchor of the table": lambda t, a, b, s: t["set"].update(anchor=(2.0 * np.array(t["set"]["anchor"])).tolist()),
}
"""Words and numbers of the table that are not those of the proof."""
ARRAYS: dict[str, Edit] = {
    "array missing": lambda t, a, b, s: a.update(gain_too=a.pop("gain")),
    "array added": lambda t, a, b, s: a.update(extra=np.zeros(3)),
    "array of float32": lambda t, a, b, s: a.update(gain=a["gain"].astype(np.float32)),
    "array of other bytes": lambda t, a, b, s: a.update(gain=a["gain"].astype(">f8")),
    "array of numbers that are no real ones": lambda t, a, b, s: a.update(gain=a["gain"].astype(np.complex128)),
    "a stage cut off": lambda t, a, b, s: a.update(limits=a["limits"][:-1]),
    "facet not a number": array("vertical_facet_multipliers", lambda v: v.__setitem__((3, 3), np.nan)),
    "multiplier infinite": array("vertical_tube_multipliers", lambda v: v.__setitem__((3, 3, 3), np.inf)),
    "multiplier next to infinite": array("horizontal_facet_multipliers", lambda v: v.__setitem__((2, 2), 1e308)),
    "facet lost": array("horizontal_facets", lambda v: v.__setitem__(-1, 0.0)),
    "facet of one state is one of two": array("horizontal_facets", lambda v: v.__setitem__((0, 1), 5e-324)),
    "facet turned round": array("vertical_facets", lambda v: v.__setitem__((1, 1), -v[1, 1])),
    "negative bound": array("bounds", lambda v: v.__setitem__((0, 0, 0), -0.1)),
    "no bound": array("bounds", lambda v: v.__setitem__((-1, 0, 1), 0.0)),
    "limit of nothing": array("limits", lambda v: v.__setitem__((0, 3, 0), 0.0)),
    "free fall": array("limits", lambda v: v.__setitem__((slice(None), 2, 1), 8.9)),
    "offset of 0": array("vertical_offsets", lambda v: v.__setitem__((0, 5), 0.0)),
    "offset next to 0": array("vertical_offsets", lambda v: v.__setitem__((1, 5), 5e-324)),
    "offset of the first stage": array("vertical_offsets", lambda v: v.__setitem__((0, 2), 1.1 * v[0, 2])),
    "last offsets": array("vertical_offsets", lambda v: v.__setitem__(-1, 1.1)),
    "tube of a stage": array("horizontal_tube", lambda v: v.__setitem__((-1, 3), 0.99 * v[-1, 3])),
    "stages backwards": lambda t, a, b, s: a.update({k: v[::-1].copy() for k, v in a.items() if len(v) == len(a["limits"])}),
    "gain in graphs, arrays and table": _other_gain,
}
"""Arrays of another form, or with numbers that no proof has."""
GRAPHS: dict[str, Edit] = {
    "node added to backup": node_added("backup"),
    "node added to shield": node_added("shield"),
    "inputs of a node swapped": _inputs_swapped,
    "attribute": _attribute,
    "one name for two inputs": _joined_names,
    "a name like an attribute": _name_like_an_attribute,
    "domain": field(lambda m: setattr(m.graph.node[0], "domain", "com.example")),
    "operator set": field(lambda m: setattr(m.opset_import[0], "version", 13)),
    "operator set of another domain": field(lambda m: m.opset_import.append(onnx.helper.make_opsetid("com.example", 1))),
    "another IR": field(lambda m: setattr(m, "ir_version", 3)),
    "function of the model's own": field(
        lambda m: m.functions.append(onnx.helper.make_function("", "Sub", ["x"], ["y"], [], [onnx.helper.make_opsetid("", 18)]))
    ),
    "shapes of inner values": field(lambda m: m.graph.value_info.append(onnx.helper.make_tensor_value_info("nu", 1, [7, 7]))),
    "documented otherwise": field(lambda m: setattr(m, "doc_string", "safe in any wind")),
    "named node": field(lambda m: setattr(m.graph.node[0], "name", "x")),
    "reference attribute": field(lambda m: setattr(_transpose(m), "ref_attr_name", "perm")),
    "attribute of two kinds": field(lambda m: setattr(_transpose(m), "i", 3)),
    "attribute of no kind": field(lambda m: setattr(_transpose(m), "type", 0)),
    "unknown port type": field(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)),
    "port with a meaning": field(lambda m: setattr(m.graph.input[0].type, "denotation", "IMAGE")),
    "ports in another order": field(lambda m: m.graph.input.append(m.graph.input.pop(0))),
    "constant twice": field(lambda m: m.graph.initializer.append(initializer(m, "decay"))),
    "default for an input": field(
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 9), np.float32), "state"))
    ),
    "typed data beside raw bytes": field(lambda m: initializer(m, "decay").float_data.append(5.0)),
    "raw bytes empty": field(lambda m: setattr(initializer(m, "decay"), "raw_data", b"")),
    "raw bytes too short": field(lambda m: setattr(initializer(m, "decay"), "raw_data", b"00")),
    "part of a tensor": field(lambda m: setattr(initializer(m, "decay").segment, "end", 1)),
    "outside the file, unnamed": field(lambda m: setattr(initializer(m, "decay"), "data_location", 1)),
    "unknown element type": field(lambda m: setattr(initializer(m, "decay"), "data_type", 99)),
    "negative shape": field(lambda m: initializer(m, "decay").dims.__setitem__(0, -1)),
    "not zero but the smallest number": backup_constant("weights", lambda v: np.where(v == 0, np.float32(1e-45), v)),
    "constant of no size": backup_constant("decay", lambda v: v[:0]),
    "backup not a number": backup_constant("decay", lambda v: v * np.nan),
    "size below facets": shield_constant("size_horizontal", lambda v: v * 0.999),
    "one above 1": shield_constant("one", lambda v: v + 1e-3),
    "axis of the maximum": shield_constant("axis_2", lambda v: v * 0),
    "gravity of the shield": shield_constant("weight", lambda v: v * 1.0001),
    "rows of another state": shield_constant("row_2", lambda v: v * 0 + 1),
    "jerk in another row": shield_constant("jerk_row", lambda v: v[::-1]),
    "share of the backup's rates": shield_constant("shares", lambda v: v * (1 - 1e-9)),
    "the backup acts at once": shield_constant("shares", lambda v: v + 1e-3),
    "factor of the thrust slope": shield_constant("slower", lambda v: v + 1e-9),
    "least margin": shield_constant("least", lambda v: v - 1e-6),
    "no room is some room": shield_constant("nowhere", lambda v: v * 0 + 100.0),
    "terms of all ones": shield_constant("ones", lambda v: v * 0.99),
    "box 0.001 % smaller": shield_constant("box", lambda v: v * (1 - 1e-5)),
    "tube of the shield": shield_constant("tube", lambda v: v * 0.999),
    "tubes of the last stages": shield_constant("tube", lambda v: v[:, ::-1]),
    "tubes lost": shield_constant("tube", lambda v: v[:, :4]),
    "facets only in shield": shield_constant("facets_vertical", lambda v: v * 0.999),
    "inverse offsets smaller": shield_constant("inverse_horizontal", lambda v: v * (1 - 1e-12)),
    "inverse offsets of another stage in one axis": shield_constant("inverse_vertical", lambda v: v[::-1]),
    "inverse offsets lost": shield_constant("inverse_vertical", lambda v: v[:4]),
    "columns of one stage only": shield_constant("inverse_horizontal", lambda v: v[np.zeros(len(v), int)]),
}
"""Graphs that compute something else, or that another reader may take for something else."""
EDITS = {**WORDS, **ARRAYS, **GRAPHS}


def in_manifest(*path: str, factor: float = 1.001) -> Callable[[Table], None]:
    """A number of the manifest, or the first of several, that is not the certificate's."""

    def change(table: Table) -> None:
        for key in path[:-1]:
            table = table[key]
        value = table[path[-1]]
        table[path[-1]] = [value[0] * factor, *value[1:]] if isinstance(value, list) else value * factor

    return change


def pair_apart(*path: str) -> Callable[[Table], None]:
    """The first two numbers of several of the manifest further apart, their mean as it was."""

    def change(table: Table) -> None:
        for key in path[:-1]:
            table = table[key]
        first, second, *rest = table[path[-1]]
        table[path[-1]] = [first + 0.1 * first, second - 0.1 * first, *rest]

    return change


PHYSICS = ("thrust_gain", "thrust_lag_s", "rate_gain", "rate_offset_rad_s", "rate_lag_s", "drag_1_s")
ASSUMED = ("position_error_m", "acceleration_m_s2", "rate_residual_rad_s", "delay_max_s", "gravity_m_s2")
LIMITS = ("position_m", "velocity_m_s", "acceleration_m_s2", "slope_m_s4")
MANIFEST: dict[str, Callable[[Table], object]] = {
    **{key: in_manifest(key) for key in ("tick_hz", "thrust_scale_m_s2")},
    "command_delay_s": lambda table: table.update(command_delay_s=table["command_delay_s"] + 1e-3),
    **{f"physics {key}, the same mean": pair_apart("physics", key) for key in ("rate_lag_s", "drag_1_s")},
    **{f"physics {key}": in_manifest("physics", key) for key in PHYSICS},
    **{f"assumptions {key}": in_manifest("assumptions", key) for key in ASSUMED},
    **{f"certified_limits {key}": in_manifest("certified_limits", key) for key in LIMITS},
    "assumptions with more": lambda table: table["assumptions"].update(wind_m_s=30.0),
    "certified_limits with less": lambda table: table["certified_limits"].pop("jerk_m_s3"),
}
"""Manifests that say something else than the certificate."""
