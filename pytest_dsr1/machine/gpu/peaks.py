"""What a GPU can do at most: the table behind every bound."""

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
        tflops: dense tensor-core operations in 1e12/s by number format; one that is missing has no tensor
            cores there.
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
"""By the name the GPU has in CUDA and NVML.

From NVIDIA's data sheets of H100 SXM, H200 SXM, HGX B200 and GB200 NVL72; operations are halves of the sparse
figures printed there. Where sheets differ (B200: 7.7 or 8 TB/s) the larger figure stands.
"""

UNCERTAINTY = 0.03
"""How far the true peaks may lie above the table: sheets round, and boost clocks differ a little."""
