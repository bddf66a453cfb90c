"""What is counted and put together of incoming MAVLink frames: sequence numbers per sender, and texts that come in parts."""

from __future__ import annotations

from collections import deque

from . import mavlink_messages as m

REORDER_SPAN = 8
"""A sequence number at most so far back is a late frame; further back it is a gap that wrapped."""
TEXTS_KEPT = 20
PART_BYTES = 50
"""A part of a text that is full is followed by another (STATUSTEXT.chunk_seq)."""
OPEN_TEXTS = 4


class SequenceCounts:
    """Frames lost and out of order, by the sequence number of each sender; all frames count, also of unknown messages."""

    def __init__(self) -> None:
        self.lost = self.reordered = 0
        self._last: dict[tuple[int, int], int] = {}

    def see(self, system: int, component: int, sequence: int) -> None:
        """Take the sequence number of a frame."""
        source = (system, component)
        last = self._last.get(source)
        if last is not None:
            gap = (sequence - last - 1) & 0xFF
            if gap >= 256 - REORDER_SPAN:
                self.reordered += 1
                return
            self.lost += gap
        self._last[source] = sequence

    def begin_anew(self) -> None:
        """Forget where the senders were; the counts stay."""
        self._last.clear()


class Texts:
    """The newest STATUSTEXTs, put together where they come in parts."""

    def __init__(self) -> None:
        self.kept: deque[str] = deque(maxlen=TEXTS_KEPT)
        self._parts: dict[int, list[bytes]] = {}

    def say(self, text: str) -> None:
        """Add a text of our own."""
        self.kept.append(text)

    def see(self, message: m.Statustext) -> None:
        """Take a text or a part of one."""
        part = message.text.split(b"\x00")[0].rstrip(b"\t")  # PX4 ends a text with a tab if an event says the same
        if message.id == 0:
            self.kept.append(part.decode("utf-8", "replace"))
            return
        if len(self._parts) > OPEN_TEXTS:
            self._parts.clear()
        parts = self._parts.setdefault(message.id, [])
        parts.append(part)
        if len(part) < PART_BYTES:
            self.kept.append(b"".join(self._parts.pop(message.id)).decode("utf-8", "replace"))
