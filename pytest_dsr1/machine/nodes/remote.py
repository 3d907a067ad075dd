"""An agent on a node, seen from pytest: started through ``srun``, asked, and ended."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO

from pydantic import ValidationError

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.nodes.allocation import Allocation, ending
from pytest_dsr1.machine.nodes.messages import REPORT, Answer, Measure, Note, Request, Samples, line
from pytest_dsr1.machine.probe.run import LIMIT_S
from pytest_dsr1.machine.values import GpuSample, Notify
from pytest_dsr1.process.modules import module_command
from pytest_dsr1.process.slurm import outside_steps

ANSWER_S = 180.0
"""The longest wait for an answer, without the time of probes: setting up a GPU takes seconds, and ``srun``
may wait for the node."""
_END_S = 30.0
"""The longest wait for an agent that restores its GPUs and ends."""
_OPTIONS = (
    "--overlap",
    "--nodes=1",
    "--ntasks=1",
    "--cpu-bind=none",
    "--mpi=none",
    "--wait=0",
    "--export=ALL",
    "--quiet",
)
"""The agent shares its node with the engine's step. Its probes use all cores; some sites bind a task to one.
Only the end of its input ends it: at SIGTERM, srun would kill it before it restores GPUs (Slurm 22.05)."""
AGENT = "pytest_dsr1.machine.nodes.agent"
_SAID_BYTES = 2000


class AgentError(InvalidRunError):
    """A node's agent has ended, does not answer, or refuses."""


Start = Callable[[str], Sequence[str]]
"""Returns the command that starts the agent of a node."""


def srun_agent(allocation: Allocation) -> Start:
    """Return how agents are started in an allocation."""

    def command(node: str) -> list[str]:
        options = (*_OPTIONS, f"--jobid={allocation.job}", f"--nodelist={node}", "--job-name=dsr1-agent")
        return ["srun", *options, *module_command(AGENT)]

    return command


class RemoteNode:
    """One node with its agent.

    Attributes:
        name: the node's name.
    """

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], notify: Notify) -> None:
        """Start the agent; it is ready when it answers.

        Raises:
            AgentError: the command cannot be started.
        """
        self.name = name
        self._environ = environ
        self._notify = notify
        self._heard_s = time.monotonic()
        self._asked = 0
        self._reports: queue.SimpleQueue[Answer | Note | None] = queue.SimpleQueue()
        self._longest_s = ANSWER_S
        self._samples: Callable[[Sequence[GpuSample]], None] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # until close()
        try:
            self._process = subprocess.Popen(
                command,
                env={**outside_steps(environ), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,  # Ctrl-C is for pytest, which ends the agent in order
            )
        except OSError as error:
            self._said.close()
            raise AgentError(f"{name}: {command[0]} cannot be started: {error.strerror}") from None
        threading.Thread(target=self._read, name=f"dsr1-{name}", daemon=True).start()

    def send(self, request: Request) -> None:
        """Send a request; :meth:`answer` returns the answer to it.

        Raises:
            AgentError: the agent has ended.
        """
        assert self._process.stdin is not None
        self._asked += 1
        self._longest_s = ANSWER_S + (LIMIT_S if isinstance(request, Measure) else 0)
        try:
            self._process.stdin.write(line(replace(request, number=self._asked)))
            self._process.stdin.flush()
        except OSError:
            raise self.lost() from None

    def answer(self) -> Answer:
        """Return the answer to the request that was sent last; show notes that come before it.

        An answer to an earlier request is passed over: the wait for it was ended, such as by Ctrl-C.

        Raises:
            AgentError: the agent has ended, does not answer, or refuses; the message names the node.
        """
        until_s = time.monotonic() + self._longest_s
        while True:
            try:
                report = self._reports.get(timeout=max(until_s - time.monotonic(), 0))
            except queue.Empty:
                raise AgentError(
                    f"{self.name}: its agent has not answered for {self._longest_s:.0f} s{self._tail()}; "
                    f"look at the node: scontrol show node {self.name}"
                ) from None
            if report is None:
                raise self.lost()
            if isinstance(report, Note):
                self._notify(f"{self.name}: {report.sentence}")
                continue
            if report.number != self._asked:
                continue
            if report.error:
                raise AgentError(f"{self.name}: {report.error}")
            return report

    def listen(self, take: Callable[[Sequence[GpuSample]], None] | None) -> None:
        """Give the samples of this node to a function, in a thread, from now on; None for no more."""
        self._samples = take

    def end_requests(self) -> None:
        """Let the agent restore its GPUs and end; :meth:`close` waits for that."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """End the agent, which restores its GPUs first."""
        self.end_requests()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._notify(
                f"{self.name}: its agent has not ended within {_END_S:.0f} s, so its GPUs may still be set "
                "up; on this node, as root: pytest-dsr1 restore"
            )
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as stream:
                for text in stream:
                    self._heard_s = time.monotonic()
                    self._take(text)
        finally:
            self._reports.put(None)

    def _take(self, text: bytes) -> None:
        try:
            report = REPORT.validate_json(text)
        except ValidationError:
            return  # of srun, or of a site's prolog
        if not isinstance(report, Samples):
            self._reports.put(report)
        elif (take := self._samples) is not None:
            take(report.samples)

    @property
    def ended(self) -> bool:
        """Whether the agent has ended."""
        return self._process.poll() is not None

    @property
    def silent_s(self) -> float:
        """The time since the agent last sent anything, in s."""
        return time.monotonic() - self._heard_s

    def give_up(self) -> None:
        """End an agent that can no longer answer, without its restoring anything."""
        self._process.kill()

    def lost(self) -> AgentError:
        """Return the error that the agent has ended, with the reason."""
        if said := ending(self._environ):
            return AgentError(f"{self.name}: its agent has ended: {said}")
        return AgentError(
            f"{self.name}: its agent has ended{self._tail()}; look at the job and at the node: "
            f"scontrol show job, scontrol show node {self.name}"
        )

    def _tail(self) -> str:
        """Return the last line that srun or the agent wrote to standard error."""
        with contextlib.suppress(OSError, ValueError):
            size = os.fstat(self._said.fileno()).st_size
            text = os.pread(self._said.fileno(), _SAID_BYTES, max(size - _SAID_BYTES, 0))
            lines = text.decode("utf-8", "replace").strip().splitlines()
            return f": {lines[-1].strip()}" if lines else ""
        return ""
