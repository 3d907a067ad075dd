"""A process of the load generator.

It takes a task from its end of a socket, sends its shares, and reports. A thread writes the reports, so that
a slow reader never delays the streams. The end of the socket ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from pytest_dsr1.engines.openai.client import loop
from pytest_dsr1.engines.openai.sending.messages import (
    Command,
    End,
    Failed,
    Prepare,
    Prepared,
    Progress,
    Report,
    Start,
)
from pytest_dsr1.engines.openai.sending.part import Part, PartResult, Share, Task, connections
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.records import RequestRecord

_BATCH = 100
"""Records of one report."""
_SENDING_SHARE = 1 / 8
"""The share of the time in which a process sends a wave. Less than for a loop that is alone: first tokens of
all processes come together, and servers on the same machine need CPUs then."""


class _Reporter:
    """Writes reports in a thread."""

    def __init__(self, connection: Connection) -> None:
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._connection = connection
        self._records: list[RequestRecord] = []
        self._tokens = 0
        self._thread = threading.Thread(target=self._write, name="dsr1-reports", daemon=True)
        self._thread.start()

    def record(self, record: RequestRecord) -> None:
        self._records.append(record)
        if len(self._records) >= _BATCH:
            self._pass_on()

    def progress(self, _ended: int, tokens: int) -> None:
        self._tokens = tokens
        self._pass_on()

    def report(self, report: Report) -> None:
        self._reports.put(report)

    def result(self, result: PartResult) -> None:
        """Report the result; its records were or are reported by :meth:`record`."""
        self._pass_on()
        result.tally.records = []
        self._reports.put(result)

    def close(self) -> None:
        self._reports.put(None)
        self._thread.join()

    def _pass_on(self) -> None:
        self._reports.put(Progress(self._records, self._tokens))
        self._records = []

    def _write(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # pytest-dsr1 has ended
            while (report := self._reports.get()) is not None:
                self._connection.send(report)


async def _work(connection: Connection, task: Task, shares: Sequence[Share], reporter: _Reporter) -> None:
    running = asyncio.get_running_loop()
    prepare: asyncio.Future[None] = running.create_future()
    start: asyncio.Future[float] = running.create_future()
    part = Part(task, shares, reporter.record, reporter.progress, sending_share=_SENDING_SHARE)
    me = asyncio.current_task()
    assert me is not None

    def take(command: Command) -> None:
        match command:
            case Prepare():
                prepare.set_result(None)
            case Start(at_s):
                start.set_result(at_s)
            case End(drain):
                part.end(drain=drain)

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError, RuntimeError):  # RuntimeError: the loop has ended
            while True:
                running.call_soon_threadsafe(take, connection.recv())
        with contextlib.suppress(RuntimeError):
            running.call_soon_threadsafe(me.cancel)

    # Not a reader of the loop, which would make the socket non-blocking for the thread that writes.
    threading.Thread(target=listen, name="dsr1-commands", daemon=True).start()
    try:
        reporter.report(await part.warm_up())
        await prepare
        await part.prepare()
        reporter.report(Prepared())
        reporter.result(await part.measure(await start))
    finally:
        await part.close()


def main(descriptor: int) -> None:
    """Do the task that comes through this descriptor."""
    connection = Connection(descriptor)
    task: Task
    task, shares = connection.recv()
    reporter = _Reporter(connection)
    try:
        with loop.open_files(connections(task.plan, shares)), loop.no_collection():
            loop.run(_work(connection, task, shares, reporter))
    except Dsr1Error as error:
        reporter.report(Failed(error))
    except KeyboardInterrupt:  # the end of the socket
        return
    reporter.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
