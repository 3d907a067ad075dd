"""The telemetry of several nodes on one time axis, recorded by their agents."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from pytest_dsr1.errors import on_failure
from pytest_dsr1.machine.nodes.clock import Alignment, Comparison, compared
from pytest_dsr1.machine.nodes.messages import Command
from pytest_dsr1.machine.nodes.remote import AgentError, RemoteNode
from pytest_dsr1.machine.telemetry.recorder import Now, mean_of
from pytest_dsr1.machine.values import ErrorCounters, Event, GpuName, GpuSample, Telemetry, gpu_name
from pytest_dsr1.storage.files import write_atomically

_PER_GPU = (
    "gpus",
    "max_sm_clock_mhz",
    "pcie_generation_max",
    "ecc_uncorrected_before",
    "ecc_uncorrected_after",
    "errors_before",
    "errors_after",
)
"""The fields of :class:`~pytest_dsr1.machine.values.Telemetry` with a value per GPU."""


@dataclass
class _Watched:
    """One node while it is watched.

    Attributes:
        agent: its agent.
        before: its clock at the beginning.
        samples: so far, on its own clock and with NVML's indices.
    """

    agent: RemoteNode
    before: Comparison
    samples: list[GpuSample] = field(default_factory=list)


class NodesRecorder:
    """Watches the GPUs of all nodes inside a ``with`` block.

    A node that is lost meanwhile is an event, not an error: what its GPUs did from then on is unknown.

    Attributes:
        telemetry: everything recorded, in our time; complete once the block has ended.
    """

    def __init__(self, agents: Sequence[RemoteNode], path: Path, *, several: bool) -> None:
        """Write samples to ``path``, one :class:`GpuSample` per line as JSON, some seconds late.

        With ``several`` nodes GPUs are named by node.
        """
        self.telemetry = Telemetry()
        self._agents = agents
        self._path = path
        self._several = several
        self._watched: list[_Watched] = []
        self._lock = threading.Lock()
        self._noted: list[Event] = []
        self._file: IO[str]
        self._stack = ExitStack()

    def __enter__(self) -> NodesRecorder:
        self._file = self._stack.enter_context(self._path.open("w", encoding="utf-8"))
        with on_failure(self._abandon):
            for agent in self._agents:
                node = _Watched(agent, _clock(agent))
                agent.listen(partial(self._take, node))
                self._watched.append(node)
            for agent in self._agents:
                agent.send(Command(do="watch"))
            for agent in self._agents:
                agent.answer()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            found = [self._ended(node) for node in self._watched]
        whole = _together(found)
        events = sorted((*whole.events, *self._noted), key=attrgetter("time_s"))
        self.telemetry = replace(whole, events=tuple(events))
        write_atomically(self._path, "".join(map(_row, self.telemetry.samples)))

    def _abandon(self) -> None:
        for agent in self._agents:
            agent.listen(None)
        with self._lock:
            self._stack.close()

    def note(self, event: Event) -> None:
        """Add what happened to a node."""
        self._noted.append(event)

    def _take(self, node: _Watched, samples: Sequence[GpuSample]) -> None:
        """Keep samples, and write them with the times of the clock as it was at the beginning."""
        node.samples += samples
        aligned = Alignment(node.before, node.before)
        rows = [_row(self._in_our_time(one, node, aligned)) for one in samples]
        with self._lock:
            if self._file.closed:  # samples that were on their way when the recording was given up
                return
            with suppress(OSError):  # such as a full disk, which ends the run elsewhere
                self._file.writelines(rows)
                self._file.flush()

    def warmed_up(self) -> None:
        """Note that all of the engine's processes are running: the measurement begins."""
        for agent in self._agents:
            try:
                agent.send(Command(do="measuring"))
                agent.answer()
            except AgentError:
                continue  # the end of the block notes it

    def latest(self) -> Now:
        """Return the mean of each GPU's newest sample."""
        newest: dict[GpuName, GpuSample] = {}
        for node in self._watched:
            for sample in node.samples[-64:]:
                newest[f"{node.agent.name}:{sample.gpu}"] = sample
        return mean_of(newest.values())

    def _ended(self, node: _Watched) -> Telemetry:
        """End the recording on a node; return its telemetry in our time, with the run's names of GPUs."""
        agent, aligned = node.agent, Alignment(node.before, node.before)
        try:
            agent.send(Command(do="end_watch"))
            whole = agent.answer().telemetry or Telemetry()
            aligned = Alignment(node.before, _clock(agent))
        except AgentError as error:
            last_s = max((sample.time_s for sample in node.samples), default=node.before.at_s)
            lost = Event(last_s, None, "lost", str(error))
            whole = _without_counters(tuple(dict.fromkeys(one.gpu for one in node.samples)), lost)
        finally:
            agent.listen(None)
        return self._in_run(whole, node, aligned)

    def _in_run(self, whole: Telemetry, node: _Watched, aligned: Alignment) -> Telemetry:
        return replace(
            whole,
            gpus=tuple(self._name(node, gpu) for gpu in whole.gpus),
            samples=tuple(self._in_our_time(one, node, aligned) for one in node.samples),
            events=tuple(
                replace(
                    one,
                    gpu=None if one.gpu is None else self._name(node, one.gpu),
                    time_s=aligned.ours_s(one.time_s),
                    node=node.agent.name if self._several else "",
                )
                for one in whole.events
            ),
            clock_error_s=aligned.error_s if self._several else 0.0,
        )

    def _in_our_time(self, sample: GpuSample, node: _Watched, aligned: Alignment) -> GpuSample:
        return replace(sample, gpu=self._name(node, sample.gpu), time_s=aligned.ours_s(sample.time_s))

    def _name(self, node: _Watched, gpu: GpuName) -> GpuName:
        return gpu_name(node.agent.name if self._several else "", gpu)


