"""The watch on the nodes of a run: one that is lost ends the run at once.

Slurm itself ends the job only after SlurmdTimeout, five minutes by default, and an engine that waits for a
node that is gone says nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from pytest_dsr1.errors import InvalidRunError, on_failure
from pytest_dsr1.machine.nodes.allocation import slurm
from pytest_dsr1.machine.nodes.recording import NodesRecorder
from pytest_dsr1.machine.nodes.remote import RemoteNode
from pytest_dsr1.machine.values import Event, Notify

_TICK_S = 1.0
_SLURM_EVERY = 10
"""Ticks from one question to Slurm to the next; while an agent is silent, it is asked at each."""
_TIMEOUT_S = 10.0
_SILENT_S = 10.0
"""The longest silence of a living agent: it sends its samples every few seconds."""
_FLAGS = "*~#!%$@^-+"
"""Characters that sinfo adds to a state: sinfo(1), NODE STATE CODES."""
_LOST = {"down", "drained", "fail", "failing"}
"""States in which the job no longer has the node, or is about to lose it. On a node that is only draining a
job may end."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of a node in Slurm.

    Attributes:
        word: such as ``allocated`` or ``draining``.
        silent: whether the node does not answer Slurm.
        reason: why it is in this state; empty if none was given.
    """

    word: str
    silent: bool
    reason: str


def states(names: Sequence[str], environ: Mapping[str, str]) -> dict[str, State]:
    """Return the state of each node, by its name.

    Raises:
        InvalidRunError: Slurm cannot be asked.
    """
    options = ["--noheader", "--all", "--Node", f"--nodes={','.join(names)}", "--format=%N|%T|%E"]
    found = {}
    for line in slurm(["sinfo", *options], environ, _TIMEOUT_S).splitlines():
        name, _, rest = (each.strip() for each in line.partition("|"))
        if name not in names:  # that of a cluster, or a later line of a reason
            continue
        word, _, reason = (each.strip() for each in rest.partition("|"))
        found[name] = State(word.rstrip(_FLAGS), "*" in word, "" if reason == "none" else reason)
    return found


class NodeWatch:
    """Watches nodes inside a ``with`` block, and raises InvalidRunError in it when one is lost.

    The error is raised by a signal in the main thread, as Ctrl-C is, so an engine needs not ask; one that
    waits hears it at its next look. SIGURG is ignored by default: one that arrives late does nothing.

    Args:
        agents: of the nodes.
        environ: the environment variables of the run.
        recorder: gets what happens to a node.
        notify: shows a sentence to the user at once.
        several: whether the run uses more than one node.
    """

    def __init__(
        self,
        agents: Sequence[RemoteNode],
        environ: Mapping[str, str],
        recorder: NodesRecorder,
        notify: Notify,
        *,
        several: bool,
    ) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._environ = environ
        self._recorder = recorder
        self._notify = notify
        self._several = several
        self._told: set[str] = set()
        self._lost = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dsr1-nodes", daemon=True)
        self._in_main = False
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> NodeWatch:
        self._in_main = threading.current_thread() is threading.main_thread()
        if self._in_main:
            self._before = signal.signal(signal.SIGURG, self._raise)
        with on_failure(self._close):  # such as a node that is lost already
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._stopped.set()
        if self._in_main:
            signal.signal(signal.SIGURG, self._before)
        self._thread.join()

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        if self._lost and not self._stopped.is_set():
            self._stopped.set()
            raise InvalidRunError(self._lost)

    def _run(self) -> None:
        tick = 0
        while not self._stopped.wait(_TICK_S if tick else 0):
            for agent in self._agents.values():
                if agent.ended:  # the recorder notes it; if Slurm preempts the job, it ends all soon
                    self._say(str(agent.lost()))
            silent = any(agent.silent_s > _SILENT_S for agent in self._agents.values())
            if (silent or tick % _SLURM_EVERY == 0) and self._ask_slurm():
                return
            tick += 1

    def _ask_slurm(self) -> bool:
        """Return whether Slurm says that a node is lost."""
        try:
            found = states(list(self._agents), self._environ)
        except InvalidRunError:
            return False  # Slurm's controller may be busy or restart while the nodes do their work
        for name, state in found.items():
            why = f": {state.reason}" if state.reason else ""
            gone = state.silent and self._agents[name].silent_s > _SILENT_S
            if state.word in _LOST or gone:
                if state.word == "down" or gone:
                    self._agents[name].give_up()
                what = (
                    "answers neither Slurm nor pytest" if gone else f"is {state.word.upper()} in Slurm{why}"
                )
                self._end(
                    name,
                    f"{name} {what}; look at it: scontrol show node {name}; then submit the job again, "
                    f"without this node: --exclude={name}",
                )
                return True
            if state.word == "draining":
                self._tell(name, f"{name} is DRAINING in Slurm{why}; this job may end on it")
            if state.silent:
                self._tell(
                    name,
                    f"{name} does not answer Slurm, which ends the job if that lasts for SlurmdTimeout; "
                    f"look at it: scontrol show node {name}",
                )
        return False

    def _tell(self, name: str, sentence: str) -> None:
        """Say something once, and keep it as a warning."""
        if self._say(sentence):
            self._recorder.note(self._event(name, "error", sentence))

    def _say(self, sentence: str) -> bool:
        """Return whether this is new; then the user sees it."""
        new = sentence not in self._told
        if new:
            self._told.add(sentence)
            self._notify(sentence)
        return new

    def _event(self, name: str, kind: Literal["error", "lost"], sentence: str) -> Event:
        return Event(time.monotonic(), None, kind, sentence, node=name if self._several else "")

    def _end(self, name: str, sentence: str) -> None:
        self._recorder.note(self._event(name, "lost", sentence))
        self._lost = sentence
        if self._in_main:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGURG)  # type: ignore[arg-type]
