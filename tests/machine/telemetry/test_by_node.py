"""The GPUs of each node, summed up."""

from __future__ import annotations

from pytest_dsr1.machine.telemetry.by_node import NodeStatistics, by_node
from pytest_dsr1.machine.telemetry.health import GpuStatistics


def gpu(name: int | str, mhz: float | None, share: float | None = 0.0) -> GpuStatistics:
    return GpuStatistics(
        name, sm_clock_mhz_mean=mhz, power_w_mean=500, temperature_c_max=60, throttled_share=share
    )


def test_nodes_in_the_order_of_their_gpus() -> None:
    gpus = [gpu("n2:0", 1900), gpu("n2:1", 1700, 0.25), gpu("n1:0", None, None)]
    assert by_node(gpus) == [
        NodeStatistics("n2", 2, 1800, 500, 60, 0.25),
        NodeStatistics("n1", 1, None, 500, 60, None),
    ]


def test_one_machine_is_no_node() -> None:
    assert by_node([gpu(0, 1900), gpu(1, 1900)]) == []
    assert by_node([]) == []