def _without_counters(gpus: tuple[GpuName, ...], lost: Event) -> Telemetry:
    """Return the telemetry of a node that was lost: of its GPUs only the samples are known."""
    unknown, errors = (None,) * len(gpus), (ErrorCounters(),) * len(gpus)
    return Telemetry(
        gpus=gpus,
        max_sm_clock_mhz=unknown,
        pcie_generation_max=unknown,
        ecc_uncorrected_before=unknown,
        ecc_uncorrected_after=unknown,
        errors_before=errors,
        errors_after=errors,
        events=(lost,),
    )


_SAMPLE: TypeAdapter[GpuSample] = TypeAdapter(GpuSample)


def _row(sample: GpuSample) -> str:
    # Not json.dumps(asdict()): it takes 20 us, and many nodes have thousands of samples per second.
    return f"{_SAMPLE.dump_json(sample).decode()}\n"


def _clock(agent: RemoteNode) -> Comparison:
    def ask() -> float:
        agent.send(Command(do="clock"))
        return agent.answer().time_s

    return compared(ask)


def _together(nodes: Sequence[Telemetry]) -> Telemetry:
    """Return the telemetry of several nodes as that of one machine."""
    if len(nodes) == 1:
        return nodes[0]

    def joined(name: str) -> tuple[object, ...]:
        return tuple(one for node in nodes for one in getattr(node, name))

    return replace(
        nodes[0],
        **{name: joined(name) for name in _PER_GPU},  # type: ignore[arg-type]
        samples=tuple(sorted((s for node in nodes for s in node.samples), key=attrgetter("time_s"))),
        events=tuple(sorted((e for node in nodes for e in node.events), key=attrgetter("time_s"))),
        xids_watched=all(node.xids_watched for node in nodes),
        processes_visible=all(node.processes_visible for node in nodes),
        overhead_share=max(node.overhead_share for node in nodes),
        clock_error_s=max(node.clock_error_s for node in nodes),
    )
