"""Training spread over eight devices gives what one device gives, and is really spread."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tubepilot.train.devices import REPEATABLE, ask_for_repeatable_sums, layout, place_batch

DEVICES = 8
PROGRAM = """
import sys
import jax
import jax.numpy as jnp
import numpy as np
from pathlib import Path
from tubepilot.train import stages
from tubepilot.train.devices import layout
from tubepilot.train.dynamics import WorldModel, Physics
from tubepilot.train.flight import load_flight
from tubepilot.train.policy import PolicySettings, default_task, train_policy
from tubepilot.train.residual import ResidualSettings, train_residual, zero_residual

spread = []
place = stages.place_batch
def watched(tree, where):
    placed = place(tree, where)
    for leaf in jax.tree.leaves(placed):
        spread.append((len({s.device for s in leaf.addressable_shards}), max(s.data.size for s in leaf.addressable_shards) / leaf.size))
    return placed
stages.place_batch = watched

folder = Path(sys.argv[1])
known = (0.94, 0.06, [1.05, 0.97, 1.1], [0.05, -0.08, 0.02], [0.045, 0.05, 0.08], [0.3, 0.25, 0.15])
physics = Physics(*(jnp.asarray(v) for v in known))
members = ResidualSettings(members=2, width=4, window=3, batch=16, iterations=int(sys.argv[2]))
residual = train_residual([load_flight(folder / "f.npz")], [19.0], physics, members, 1)
choices = PolicySettings(width=8, steps=4, batch=16, iterations=int(sys.argv[2]))
task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
policy = train_policy(WorldModel(physics, zero_residual()), task, 0.04, choices, 1)
leaves = [np.asarray(v) for v in jax.tree.leaves((residual, policy))]
np.savez(folder / f"{jax.device_count()}.npz", *leaves, spread=np.array(spread), single=layout(12) is None)
"""
ITERATIONS = 4


def outcome(folder: Path, devices: int) -> dict[str, np.ndarray]:
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), str(ITERATIONS)], check=True, env=environment)
    return dict(np.load(folder / f"{devices}.npz"))


@pytest.mark.slow
def test_eight_devices_and_one_train_the_same(tmp_path: Path, synthetic_flight) -> None:
    from tubepilot.train.flight import save_flight

    save_flight(tmp_path / "f.npz", synthetic_flight(0, 300, name="f"))
    several, one = outcome(tmp_path, DEVICES), outcome(tmp_path, 1)
    assert (several["spread"] == [DEVICES, 1 / DEVICES]).all()
    assert (one["spread"] == 1).all()
    assert len(one["spread"]) == len(several["spread"]) > 2 * ITERATIONS
    assert several["single"]  # 12 rollouts are not divided by 8
    worst = 0.0
    for name in one.keys() - {"spread", "single"}:
        worst = max(worst, float(np.abs(several[name] - one[name]).max()))
    # Sums in another order change a gradient by some 1e-6 of it and a parameter by that share of a step of 5e-3, besides
    # the rounding of parameters of size 1 (6e-8 each step). A lost share of a batch would change parameters by 1e-3.
    assert worst < 1e-5


def test_one_device_places_nothing() -> None:
    assert layout(16) is None
    batch = np.ones(16)
    assert place_batch(batch, layout(16)) is batch


def test_flags_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/nowhere")
    ask_for_repeatable_sums()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=/nowhere {REPEATABLE}"
    monkeypatch.setenv("XLA_FLAGS", REPEATABLE.replace("true", "false"))
    ask_for_repeatable_sums()
    assert os.environ["XLA_FLAGS"].endswith("=false")
