"""A timer that is exact to about 0.1 ms, for sending on schedule."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

PLATFORM = sys.platform
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_NONBLOCKING = os.O_NONBLOCK | os.O_CLOEXEC


class _Moment(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Moment), ("value", _Moment)]


class Alarm:
    """A timer that calls back once at a time of ``time.monotonic``; may be set again.

    The timers of uvloop count whole milliseconds, like libuv's. So this is a timer of the kernel,
    timerfd_create(2), or without one (macOS) a timer of the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._file: int | None = None
        if PLATFORM == "linux":
            self._library = ctypes.CDLL(None, use_errno=True)
            self._file = _checked(self._library.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCKING))
            loop.add_reader(self._file, self._expired)

    def set(self, at_s: float) -> None:
        """Call back at this time, or at once if it has passed."""
        if self._file is None:
            self.close()
            self._handle = self._loop.call_later(max(0.0, at_s - time.monotonic()), self._callback)
            return
        seconds = int(at_s)
        # A setting of 0 would switch the timer off.
        moment = _Moment(seconds, max(int((at_s - seconds) * 1e9), 1))
        setting = _Setting(_Moment(0, 0), moment)
        _checked(self._library.timerfd_settime(self._file, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None))

    def close(self) -> None:
        """Close the timer; it does not call back again."""
        if self._handle is not None:
            self._handle.cancel()
        if self._file is not None:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = None

    def _expired(self) -> None:
        assert self._file is not None
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # set() was called again just now
            return
        self._callback()


def _checked(result: int) -> int:
    """Return the result of a call of the C library.

    Raises:
        OSError: it failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
