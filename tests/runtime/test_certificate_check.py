"""The independent check of a certificate: a proven one passes, and no change of any byte that matters does."""

from __future__ import annotations

import copy
import hashlib
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from helpers.proven import certificate_files
from nacl.signing import SigningKey

from tubepilot.firmware_bridge.errors import CertificateError
from tubepilot.runtime import check_arithmetic, cli, keys
from tubepilot.runtime import manifest as manifest_module
from tubepilot.runtime.certificate_check import recheck_files
from tubepilot.runtime.check_claims import check_manifest
from tubepilot.runtime.manifest import PhysicsEntry
from tubepilot.runtime.on_board import load_on_board
from tubepilot.runtime.slot_check import examine
from tubepilot.train.invariance import tampering
from tubepilot.train.invariance.tampering import Edit, array, backup_constant, constant, drop, lasting, put, scale, shield_constant

pytest.importorskip("flint", reason="python-flint is not installed: the check cannot run")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: the check cannot read graphs")

def edited(edit: Edit) -> dict[str, bytes]:
    """Files of the proven certificate after an edit, all hashes consistent: only the mathematics can object."""
    return tampering.edited(certificate_files(), edit)


def facet(axis: str, row: int, factor: float) -> Edit:
    """Scale a facet everywhere it stands."""

    def edit(table: Any, arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        arrays[f"{axis}_facets"][row] *= factor
        facets = arrays[f"{axis}_facets"]
        constant(shield, f"facets_{axis}", lambda old: np.ascontiguousarray(facets.T))
        constant(shield, f"size_{axis}", lambda old: np.abs(facets.T) * (1 + 1e-15))

    return edit


KEYS = ("position_m", "velocity_m_s", "acceleration_m_s2", "jerk_m_s3", "feedback_m_s3", "slope_m_s4")


def limit(key: str, axis: int, factor: float) -> Edit:
    """Scale a limit of all stages, in the arrays and in the table."""

    def edit(table: dict[str, Any], arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        arrays["limits"][:, KEYS.index(key), axis] *= factor
        for part, limits in (("limits", arrays["limits"].max(axis=0)), ("lasting_limits", arrays["limits"][-1])):
            table[part][key] = limits[KEYS.index(key)].tolist()

    return edit


def multiplier(axis: str, seed: int) -> Edit:
    """Change the largest multiplier of a random facet that the step leaves at its edge."""

    def edit(table: Any, arrays: dict[str, np.ndarray], backup: Any, shield: Any) -> None:
        witness = arrays[f"{axis}_facet_multipliers"]
        row = int(np.random.default_rng(seed).integers(witness.shape[0]))
        k = int(np.argmax(np.abs(witness[row])))
        witness[row, k] = -witness[row, k]

    return edit


def first_nonzero(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(value: np.ndarray) -> np.ndarray:
        value[tuple(np.argwhere(value)[0])] *= factor
        return value

    return change


def box_entry(instant: int, term: int, radius: int) -> Edit:
    """A coefficient of the admission box a thousandth of a percent smaller."""

    def change(value: np.ndarray) -> np.ndarray:
        assert value[instant, term, radius] > 0.0
        value[instant, term, radius] *= 1.0 - 1e-5
        return value

    return shield_constant("box", change)


EDITS: dict[str, Edit] = {
    **tampering.WORDS, **tampering.ARRAYS, **tampering.GRAPHS,
    "gain of the shield": shield_constant("gain", first_nonzero(1.001)),
    "halves of the radii": shield_constant("halves", lambda v: np.array([3, 5])),
    "singles": shield_constant("singles", lambda v: np.array([1, 2, 0])),
    "size of a port": lambda t, a, b, s: setattr(s.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 4),
    "pairs": shield_constant("pairs", lambda v: np.array([1, 3])),
    "twice": shield_constant("twice", lambda v: np.array([2, 0])),
    "stages of the other axis": shield_constant("stages", lambda v: v[::-1]),
    "limits of a stage above those before": array("limits", lambda v: v.__setitem__(3, 1.01 * v[2])),
    # r in the stages of fast flight has up to 7 % more than the checker finds: less is still true there, so a late stage is cut
    "bounds of a stage": array("bounds", lambda v: v.__setitem__((60, 0, 1), 0.97 * v[60, 0, 1])),
    "w of a stage": array("bounds", lambda v: v.__setitem__((7, 0, 0), 0.97 * v[7, 0, 0])),
    "bounds of the last stage": array("bounds", lambda v: v.__setitem__((-1, 1, 1), 0.97 * v[-1, 1, 1])),
    "offsets of a stage": array("horizontal_offsets", lambda v: v.__setitem__(9, 0.98 * v[9])),
    "facet of a stage lost": array("horizontal_facets", lambda v: v.__setitem__((slice(40, 41)), 0.0)),
    "tube of an early stage": array("horizontal_tube", lambda v: v.__setitem__((20, 3), 0.99 * v[20, 3])),
    "fast chain goes on into the calm one": lasting(lambda ends: ends[1:]),
    "fast chain ends too early": lasting(lambda ends: [ends[0] - 40, ends[1]]),
    "lasting stages out of order": lasting(lambda ends: [ends[0], 3, ends[1]]),
    "lasting stages backwards": lasting(lambda ends: ends[::-1]),
    "delay of the vehicle missing": drop("assumptions", "command_delay_s"),
    "drag of one axis": scale("assumptions", "drags_1_s", 1.01, 1),
    "vertical drag of another vehicle": scale("assumptions", "drags_1_s", 1.01, 2),
    "missed ticks": put("assumptions", "missed_ticks", 2),
    "anchor at once": scale("set", "at_once_anchor_m", 0.5),
    "substeps of a whole step": put("proof", "substeps", 1),
    "tick": scale("assumptions", "tick_s", 1.2),
    "rate set-points beyond what the graph lets through": put("backup", "rate_limit_rad_s", [0.7, 6.0, 3.0]),
    "thrust set-points beyond what the graph lets through": put("backup", "thrust_max_m_s2", 11.0),
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
    (1, 9, 10), (2, 4, 11), (0, 2, 7), (2, 9, 10), (2, 8, 11),
):  # fmt: skip
    EDITS[f"box {_instant} {_term} {_radius}"] = box_entry(_instant, _term, _radius)


def test_errors_of_the_feedback_are_judged_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ripple in w needs errors below half the feedback wherever w is bounded, not over the widest limits alone."""
    whole = check_arithmetic._cell

    def last_is_bad(claim: Any, limits: np.ndarray, *cell: Any) -> Any:
        found = whole(claim, limits, *cell)
        return found | {"share_of_errors": found["w0"] * 0 + 0.6} if (limits == claim.arrays["limits"][-1]).all() else found

    monkeypatch.setattr(check_arithmetic, "_cell", last_is_bad)
    with pytest.raises(CertificateError, match="errors of the sampled feedback, as a share of it, of stage"):
        recheck_files(certificate_files())


SHIPPED = Path(__file__).parents[2] / "bundles" / "demo"


def manifest_and_table() -> tuple[manifest_module.Manifest, dict[str, Any]]:
    content = (SHIPPED / "manifest.toml").read_bytes()
    return manifest_module.parse(content), tomllib.loads((SHIPPED / "certificate.toml").read_text())


def test_the_shipped_manifest_says_what_its_certificate_says() -> None:
    check_manifest(*manifest_and_table())


@pytest.mark.parametrize("name", sorted(tampering.MANIFEST))
def test_a_manifest_that_says_more_than_the_certificate_is_refused(name: str) -> None:
    values = tomllib.loads((SHIPPED / "manifest.toml").read_text())
    before = copy.deepcopy(values)
    tampering.MANIFEST[name](values)
    assert values != before
    with pytest.raises(CertificateError, match=r"manifest\.toml"):
        check_manifest(manifest_module.parse(tomli_w.dumps(values).encode()), manifest_and_table()[1])


def test_every_number_that_the_tick_runs_with_is_bound_to_the_certificate() -> None:
    """What no entry of the list changes is for the planner, for people, or stands for files, whose hashes are bound."""
    free = {"format", "version", "airframe", "checkpoint_sha256", "dt_plan_s", "planner", "action_scale", "limits", "observation",
            "cost", "residual_bounds", "parity", "file"}  # fmt: skip
    values = tomllib.loads((SHIPPED / "manifest.toml").read_text())
    changed = set()
    for edit in tampering.MANIFEST.values():
        other = copy.deepcopy(values)
        edit(other)
        for key in values:
            own, new = parts(values[key]), parts(other[key])
            changed |= {(key, part) for part in own if own[part] != new.get(part)}
    assert {key for key, _ in changed} == set(values) - free
    assert {part for key, part in changed if key == "physics"} == set(PhysicsEntry.__slots__)


@pytest.mark.parametrize("key", ["rate_gain", "rate_offset_rad_s", "rate_lag_s", "drag_1_s"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_of_the_physics_is_bound(key: str, axis: int) -> None:
    manifest, table = manifest_and_table()
    values = list(getattr(manifest.physics, key))
    values[axis] *= 1.0 + 1e-6
    with pytest.raises(CertificateError, match=f"{key} of {('xyz' if key == 'drag_1_s' else ('roll', 'pitch', 'yaw'))[axis]} is"):
        check_manifest(replace(manifest, physics=replace(manifest.physics, **{key: tuple(values)})), table)


def parts(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"": value}


def test_a_manifest_changed_and_signed_again_is_refused_on_board_and_by_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(SHIPPED, bundle)
    key = SigningKey(bytes(range(32)))
    keys.trust(key.verify_key, tmp_path / "keys")
    values = tomllib.loads((bundle / "manifest.toml").read_text())
    for delay_s, refused in ((values["command_delay_s"], False), (0.05, True)):
        content = tomli_w.dumps(values | {"command_delay_s": delay_s}).encode()
        (bundle / "manifest.toml").write_bytes(content)
        (bundle / "manifest.sig").write_bytes(key.sign(content).signature)
        status = cli.main(["verify", str(bundle), "--keys", str(tmp_path / "keys"), "--no-certificate"])
        assert status == int(refused)
        if refused:
            assert "command_delay_s is 0.05, the certificate holds for 0.01" in capsys.readouterr().err
            for load in (load_on_board, examine):
                with pytest.raises(CertificateError, match="command_delay_s"):
                    load(bundle, tmp_path / "keys")


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
