"""Finished boxes are reused only for exactly the same analysis."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.closed_loops import closed_loop, proper

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.closed_loop import Settings
from tubepilot.train.reachability.finished import digest, load, save
from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.specification import Specification

MATRIX = np.array([[0.1, 0.2], [0.3, 0.4]])


def made(
    matrix: np.ndarray = MATRIX, weight: float = 1.0, activation: str = "relu", level: float = 9.0, end: int = 3, **more: object
) -> Specification:
    inner = jax.jit(lambda x: matrix @ x)
    network = Network((Layer(np.full((1, 2), weight), np.zeros(1), activation),))
    window = proper("stay", (0, Fraction(end)), 0.1, lambda x: x[:1] - level, 1)
    return closed_loop(
        lambda x, u, w, p: inner(x) + u[0], [(0, 1)] * 2, inputs=1, network=network, steps=3, properties=(window,), **more
    )


@pytest.mark.parametrize(
    "other",
    [
        made(np.nextafter(MATRIX, 1)),  # inside a nested jit, where the text of the jaxpr does not show it
        made(weight=np.nextafter(1.0, 2)),
        made(activation="abs"),
        made(level=8.0),
        made(end=2),
        made(missed=1),
        made(delay_s=(0.0, 0.05)),
        made(period_s=0.2),
    ],
)
def test_any_change_is_another_analysis(other: Specification, tmp_path: Path) -> None:
    assert digest(made()) == digest(made())
    assert digest(other) != digest(made())
    save(tmp_path / "boxes.json", made(), Settings(), [made().initial_box], [], None)
    assert len(load(tmp_path / "boxes.json", made())[1]) == 1
    with pytest.raises(InputError, match="another analysis"):
        load(tmp_path / "boxes.json", other)
