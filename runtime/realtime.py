"""Real-time practice in one place: ticks at absolute instants, and what the operating system grants the process.

Every right (scheduling class, core, locked memory) is asked for, read back, and reported; nothing is skipped in silence
and nothing is required: without any right the loop still runs, only less evenly.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

FIFO_PRIORITY = 50
"""Above every ordinary task; interrupt threads of a PREEMPT_RT kernel have 50 too, so none of them is starved."""
SPIN_NS = 150_000
"""Waking up from sleep is 50 to 140 us late (clock_nanosleep, measured); this last bit is spun. Short: few cores."""
_MCL_CURRENT_AND_FUTURE = 3


@dataclass(frozen=True, slots=True)
class Right:
    """One thing asked of the operating system.

    Attributes:
        name: What.
        obtained: Whether reading it back showed it in force.
        detail: The value in force, or why it was refused.
        remedy: What to do to obtain it; empty if obtained.
    """

    name: str
    obtained: bool
    detail: str
    remedy: str = ""


def _fifo() -> Right:
    remedy = "allow it: LimitRTPRIO=50 in the service, or `rtprio 50` in /etc/security/limits.conf"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
    except OSError as error:
        return Right("SCHED_FIFO", False, f"refused: {error.strerror}", remedy)
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    granted = policy == os.SCHED_FIFO
    detail = f"priority {os.sched_getparam(0).sched_priority}" if granted else f"policy is {policy}"
    return Right("SCHED_FIFO", granted, detail, "" if granted else remedy)


def _affinity(core: int) -> Right:
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, ValueError) as error:
        present = sorted(os.sched_getaffinity(0))
        return Right("core", False, f"core {core} refused: {error}", f"choose --core from {present}")
    cores = sorted(os.sched_getaffinity(0))
    return Right("core", cores == [core], f"runs on {cores}", "" if cores == [core] else "choose another --core")


def _locked_kib() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmLck:"):
                return int(line.split()[1])
    return 0


def _memory_lock() -> Right:
    remedy = "allow it: LimitMEMLOCK=infinity in the service, or `memlock unlimited` in /etc/security/limits.conf"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        return Right("locked memory", False, f"refused: {os.strerror(ctypes.get_errno())}", remedy)
    locked = _locked_kib()
    return Right("locked memory", locked > 0, f"{locked // 1024} MiB", "" if locked > 0 else remedy)


def _frozen_collector() -> Right:
    gc.collect()
    gc.freeze()
    gc.disable()
    return Right("garbage collector off", not gc.isenabled(), f"{gc.get_freeze_count()} objects frozen")


LATENCY_DEVICE = "/dev/cpu_dma_latency"
"""Whoever holds it open says how long a core may take to wake up [us]; at 0 idle cores poll (Linux, power/pm_qos_interface)."""
_latency: list[int] = []


def _awake(device: str = LATENCY_DEVICE) -> Right:
    """Ask that cores do not fall asleep between ticks: a sleeping core is late, a sleeping virtual one later still."""
    remedy = f"let this user write {device} by a udev rule (KERNEL==\"cpu_dma_latency\", GROUP=\"dialout\", MODE=\"0660\")"
    try:
        if not _latency:
            _latency.append(os.open(device, os.O_RDWR | os.O_CLOEXEC))
        os.write(_latency[0], struct.pack("i", 0))
        (granted,) = struct.unpack("i", os.read(_latency[0], 4))
    except (OSError, struct.error) as error:
        return Right("cores kept awake", False, f"refused: {getattr(error, 'strerror', None) or error}", remedy)
    return Right("cores kept awake", granted == 0, f"wake-up latency {granted} us", "" if granted == 0 else remedy)


RESERVE_BYTES, _BLOCK_BYTES, _ARENA_BYTES = 4 << 20, 440, 1 << 20
"""What Python's allocator holds ready for small objects; size of a block; what it asks the system for at a time (3.10 and later)."""
_kept: list[bytes] = []


