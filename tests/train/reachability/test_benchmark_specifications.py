"""The specifications of the benchmarks against what is published of them, and against simulations."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from scipy.integrate import solve_ivp

from tubepilot.train.reachability.specification import Specification
from tubepilot.train.reachability.specification_file import load_specification

ROOT = Path(__file__).resolve().parents[3]
BENCHMARKS = sorted((ROOT / "benchmarks" / "specs").glob("*.toml"))

# Ranges and margins published with the benchmarks or measured independently, from samples of the initial box: the end states,
# or what else is named. Corners reach a little further than random samples, hence the tolerances.
END_RANGES = {
    "TORA_tanh": {"x1": (0.0680, 0.0929), "x2": (-0.8033, -0.7761)},
    "TORA_sigmoid": {"x1": (0.0573, 0.0820), "x2": (-0.7657, -0.7398)},
    "TORA_sigmoid11": {"x1": (0.1347, 0.1604), "x2": (-0.8762, -0.8507)},
    "Unicycle": {"x1": (0.487, 0.490), "x2": (-0.1335, -0.1317), "x3": (-0.0244, -0.0234), "x4": (-0.2548, -0.2536)},
    "AttitudeControl": {"x1": (0.1661, 0.1693), "x2": (-0.2759, -0.2716), "x4": (-0.7404, -0.7136), "x5": (0.5093, 0.5210)},
    "QUAD": {"x3": (0.98614, 0.99506)},
    "QUAD_scale": {"x3": (0.98614, 0.99506)},
    "NAV_standard": {"x1": (-0.072, -0.032), "x2": (0.092, 0.339)},
    "NAV_robust": {"x1": (0.110, 0.197), "x2": (-0.062, -0.049)},
}
ALL_RANGES = {
    "DoublePendulum_less": {"x1": (1.0, 1.882), "x2": (-0.079, 1.356), "x3": (-0.628, 1.618), "x4": (-1.484, 1.3)},
    "DoublePendulum_more": {"x3": (-1.698, None)},
    "TORA_remain": {"x1": (-0.974, None), "x2": (-1.002, None), "x3": (-1.126, None), "x4": (None, 1.495)},
}
GREATEST_VALUES = {"ACC": -23.71, "Docking": -0.00736, "SinglePendulum": 0.9890 - 1.0}


def simulate(spec: Specification, starts: npt.NDArray[np.float64], per_period: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Times (K,) and states (K, batch, n) of the loop without disturbance, by SciPy and a zero-order hold."""
    nothing, nominal = jnp.zeros(len(spec.disturbances)), jnp.asarray(spec.parameter_box.mean(axis=1))
    plant = jax.jit(jax.vmap(lambda x, u: spec.dynamics(x, u, nothing, nominal)))
    control = jax.jit(jax.vmap(spec.control))
    states, times = [starts], [0.0]
    for k in range(spec.steps):
        x = states[-1]
        u = control(x)
        solution = solve_ivp(
            lambda _, z, u=u, x=x: np.asarray(plant(z.reshape(x.shape), u)).ravel(),
            (0.0, spec.period_s),
            x.ravel(),
            rtol=1e-6,
            atol=1e-9,
            t_eval=np.linspace(0.0, spec.period_s, per_period + 1)[1:],
        )
        states += [solution.y[:, i].reshape(x.shape) for i in range(per_period)]
        times += [k * spec.period_s + t for t in solution.t]
    return np.array(times), np.array(states)


def corners(spec: Specification) -> npt.NDArray[np.float64]:
    """The centre and all corners of the initial box."""
    centre = spec.initial_box.mean(axis=1)
    wide = np.flatnonzero(spec.initial_box[:, 0] < spec.initial_box[:, 1])
    points = [centre]
    for ends in itertools.product((0, 1), repeat=len(wide)):
        points.append(centre.copy())
        points[-1][wide] = spec.initial_box[wide, ends]
    return np.array(points)


def check_range(found: np.ndarray, expected: tuple[float | None, float | None]) -> None:
    tolerance = 6e-4 + 0.15 * float(found.max() - found.min())
    for value, wanted in zip((found.min(), found.max()), expected, strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmark_simulates_as_published(archcomp: Path, path: Path) -> None:
    spec = load_specification(path, archcomp)
    assert spec.name == path.stem
    times, states = simulate(spec, corners(spec))
    place = {name: i for i, name in enumerate(spec.states)}
    for name, expected in END_RANGES.get(spec.name, {}).items():
        check_range(states[-1, :, place[name]], expected)
    for name, expected in ALL_RANGES.get(spec.name, {}).items():
        check_range(states[:, :, place[name]], expected)
    violated = False
    for prop in spec.properties:
        window = (times >= prop.window_s[0] - 1e-9) & (times <= prop.window_s[1] + 1e-9)
        values = np.asarray(jax.vmap(jax.vmap(prop.conditions))(states[window]))
        if spec.name == "Docking":  # the published figure is of speed minus limit, the specification compares squares
            squares = values
            values = (np.hypot(*states[window][..., 2:].T) - 0.2 - 2 * 0.001027 * np.hypot(*states[window][..., :2].T)).T[..., None]
            assert ((values > 0) == (squares > 0)).all()
        if spec.name in GREATEST_VALUES:
            assert values.max() == pytest.approx(GREATEST_VALUES[spec.name], abs=1e-3 if spec.name != "ACC" else 0.1)
        worst = values.max(axis=2)
        violated |= bool({"stay": worst.max(0).max() > 0, "reach": worst.min(0).max() > 0, "avoid": worst.min() <= 0}[prop.kind])
    assert violated == (spec.name in ("Airplane", "DoublePendulum_more"))
    if spec.name == "Airplane":  # the last corner has every wide state at its upper end
        assert states[:, -1, place["py"]].max() == pytest.approx(1.906, abs=1e-3)
    if spec.name == "CartPole":
        late = np.abs(states[times >= 8.0 - 1e-9]).max(axis=(0, 1))
        assert late[0] == pytest.approx(1.06e-4, rel=0.01)
        assert late[2:].max() < 2e-8


def test_every_benchmark_has_a_specification() -> None:
    assert {path.stem for path in BENCHMARKS} >= {
        *("SinglePendulum", "TORA_tanh", "TORA_sigmoid", "TORA_sigmoid11", "TORA_remain", "Unicycle", "ACC", "AttitudeControl"),
        *("NAV_robust", "NAV_standard", "QUAD", "QUAD_scale", "DoublePendulum_less", "DoublePendulum_more", "Airplane"),
        *("CartPole", "Docking"),
    }


def test_violated_pendulum_is_seen_as_such(archcomp: Path, tmp_path: Path) -> None:
    """A start above the limit must not pass; a public configuration with an empty unsafe set once called it verified."""
    text = (ROOT / "benchmarks/specs/SinglePendulum.toml").read_text().replace("x1 = [1.0, 1.175]", "x1 = [1.3, 1.4]")
    path = tmp_path / "pendulum.toml"
    path.write_text(text, encoding="utf-8")
    spec = load_specification(path, networks=archcomp)
    times, states = simulate(spec, corners(spec))
    window = times >= 0.5 - 1e-9
    assert np.asarray(jax.vmap(jax.vmap(spec.properties[0].conditions))(states[window])).max() > 0.0
