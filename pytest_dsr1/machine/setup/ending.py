"""What must be done before this process ends, however it ends; only SIGKILL leaves no time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_LEFT_ALONE = (signal.SIG_IGN, None)
"""Handlers that are not replaced: an ignored signal, and one that was installed from C."""

_Handler = Callable[[int, FrameType | None], object] | int | None


@contextmanager
def restoring(
    restore: Callable[[], None], ended: Callable[[signal.Signals], None] = lambda _: None
) -> Iterator[None]:
    """Call ``restore`` when the block ends, and when SIGTERM or SIGHUP ends the process, then ``ended``.

    An earlier handler is called first. If it raises, the block ends as with any exception; if it returns, the
    process continues and the GPUs stay set up. An ignored signal stays ignored.
    """
    owner = os.getpid()  # a forked child also has this block on its stack, but must not restore
    previous: dict[int, _Handler] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        before = previous[number]
        if callable(before):
            before(number, frame)
            return
        if os.getpid() == owner:
            with _signals_delayed():
                restore()
                ended(signal.Signals(number))
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in _LEFT_ALONE:
                previous[number] = signal.getsignal(number)
                signal.signal(number, handle)
    try:
        yield
    finally:
        try:
            if os.getpid() == owner:
                with _signals_delayed():
                    restore()
        finally:
            for replaced, handler in previous.items():
                signal.signal(replaced, handler)


@contextmanager
def _signals_delayed() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP while the block runs, and deliver them after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    delayed: list[int] = []
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {each: handler for each, handler in handlers.items() if handler not in _LEFT_ALONE}
    for number in before:
        signal.signal(number, lambda number, _: delayed.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for arrived in delayed:
            os.kill(os.getpid(), arrived)
