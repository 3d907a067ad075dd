"""Other work on the processors during a run on the CPU: how long the run waited, and what it waited for.

A thread that is ready to run but has no processor waits in a queue of the kernel, which counts that time for
each thread. This also shows work in other containers, and a limit on this one. Other work that leaves the run
a processor of its own does not count against it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.findings import Finding
from pytest_dsr1.text import plain

PROC = Path("/proc")
INTERVAL_S = 0.5
LOST_LIMIT = 0.05
"""The largest share of the measured time that other work may take from the run: that of the scenarios'
tolerance. `pytest-dsr1 docs measurements#other-work-on-the-cpus` has the measurement."""
SHARED = "CPUs shared"
"""The subject of the finding about other work."""
NOTABLE_SHARE = 0.01
"""A smaller share is not mentioned as a warning."""
_SHOWN = 4
_PIDS = 3


@dataclass(frozen=True, slots=True)
class OtherWork:
    """Processes of one name that are not part of the run.

    Attributes:
        name: as the kernel knows it, of at most 15 characters.
        pids: their ids, those with the most work first.
        cpus: the processors that they kept busy, on average.
    """

    name: str
    pids: tuple[int, ...]
    cpus: float


@dataclass(frozen=True, slots=True)
class CpuLoad:
    """The processors over the measured time.

    Attributes:
        cpus: the processors that this run may use.
        others_cpus: how many of them other processes kept busy, on average.
        waited_share: the share of the time in which the engine's thread that waited longest was ready, but
            had no processor; None if the kernel does not count it.
        stolen_share: the share of the processors' time that a hypervisor gave to other machines.
        others: the other processes with the most work.
        own_cpus: how many of them the run's own processes kept busy, on average; None if that of others is
            unknown, and in results of earlier versions.
    """

    cpus: int
    others_cpus: float
    waited_share: float | None
    stolen_share: float
    others: tuple[OtherWork, ...] = ()
    own_cpus: float | None = None

    @property
    def lost_share(self) -> float:
        """The share of the measured time that other work took from the run."""
        return (self.waited_share or 0.0) + self.stolen_share

    @property
    def waited_for_itself(self) -> bool:
        """Whether other work had less than half of the time that a thread of the run waited."""
        return self.own_cpus is not None and self.others_cpus < (self.waited_share or 0.0) / 2

    @property
    def text(self) -> str:
        """The load in one line."""
        share = "an unknown share" if self.waited_share is None else f"{self.waited_share:.1%}"
        busy = f"other work kept {self.others_cpus:.2f} of {self.cpus} busy"
        return f"{busy}; the run waited for one {share} of the time"


@dataclass(frozen=True, slots=True)
class _Process:
    """A process; its id alone may be used again."""

    pid: int
    start: str


@dataclass(frozen=True, slots=True)
class _Counters:
    """The kernel's counters at one moment, in s; they only grow."""

    time_s: float
    busy_s: float
    stolen_s: float
    waited_s: Mapping[tuple[int, int], float]
    work_s: Mapping[_Process, float]
    names: Mapping[_Process, str]
    ours: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Slice:
    """What happened between two looks at the counters."""

    from_s: float
    to_s: float
    engine_ran: bool
    waited_s: float | None
    busy_s: float
    stolen_s: float
    ours_s: float
    others_s: Mapping[tuple[int, str], float]


class CpuWatch:
    """Watches the processors inside a ``with`` block, in a thread: for the processes that this one starts.

    No failure to read the counters ends a run.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._slices: list[_Slice] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dsr1-cpu-load", daemon=True)
        self._cpus = os.sched_getaffinity(0)
        self._last = _read(self._cpus)

    def __enter__(self) -> CpuWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Read the counters now, as when the measured time begins."""
        with self._lock:
            before, self._last = self._last, _read(self._cpus)
            if self._last.time_s > before.time_s:
                self._slices.append(_between(before, self._last))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.look()

    def load(self, from_s: float, to_s: float) -> CpuLoad | None:
        """Return the load between two times of the monotonic clock; None without a process of the engine."""
        parts = [
            (one, (min(one.to_s, to_s) - max(one.from_s, from_s)) / (one.to_s - one.from_s))
            for one in self._slices
            if min(one.to_s, to_s) > max(one.from_s, from_s)
        ]
        seconds = sum(share * (one.to_s - one.from_s) for one, share in parts)
        if not any(one.engine_ran for one, _ in parts):
            return None
        busy_s = sum(share * one.busy_s for one, share in parts)
        stolen_s = sum(share * one.stolen_s for one, share in parts)
        waited = [share * one.waited_s for one, share in parts if one.waited_s is not None]
        work: defaultdict[tuple[int, str], float] = defaultdict(float)
        for one, share in parts:
            for process, work_s in one.others_s.items():
                work[process] += share * work_s
        own_s = sum(share * one.ours_s for one, share in parts)
        return CpuLoad(
            cpus=len(self._cpus),
            others_cpus=max(busy_s - own_s, 0.0) / seconds,
            waited_share=min(sum(waited) / seconds, 1.0) if waited else None,
            stolen_share=stolen_s / (busy_s + stolen_s) if stolen_s else 0.0,
            others=tuple(_by_name(work, seconds)),
            own_cpus=own_s / seconds if busy_s else None,
        )


