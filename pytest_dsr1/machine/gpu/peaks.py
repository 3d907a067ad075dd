"""Peak performance of GPUs: the table behind every bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TensorCoreFormat = Literal["BF16", "FP8", "FP4"]


@dataclass(frozen=True, slots=True)
class GpuPeaks:
    """The peaks of one GPU.

    Attributes:
        hbm_tb_s: memory bandwidth in 1e12 bytes/s.
        tflops: dense tensor-core operations in 1e12/s by number format; for a missing format the GPU has no
            tensor cores.
    """

    hbm_tb_s: float
    tflops: Mapping[TensorCoreFormat, float]


_HOPPER: Mapping[TensorCoreFormat, float] = {"BF16": 989, "FP8": 1979}

GPU_PEAKS: Mapping[str, GpuPeaks] = {
    "NVIDIA H100 80GB HBM3": GpuPeaks(3.35, _HOPPER),
    "NVIDIA H200": GpuPeaks(4.8, _HOPPER),
    "NVIDIA B200": GpuPeaks(8.0, {"BF16": 2250, "FP8": 4500, "FP4": 9000}),
    "NVIDIA GB200": GpuPeaks(8.0, {"BF16": 2500, "FP8": 5000, "FP4": 10000}),
}
"""Peaks by the GPU's name in CUDA and NVML.

From NVIDIA's data sheets for H100 SXM, H200 SXM, HGX B200 and GB200 NVL72; operations are half of the sparse
figures printed there. If sheets differ (B200: 7.7 or 8 TB/s), the larger figure is used.
"""

UNCERTAINTY = 0.03
"""The share by which true peaks may exceed the table: sheets round, and boost clocks differ a little."""
