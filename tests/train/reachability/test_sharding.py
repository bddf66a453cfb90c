"""Boxes spread over eight devices give the tubes that one device gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

DEVICES = 8
PROGRAM = """
import json, sys
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
import jax
import numpy as np
from helpers.closed_loops import closed_loop, proper
import jax.numpy as jnp
from tubepilot.train.reachability.closed_loop import Settings
from tubepilot.train.reachability.reach import Limits, reach
from tubepilot.train.reachability.specification import Hints

spec = replace(closed_loop(
    lambda x, u, w, p: jnp.stack([x[1], -jnp.sin(x[0]) - 0.5 * x[1] + u[0]]),
    [(-0.4, 0.4), (-0.4, 0.4)],
    inputs=1,
    control=lambda y, x: -x[:1] * x[:1],
    steps=4,
    properties=(proper("stay", (0, 4), 0.1, lambda x: jnp.abs(x) - 2.0, 2),),
), hints=Hints(splits=(4, 4)))
result = reach(spec, Settings(order=3, substeps=1, degree=1, window=2), Limits(batch=8, attack=False))
print(json.dumps({"devices": len(jax.devices()), "verdict": result.verdict.value, "tubes": result.tubes, "boxes": len(result.boxes),
                  "lo": result.lo.tolist(), "hi": result.hi.tolist()}))
"""


def outcome(devices: int) -> dict[str, object]:
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    tests = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", PROGRAM, tests], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def test_eight_devices_and_one_agree() -> None:
    several, one = outcome(DEVICES), outcome(1)
    assert (several["devices"], one["devices"]) == (DEVICES, 1)
    assert several["verdict"] == one["verdict"] == "verified"
    assert (several["tubes"], several["boxes"]) == (one["tubes"], one["boxes"]) == (16, 16)
    for name in ("lo", "hi"):
        np.testing.assert_allclose(several[name], one[name], rtol=1e-9, atol=1e-12)
