"""What probes measure, the smallest difference that each can show, and their values.

Only the standard library is imported, because the child process imports this module too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from pytest_dsr1.machine.values import GpuName, gpu_name

Of = Literal["gpu", "pair", "all"]
"""What one value is about: a GPU, an ordered pair of GPUs of a node, or all GPUs of a node at once."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of probe.

    Attributes:
        label: its name in tables.
        unit: the unit of its values.
        does: what a GPU does in it, for sentences such as "GPU 5 reads memory 6.0% slower".
        smallest_percent: values of one GPU that differ by at most this are equal.
        source: where that number is from.
        of: what one value is about.
        judged: whether a difference says that something is slow.
        cards_percent: values of healthy GPUs of one model differ by at most this.
    """

    label: str
    unit: str
    does: str
    smallest_percent: float
    source: str
    of: Of = "gpu"
    judged: bool = True
    cards_percent: float = 0.0

    @property
    def lower_is_better(self) -> bool:
        """Whether the value is a time."""
        return self.unit == "us"


_ROW = "probes in a row on one H200 (2026-11-29 and 2026-11-30)"
_PAIR = "3 probes in a row of two H200s (2026-11-30)"
_HEAT = "12 probes before and after runs on one H200 (2026-11-30), and 0.5% in a row"

# Between cards: five H200s (2026-11-29 and 2026-11-30) copied memory at 4,216 to 4,260 GB/s, read it at 4,274
# to 4,395 GB/s, copied from the host at 53.0 to 55.5 GB/s, and multiplied at 662 to 687 TFLOPS in BF16 and at
# 1,194 to 1,245 in FP8. One request at a time ran at the same speed on the three of 2026-11-30.
KINDS: Mapping[str, Kind] = {
    "memory_bandwidth_gb_s": Kind(
        "memory copy",
        "GB/s",
        "copies memory",
        0.3,
        f"15 and 6 {_ROW}: 4,255 to 4,260, and 4,220 to 4,225 GB/s",
        cards_percent=1.2,
    ),
    "memory_read_gb_s": Kind(
        "memory read",
        "GB/s",
        "reads memory",
        0.8,
        f"15 and 6 {_ROW}: 4,363 to 4,395, and 4,345 to 4,354 GB/s",
        cards_percent=3.0,
    ),
    "host_to_gpu_gb_s": Kind(
        "host to GPU",
        "GB/s",
        "copies from the host",
        5.0,
        "4 probes before and after runs on one H200 (2026-11-30): 53.0 to 55.5 GB/s",
        cards_percent=5.0,
    ),
    "gpu_to_host_gb_s": Kind(
        "GPU to host",
        "GB/s",
        "copies to the host",
        1.0,
        f"15 and 6 {_ROW}: 55.3, and 55.3 to 55.4 GB/s",
        cards_percent=2.5,
    ),
    "peer_gb_s": Kind(
        "GPU to GPU",
        "GB/s",
        "copies to and from other GPUs",
        1.0,
        f"{_PAIR}: 385.3 to 385.7 GB/s",
        "pair",
        cards_percent=3.0,
    ),
    "peer_side_by_side_gb_s": Kind(
        "ring of all GPUs", "GB/s", "copies to each other", 1.0, f"{_PAIR}: 388.4 to 388.6 GB/s", "all"
    ),
    "all_reduce_64kib_us": Kind(
        "all-reduce of 64 KiB", "us", "reduces 64 KiB", 12.0, f"{_PAIR}: 66 to 73 us", "all"
    ),
    "all_reduce_256mib_gb_s": Kind(
        "all-reduce of 256 MiB", "GB/s", "reduces 256 MiB", 7.0, f"{_PAIR}: 260 to 275 GB/s", "all"
    ),
    "bf16_tflops": Kind(
        "BF16 product",
        "TFLOPS",
        "multiplies BF16 matrices",
        3.5,
        f"{_HEAT}: 665 to 687 TFLOPS",
        cards_percent=4.5,
    ),
    "bf16_sm_clock_mhz": Kind(
        "SM clock in it", "MHz", "runs", 7.0, f"{_HEAT}: 1,440 to 1,530 MHz", judged=False, cards_percent=7.0
    ),
    "fp8_tflops": Kind(
        "FP8 product",
        "TFLOPS",
        "multiplies FP8 matrices",
        4.0,
        f"6 {_ROW}: 1,205 to 1,242 TFLOPS",
        cards_percent=5.0,
    ),
    "fp8_sm_clock_mhz": Kind(
        "SM clock in it",
        "MHz",
        "runs",
        5.0,
        f"{_HEAT}: 1,320 to 1,380 MHz",
        judged=False,
        cards_percent=5.0,
    ),
}
"""All probes, in the order in which they run. Bandwidths count bytes read and written for copies within a
GPU, bytes sent for other copies, and 2 (n - 1) / n times the size for an all-reduce of n GPUs."""

PREFIX = "probe."
"""Begins the name of each fact."""

UNREADABLE = "there is no GPU that can be read"
"""Why no GPU is probed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The values of one probe.

    Attributes:
        name: a key of ``KINDS``.
        values: in the unit of the kind.
        gpus: for each value its GPUs; of a pair first the one that sends.
        seconds: how long it took.
    """

    name: str
    values: tuple[float, ...]
    gpus: tuple[tuple[GpuName, ...], ...]
    seconds: float

    @property
    def kind(self) -> Kind:
        """What was measured."""
        return KINDS[self.name]

    @property
    def unit(self) -> str:
        """The unit of the values."""
        return self.kind.unit

    @property
    def smallest_percent(self) -> float:
        """Values that differ by at most this are equal."""
        return self.kind.smallest_percent

    @property
    def by_gpu(self) -> tuple[tuple[tuple[GpuName, ...], float], ...]:
        """The values by GPU, as (GPUs, value), in CUDA's order; of pairs the slowest one that a GPU is in."""
        if self.kind.of != "pair":
            return tuple(zip(self.gpus, self.values, strict=True))
        slowest: dict[GpuName, float] = {}
        for pair, value in zip(self.gpus, self.values, strict=True):
            for gpu in pair:
                slowest[gpu] = min(value, slowest.get(gpu, math.inf))
        return tuple(((gpu,), value) for gpu, value in slowest.items())


