"""The evidence about the cause of a bad result, as plain values: what was measured, read or compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.values import GpuName

Result = Literal["FAIL", "LOSS", "INVALID"]
"""A missed target, a loss that a gate has shown, or a run that does not count."""

ChangedRole = Literal["known", "under_test", "shown"]
"""A fact whose effect on performance is known, one that a gate judges, or one that is only shown."""

Against = Literal["references", "green run", "peers"]
"""What probes are compared with: the accepted references, the last green run that was probed, or the other
GPUs of the machine."""

NOTABLE_PERCENT = 0.5
"""A difference below this explains no missed target: starts of one machine differ by as much."""


@dataclass(frozen=True, slots=True)
class Probed:
    """How the machine's probes compare, in percent; negative is slower.

    Attributes:
        against: what they were compared with.
        overall: by probe, the difference of most GPUs.
        single: by GPU, the difference by probe of a GPU that is not like the others.
        smallest: by probe, the smallest difference that it can tell.
        other_work: whether another process used the GPUs meanwhile.
        slower_after: what became slower during the run, by probe.
        of_good: whether the references that they were compared with are of good runs.
    """

    against: Against
    overall: Mapping[str, float] = field(default_factory=dict)
    single: Mapping[GpuName, Mapping[str, float]] = field(default_factory=dict)
    smallest: Mapping[str, float] = field(default_factory=dict)
    other_work: bool = False
    slower_after: Mapping[str, float] = field(default_factory=dict)
    of_good: bool = True

    def slow(self) -> dict[str, float]:
        """Return what is slower by more than a probe can tell: ``memory_bandwidth of GPU 5`` to percent."""
        found = {name: loss for name, loss in self.overall.items() if self._tells(name, loss)}
        for gpu, losses in self.single.items():
            found |= {
                f"{name} of {gpu_list([gpu])}": loss
                for name, loss in losses.items()
                if self._tells(name, loss)
            }
        return found

    def fast(self) -> dict[str, float]:
        """Return what is faster by more than a probe can tell, by probe in percent."""
        return {name: gain for name, gain in self.overall.items() if self._tells(name, -gain)}

    @property
    def as_when_good(self) -> bool:
        """Whether they were compared with those of a good run, and nothing else used the GPUs meanwhile."""
        return self.against != "peers" and self.of_good and not self.other_work

    def of_single(self) -> list[float]:
        """Return the differences of single GPUs."""
        return [difference for each in self.single.values() for difference in each.values()]

    def _tells(self, name: str, loss: float) -> bool:
        return loss < -self.smallest.get(name, NOTABLE_PERCENT)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the telemetry shows of the measured time. None: it is not known.

    Attributes:
        throttled_share: the share of the time in which heat or the hardware slowed down a GPU.
        power_capped: whether GPUs were at a power cap that is below the default.
        behind: by GPU at its power cap, by how many percent its clock was below that of the others.
        locked_clock: whether a clock stayed below its highest without a reason.
        clock_loss_percent: how far the lowest SM clock of a GPU was below its highest, in percent.
        lost: whether a GPU fell off the bus.
        shared: whether another process used the GPUs.
        xid: the code of an Xid error, one of the hardware if there is any.
        ecc_grew: whether uncorrectable memory errors were added.
        not_allowed: how heat, the hardware or a power cap slowed down GPUs by more than the scenario allows,
            so that the run does not count.
        unseen: the GPUs and the time about which nothing is known, a sentence each.
    """

    throttled_share: float | None = None
    power_capped: bool | None = None
    behind: Mapping[GpuName, float] = field(default_factory=dict)
    locked_clock: bool | None = None
    clock_loss_percent: float | None = None
    lost: bool = False
    shared: bool | None = None
    xid: int | None = None
    ecc_grew: bool = False
    not_allowed: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OptionDifference:
    """An option that was not in effect as it was asked for or published.

    Attributes:
        what: the option.
        asked: the value that was asked for or published.
        effective: the value in effect.
        matters: whether it surely changes what is measured.
        cost_percent: its known cost; None if unknown.
    """

    what: str
    asked: str
    effective: str
    matters: bool
    cost_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about a bad result.

    Attributes:
        result: what needs a cause.
        gpus: the number of GPUs of the run; 0 on the CPU.
        one_at_a_time: whether one request was in flight at a time.
        why_invalid: why the run does not count; empty if it does.
        above_peak: whether a figure is above what the GPUs can reach.
        share_of_target: measured / expected; None if unknown.
        probed: the machine's probes; None if it was not probed.
        watched: the telemetry; None without any.
        good_was_probed: whether references or a green run have probes of these GPUs.
        doubts: warnings about the machine that probes can refute.
        seen: what speaks against the machine, and what probes before the run say nothing about.
        options: options that differ from what was asked for or published.
        options_read: whether options in effect were read.
        options_not_read: options that were asked for and change what is measured, but were not read.
        options_as_published: whether all options that were asked for are the published ones; None if nothing
            was published.
        green: what ``changed`` compares with.
        changed: facts that differ from when the scenario was good, each with its role.
        software_same: whether the software is as it was then; None if that is not known.
        software_changed: what differs in the software, as ``vllm 0.11 -> 0.12``.
        clues: the keys of the clues that the run shows, with their sentences.
        clue_costs: by the key of a clue, the most that it can have cost in percent, if that is known.
    """

    result: Result
    gpus: int = 1
    one_at_a_time: bool = False
    why_invalid: tuple[str, ...] = ()
    above_peak: bool = False
    share_of_target: float | None = None
    probed: Probed | None = None
    watched: Watched | None = None
    good_was_probed: bool = False
    doubts: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    options: tuple[OptionDifference, ...] = ()
    options_read: bool = False
    options_not_read: tuple[str, ...] = ()
    options_as_published: bool | None = None
    green: Literal["run", "references", "never"] = "never"
    changed: Mapping[str, ChangedRole] = field(default_factory=dict)
    software_same: bool | None = None
    software_changed: tuple[str, ...] = ()
    clues: Mapping[str, str] = field(default_factory=dict)
    clue_costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def missing_percent(self) -> float:
        """How much is missing, as a percentage of what was expected; 0 if that is unknown."""
        return 0.0 if self.share_of_target is None else max(100 * (1 - self.share_of_target), 0.0)

    def explains(self, loss_percent: float) -> bool:
        """Return whether a loss explains at least half of what is missing; a tiny one explains nothing.

        No loss explains a result if it is unknown how much that misses, as of a run that does not count.
        """
        if self.share_of_target is None:
            return False
        return loss_percent >= max(self.missing_percent / 2, NOTABLE_PERCENT)

    def negligible(self, loss_percent: float) -> bool:
        """Return whether a loss explains a quarter of what is missing or less."""
        return loss_percent <= self.missing_percent / 4
