"""The independent check of a certificate: a proven one passes, and no change of any byte that matters does."""

from __future__ import annotations

import hashlib
import io
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from helpers.proven import certificate_files

from tubepilot.firmware_bridge.errors import CertificateError
from tubepilot.runtime import check_arithmetic
from tubepilot.runtime import manifest as manifest_module
from tubepilot.runtime.certificate_check import recheck_files
from tubepilot.runtime.check_claims import check_manifest
from tubepilot.runtime.manifest import PhysicsEntry

pytest.importorskip("flint", reason="python-flint is not installed: the check cannot run")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: the check cannot read graphs")

Edit = Callable[[dict[str, Any], dict[str, np.ndarray], Any, Any], None]
"""Changes the table, the arrays, the backup graph, the shield graph in place; hashes are made right again afterwards."""


def edited(edit: Edit) -> dict[str, bytes]:
    """Files of the proven certificate after an edit, all hashes consistent: only the mathematics can object."""
    files = dict(certificate_files())
    table = tomllib.loads(files["certificate.toml"].decode())
    with np.load(io.BytesIO(files["certificate.npz"])) as source:
        arrays = {key: np.array(source[key]) for key in source.files}
    backup, shield = (onnx.load_model_from_string(files[f"{name}.onnx"]) for name in ("backup", "shield"))
    edit(table, arrays, backup, shield)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files["certificate.npz"] = buffer.getvalue()
    files["backup.onnx"], files["shield.onnx"] = backup.SerializeToString(), shield.SerializeToString()
    if "proof" in table and "arrays_sha256" in table["proof"]:
        table["proof"]["arrays_sha256"] = hashlib.sha256(files["certificate.npz"]).hexdigest()
    if "graphs" in table:
        for name in ("backup", "shield"):
            table["graphs"][f"{name}_sha256"] = hashlib.sha256(files[f"{name}.onnx"]).hexdigest()
    files["certificate.toml"] = tomli_w.dumps(table).encode()
    return files


