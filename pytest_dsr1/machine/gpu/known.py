"""Known GPUs: their peaks, which limit every bound, their memory and their links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TensorCoreFormat = Literal["BF16", "FP8", "FP4"]


@dataclass(frozen=True, slots=True)
class KnownGpu:
    """The facts about one GPU.

    Attributes:
        hbm_tb_s: memory bandwidth in 1e12 bytes/s.
        tflops: dense tensor-core operations in 1e12/s by number format; for a missing format the GPU has no
            tensor cores.
        memory_gib: the memory that NVML reports, in GiB.
        nvlinks: the number of its NVLinks; None for a card, whose links depend on the bridges in the machine.
        source: where the peaks are from.
        nvlink_mb_s: the speed that NVML reports for each link, in MB/s; None if unknown.
    """

    hbm_tb_s: float
    tflops: Mapping[TensorCoreFormat, float]
    memory_gib: float
    nvlinks: int | None
    source: str
    nvlink_mb_s: int | None = None


_HOPPER: Mapping[TensorCoreFormat, float] = {"BF16": 989, "FP8": 1979}
_HGX_B200: Mapping[TensorCoreFormat, float] = {"BF16": 2250, "FP8": 4500, "FP4": 9000}
_HGX_B300: Mapping[TensorCoreFormat, float] = {"BF16": 2250, "FP8": 4500, "FP4": 14000}
_GB200: Mapping[TensorCoreFormat, float] = {"BF16": 2500, "FP8": 5000, "FP4": 10000}
_GB300: Mapping[TensorCoreFormat, float] = {"BF16": 2500, "FP8": 5000, "FP4": 15000}

_NVLINK_4, _NVLINK_5 = 26_562, 53_125
"""NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON that NVIDIA's Health Validation expects of H100 and of Blackwell."""

KNOWN_GPUS: Mapping[str, KnownGpu] = {
    "NVIDIA H100 80GB HBM3": KnownGpu(3.35, _HOPPER, 79.6, 18, "NVIDIA H100 data sheet, SXM", _NVLINK_4),
    "NVIDIA H100 PCIe": KnownGpu(
        2.0, {"BF16": 757, "FP8": 1513}, 79.6, None, "NVIDIA H100 data sheet of 2022, PCIe"
    ),
    "NVIDIA H100 NVL": KnownGpu(
        3.9, _HOPPER, 93.6, None, "NVIDIA H100 data sheet, NVL; its first edition has the operations of SXM"
    ),
    "NVIDIA H200": KnownGpu(4.8, _HOPPER, 140.4, 18, "NVIDIA H200 data sheet, SXM", _NVLINK_4),
    "NVIDIA H200 NVL": KnownGpu(4.8, {"BF16": 836, "FP8": 1671}, 140.4, None, "NVIDIA H200 data sheet, NVL"),
    "NVIDIA H20": KnownGpu(
        4.0,
        {"BF16": 148, "FP8": 296},
        95.6,
        18,
        "press reports that agree; NVIDIA has no public data sheet",
        _NVLINK_4,
    ),
    "NVIDIA B200": KnownGpu(8.0, _HGX_B200, 179.1, 18, "NVIDIA Blackwell data sheet, HGX B200", _NVLINK_5),
    "NVIDIA B300 SXM6 AC": KnownGpu(
        8.0, _HGX_B300, 268.6, 18, "NVIDIA Blackwell data sheet, HGX B300", _NVLINK_5
    ),
    "NVIDIA GB200": KnownGpu(8.0, _GB200, 185.0, 18, "NVIDIA Blackwell data sheet, GB200 NVL72", _NVLINK_5),
    "NVIDIA GB300": KnownGpu(8.0, _GB300, 277.5, 18, "NVIDIA Blackwell data sheet, GB300 NVL72", _NVLINK_5),
}
"""GPUs by their name in CUDA and NVML.

Operations are half of the sparse figures printed in the data sheets. If sheets differ (B200, B300: 7.7 or 8
TB/s; HGX B300: 13.5 or 14 PFLOPS in FP4), the larger figure is used. Links are the printed bandwidth divided
by 50 GB/s (Hopper) or 100 GB/s (Blackwell) per link. Names and memory are from `nvidia-smi` on such machines.
"""

UNCERTAINTY = 0.03
"""The share by which true peaks may exceed the table: sheets round, and boost clocks differ a little."""
LEAST_MEMORY = 0.97
"""The share of the known memory that a healthy GPU shows at least: drivers reserve different amounts."""
