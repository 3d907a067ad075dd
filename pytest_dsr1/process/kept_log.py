"""The file that keeps a log: its start and its end, written without making the program wait."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from pathlib import Path

HEAD_BYTES = 32_000_000
"""The bytes at the start of a log that are kept in any case."""
TAIL_BYTES = 64_000_000
"""The least bytes at its end that are kept; the file grows to the start and twice this end."""
_WAITING_BYTES = 64_000_000
"""The most bytes that wait for a slow disk; more are left out, because the program must not wait for it."""
_PIECE = 1 << 20


class KeptLog:
    """A log file that is appended to by a thread of its own.

    A log of more than ``HEAD_BYTES + 2 * TAIL_BYTES`` loses its middle, where a line then says how much.

    Attributes:
        error: why the file cannot be written; None if it can.

    Args:
        path: the file; it may exist.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._size = os.lseek(self._file, 0, os.SEEK_END)
        self._received = self._size
        self._removed = 0
        self._left_out = 0
        self._waiting = 0
        self._pieces: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        threading.Thread(target=self._write_all, name="dsr1-log", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Append ``data`` soon, without waiting."""
        self._received += len(data)
        if self._waiting > _WAITING_BYTES:
            self._left_out += len(data)
            return
        self._waiting += len(data)
        self._pieces.put(data)

    @property
    def position(self) -> int:
        """The bytes of the whole log so far, for :meth:`copy_from`."""
        return self._received

    def copy_from(self, position: int, path: Path) -> None:
        """Copy what is kept of the log from a position on to another file.

        Raises:
            OSError: it cannot be read or written.
        """
        written = threading.Event()
        self._pieces.put(written)
        while not (written.wait(0.1) or self._ended.is_set()):
            pass
        at = position if position <= HEAD_BYTES else max(HEAD_BYTES, position - self._removed)
        with self._path.open("rb") as whole, path.open("wb") as part:
            whole.seek(at)
            shutil.copyfileobj(whole, part)

    def finish(self) -> None:
        """Write the rest."""
        self._pieces.put(None)
        self._ended.wait()

    def close(self) -> None:
        """Write the rest and close the file."""
        self.finish()
        os.close(self._file)

    def _write_all(self) -> None:
        try:
            while (piece := self._pieces.get()) is not None:
                if isinstance(piece, threading.Event):
                    piece.set()
                    continue
                if self.error is None:
                    try:
                        self._append(piece)
                    except OSError as error:  # the disk is full, but the program must not wait for us
                        self.error = error
                self._waiting -= len(piece)
        finally:
            self._ended.set()

    def _append(self, data: bytes) -> None:
        if self._left_out:
            data = _mark(self._left_out) + data
            self._left_out = 0
        while data:
            written = os.write(self._file, data)
            data = data[written:]
            self._size += written
        if self._size >= HEAD_BYTES + 2 * TAIL_BYTES:
            self._drop_middle()

    def _drop_middle(self) -> None:
        """Move the end of the file behind its start; a kill in between leaves both."""
        begin = self._size - TAIL_BYTES
        first = os.pread(self._file, _PIECE, begin)
        begin += first.find(b"\n") + 1
        self._removed += begin - HEAD_BYTES
        mark = _mark(self._removed)
        at = HEAD_BYTES
        at += os.pwrite(self._file, mark, at)
        while data := os.pread(self._file, _PIECE, begin):
            at += os.pwrite(self._file, data, at)
            begin += len(data)
        os.ftruncate(self._file, at)
        os.lseek(self._file, at, os.SEEK_SET)
        self._removed -= len(mark)
        self._size = at


def _mark(size: int) -> bytes:
    return f"\n[pytest-dsr1 left out {size:,} bytes of the log here]\n".encode()