def constant(model: Any, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace a constant of a graph."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(value.copy()).astype(value.dtype), name))
            return
    raise KeyError(name)


def scale(part: str, key: str, factor: float, index: int | None = None) -> Edit:
    """Multiply a number of the table."""

    def edit(table: dict[str, Any], arrays: Any, backup: Any, shield: Any) -> None:
        value = table[part][key]
        if isinstance(value, list):
            value[index or 0] *= factor
        else:
            table[part][key] = value * factor

    return edit


def put(part: str, key: str, value: Any) -> Edit:
    def edit(table: dict[str, Any], arrays: Any, backup: Any, shield: Any) -> None:
        table[part][key] = value

    return edit


def drop(part: str, key: str) -> Edit:
    def edit(table: dict[str, Any], arrays: Any, backup: Any, shield: Any) -> None:
        del table[part][key]

    return edit


def facet(axis: str, row: int, factor: float) -> Edit:
    """Scale a facet everywhere it stands."""

    def edit(table: Any, arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        arrays[f"{axis}_facets"][row] *= factor
        facets = arrays[f"{axis}_facets"]
        constant(shield, f"facets_{axis}", lambda old: np.ascontiguousarray(facets.T))
        constant(shield, f"size_{axis}", lambda old: np.abs(facets.T) * (1 + 1e-15))

    return edit


def array(key: str, change: Callable[[np.ndarray], None]) -> Edit:
    def edit(table: Any, arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        change(arrays[key])

    return edit


KEYS = ("position_m", "velocity_m_s", "acceleration_m_s2", "jerk_m_s3", "feedback_m_s3", "slope_m_s4")


def limit(key: str, axis: int, factor: float) -> Edit:
    """Scale a limit of all stages, in the arrays and in the table."""

    def edit(table: dict[str, Any], arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        arrays["limits"][:, KEYS.index(key), axis] *= factor
        for part, limits in (("limits", arrays["limits"].max(axis=0)), ("lasting_limits", arrays["limits"][-1])):
            table[part][key] = limits[KEYS.index(key)].tolist()

    return edit


def lasting(change: Callable[[list[int]], Any]) -> Edit:
    """Other last stages of the chains."""

    def edit(table: dict[str, Any], arrays: Any, backup: Any, shield: Any) -> None:
        table["proof"]["lasting"] = change(table["proof"]["lasting"])

    return edit


def multiplier(axis: str, seed: int) -> Edit:
    """Change the largest multiplier of a random facet that the step leaves at its edge."""

    def edit(table: Any, arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        witness = arrays[f"{axis}_facet_multipliers"]
        row = int(np.random.default_rng(seed).integers(witness.shape[0]))
        k = int(np.argmax(np.abs(witness[row])))
        witness[row, k] = -witness[row, k]

    return edit


def backup_constant(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    return lambda table, arrays, backup, shield: constant(backup, name, change)


def shield_constant(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    return lambda table, arrays, backup, shield: constant(shield, name, change)


def first_nonzero(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(value: np.ndarray) -> np.ndarray:
        value[tuple(np.argwhere(value)[0])] *= factor
        return value

    return change


def gain_everywhere(table: Any, arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
    """A gain that is another one in graph and arrays alike."""
    arrays["gain"] = arrays["gain"].copy()
    arrays["gain"][1, 1] = float(np.float32(arrays["gain"][1, 1] * 0.9))

    def change(value: np.ndarray) -> np.ndarray:
        value[5, 2] = arrays["gain"][1, 1]
        return value

    constant(backup, "weights", change)


def add_node(which: str) -> Edit:
    def edit(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
        model = backup if which == "backup" else shield
        output = model.graph.output[0].name
        node = next(node for node in model.graph.node if output in node.output)
        node.output[list(node.output).index(output)] = "before"
        model.graph.node.append(onnx.helper.make_node("Neg", ["before"], [output]))

    return edit


def swap_inputs(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
    node = backup.graph.node[9]
    node.input[0], node.input[1] = node.input[1], node.input[0]


def axis_attribute(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
    shield.graph.node[3].attribute[0].i = 2


def box_entry(instant: int, term: int, radius: int) -> Edit:
    """A coefficient of the admission box a thousandth of a percent smaller."""

    def change(value: np.ndarray) -> np.ndarray:
        assert value[instant, term, radius] > 0.0
        value[instant, term, radius] *= 1.0 - 1e-5
        return value

    return shield_constant("box", change)


def other_domain(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
    backup.graph.node[0].domain = "com.example"


def other_opset(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
    shield.opset_import[0].version = 13


EDITS: dict[str, Edit] = {
    "gain in graph and arrays": gain_everywhere,
    "node added to backup": add_node("backup"),
    "node added to shield": add_node("shield"),
    "inputs of a node swapped": swap_inputs,
    "attribute": axis_attribute,
    "domain": other_domain,
    "opset": other_opset,
    "size below facets": shield_constant("size_horizontal", lambda v: v * 0.999),
    "one above 1": shield_constant("one", lambda v: v + 1e-3),
    "axis of the maximum": shield_constant("axis_2", lambda v: v * 0),
    "gain of the shield": shield_constant("gain", first_nonzero(1.001)),
    "gravity of the shield": shield_constant("weight", lambda v: v * 1.0001),
    "rows of another state": shield_constant("row_2", lambda v: v * 0 + 1),
    "jerk in another row": shield_constant("jerk_row", lambda v: v[::-1]),
    "share of the backup's rates": shield_constant("shares", lambda v: v * (1 - 1e-9)),
    "the backup acts at once": shield_constant("shares", lambda v: v + 1e-3),
    "factor of the thrust slope": shield_constant("slower", lambda v: v + 1e-9),
    "least margin": shield_constant("least", lambda v: v - 1e-6),
    "no room is some room": shield_constant("nowhere", lambda v: v * 0 + 100.0),
    "halves of the radii": shield_constant("halves", lambda v: np.array([3, 5])),
    "plane": shield_constant("plane", lambda v: np.array([1, 2])),
    "terms of all ones": shield_constant("ones", lambda v: v * 0.99),
    "tube of the shield": shield_constant("tube", lambda v: v * 0.999),
    "tubes of the last stages": shield_constant("tube", lambda v: v[:, :, ::-1]),
    "tubes lost": shield_constant("tube", lambda v: v[:, :, :4]),
    "facets only in shield": shield_constant("facets_vertical", lambda v: v * 0.999),
    "backup not a number": backup_constant("decay", lambda v: v * np.nan),
    "array missing": lambda t, a, b, s: a.update(gain_too=a.pop("gain")),
    "array added": lambda t, a, b, s: a.update(extra=np.zeros(3)),
    "array of float32": lambda t, a, b, s: a.update(gain=a["gain"].astype(np.float32)),
    "facet not a number": array("vertical_facet_multipliers", lambda v: v.__setitem__((3, 3), np.nan)),
    "multiplier infinite": array("vertical_tube_multipliers", lambda v: v.__setitem__((3, 3, 3), np.inf)),
    "facet lost": array("horizontal_facets", lambda v: v.__setitem__((slice(40, 41)), 0.0)),
    "inverse offsets smaller": shield_constant("inverse_horizontal", lambda v: v * (1 - 1e-12)),
    "inverse offsets of another stage in one axis": shield_constant("inverse_vertical", lambda v: v[::-1]),
    "inverse offsets lost": shield_constant("inverse_vertical", lambda v: v[:4]),
    "limits of a stage above those before": array("limits", lambda v: v.__setitem__(3, 1.01 * v[2])),
    # r in the stages of fast flight has up to 7 % more than the checker finds: less is still true there, so a late stage is cut
    "bounds of a stage": array("bounds", lambda v: v.__setitem__((60, 0, 1), 0.97 * v[60, 0, 1])),
    "w of a stage": array("bounds", lambda v: v.__setitem__((7, 0, 0), 0.97 * v[7, 0, 0])),
    "bounds of the last stage": array("bounds", lambda v: v.__setitem__((-1, 1, 1), 0.97 * v[-1, 1, 1])),
    "negative bound": array("bounds", lambda v: v.__setitem__((4, 0, 0), -0.1)),
    "offsets of a stage": array("horizontal_offsets", lambda v: v.__setitem__(9, 0.98 * v[9])),
    "offset of the first stage": array("vertical_offsets", lambda v: v.__setitem__((0, 2), 1.1 * v[0, 2])),
    "offset of 0": array("vertical_offsets", lambda v: v.__setitem__((5, 50), 0.0)),
    "last offsets": array("vertical_offsets", lambda v: v.__setitem__(-1, 1.1)),
    "one stage less": put("proof", "stages", 91),
    "fast chain goes on into the calm one": lasting(lambda ends: ends[1:]),
    "fast chain ends too early": lasting(lambda ends: [ends[0] - 40, ends[1]]),
    "no stage lasts": lasting(lambda ends: []),
    "a stage lasts that is none": lasting(lambda ends: [*ends, 1000]),
    "lasting stages in words": lasting(lambda ends: "the last"),
    "a lasting stage is true": lasting(lambda ends: [True, *ends]),
    "lasting stages out of order": lasting(lambda ends: [ends[0], 3, ends[1]]),
    "lasting stages backwards": lasting(lambda ends: ends[::-1]),
    "a lasting stage is negative": lasting(lambda ends: [-1, *ends]),
    "lasting limits": scale("lasting_limits", "jerk_m_s3", 0.9),
    "tube of a stage": array("horizontal_tube", lambda v: v.__setitem__((20, 3), 0.99 * v[20, 3])),
    "window longer than a step": put("assumptions", "delay_max_s", 0.07),
    "tube 1 % in table": scale("tube", "position_m", 0.99),
    "unknown table": lambda t, a, b, s: t.update(extra={"x": 1}),
    "missed ticks": put("assumptions", "missed_ticks", 2),
    "half a missed tick": put("assumptions", "missed_ticks", 0.5),
    "many missed ticks": put("assumptions", "missed_ticks", 5),
    "gain only in the table": put("backup", "gain", [[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]]),
    "velocity at once": scale("set", "at_once_velocity_m_s", 1.5),
    "rise at once": scale("set", "at_once_velocity_m_s", 1.5, 1),
    "tilt at once": scale("set", "at_once_tilt_deg", 1.02),
    "tilt at once beyond the horizon": put("set", "at_once_tilt_deg", 200.0),
    "anchor at once": scale("set", "at_once_anchor_m", 0.5),
    "free fall": array("limits", lambda v: v.__setitem__((slice(None), 2, 1), 8.9)),
    "negative": put("assumptions", "rate_residual_rad_s", -0.1),
    "not a number": put("assumptions", "attitude_error_rad", float("nan")),
    "text": put("assumptions", "yaw_rate_rad_s", "0.3"),
    "substeps": put("proof", "substeps", 9),
    "stages": put("proof", "stages", 1e9),
    "step doubled": scale("proof", "step_s", 2.0),
    "rounding": scale("proof", "rounding_m_s3", 0.1),
    "largest facet": put("proof", "largest_facet", [0.999, 0.999]),
    "speed": scale("set", "speed_m_s", 1.02),
    "tilt": scale("set", "tilt_deg", 1.02),
    "thrust range": scale("tube", "thrust_m_s2", 0.9, 1),
    "largest rates": scale("tube", "largest_rates_rad_s", 0.9),
    "tilt cosine": scale("tube", "smallest_tilt_cosine", 1.06),
    "tick": scale("assumptions", "tick_s", 1.2),
    "lag in assumptions only": scale("assumptions", "rate_lag_s", 1.01),
    "rate limit of the table": scale("backup", "rate_limit_rad_s", 0.5),
    "rate gain": scale("backup", "rate_gain", 1.01),
    "thrust gain": scale("backup", "thrust_gain", 1.01),
    "thrust lag": scale("backup", "thrust_lag_s", 1.01),
}
for _name in ("weights", "acceleration_gain", "offset", "select_up", "swap", "rate_inverse", "rate_shift", "from_nu",
              "from_slope", "thrust_inverse", "decay", "keep", "low", "high"):  # fmt: skip
    EDITS[f"backup {_name} 0.1 %"] = backup_constant(_name, first_nonzero(1.001))
for _axis in ("horizontal", "vertical"):
    for _row in (0, 3, 17, 60, 101):
        EDITS[f"{_axis} facet {_row} loosened"] = facet(_axis, _row, 0.97)
    EDITS[f"{_axis} facet 30 larger"] = facet(_axis, 30, 1.001)
    EDITS[f"{_axis} tube 1 %"] = array(f"{_axis}_tube", lambda v: v.__imul__(0.99))
    for _seed in range(4):
        EDITS[f"{_axis} multiplier {_seed}"] = multiplier(_axis, _seed)
for _index in (0, 1):
    EDITS[f"W doubled {_index}"] = scale("assumptions", "acceleration_m_s2", 2.0, _index)
    EDITS[f"w smaller {_index}"] = scale("disturbance", "acceleration_m_s2", 0.98, _index)
    EDITS[f"w of the stages larger {_index}"] = array("bounds", lambda v, i=_index: v[:, i, 0].__imul__(1.05))
    EDITS[f"r of the stages larger {_index}"] = array("bounds", lambda v, i=_index: v[:, i, 1].__imul__(1.05))
    EDITS[f"r smaller {_index}"] = scale("disturbance", "jerk_m_s3", 0.9, _index)
    for _key in KEYS:
        EDITS[f"limit {_key} {_index} reduced"] = limit(_key, _index, 0.9)
    EDITS[f"limit acceleration {_index} enlarged"] = limit("acceleration_m_s2", _index, 1.2)
    EDITS[f"estimate {_index}"] = scale("assumptions", "disturbance_estimate_m_s2", 4.0, _index)
for _key in ("position_error_m", "velocity_error_m_s", "attitude_error_rad", "rate_residual_rad_s", "delay_max_s"):
    EDITS[f"{_key} larger"] = scale("assumptions", _key, 8.0)
    EDITS[f"{_key} missing"] = drop("assumptions", _key)


for _instant, _term, _radius in (
    (0, 0, 0), (0, 0, 5), (0, 1, 2), (0, 1, 11), (0, 2, 3), (1, 0, 0), (1, 1, 1), (1, 2, 3), (1, 3, 2), (1, 4, 4), (1, 5, 7), (1, 6, 2),
    (1, 7, 7), (1, 8, 3), (1, 9, 2), (1, 10, 6), (2, 0, 3), (2, 0, 5), (2, 1, 10), (2, 3, 7), (2, 4, 2), (2, 8, 7), (2, 10, 5),
    (1, 9, 10), (2, 4, 11),
):  # fmt: skip
    EDITS[f"box {_instant} {_term} {_radius}"] = box_entry(_instant, _term, _radius)


def initializer(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def field(change: Callable[[Any], object]) -> Edit:
    """Set what no graph of a certificate has, in the backup graph."""
    return lambda table, arrays, backup, shield: change(backup)


def joined_names(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
    """One input whose name reads like two."""
    node = shield.graph.node[0]
    name = ", ".join(node.input)
    del node.input[:]
    node.input.append(name)


def name_like_an_attribute(table: Any, arrays: Any, backup: Any, shield: Any) -> None:
    node = backup.graph.node[1]
    node.output[0] = "up perm=[1, 0]"
    del node.attribute[:]


EDITS |= {
    "one name for two inputs": joined_names,
    "a name like an attribute": name_like_an_attribute,
    "shapes of inner values": field(lambda m: m.graph.value_info.append(onnx.helper.make_tensor_value_info("nu", 1, [7, 7]))),
    "documented otherwise": field(lambda m: setattr(m, "doc_string", "safe in any wind")),
    "another IR": field(lambda m: setattr(m, "ir_version", 3)),
    "named node": field(lambda m: setattr(m.graph.node[0], "name", "x")),
    "typed data beside raw bytes": field(lambda m: initializer(m, "decay").float_data.append(5.0)),
    "raw bytes empty": field(lambda m: setattr(initializer(m, "decay"), "raw_data", b"")),
    "raw bytes too short": field(lambda m: setattr(initializer(m, "decay"), "raw_data", b"00")),
    "part of a tensor": field(lambda m: setattr(initializer(m, "decay").segment, "end", 1)),
    "outside the file, unnamed": field(lambda m: setattr(initializer(m, "decay"), "data_location", 1)),
    "unknown element type": field(lambda m: setattr(initializer(m, "decay"), "data_type", 99)),
    "negative shape": field(lambda m: initializer(m, "decay").dims.__setitem__(0, -1)),
    "reference attribute": field(lambda m: setattr(m.graph.node[1].attribute[0], "ref_attr_name", "perm")),
    "attribute of two kinds": field(lambda m: setattr(m.graph.node[1].attribute[0], "i", 3)),
    "attribute of no kind": field(lambda m: setattr(m.graph.node[1].attribute[0], "type", 0)),
    "unknown port type": field(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)),
    "port with a meaning": field(lambda m: setattr(m.graph.input[0].type, "denotation", "IMAGE")),
    "constant twice": field(lambda m: m.graph.initializer.append(initializer(m, "decay"))),
    "default for an input": field(
        lambda m: m.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 9), np.float32), "state"))
    ),
    "not zero but the smallest number": backup_constant("weights", lambda v: np.where(v == 0, np.float32(1e-45), v)),
    "constant of no size": backup_constant("decay", lambda v: v[:0]),
    "columns of one stage only": shield_constant("inverse_horizontal", lambda v: v[np.zeros(len(v), int)]),
    "tilt beyond the horizon": put("set", "tilt_deg", 216.0),
    "speed in the seventh digit": scale("set", "speed_m_s", 1.0 + 5e-7),
    "statement": lambda t, a, b, s: t.update(statement="Safe in any wind, for ever."),
    "claim that nothing checks": put("set", "vertical_speed_m_s", 30.0),
    "assumption that nothing reads": put("assumptions", "wind_m_s", 30.0),
    "graph that is not certified": put("graphs", "planner_sha256", "0" * 64),
    "sources missing": drop("assumptions", "sources"),
    "anchor of the table": put("set", "anchor", [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]),
    "number of 400 digits": put("assumptions", "position_error_m", 10**400),
    "stages of 400 digits": put("proof", "stages", 10**400),
    "half a stage": put("proof", "stages", 41.5),
    "part of a facet": put("proof", "facets", [0.5, 0.5]),
    "a table that is none": lambda t, a, b, s: t.update(backup=3),
    "stages backwards": lambda t, a, b, s: a.update({k: v[::-1].copy() for k, v in a.items() if len(v) == len(a["limits"])}),
    "period next to nothing": put("assumptions", "tick_s", 5e-324),
}


def test_errors_of_the_feedback_are_judged_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ripple in w needs errors below half the feedback wherever w is bounded, not over the widest limits alone."""
    whole = check_arithmetic._cell

    def last_is_bad(claim: Any, limits: np.ndarray, *cell: Any) -> Any:
        found = whole(claim, limits, *cell)
        return found | {"share_of_errors": found["w0"] * 0 + 0.6} if (limits == claim.limits[-1]).all() else found

    monkeypatch.setattr(check_arithmetic, "_cell", last_is_bad)
    with pytest.raises(CertificateError, match="errors of the sampled feedback, as a share of it, of stage"):
        recheck_files(certificate_files())


SHIPPED = Path(__file__).parents[2] / "bundles" / "demo"


def manifest_and_table() -> tuple[manifest_module.Manifest, dict[str, Any]]:
    content = (SHIPPED / "manifest.toml").read_bytes()
    return manifest_module.parse(content), tomllib.loads((SHIPPED / "certificate.toml").read_text())


def test_the_shipped_manifest_says_what_its_certificate_says() -> None:
    check_manifest(*manifest_and_table())


@pytest.mark.parametrize("name", ["tick_hz", "assumptions", "certified_limits", *PhysicsEntry.__slots__])
def test_a_manifest_that_says_more_than_the_certificate_is_refused(name: str) -> None:
    manifest, table = manifest_and_table()
    physics = manifest.physics
    if name == "tick_hz":
        other = replace(manifest, tick_hz=50.0)
    elif name in PhysicsEntry.__slots__:
        value = getattr(physics, name)
        changed = tuple(1.001 * x for x in value) if isinstance(value, tuple) else 1.001 * value
        other = replace(manifest, physics=replace(physics, **{name: changed}))
    else:
        carried = dict(getattr(manifest, name))
        key = "velocity_error_m_s" if name == "assumptions" else "velocity_m_s"
        other = replace(manifest, **{name: carried | {key: 9.0}})
    with pytest.raises(CertificateError, match=r"manifest\.toml"):
        check_manifest(other, table)


def test_a_proven_certificate_passes() -> None:
    lines = recheck_files(certificate_files())
    assert len(lines) == 5
    assert any("of 1" in line for line in lines)


def test_the_test_bench_itself_changes_nothing() -> None:
    recheck_files(edited(lambda table, arrays, backup, shield: None))


@pytest.mark.parametrize("name", sorted(EDITS))
def test_a_changed_certificate_is_refused(name: str) -> None:
    with pytest.raises(CertificateError) as refused:
        recheck_files(edited(EDITS[name]))
    assert str(refused.value)


@pytest.mark.parametrize("name", ["certificate.toml", "certificate.npz", "backup.onnx", "shield.onnx"])
@pytest.mark.parametrize("how", ["missing", "flipped", "cut", "empty"])
def test_files_that_are_not_the_named_ones_are_refused(name: str, how: str) -> None:
    files = dict(certificate_files())
    content = files.pop(name)
    if how == "flipped":
        place = int(np.random.default_rng(len(content)).integers(len(content) // 2))
        files[name] = content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :]
    elif how != "missing":
        files[name] = content[: len(content) // 2] if how == "cut" else b""
    with pytest.raises(CertificateError):
        recheck_files(files)


def test_graphs_that_are_not_onnx_are_refused() -> None:
    files: Mapping[str, bytes] = dict(certificate_files())
    broken = dict(files) | {"backup.onnx": b"\xff" * 100}
    text = broken["certificate.toml"].decode()
    for data, new in ((files["backup.onnx"], broken["backup.onnx"]),):
        text = text.replace(hashlib.sha256(data).hexdigest(), hashlib.sha256(new).hexdigest())
    with pytest.raises(CertificateError, match="not an ONNX file"):
        recheck_files(broken | {"certificate.toml": text.encode()})
