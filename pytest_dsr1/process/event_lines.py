"""Events in a program's standard output, which may have other lines, too.

Slurm passes on no other descriptors. It does so line by line, but cuts a longer line after 1,024 bytes, and
puts lines of other tasks in between: of 400 lines of 5,000 bytes, written next to another task, 59 arrived
whole (Slurm 22.05). So an event is one or more short lines. Each begins with a control character, which JSON
text does not have and logs do not use, and may follow a line of another task that has no end yet. Only the
standard library is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LAST, _MORE = b"\x1e", b"\x1f"
"""What begins the last line of an event, as in RFC 7464, and each line before it."""
_MOST = 900
"""The most bytes of an event in a line; a pipe takes as much at once from each of several processes."""
_PIECE = re.compile(rb"([\x1e\x1f])([ -~]{1,%d})\n" % _MOST)
_BEGUN = re.compile(rb"[\x1e\x1f][ -~]{0,%d}\Z" % _MOST)


def event_lines(text: str) -> Iterator[bytes]:
    """Yield the lines of an event, with line ends; its text is printable ASCII, as of ``json.dumps``."""
    data = text.encode("ascii")
    for start in range(0, len(data), _MOST):
        end = start + _MOST
        yield b"%b%b\n" % (_LAST if end >= len(data) else _MORE, data[start:end])


class EventSplitter:
    """A splitter of a stream of bytes into events and all else."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = b""

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the events that ``data`` completes, and what is not part of an event."""
        data = self._held + data
        events, rest, done = [], [], 0
        for found in _PIECE.finditer(data):
            rest.append(data[done : found.start()])
            done = found.end()
            self._pieces.append(found[2])
            if found[1] == _LAST:
                events.append(b"".join(self._pieces))
                self._pieces.clear()
        begun = _BEGUN.search(data, done)
        end = begun.start() if begun else len(data)
        self._held = data[end:]
        return events, b"".join([*rest, data[done:end]])

    def end(self) -> bytes:
        """Return the start of an event that was cut off."""
        rest, self._held = self._held, b""
        return rest
