"""The part of a log that is searched, so that a flood of lines costs little."""

from __future__ import annotations

from collections import deque

RATE = 1_000_000
"""Bytes of a log per second that are always searched; 8 ranks that log each iteration write less.

Measured with ``python -m benchmarks.logs`` on 2 busy cores (2026-11-29): 0.5 MB/s, all of it searched, took
4% of a core, 5 MB/s took 11%, and 2 GB at once took 3.3 s of CPU in 10 s.
"""
BURST = 8_000_000
"""Bytes that are searched at once, after a quieter time."""
TAIL = 256_000
"""Bytes at the end of a part that is not searched that are searched all the same."""


class LineBudget:
    """A budget of bytes that grows by ``RATE`` per second.

    Attributes:
        skipped: the bytes that were not searched.
    """

    def __init__(self, now_s: float) -> None:
        self.skipped = 0
        self._left = float(BURST)
        self._now_s = now_s
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._skipping = self._cut = False

    def take(self, data: bytes, now_s: float) -> bytes:
        """Return what of the log to search now: ``data``, nothing, or the end of what was held back."""
        self._left = min(self._left + (now_s - self._now_s) * RATE, BURST)
        self._now_s = now_s
        if not self._skipping:
            self._left -= len(data)
            self._skipping = self._left < 0
            return data
        self._tail.append(data)
        self._held += len(data)
        while self._held - len(self._tail[0]) >= TAIL:
            self._held -= len(self._tail[0])
            self.skipped += len(self._tail.popleft())
            self._cut = True
        return self.rest() if self._left > 2 * TAIL else b""

    def rest(self) -> bytes:
        """Return the end of what was held back, from the start of a line."""
        held = b"".join(self._tail)
        self._tail.clear()
        cut, self._cut = self._cut, False
        self._held, self._skipping = 0, False
        if not cut:
            self._left -= len(held)
            return held
        whole = held[held.find(b"\n") + 1 :]
        self.skipped += len(held) - len(whole)
        self._left -= len(whole)
        # A line that began before the part that was left out ends here.
        return b"\n" + whole
