"""The event loop of the client, and what the process needs while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from pytest_dsr1.errors import EngineError

T = TypeVar("T")
_SPARE_FILES = 256


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on uvloop if it is installed, and leave nothing running.

    Ctrl-C cancels ``main`` and is raised afterwards. If it were raised at once, in a callback of httptools or
    the loop, it would count as the callback's failure and the run would continue.
    """
    try:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    task = loop.create_task(main)
    handles_sigint = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if handles_sigint:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return loop.run_until_complete(task)
    except asyncio.CancelledError:  # only Ctrl-C cancels it
        raise KeyboardInterrupt from None
    except BaseException:
        task.cancel()
        with contextlib.suppress(BaseException):
            loop.run_until_complete(task)
        raise
    finally:
        loop.run_until_complete(_end_others())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        if handles_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)


async def _end_others() -> None:
    """Cancel all tasks but ``main``: a connection opened while uvloop closes keeps it from closing."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Switch garbage collection off: a full collection stops all streams for tens of milliseconds.

    The client makes only one reference cycle per connection, and breaks it itself.
    """
    was = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()


def check_files(connections: int) -> None:
    """Check that a process may open the files for this number of connections.

    Raises:
        EngineError: the hard limit of the operating system is lower.
    """
    needed = connections + _SPARE_FILES
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise EngineError(
            f"load.concurrency: {connections} connections need {needed} open files, but the limit is {hard}; "
            f"raise it (ulimit -Hn {needed}, or LimitNOFILE), or lower load.concurrency"
        )


@contextlib.contextmanager
def open_files(connections: int) -> Iterator[None]:
    """Raise the limit of open files for this number of connections.

    Raises:
        EngineError: see :func:`check_files`.
    """
    check_files(connections)
    needed = connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