@dataclass(frozen=True, slots=True)
class Probes:
    """All probes of the GPUs of a node, or of all nodes of a run, at one time.

    Attributes:
        model: the name of the GPUs; None if they differ, or on the CPU.
        gpus: in CUDA's order.
        probes: what was measured, in the order of ``KINDS``.
        missing: why others were not, by name.
        seconds: how long all of it took.
    """

    model: str | None
    gpus: tuple[GpuName, ...]
    probes: tuple[Probe, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def not_probed(self) -> tuple[str, ...]:
        """A sentence for each reason why probes are missing, in one line."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.missing.items():
            if KINDS[name].judged:
                reasons.setdefault(" ".join(why.split()), []).append(name)
        everything = not self.probes and len(reasons) == 1
        return tuple(
            f"not probed: {'' if everything else f'{_labels(names)}: '}{why}"
            for why, names in reasons.items()
        )


def unprobed(gpus: Iterable[GpuName], why: str) -> Probes:
    """Return the probes of GPUs of which nothing could be measured."""
    names = tuple(gpus)
    return Probes(None, names, missing=dict.fromkeys(expected(len(names)), why))


def merged(of_nodes: Mapping[str, Probes]) -> Probes:
    """Return what was measured on all nodes, with the run's names of GPUs, in the order of the nodes.

    Why others are missing differs by node, so that is left out.

    Args:
        of_nodes: the probes of each node, by its name; the only node has none.
    """
    models = {probes.model for probes in of_nodes.values() if probes.probes}
    whole: dict[str, Probe] = {}
    for node, probes in of_nodes.items():
        for one in probes.probes:
            first = whole.get(one.name, Probe(one.name, (), (), 0.0))
            gpus = tuple(tuple(gpu_name(node, gpu) for gpu in each) for each in one.gpus)
            whole[one.name] = replace(
                first,
                values=first.values + one.values,
                gpus=first.gpus + gpus,
                seconds=max(first.seconds, one.seconds),
            )
    return Probes(
        model=next(iter(models)) if len(models) == 1 else None,
        gpus=tuple(gpu_name(node, gpu) for node, probes in of_nodes.items() for gpu in probes.gpus),
        probes=tuple(whole[name] for name in KINDS if name in whole),
        seconds=max(probes.seconds for probes in of_nodes.values()),
    )


def _labels(names: Iterable[str]) -> str:
    return ", ".join(KINDS[name].label for name in names)


def expected(count: int) -> tuple[str, ...]:
    """Return the names of the probes of this number of GPUs: one GPU has no peer."""
    return tuple(name for name, kind in KINDS.items() if kind.of == "gpu" or count > 1)


ONE_GPU_S, EACH_MORE_S = 12.0, 8.0
"""About how long the probes of one GPU take, in s, and how much longer those of each further one.

Measured on one and two H200s, so that for more GPUs is an estimate.
"""


def expected_s(count: int) -> float:
    """Return about how long all probes of this number of GPUs take, in s."""
    return ONE_GPU_S + (count - 1) * EACH_MORE_S


def spread_percent(values: Sequence[float]) -> float:
    """Return by how much the largest value exceeds the smallest, in percent; values are positive."""
    return 100 * (max(values) / min(values) - 1)


def facts(of_nodes: Mapping[str, Probes], prefix: str = PREFIX) -> dict[str, float | list[str]]:
    """Return the facts of a result: one value if all GPUs agree, else a list with one value per GPU.

    A probe of all GPUs of a node has one value per node. The word ``none`` stands for each value that a node
    could not measure.

    Args:
        of_nodes: the probes of each node, by its name.
        prefix: begins the name of each fact.
    """
    found: dict[str, float | list[str]] = {}
    for name, kind in KINDS.items():
        each = [value for probes in of_nodes.values() for value in _values(probes, name)]
        values = [value for value in each if value is not None]
        if not values:
            continue
        agree = len(values) == len(each) and spread_percent(values) <= kind.smallest_percent
        found[f"{prefix}{name}"] = (
            _rounded(median(values))
            if agree
            else ["none" if value is None else f"{_rounded(value):g}" for value in each]
        )
    return found


def _values(probes: Probes, name: str) -> Sequence[float | None]:
    """Return the values of one probe of a node, as in a fact; None for each that is missing."""
    for probe in probes.probes:
        if probe.name == name:
            return [value for _, value in probe.by_gpu]
    if name not in probes.missing:  # a node with one GPU has no peers
        return ()
    return [None] * (1 if KINDS[name].of == "all" else len(probes.gpus))


def figure(value: float) -> str:
    """Return a value as text with four digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def numbers(fact: object) -> tuple[float, ...] | None:
    """Return the values of a fact; None if it is not one of a probe."""
    try:
        found = tuple(float(str(one)) for one in (fact if isinstance(fact, list | tuple) else [fact]))
    except ValueError:
        return None
    return found if found and all(math.isfinite(one) and one > 0 for one in found) else None


def alike(key: str, old: object, new: object) -> bool:
    """Return whether two facts of a probe are equal, as far as it can show a difference."""
    one, other = numbers(old), numbers(new)
    kind = KINDS.get(key.rpartition(".")[2])
    if one is None or other is None or kind is None:
        return old == new
    length = max(len(one), len(other))
    one, other = (values * length if len(values) == 1 else values for values in (one, other))
    return len(one) == len(other) and all(
        spread_percent(pair) <= kind.smallest_percent for pair in zip(one, other, strict=True)
    )
