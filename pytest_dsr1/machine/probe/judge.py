"""What probes say about a machine: each value against the other GPUs, an earlier value, and the peak.

Pure functions. A difference that a probe cannot show does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, median_high
from typing import Literal

from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.gpu.known import KNOWN_GPUS
from pytest_dsr1.machine.probe.values import Kind, Probe, Probes, figure, spread_percent
from pytest_dsr1.machine.values import GpuName

Verdict = Literal["convicted", "acquitted", "fact"]
Against = Literal["gpus", "before", "peak"]

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURAL = {"reads": "read", "copies": "copy", "multiplies": "multiply", "reduces": "reduce"}
_MOST_PAIRS = 3
"""Slow pairs that one sentence names."""
_EACH_NODE = "the GPUs of each node"


@dataclass(frozen=True, slots=True)
class Judged:
    """One sentence about the machine.

    Attributes:
        verdict: whether it says that something is slow, that nothing is, or neither.
        against: what the values are held against: the other GPUs, an earlier value, or the peak.
        probe: the name of the probe.
        subject: what the sentence is about, such as ``GPU 5`` or ``GPU 5 on node2``.
        rest: what is said about it.
    """

    verdict: Verdict
    against: Against
    probe: str
    subject: str
    rest: str

    @property
    def text(self) -> str:
        """The sentence."""
        return f"{self.subject} {self.rest}"


def judge(
    probes: Probes, earlier: Mapping[str, Sequence[float]] | None = None, when: str = "in the references"
) -> tuple[Judged, ...]:
    """Judge probes: convictions first, then acquittals, then facts.

    Args:
        probes: of one machine, or of all nodes of a run.
        earlier: values that the same GPUs had before, by probe: one for all GPUs, or one per GPU; of a probe
            of all GPUs of a node one per node.
        when: when they had them, in words.
    """
    found: list[Judged] = []
    for probe in probes.probes:
        if not probe.kind.judged:
            continue
        if probe.kind.of == "gpu":
            found += _against_others(probe)
        elif probe.kind.of == "pair":
            found += _against_pairs(probe)
        else:
            found += _between_nodes(probe)
        found += _against_earlier(probe, (earlier or {}).get(probe.name, ()), when)
        found += _against_peak(probe, probes.model)
    order = ("convicted", "acquitted", "fact")
    return tuple(sorted(found, key=lambda one: order.index(one.verdict)))


def slower_percent(kind: Kind, value: float, usual: float) -> float:
    """Return by how much a value is slower than the usual one, as a percentage of the usual rate or time."""
    return 100 * (value / usual - 1) * (1 if kind.lower_is_better else -1)


def _others(count: int) -> str:
    return "the other" if count == 1 else f"the other {_count(count)}"


def _count(count: int) -> str:
    return _WORDS[count] if count < len(_WORDS) else f"{count}"


def _all(count: int) -> str:
    return "both GPUs" if count == 2 else f"all {_count(count)} GPUs"


def _plural(does: str) -> str:
    """Return what several GPUs do: ``reads memory`` becomes ``read memory``."""
    verb, _, rest = does.partition(" ")
    return f"{_PLURAL[verb]} {rest}"


def _to(percent: float) -> str:
    """Return a difference, rounded up so that the sentence stays true."""
    return f"{math.ceil(round(percent * 10, 6)) / 10:.1f}%"


def _groups(values: Sequence[float], percent: float) -> list[list[int]]:
    """Return the places of values in groups, fastest first: between groups more than this is missing."""
    order = sorted(range(len(values)), key=lambda place: -values[place])
    groups = [order[:1]]
    for before, place in pairwise(order):
        if 100 * (1 - values[place] / values[before]) > percent:
            groups.append([])
        groups[-1].append(place)
    return groups


def _fast_group(groups: Sequence[Sequence[int]]) -> int:
    """Return which group is as fast as GPUs should be: one fast GPU makes no other slow, except of two."""
    several = (number for number, group in enumerate(groups) if len(group) > 1)
    return next(several, (len(groups) - 1) // 2)


def fast_ones(values: Sequence[float], percent: float) -> list[float]:
    """Return the values of the GPUs that are as fast as they should be, by those of all.

    Args:
        values: rates of all GPUs.
        percent: those of healthy GPUs differ by at most this.
    """
    groups = _groups(values, percent)
    return [values[place] for place in groups[_fast_group(groups)]]


def _gpus(probe: Probe, places: Iterable[int]) -> list[GpuName]:
    return [gpu for place in sorted(places) for gpu in probe.gpus[place]]


def _against_others(probe: Probe) -> Iterator[Judged]:
    kind, count = probe.kind, len(probe.values)
    if count < 2:
        return
    groups = _groups(probe.values, kind.cards_percent)
    fast = _fast_group(groups)
    usual = median(probe.values[place] for place in groups[fast])
    slow = groups[fast + 1 :]
    for group in slow:
        value, gpus = median(probe.values[place] for place in group), _gpus(probe, group)
        alone = len(gpus) == 1 and len(groups) == 2
        others = _others(count - 1) if alone else gpu_list(_gpus(probe, groups[fast]))
        yield Judged(
            "convicted",
            "gpus",
            probe.name,
            gpu_list(gpus),
            f"{kind.does if len(gpus) == 1 else _plural(kind.does)} "
            f"{slower_percent(kind, value, usual):.1f}% slower than {others} "
            f"({figure(value)} against {figure(usual)} {kind.unit})",
        )
    spread = spread_percent(probe.values)
    if not slow and spread <= kind.cards_percent:
        yield Judged(
            "acquitted", "gpus", probe.name, _all(count), f"{_plural(kind.does)} alike, to {_to(spread)}"
        )
    elif not slow:
        yield Judged(
            "fact",
            "gpus",
            probe.name,
            _all(count),
            f"{_plural(kind.does)}, with differences of up to {_to(spread)}",
        )


def _against_pairs(probe: Probe) -> Iterator[Judged]:
    """Convict a GPU if most of its pairs are slower than those without it, else single pairs."""
    kind, pairs = probe.kind, dict(zip(probe.gpus, probe.values, strict=True))
    guilty: set[GpuName] = set()
    for gpu in dict.fromkeys(gpu for pair in pairs for gpu in pair):
        own = median_high(value for pair, value in pairs.items() if gpu in pair)
        without = [value for pair, value in pairs.items() if gpu not in pair]
        slower = slower_percent(kind, own, median(without)) if without else 0.0
        if slower > kind.cards_percent:
            guilty.add(gpu)
            yield Judged(
                "convicted",
                "gpus",
                probe.name,
                gpu_list([gpu]),
                f"copies to and from the other GPUs {slower:.1f}% slower than they do without it "
                f"({figure(own)} against {figure(median(without))} {kind.unit})",
            )
    yield from _slow_pairs(probe, {pair: value for pair, value in pairs.items() if not guilty & {*pair}})
    spread = spread_percent(probe.values)
    if spread <= kind.cards_percent:
        yield Judged("acquitted", "gpus", probe.name, "all pairs of GPUs", f"copy alike, to {_to(spread)}")


def _slow_pairs(probe: Probe, pairs: Mapping[tuple[GpuName, ...], float]) -> Iterator[Judged]:
    slow: dict[tuple[GpuName, ...], float] = {}
    for pair, value in pairs.items():
        others = [each for other, each in pairs.items() if other != pair]
        if others and slower_percent(probe.kind, value, median(others)) > probe.kind.cards_percent:
            slow[pair] = slower_percent(probe.kind, value, median(others))
    if not slow:
        return
    worst = sorted(slow, key=lambda pair: -slow[pair])
    named = ", ".join(f"{one} to {other}" for one, other in worst[:_MOST_PAIRS])
    more = f" and {len(slow) - _MOST_PAIRS} more" if len(slow) > _MOST_PAIRS else ""
    yield Judged(
        "convicted",
        "gpus",
        probe.name,
        f"GPU copies {named}{more}",
        f"are up to {max(slow.values()):.1f}% slower than those of the other pairs",
    )


def _between_nodes(probe: Probe) -> Iterator[Judged]:
    """Compare nodes of the same size. By how much healthy ones differ is unknown, so none is convicted."""
    kind, values = probe.kind, probe.values
    if len(values) < 2 or len({len(gpus) for gpus in probe.gpus}) > 1:
        return
    does, spread = _plural(kind.does), spread_percent(values)
    if spread <= kind.smallest_percent:
        yield Judged("acquitted", "gpus", probe.name, _EACH_NODE, f"{does} alike, to {_to(spread)}")
        return
    fast, *_, slow = sorted(
        range(len(values)), key=lambda node: slower_percent(kind, values[node], values[0])
    )
    yield Judged(
        "fact",
        "gpus",
        probe.name,
        gpu_list(probe.gpus[slow]),
        f"{does} {slower_percent(kind, values[slow], values[fast]):.1f}% slower than "
        f"{gpu_list(probe.gpus[fast])} ({figure(values[slow])} against {figure(values[fast])} {kind.unit})",
    )


def _against_earlier(probe: Probe, earlier: Sequence[float], when: str) -> Iterator[Judged]:
    kind, now = probe.kind, probe.by_gpu
    if len(earlier) not in {1, len(now)}:
        return
    usual = tuple(earlier) * (len(now) if len(earlier) == 1 else 1)
    slower = [slower_percent(kind, value, old) for (_, value), old in zip(now, usual, strict=True)]
    slow = [place for place, each in enumerate(slower) if each > probe.smallest_percent]
    if kind.of == "all":
        who, does = "the GPUs" if len(now) == 1 else _EACH_NODE, _plural(kind.does)
    elif len(now) == 1:
        who, does = gpu_list(now[0][0]), kind.does
    else:
        who, does = _all(len(now)), _plural(kind.does)
    furthest = max(map(abs, slower))
    if furthest <= probe.smallest_percent:
        yield Judged("acquitted", "before", probe.name, who, f"{does} as {when}, to {_to(furthest)}")
    elif len(slow) == len(now):
        by = f"{median(slower):.1f}%"
        yield Judged("convicted", "before", probe.name, who, f"{does} {by} slower than {when}")
    elif not slow:
        by = f"up to {-min(slower):.1f}%"
        yield Judged("fact", "before", probe.name, who, f"{does} {by} faster than {when}")
    else:
        for place in slow:
            gpus, value = now[place]
            figures = f"({figure(value)} against {figure(usual[place])} {kind.unit})"
            does = kind.does if len(gpus) == 1 else _plural(kind.does)
            rest = f"{does} {slower[place]:.1f}% slower than {when} {figures}"
            yield Judged("convicted", "before", probe.name, gpu_list(gpus), rest)


def _against_peak(probe: Probe, model: str | None) -> Iterator[Judged]:
    peak = _peak(probe.name, model)
    if peak is None:
        return
    low, high = (100 * extreme(probe.values) / peak for extreme in (min, max))
    share = f"{low:.0f}%" if round(low) == round(high) else f"{low:.0f} to {high:.0f}%"
    yield Judged(
        "fact",
        "peak",
        probe.name,
        probe.kind.label,
        f"reaches {share} of the peak of {figure(peak)} {probe.unit}",
    )


def _peak(name: str, model: str | None) -> float | None:
    """Return the peak of a probe's values; None if it is unknown."""
    known = KNOWN_GPUS.get(model or "")
    if known is None:
        return None
    if name.startswith("memory_"):
        return known.hbm_tb_s * 1000
    return {"bf16_tflops": known.tflops.get("BF16"), "fp8_tflops": known.tflops.get("FP8")}.get(name)
