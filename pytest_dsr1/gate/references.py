"""References: runs that a person accepted as what a scenario delivers. Frozen: a run never changes them.

:mod:`pytest_dsr1.gate.reference_file` reads and writes them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from statistics import fmean, median, median_low, variance

from pydantic import AwareDatetime

from pytest_dsr1.errors import NoReferenceError
from pytest_dsr1.gate.comparability import Facts, any_node, differences, short
from pytest_dsr1.machine.probe.values import numbers
from pytest_dsr1.machine.values import Conditions, FactValue
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import shell_word
from pytest_dsr1.verdict.targets import Noise

WANTED = 15
"""Reference runs on a node; with fewer, a gate takes more runs."""
LEAST = 10
"""Fewer show too little of the noise between runs for a gate."""
OLD_DAYS = 90
"""Half of the references being older than this causes a warning, because machines drift."""


@dataclass(frozen=True, slots=True)
class ReferenceRun:
    """One accepted run.

    Attributes:
        at: when it began.
        node: the machine, as :func:`~pytest_dsr1.gate.comparability.node` names it.
        value: the steady figure over the gated number of requests, in the metric's unit.
        se_percent: the standard error of the value within the run, in percent.
        window_s: the length of the part that counts, after the warm-up cut, in s.
        startup_s: the time the engine took to start, in s.
        recording: the name of the recorded run, ``candidate`` in the file.
        gpus: what the GPUs did over the measured time of the whole run; None on the CPU and in files of
            earlier versions.
        probes: what the GPUs could do before the run, by probe, as facts; None if they were not probed.
    """

    at: AwareDatetime
    node: str
    value: float
    se_percent: float
    window_s: float
    startup_s: float
    recording: str
    gpus: Conditions | None = None
    probes: Mapping[str, FactValue] | None = None

    @property
    def day(self) -> date:
        """The day of the run in UTC."""
        return self.at.astimezone(timezone.utc).date()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The acceptance of references: who, when, why, and the commit of their repository at the time."""

    at: AwareDatetime
    by: str
    reason: str
    commit: str | None


@dataclass(frozen=True, slots=True)
class References:
    """The accepted runs of one profile.

    Attributes:
        profile: the scenario's name.
        metric: the gated metric.
        unit: the metric's unit at the time.
        better: the metric's direction of improvement at the time.
        requests: every run is judged as if only this many requests had been sent.
        warmup_requests: the least number of requests at a run's start that do not count.
        accepted: by whom, when and why.
        under_test: the scenario's ``gate.under_test``.
        facts: the fingerprint of all the runs, without facts that are only shown and without the node.
        runs: in order of node and time.
        shown: facts that are only shown but can explain a loss; empty in files of earlier versions.
    """

    profile: str
    metric: str
    unit: str
    better: str
    requests: int
    warmup_requests: int
    accepted: Acceptance
    under_test: Mapping[str, bool]
    facts: Mapping[str, FactValue]
    runs: tuple[ReferenceRun, ...]
    shown: Mapping[str, FactValue] = field(default_factory=dict)

    @property
    def nodes(self) -> dict[str, int]:
        """The number of runs on each node."""
        return dict(Counter(run.node for run in self.runs))

    @property
    def days(self) -> int:
        """The number of days with runs."""
        return len({run.day for run in self.runs})

    @property
    def mean(self) -> float:
        """The geometric mean of the runs' values, in the metric's unit."""
        return math.exp(fmean(math.log(run.value) for run in self.runs))

    @property
    def noise_percent(self) -> float | None:
        """The standard deviation between runs within a node, pooled over nodes, of ln(value), in percent.

        None if no node has two runs.
        """
        logs: dict[str, list[float]] = defaultdict(list)
        for run in self.runs:
            logs[run.node].append(math.log(run.value))
        within = within_node_variance(logs)
        return None if within is None else 100 * math.sqrt(within)

    def on(self, node: str) -> tuple[ReferenceRun, ...]:
        """Return the runs that a run on this node is compared with: all, if the node itself is under test."""
        if any_node(self.under_test):
            return self.runs
        return tuple(run for run in self.runs if run.node == node)

    def probes_on(self, node: str) -> dict[str, tuple[float, ...]]:
        """Return the medians of the probes of this node's runs, by probe: one value, or one per GPU."""
        seen: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for run in self.runs:
            for name, fact in (run.probes or {}).items() if run.node == node else ():
                if values := numbers(fact):
                    seen[name].append(values)
        found = {}
        for name, rows in seen.items():
            count = max(map(len, rows))
            whole = [row * count if len(row) == 1 else row for row in rows]
            found[name] = tuple(median(column) for column in zip(*whole, strict=False))
        return found

    def age_days(self, now: datetime) -> int:
        """Return whole days since the middle one of the runs; accepting them again does not change it."""
        return _age_days(self.runs, now)


def within_node_variance(values: Mapping[str, Sequence[float]]) -> float | None:
    """Return the variance of values within nodes, pooled over nodes; None if no node has two values."""
    freedom = sum(len(each) - 1 for each in values.values())
    if not freedom:
        return None
    return sum(variance(each) * (len(each) - 1) for each in values.values() if len(each) > 1) / freedom


