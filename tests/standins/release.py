"""The order of TensorRT-LLM's versions with their release candidates, for the stand-ins.

It is written apart from the plugin's own, so that a mistake there shows here.
"""

from __future__ import annotations

import re

FIRST_GOOD_CANDIDATE_OF_1_3 = 27
"""The first release candidate of 1.3 whose class is known to be the one of #12341; an earlier one may be."""


def number(version: str) -> tuple[int, int, int]:
    """Return major, minor and release candidate; a release and other builds come after their candidates."""
    major, minor = re.findall(r"\d+", version)[:2]
    candidate = re.search(r"rc(\d+)", version)
    return int(major), int(minor), int(candidate[1]) if candidate else 999


def newer(version: str, *since: int) -> bool:
    """Return whether the version is ``since`` or newer: major, minor, and a release candidate or none."""
    return number(version) >= since


def keeps_max_draft_len(version: str) -> bool:
    """Return whether MTPDecodingConfig takes max_draft_len; before, another field overwrites it."""
    return newer(version, 1, 3, FIRST_GOOD_CANDIDATE_OF_1_3)


def has_cache_dtype_at_the_top(version: str) -> bool:
    """Return whether `kv_cache_dtype` has not moved into kv_cache_config yet (#5752)."""
    return not newer(version, 1, 0, 5)


def moe_backends(version: str) -> tuple[str, ...]:
    """Return the values of moe_config.backend."""
    if newer(version, 1, 3, FIRST_GOOD_CANDIDATE_OF_1_3):
        return (
            *("AUTO", "CUTLASS", "CUTEDSL", "TRTLLM", "DEEPGEMM", "DENSEGEMM", "VANILLA", "TRITON", "MARLIN"),
            *("MEGAMOE_DEEPGEMM", "MEGAMOE_CUTEDSL"),
        )
    return ("CUTLASS", "CUTEDSL", "WIDEEP", "TRTLLM", "DEEPGEMM", "VANILLA", "TRITON")


ALLREDUCE_STRATEGIES = (
    *("AUTO", "NCCL", "UB", "MINLATENCY", "ONESHOT", "TWOSHOT", "LOWPRECISION", "MNNVL", "NCCL_SYMMETRIC"),
)
CACHE_DTYPES = ("auto", "fp8", "nvfp4")


def disagreeing_sizes(batch_sizes: list[int] | None, max_batch_size: int | None) -> bool:
    """Return whether CudaGraphConfig refuses these together."""
    return bool(batch_sizes and max_batch_size and max(batch_sizes) != max_batch_size)
