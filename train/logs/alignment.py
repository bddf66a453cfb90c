"""Lag between what was commanded and what the vehicle did, by cross-correlation."""

from __future__ import annotations

import numpy as np

from tubepilot.firmware_bridge.types import Vector


def lag_samples(command: Vector, response: Vector, longest: int) -> tuple[int, float]:
    """Delay of `response` behind `command` that correlates best, over all columns together.

    Args:
        command: Set-points, shape (T, n), any unit.
        response: Measured, same shape and unit.
        longest: Largest delay tried [samples].

    Returns:
        Delay [samples], 0..longest, and the correlation coefficient there; (0, 0) if a signal is constant.
    """
    command = command - command.mean(axis=0)
    response = response - response.mean(axis=0)
    best, best_correlation = 0, 0.0
    for lag in range(min(longest, len(command) - 2) + 1):
        early, late = command[: len(command) - lag], response[lag:]
        norm = np.sqrt(np.sum(early**2) * np.sum(late**2))
        correlation = float(np.sum(early * late) / norm) if norm > 0 else 0.0
        if correlation > best_correlation:
            best, best_correlation = lag, correlation
    return best, best_correlation