def usable(references: References, node: str, now: datetime) -> tuple[tuple[ReferenceRun, ...], list[str]]:
    """Return the runs that a run on this node is compared with, and warnings about them.

    Raises:
        NoReferenceError: there are too few for a gate.
    """
    runs = references.on(node)
    class_of_nodes = any_node(references.under_test)
    where = "on any node" if class_of_nodes else f"on node {short(node)}"
    if len(runs) < LEAST:
        elsewhere = "" if class_of_nodes else _elsewhere(references, node)
        raise NoReferenceError(
            f"{references.profile}: found {len(runs)} reference runs {where}; at least {LEAST} are required, "
            f"{WANTED} are recommended{elsewhere}; {how_to_get_more(references.profile)}"
        )
    nodes = {run.node for run in runs}
    if class_of_nodes and len(nodes) == len(runs):
        raise NoReferenceError(
            f"{references.profile}: each of the {len(runs)} reference runs is from a different node, so "
            "differences between nodes cannot be separated from differences between starts; at least two "
            f"runs per node are needed; {how_to_get_more(references.profile)}"
        )
    if class_of_nodes and len(nodes) == 1 and node not in nodes:
        raise NoReferenceError(
            f"{references.profile}: all {len(runs)} reference runs are from node "
            f"{short(runs[0].node)}, but this is node {short(node)}: node-to-node variation is "
            "unknown; record on at least two nodes, then "
            f"`pytest-dsr1 references accept {references.profile} --reason TEXT`"
        )
    warnings = []
    if len(runs) < WANTED:
        warnings.append(
            f"{references.profile}: only {len(runs)} of the {WANTED} recommended reference runs {where}, so "
            f"a gate takes more runs; {how_to_get_more(references.profile)}"
        )
    return runs, [*warnings, *too_old(references, runs, now)]


def too_old(references: References, runs: Sequence[ReferenceRun], now: datetime) -> Iterator[str]:
    """Yield a warning if these runs of the references are old; it begins with the profile."""
    age = _age_days(runs, now)
    if age > OLD_DAYS:
        yield (
            f"{references.profile}: the references on {_nodes(runs)}, accepted on "
            f"{references.accepted.at:%Y-%m-%d}, are old: half of the runs were recorded on or before "
            f"{_middle(runs):%Y-%m-%d}, {age} or more days ago (limit {OLD_DAYS} days). "
            "Machines drift: move old runs out of "
            f"candidates/{references.profile}, then {how_to_get_more(references.profile)}"
        )


def _middle(runs: Sequence[ReferenceRun]) -> datetime:
    return median_low(run.at for run in runs)


def _age_days(runs: Sequence[ReferenceRun], now: datetime) -> int:
    return max((now - _middle(runs)).days, 0)


def _nodes(runs: Sequence[ReferenceRun]) -> str:
    nodes = {run.node for run in runs}
    return f"{len(nodes)} nodes" if len(nodes) > 1 else f"node {short(runs[0].node)}"


def how_to_get_more(profile: str) -> str:
    """Return the commands that add reference runs."""
    return (
        f"record more with `pytest --dsr1-profile={profile} --dsr1-reference=record` (and the same "
        f"--dsr1-set, if any), then `pytest-dsr1 references accept {profile} --reason TEXT`"
    )


def with_store(text: str, store: str | None) -> str:
    """Return a message in which each command names the store that an option named; None: no option did."""
    if store is None:
        return text
    named = f" --store {shell_word(store)}"
    text = re.sub(
        r"`(pytest-dsr1 references (?:accept|show|export) (?:(?! --store )[^`])+)`",
        lambda found: f"`{found[1]}{named}`",
        text,
    )
    recorded = f" --dsr1-store={shell_word(store)}"
    return re.sub(r"`(pytest [^`]*--dsr1-reference=record)`", lambda found: f"`{found[1]}{recorded}`", text)


def with_sweep(text: str, swept: Sequence[str]) -> str:
    """Return a message in which each command about a point names the sweep that made it.

    Args:
        text: the message.
        swept: the ``KEY=VALUE,VALUE`` texts of ``--dsr1-sweep``.
    """
    words = [shell_word(each) for each in swept]
    ours, pytests = ("".join(f" {option}={word}" for word in words) for option in ("--sweep", "--dsr1-sweep"))
    text = re.sub(
        r"`(pytest-dsr1 references (?:accept|export) (?:(?! --sweep=)[^`])+)`",
        lambda found: f"`{found[1]}{ours}`",
        text,
    )
    return re.sub(
        r"`(pytest --dsr1-profile=(?:(?! --dsr1-sweep=)[^`])+)`", lambda found: f"`{found[1]}{pytests}`", text
    )


def by_node(counts: Mapping[str, int]) -> str:
    """Return the numbers of runs by node as text."""
    return ", ".join(f"{short(node)}: {count}" for node, count in sorted(counts.items())) or "none"


def _elsewhere(references: References, node: str) -> str:
    others = {name: count for name, count in references.nodes.items() if name != node}
    return f"; on other nodes: {by_node(others)}" if others else ""


_SAME_BUT_FOR_THE_GPUS = {"total_output_throughput", "per_gpu_output_throughput"}


def _differ_alike(metric: str, other: str) -> bool:
    """Return whether two metrics are the same but for a factor that no run changes."""
    return metric == other or {metric, other} == _SAME_BUT_FOR_THE_GPUS


def noise_by(references: References | None, scenario: Scenario, facts: Facts, metric: str) -> Noise:
    """Return how much engine starts differ in a metric, from its references; without them, as presumed."""
    if references is None or not _differ_alike(metric, references.metric):
        return Noise(scenario.gate.presumed_noise_percent)
    alike = not differences(references.facts, facts, references.under_test)
    if not alike or references.noise_percent is None:
        return Noise(scenario.gate.presumed_noise_percent)
    return Noise(references.noise_percent, len(references.runs))
