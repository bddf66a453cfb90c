"""A lock-free ring of fixed-size records between one producer and one consumer process.

The ring lives in anonymous shared memory (memfd_create(2)): it has no name, so that nothing is left behind when
either process is killed; the consumer gets the file descriptor when it is started.

Memory ordering. Each counter is an aligned 64-bit word with exactly one writer, so that no read is ever torn on x86-64
or aarch64. On x86-64 stores become visible in program order, and that would be enough. aarch64 may make the new
counter visible *before* the record behind it, and Python has no release fence; therefore every slot ends in a CRC-32
over the record, seeded with its sequence number. The consumer copies the slot, checks the copy, and takes a mismatch
for "not there yet". It stores its own counter only after that check: a store that depends on a branch on loaded
data is not made visible before the load on either architecture, so that no slot is overwritten while it is read.
"""

from __future__ import annotations

import mmap
import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError

_CACHE_LINE_BYTES = 64
_HEADER_BYTES = 4 * _CACHE_LINE_BYTES
_CHECK = np.dtype("<u4")
_COMMITTED, _CONSUMED, _DROPPED = 0, 1, 2


def _slot_dtype(record: np.dtype[Any]) -> np.dtype[Any]:
    used = record.itemsize + _CHECK.itemsize
    size = -(-used // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES
    return np.dtype(
        {"names": ["record", "check"], "formats": [record, _CHECK], "offsets": [0, record.itemsize], "itemsize": size}
    )


class _Layout:
    """The arrays both sides share; never used on its own."""

    def __init__(self, fd: int, record: np.dtype[Any], capacity: int) -> None:
        if capacity < 1:
            raise InputError(f"a ring needs a capacity of at least 1 record; {capacity} was asked for")
        slot = _slot_dtype(record)
        self.capacity = capacity
        self._map = mmap.mmap(fd, _HEADER_BYTES + capacity * slot.itemsize)
        header = np.frombuffer(self._map, np.int64, _HEADER_BYTES // 8)
        self._counters: npt.NDArray[np.int64] = header[:: _CACHE_LINE_BYTES // 8]
        slots = np.frombuffer(self._map, slot, capacity, _HEADER_BYTES)
        self._records: npt.NDArray[np.void] = slots["record"]
        self._checks: npt.NDArray[np.uint32] = slots["check"]
        raw = np.frombuffer(self._map, np.uint8, capacity * slot.itemsize, _HEADER_BYTES)
        self._bytes: npt.NDArray[np.uint8] = raw.reshape(capacity, slot.itemsize)[:, : record.itemsize]

    @property
    def dropped(self) -> int:
        """Records the producer had to drop because the ring was full."""
        return int(self._counters[_DROPPED])

    @property
    def waiting(self) -> int:
        """Records committed and not consumed yet."""
        return int(self._counters[_COMMITTED] - self._counters[_CONSUMED])


@dataclass(frozen=True, slots=True)
class RingAddress:
    """Where the consumer finds a ring: an inherited file descriptor and the number of slots."""

    fd: int
    capacity: int


class RingProducer(_Layout):
    """The writing end: `begin`, fill the record in place, `commit`. Costs microseconds and never waits."""

    def __init__(self, record: np.dtype[Any], capacity: int) -> None:
        """Create the shared memory.

        Args:
            record: Layout of one record, fixed size.
            capacity: Number of slots; a power of two is not needed.

        Raises:
            InputError: the capacity is below one.
        """
        fd = os.memfd_create("tubepilot-ring", os.MFD_CLOEXEC)
        os.ftruncate(fd, _HEADER_BYTES + max(capacity, 1) * _slot_dtype(record).itemsize)
        super().__init__(fd, record, capacity)
        self.address = RingAddress(fd, capacity)
        self._next = 0
        self._lost = 0
        self._spare = np.zeros(1, record)
        self._open = False
        self._full = False

    def begin(self) -> Any:
        """The next record, zeroed, to be filled in place; a spare one is handed out while the ring is full."""
        self._open = True
        self._full = self._next - int(self._counters[_CONSUMED]) >= self.capacity
        if self._full:
            return self._spare[0]
        index = self._next % self.capacity
        self._bytes[index] = 0
        return self._records[index]

    def commit(self) -> bool:
        """Hand the record of the last `begin` over.

        Returns:
            False if it was dropped because the ring was full (the drop is counted), or if none was begun.
        """
        if not self._open:
            return False
        self._open = False
        if self._full:
            self._lost += 1
            self._counters[_DROPPED] = self._lost
            return False
        index = self._next % self.capacity
        self._checks[index] = zlib.crc32(self._bytes[index], self._next & 0xFFFFFFFF)
        self._next += 1
        self._counters[_COMMITTED] = self._next
        return True

    def close(self) -> None:
        """Close this side's descriptor; the memory goes with the last process that maps it."""
        os.close(self.address.fd)


class RingConsumer(_Layout):
    """The reading end, in the other process."""

    def __init__(self, address: RingAddress, record: np.dtype[Any]) -> None:
        """Map the producer's memory.

        Args:
            address: The producer's `address`, with a descriptor valid in this process.
            record: The same layout the producer was created with.
        """
        super().__init__(address.fd, record, address.capacity)
        self._record_dtype = record
        self._next = int(self._counters[_CONSUMED])

    def pop(self) -> Any | None:
        """The oldest record, copied out, or None if there is none (yet)."""
        if self._next >= int(self._counters[_COMMITTED]):
            return None
        index = self._next % self.capacity
        data = self._bytes[index].tobytes()
        if zlib.crc32(data, self._next & 0xFFFFFFFF) != int(self._checks[index]):
            return None
        self._next += 1
        self._counters[_CONSUMED] = self._next
        return np.frombuffer(data, self._record_dtype)[0]