def assess(load: CpuLoad | None) -> Iterator[Finding]:
    """Yield what is wrong by the load: ``mismatch`` makes a measurement INVALID."""
    if load is None:
        return
    if load.waited_share is None:
        why = "this kernel does not count how long a thread waits for a processor (/proc/PID/schedstat)"
        what = "it is unknown whether other work slowed the run"
        yield Finding("warning", "CPUs", f"{why}, so {what}")
    if load.lost_share < NOTABLE_SHARE:
        return
    reasons = []
    if load.waited_share:
        reasons.append(
            f"for {load.waited_share:.1%} of the measured time the run was ready, but had no processor"
        )
    if load.stolen_share >= NOTABLE_SHARE:
        reasons.append(f"the hypervisor gave {load.stolen_share:.1%} of the CPU time to other machines")
    seen = ", ".join(_described(each) for each in load.others)
    if load.waited_for_itself:
        seen = f"{seen or 'no process that can be seen here'}, too little for that wait"
        next_step = (
            f"the run's own processes kept {load.own_cpus:.2f} busy, and wait for each other if they have "
            "more threads than there are CPUs: lower engine.threads, or the threads and processes of your "
            "server; else look for a limit on the CPUs of this container"
        )
    elif seen:
        next_step = "end that work, or wait until it has ended, then run again"
    else:
        seen = "no process that can be seen here"
        next_step = "look outside this container, and for a limit on its CPUs"
    message = (
        f"{'; '.join(reasons)} (allowed {LOST_LIMIT:.0%}). Other work kept {load.others_cpus:.2f} of "
        f"{load.cpus} CPUs busy: {seen}; {next_step}"
    )
    yield Finding("mismatch" if load.lost_share > LOST_LIMIT else "warning", SHARED, message)


def _described(work: OtherWork) -> str:
    pids = ", ".join(map(str, work.pids[:_PIDS]))
    more = f" and {len(work.pids) - _PIDS} more" if len(work.pids) > _PIDS else ""
    return f"{plain(work.name, 40)} (pid {pids}{more}: {work.cpus:.2f} CPUs)"


def _by_name(work: Mapping[tuple[int, str], float], seconds: float) -> Iterator[OtherWork]:
    """Yield the names with the most work; what took less than a hundredth of a processor does not matter."""
    pids: dict[str, list[int]] = defaultdict(list)
    total_s: defaultdict[str, float] = defaultdict(float)
    for (pid, name), work_s in sorted(work.items(), key=_most_first):
        pids[name].append(pid)
        total_s[name] += work_s
    for name, work_s in sorted(total_s.items(), key=_most_first)[:_SHOWN]:
        if work_s >= seconds / 100:
            yield OtherWork(name, tuple(pids[name]), work_s / seconds)


def _most_first(item: tuple[object, float]) -> float:
    return -item[1]


def _between(before: _Counters, after: _Counters) -> _Slice:
    waits = [value - before.waited_s.get(thread, 0.0) for thread, value in after.waited_s.items()]
    # A process that was not there before has started since.
    work = {one: value - before.work_s.get(one, 0.0) for one, value in after.work_s.items()}
    return _Slice(
        from_s=before.time_s,
        to_s=after.time_s,
        engine_ran=len(after.ours) > 1,
        waited_s=max(waits, default=None),
        busy_s=after.busy_s - before.busy_s,
        stolen_s=after.stolen_s - before.stolen_s,
        ours_s=sum(value for one, value in work.items() if one.pid in after.ours),
        others_s={
            (one.pid, after.names[one]): value
            for one, value in work.items()
            if value > 0 and one.pid not in after.ours
        },
    )


def _read(cpus: Iterable[int]) -> _Counters:
    """Read the counters."""
    lines = []
    with suppress(OSError):
        lines = (PROC / "stat").read_text(encoding="ascii").splitlines()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    wanted = {f"cpu{index}" for index in cpus}
    # user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5).
    times = [[int(word) for word in line.split()[1:9]] for line in lines if line.split(" ")[0] in wanted]
    parents: dict[int, int] = {}
    work_s: dict[_Process, float] = {}
    names: dict[_Process, str] = {}
    for pid, name, fields in _processes():
        process = _Process(pid, start=fields[19])
        parents[pid], names[process] = int(fields[1]), name
        work_s[process] = (int(fields[11]) + int(fields[12])) * tick_s
    own = os.getpid()
    ours = _family(own, parents)
    return _Counters(
        time_s=time.monotonic(),
        busy_s=sum(sum(one[:3]) + sum(one[5:7]) for one in times) * tick_s,
        stolen_s=sum(one[7] for one in times) * tick_s,
        waited_s={thread: waited_s for pid in ours - {own} for thread, waited_s in _waits(pid)},
        work_s=work_s,
        names=names,
        ours=frozenset(ours),
    )


def _processes() -> Iterator[tuple[int, str, list[str]]]:
    """Yield id, name and the fields after the name of each process: proc_pid_stat(5)."""
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has ended
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                before, _, after = text.rpartition(")")  # a name may hold anything, also a parenthesis
                yield int(folder.name), before.partition("(")[2], after.split()


def _family(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for child, parent in parents.items():
        children[parent].append(child)
    found, waiting = {pid}, [pid]
    while waiting:
        new = [child for child in children[waiting.pop()] if child not in found]
        found.update(new)
        waiting += new
    return found


def _waits(pid: int) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield how long each thread of a process has waited for a processor, in s."""
    with suppress(OSError):  # it has ended
        for thread in (PROC / str(pid) / "task").iterdir():
            with suppress(OSError, ValueError):  # it has ended, or the kernel does not count
                # ns on a processor, ns waiting for one, time slices: Documentation/scheduler/sched-stats.rst
                _, waited_ns, slices = (thread / "schedstat").read_text(encoding="ascii").split()
                if int(slices):
                    yield (pid, int(thread.name)), int(waited_ns) / 1e9