def _reserve() -> Right:
    """Let Python's allocator hold memory for small objects before the first tick, so that no tick asks the system for any.

    An arena in which one block is in use is never given back; its other blocks serve any small object.
    """
    before = sys.getallocatedblocks()
    blocks = [bytes(_BLOCK_BYTES) for _ in range(RESERVE_BYTES // (_BLOCK_BYTES + 40))]
    _kept[:] = blocks[:: _ARENA_BYTES // (2 * _BLOCK_BYTES)]
    del blocks
    held = sys.getallocatedblocks() - before
    enough = len(_kept) >= RESERVE_BYTES // _ARENA_BYTES
    return Right("heap in reserve", enough, f"{RESERVE_BYTES >> 20} MiB, by {held} blocks kept", "" if enough else "use CPython")


@dataclass(frozen=True, slots=True)
class Rights:
    """What was obtained, one entry per right asked for."""

    rights: tuple[Right, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of what was refused."""
        return tuple(right.name for right in self.rights if not right.obtained)

    @property
    def complete(self) -> bool:
        """Whether everything asked for is in force."""
        return all(right.obtained for right in self.rights)

    def text(self) -> str:
        """One line for the flight log."""
        return "; ".join(f"{right.name}: {'' if right.obtained else 'NO, '}{right.detail}" for right in self.rights)


def enter(core: int | None = None) -> Rights:
    """Turn this process real-time, as far as the system lets it; call it after warm-up and before the first tick.

    Args:
        core: Core to stay on; any if None.

    Returns:
        What was obtained, read back from the system.
    """
    rights = [_fifo(), _awake(), _memory_lock(), _reserve(), _frozen_collector()]
    if core is not None:
        rights.insert(1, _affinity(core))
    return Rights(tuple(rights))


def leave() -> None:
    """Collect garbage and let cores sleep again, as ordinary programs do; scheduling and memory stay until the process ends."""
    while _latency:
        os.close(_latency.pop())
    gc.enable()
    gc.unfreeze()


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


class Ticker:
    """Ticks at start + k * period on CLOCK_MONOTONIC: lateness of one never moves the next.

    Args:
        period_ns: Tick period [ns].
        clock_ns: CLOCK_MONOTONIC [ns].
        sleep: Sleeps about that many seconds.
        spin_ns: Awake before the instant [ns].
        warm: Called once before every instant, when `warm_ns` are left, with that instant [ns], by which it must be done: it brings
            code and data back into the caches, which a sleep lets go cold (docs/architecture.md). None: nothing is done.
        warm_ns: How long before the instant `warm` is called: its own time, with room [ns].
    """

    def __init__(
        self,
        period_ns: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = _sleep,
        spin_ns: int = SPIN_NS,
        warm: Callable[[int], None] | None = None,
        warm_ns: int = 0,
    ) -> None:
        self.period_ns = period_ns
        self._warm, self._warm_ns = warm, warm_ns
        self._clock_ns, self._sleep, self._spin_ns = clock_ns, sleep, spin_ns
        self._next_ns = clock_ns() + period_ns
        self.missed = 0

    def restart(self) -> None:
        """Let the next tick be one period from now, without counting what passed as missed."""
        self._next_ns = self._clock_ns() + self.period_ns

    def wait(self) -> tuple[int, int, int]:
        """Sleep until the next instant of the grid.

        Instants that passed entirely (a whole period or more) are skipped and counted in `missed`: no tick is ever
        made up for.

        Returns:
            The nominal instant [ns], how late the loop woke up [ns], and how many ticks were skipped before it.
        """
        now_ns = self._clock_ns()
        skipped = max(0, (now_ns - self._next_ns) // self.period_ns)
        self.missed += skipped
        nominal_ns = self._next_ns + skipped * self.period_ns
        if self._warm is not None:
            self._sleep_until(nominal_ns - self._warm_ns)
            if self._clock_ns() < nominal_ns:
                self._warm(nominal_ns)
        left_ns = self._sleep_until(nominal_ns)
        self._next_ns = nominal_ns + self.period_ns
        return nominal_ns, -left_ns, skipped

    def _sleep_until(self, instant_ns: int) -> int:
        """Sleep, then spin; returns what is left until the instant, at most 0 [ns]."""
        while True:
            left_ns = instant_ns - self._clock_ns()
            if left_ns <= 0:
                return left_ns
            if left_ns > self._spin_ns:
                self._sleep(1e-9 * (left_ns - self._spin_ns))
