"""Progress bars of training loops, and a Ctrl-C that ends a loop instead of losing its work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm

Monitor = Callable[[int, float], bool]
"""Told the iteration and the loss; returns whether to go on."""


class Interrupt:
    """Set by the first Ctrl-C; the second one raises KeyboardInterrupt as usual."""

    def __init__(self) -> None:
        self.requested = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C inside the block into a request to finish early."""
    interrupt = Interrupt()
    previous = signal.signal(signal.SIGINT, interrupt.handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def bar(name: str, iterations: int, interrupt: Interrupt) -> Iterator[Monitor]:
    """A progress bar as a monitor.

    Args:
        name: What is being done.
        iterations: How many iterations it takes.
        interrupt: Ends the loop when requested.
    """
    with tqdm(total=iterations, desc=name, unit="it", mininterval=0.5) as shown:

        def monitor(iteration: int, loss: float) -> bool:
            shown.update(iteration + 1 - shown.n)
            shown.set_postfix_str(f"loss {loss:.4g}")
            return not interrupt.requested

        yield monitor
        if not interrupt.requested:
            shown.update(iterations - shown.n)
