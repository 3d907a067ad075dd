"""The child process of the probes: it may fail, hang or run out of memory, and costs no measurement."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_dsr1.errors import EngineError
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.probe.values import KINDS, Probe, Probes, expected
from pytest_dsr1.process.child import Child, environment, signal_name

COMMAND = (sys.executable, "-m", "pytest_dsr1.machine.probe.measure")
LIMIT_S = 240.0
"""The longest time for all probes: importing PyTorch from a slow disk alone can take a minute."""
_LOOK_S = 1.0
"""From one look at whether the probes are to stop to the next."""


def never() -> bool:
    """Return that probes need not stop."""
    return False


def probe(
    gpus: Sequence[GpuReading],
    environ: Mapping[str, str],
    log: Path,
    *,
    command: Sequence[str] = COMMAND,
    limit_s: float = LIMIT_S,
    stopped: Callable[[], bool] = never,
) -> Probes:
    """Measure what these GPUs can do. Never raises: what could not be measured is named with the reason.

    A group of probes that hangs is stopped, and a new child measures the rest. All processes have ended on
    return.

    Args:
        gpus: those to measure, in CUDA's order.
        environ: the environment of the child, with the settings of NCCL.
        log: the file that keeps the output of the child.
        command: the child.
        limit_s: the longest time, in s.
        stopped: returns whether to stop, for the run has ended.
    """
    began_s, heard = time.monotonic(), _Heard(tuple(gpu.index for gpu in gpus))
    uuids = ",".join(gpu.uuid for gpu in gpus)
    env = environment({**environ, **({"CUDA_VISIBLE_DEVICES": uuids} if uuids else {})})
    wanted = left = expected(len(gpus) or 2)
    again: tuple[str, ...] = ()
    while left:
        try:
            with Child([*command, *again], env=env, cwd=log.parent, log=log, events=True) as child:
                why = _listen(child, heard, began_s + limit_s, limit_s, stopped)
        except (EngineError, OSError) as error:
            why = str(error)
        again = heard.lacks(wanted)
        left = again if heard.hung and len(again) < len(left) else ()
    models = {gpu.name for gpu in gpus}
    found = {one.name: one for one in heard.probes}
    return Probes(
        model=next(iter(models)) if len(models) == 1 else None,
        gpus=tuple(gpu.index for gpu in gpus),
        probes=tuple(found[name] for name in KINDS if name in found),
        missing={name: heard.missing.get(name, why) for name in wanted if name not in found},
        seconds=time.monotonic() - began_s,
    )


@dataclass
class _Heard:
    """What the children reported so far.

    Attributes:
        indices: of the GPUs in NVML, in CUDA's order.
        probes: what was measured.
        missing: why other probes were not, by name.
        garbage: the first line that is not a report.
        group: the probes that are being measured.
        group_s: the longest time for them, in s.
        until_s: when that has passed.
        hung: whether it has.
    """

    indices: tuple[int, ...]
    probes: list[Probe] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    garbage: str | None = None
    group: tuple[str, ...] = ()
    group_s: float = math.inf
    until_s: float = math.inf
    hung: bool = False

    def take(self, text: str) -> None:
        """Take a line."""
        try:
            event = json.loads(text)
            if event["event"] == "probe":
                self.probes.append(self._probe(event))
            elif event["event"] == "missing":
                self.missing |= {str(name): str(event["why"]) for name in event["names"]}
            elif event["event"] == "begin":
                self.group, self.group_s = tuple(map(str, event["names"])), float(event["limit_s"])
                self.until_s = time.monotonic() + self.group_s
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            self.garbage = self.garbage or text

    def lacks(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of some probes of which nothing was said."""
        known = {*self.missing, *(one.name for one in self.probes)}
        return tuple(name for name in names if name not in known)

    def give_up(self, log: Path) -> str:
        """Return why the probes that are being measured are given up."""
        self.hung = True
        why = f"no result within {self.group_s:g} s, so it was stopped; see {log}"
        self.missing |= dict.fromkeys(self.lacks(self.group), why)
        return why

    def _probe(self, event: Mapping[str, Any]) -> Probe:
        """Return a probe with NVML's indices. Raises ValueError and the like if it is not one."""
        values = tuple(float(value) for value in event["values"])
        gpus = tuple(tuple(self._index(place) for place in places) for places in event["gpus"])
        sound = values and all(math.isfinite(value) and value > 0 for value in values)
        if event["name"] not in KINDS or not sound or len(values) != len(gpus):
            raise ValueError
        return Probe(event["name"], values, gpus, float(event["seconds"]))

    def _index(self, place: int) -> int:
        if not self.indices:  # on the processors
            return int(place)
        if not 0 <= place < len(self.indices):
            raise ValueError
        return self.indices[place]


def _listen(child: Child, heard: _Heard, until_s: float, limit_s: float, stopped: Callable[[], bool]) -> str:
    """Read until the child has ended, hangs or is to stop; return why what it has not reported is missing."""
    heard.until_s, heard.hung = math.inf, False
    while (left_s := min(until_s, heard.until_s) - time.monotonic()) > 0:
        if stopped():
            return "the run ended first"
        lines = child.read(min(left_s, _LOOK_S))
        for line in lines:
            if line.kind == "event":
                heard.take(line.text)
        if not lines and (status := child.returncode) is not None:
            return _ending(status, heard, child.log)
    if heard.until_s < until_s:
        return heard.give_up(child.log)
    return f"the probes did not end within {limit_s:g} s and were stopped; see {child.log}"


def _ending(status: int, heard: _Heard, log: Path) -> str:
    if heard.garbage is not None:
        return f"the probes reported something that is not a result: {heard.garbage[:100]!r}"
    if status < 0:
        why = " (the system may be out of memory)" if status == -9 else ""
        return f"the probes were ended by {signal_name(-status)}{why}; see {log}"
    return f"the probes ended with exit status {status} and no result; see {log}"
