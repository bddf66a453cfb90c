"""The rotor-level fit goes on from the models that a killed run had fitted, to the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train import rotor_learn
from tubepilot.train.flight import ROTORS, Flight, make_flight
from tubepilot.train.monitor import Interrupt
from tubepilot.train.rotor_learn import learn_rotor_model
from tubepilot.train.rotor_model import RotorSettings

SMALL = RotorSettings(history=3, members=2, every=6, passes=1)


def wobble(seed: int) -> Flight:
    """Rotor speeds and motion that have nothing to do with each other, which a fit does not mind."""
    generator = np.random.default_rng(seed)
    t_s = np.arange(240) * 0.01

    def smooth(columns: int, size: float) -> np.ndarray:
        phase = generator.uniform(0, 6, (3, columns))
        return size * sum(np.sin((k + 1) * t_s[:, None] * 3 + phase[k]) for k in range(3))

    position = smooth(3, 0.2)
    attitude = np.column_stack([np.ones(240), smooth(3, 0.02)])
    attitude /= np.linalg.norm(attitude, axis=1, keepdims=True)
    meta = {"source": "made", "action_level": ROTORS, "rate_hz": 100.0, "airframe": "made"}
    velocity = np.gradient(position, 0.01, axis=0)
    rotors = 2000 + smooth(4, 100.0)
    return make_flight(f"wobble{seed}", t_s, position, velocity, attitude, smooth(3, 0.2), rotors, meta)


class _DiedError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.slow
def test_the_fit_goes_on_where_it_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flights = [wobble(k) for k in range(3)]
    fit, fitted, last = rotor_learn.fit_rotor_model, [0], 10

    def counted(*arguments: object) -> object:
        if fitted[0] == last:
            raise _DiedError
        fitted[0] += 1
        return fit(*arguments)

    def learn(name: str, resume: bool, seed: int = 0) -> None:
        fitted[0] = 0
        learn_rotor_model(flights, [], tmp_path / name, seed, 5, Interrupt(), resume, SMALL)

    monkeypatch.setattr(rotor_learn, "fit_rotor_model", counted)
    monkeypatch.setattr(rotor_learn, "PLAIN", RotorSettings(history=3, rich=False, members=1, every=6, passes=0))
    learn("whole", False)
    assert fitted == [2]
    for last in (0, 1):
        with pytest.raises(_DiedError):
            learn("killed", last > 0)
    last = 10
    with pytest.raises(InputError, match="seed was 0, is 1"):
        learn("killed", True, seed=1)
    learn("killed", True)
    assert fitted == [1]
    for file in ("rotor_model.npz", "prediction.txt"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert not (tmp_path / "killed.partial").exists()
