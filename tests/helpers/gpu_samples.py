"""Telemetry of one GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_dsr1.machine.values import GpuSample, Telemetry

SAMPLE = GpuSample(
    time_s=0.0,
    gpu=0,
    sm_clock_mhz=1980,
    memory_clock_mhz=3201,
    power_w=600.0,
    energy_j=0.0,
    temperature_c=60,
    memory_used_gib=120.0,
    utilization_percent=99,
    throttle_reasons=0,
)


FROM_S, TO_S = 100.0, 200.0


def watched(masks: Sequence[int | None], **facts: object) -> Telemetry:
    """Return one GPU's samples at 1 Hz from 100 s on, with these throttle reasons, at 600 W."""
    samples = [
        replace(SAMPLE, time_s=FROM_S + second, energy_j=600.0 * second, throttle_reasons=mask, **facts)  # type: ignore[arg-type]
        for second, mask in enumerate(masks)
    ]
    return Telemetry(
        interval_s=1.0,
        gpus=(0,),
        max_sm_clock_mhz=(1980,),
        samples=tuple(samples),
        ecc_uncorrected_before=(0,),
        ecc_uncorrected_after=(0,),
        xids_watched=True,
    )
