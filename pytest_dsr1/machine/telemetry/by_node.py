"""The GPUs of each node of a run, summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_dsr1.machine.gpu.inventory import node_of
from pytest_dsr1.machine.telemetry.health import GpuStatistics


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """The GPUs of one node over the measured time. None: NVML does not report it for any of them.

    Attributes:
        node: its name.
        gpus: the number of its GPUs in the run.
        sm_clock_mhz: the mean over time and GPUs.
        power_w: the mean over time and GPUs.
        temperature_c: the highest of any GPU.
        throttled_share: the share of the time of the GPU that heat or the hardware slowed down longest.
    """

    node: str
    gpus: int
    sm_clock_mhz: float | None
    power_w: float | None
    temperature_c: float | None
    throttled_share: float | None


def by_node(gpus: Sequence[GpuStatistics]) -> list[NodeStatistics]:
    """Return the statistics of each node, in the order of the GPUs; none if the run used a single machine."""
    nodes: dict[str, list[GpuStatistics]] = {}
    for gpu in gpus:
        nodes.setdefault(node_of(gpu.gpu)[0], []).append(gpu)
    return [_statistics(node, each) for node, each in nodes.items() if node]


def _statistics(node: str, gpus: Sequence[GpuStatistics]) -> NodeStatistics:
    clocks = [gpu.sm_clock_mhz_mean for gpu in gpus if gpu.sm_clock_mhz_mean is not None]
    powers = [gpu.power_w_mean for gpu in gpus if gpu.power_w_mean is not None]
    hottest = [gpu.temperature_c_max for gpu in gpus if gpu.temperature_c_max is not None]
    throttled = [gpu.throttled_share for gpu in gpus if gpu.throttled_share is not None]
    return NodeStatistics(
        node=node,
        gpus=len(gpus),
        sm_clock_mhz=fmean(clocks) if clocks else None,
        power_w=fmean(powers) if powers else None,
        temperature_c=max(hottest, default=None),
        throttled_share=max(throttled, default=None),
    )
