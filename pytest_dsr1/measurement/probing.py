"""Probes around a run: what the GPUs can do before the engine starts and after it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.probe.judge import Judged, judge
from pytest_dsr1.machine.probe.values import PREFIX, UNREADABLE, Probes, expected_s, facts, merged, numbers
from pytest_dsr1.machine.values import FactValue, Notify, gpu_name

if TYPE_CHECKING:
    from pytest_dsr1.machine.lease import Machine

When = Literal["before", "after"]

NO_GPU = "not probed: the scenario uses no GPU"
ATTACHED = "the server of engine.url is running on the GPUs"
"""Why GPUs are not probed."""

AFTER = f"{PREFIX}after."
"""Begins the facts of the probes after a run that was probed before it, too."""


@dataclass(frozen=True, slots=True)
class Probing:
    """How the GPUs of a run are probed.

    Attributes:
        occupied: returns what is running on the GPUs now, in a sentence; None if they are free.
        accepted: what the probes of the accepted references on these GPUs found, by probe: one value for all
            GPUs, or one per GPU.
        notify: shows a sentence to the user at once.
    """

    occupied: Callable[[], str | None]
    accepted: Mapping[str, tuple[float, ...]]
    notify: Notify


class Prober:
    """The probes of one run; without ``probing`` nothing happens.

    Attributes:
        facts: for the fingerprint.
        findings: what the probes say about the machine, and what was not probed.
    """

    def __init__(self, probing: Probing | None, machine: Machine, folder: Path) -> None:
        self.facts: dict[str, FactValue] = {}
        self.findings: list[Finding] = []
        self._probing = probing
        self._machine = machine
        self._folder = folder

    def look(self, when: When) -> None:
        """Probe the GPUs, unless something is running on them."""
        if self._probing is None:
            return
        by_node = self._machine.probed
        gpus = [gpu_name(node, gpu.index) for node, of_node in by_node.items() for gpu in of_node]
        occupied = self._probing.occupied() if gpus else UNREADABLE
        if occupied is not None:
            sentence = f"not probed {when} the run: {occupied}"
            self._probing.notify(sentence)
            self.findings.append(Finding("ok", "probes", sentence))
            return
        about_s = expected_s(max(map(len, by_node.values())))  # all nodes at the same time
        self._probing.notify(f"probing {gpu_list(gpus)} {when} the run, about {about_s:.0f} s")
        self._take(self._machine.probe(self._folder / f"probe-{when}.log"), when)

    def _take(self, found: Mapping[str, Probes], when: When) -> None:
        """Keep the facts, and what they say; the probes after a run are held against those before it."""
        assert self._probing is not None
        if before := self.facts:
            earlier = {
                key.removeprefix(PREFIX): values for key, fact in before.items() if (values := numbers(fact))
            }
            judged = judge(merged(found), earlier, "before the run")
            self.facts = {**before, **facts(found, AFTER)}
        else:
            judged = judge(merged(found), self._probing.accepted)
            self.facts = {**facts(found)}
        self.findings += (_finding(one, when) for one in judged)
        self.findings += (
            Finding("warning", f"probes {when} the run", why, node)
            for node, probes in found.items()
            for why in probes.not_probed
        )
        for one in judged:
            if one.verdict == "convicted" and one.against == "before":
                self._probing.notify(f"{one.text}, measured {when} the run")


def _finding(judged: Judged, when: When) -> Finding:
    """Return a finding; only the other GPUs of the machine make one a warning, measured at the same time."""
    convicted = judged.verdict == "convicted" and judged.against == "gpus"
    return Finding(
        "warning" if convicted else "ok", judged.subject, f"{judged.rest}, measured {when} the run"
    )
