"""Which part of a log can be used: the longest stretch in which every channel keeps coming."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.types import Vector

from .table import increasing


def in_order(t_s: Vector) -> npt.NDArray[np.bool_]:
    """Mask of samples with increasing stamps, from whichever end keeps more of them.

    One stamp corrupted to a large value would, seen from the front alone, make every later sample look late; one
    corrupted to a small value would do so from the back. Of equal stamps the first is kept.

    Args:
        t_s: Time stamps in the order of the file, shape (T,) [s].

    Returns:
        Mask, shape (T,); the stamps kept are strictly increasing.
    """
    if len(t_s) == 0:
        return np.zeros(0, dtype=np.bool_)
    forward = increasing(t_s)
    backward = t_s <= np.minimum.accumulate(t_s[::-1])[::-1]
    backward[backward] = increasing(t_s[backward])
    return forward if forward.sum() >= backward.sum() else backward


def longest_stretch(channels: Sequence[Vector], most_s: float) -> tuple[float, float]:
    """Start and end of the longest span within which no channel pauses for too long.

    Args:
        channels: Time stamps of each channel, increasing, shape (T,) each [s].
        most_s: A longer pause ends a stretch [s].

    Returns:
        Start and end [s]; the end is not after the start if the channels do not overlap.
    """
    start, stop = max(c[0] for c in channels), min(c[-1] for c in channels)
    pauses = []
    for stamps in channels:
        wide = np.flatnonzero(np.diff(stamps) > most_s)
        pauses += [(float(stamps[k]), float(stamps[k + 1])) for k in wide]
    best, begin = (float(start), float(start)), float(start)
    for left, right in [*sorted(pauses), (float(stop), float("inf"))]:
        end = min(left, float(stop))
        if end - begin > best[1] - best[0]:
            best = (begin, end)
        begin = max(begin, right)
    return best


def longest_gap_s(channels: Sequence[Vector], start_s: float, stop_s: float) -> float:
    """Longest pause of any channel within a span [s]; 0 if no channel has two samples in it."""
    inside = [stamps[(stamps >= start_s) & (stamps <= stop_s)] for stamps in channels]
    return max((float(np.diff(stamps).max()) for stamps in inside if len(stamps) > 1), default=0.0)
