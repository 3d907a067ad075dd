"""The table of known GPUs, against the figures printed in the data sheets."""

from __future__ import annotations

import pytest

from pytest_dsr1.machine.gpu.known import KNOWN_GPUS
from tests.helpers.paths import DOCS

# As printed, with sparsity: TB/s, BF16, FP8, FP4 in TFLOPS; NVLink in GB/s and per link.
SHEETS = {
    "NVIDIA H100 80GB HBM3": (3.35, 1979, 3958, None, 900, 50),
    "NVIDIA H100 PCIe": (2.0, 1513, 3026, None, None, None),
    "NVIDIA H100 NVL": (3.9, 1979, 3958, None, None, None),
    "NVIDIA H200": (4.8, 1979, 3958, None, 900, 50),
    "NVIDIA H200 NVL": (4.8, 1671, 3341, None, None, None),
    "NVIDIA H20": (4.0, 296, 592, None, 900, 50),
    "NVIDIA B200": (8.0, 4500, 9000, 18000, 1800, 100),
    "NVIDIA B300 SXM6 AC": (8.0, 4500, 9000, 28000, 1800, 100),
    "NVIDIA GB200": (8.0, 5000, 10000, 20000, 1800, 100),
    "NVIDIA GB300": (8.0, 5000, 10000, 30000, 1800, 100),
}
MIB = {
    "NVIDIA H100 80GB HBM3": 81559,
    "NVIDIA H100 PCIe": 81559,
    "NVIDIA H100 NVL": 95830,
    "NVIDIA H200": 143771,
    "NVIDIA H200 NVL": 143771,
    "NVIDIA H20": 97871,
    "NVIDIA B200": 183359,
    "NVIDIA B300 SXM6 AC": 275040,
    "NVIDIA GB200": 189471,
    "NVIDIA GB300": 284208,
}
"""What nvidia-smi shows in total."""


def test_the_gpus() -> None:
    assert list(KNOWN_GPUS) == list(SHEETS) == list(MIB)
    unsure = [name for name, known in KNOWN_GPUS.items() if "data sheet" not in known.source.split(";")[0]]
    assert unsure == ["NVIDIA H20"]


@pytest.mark.parametrize("name", SHEETS)
def test_operations_are_half_of_the_sparse_ones(name: str) -> None:
    bandwidth, bf16, fp8, fp4, nvlink, per_link = SHEETS[name]
    known = KNOWN_GPUS[name]
    assert known.hbm_tb_s == bandwidth
    printed = {"BF16": bf16, "FP8": fp8, "FP4": fp4}
    assert known.tflops == {
        kind: pytest.approx(sparse / 2, abs=0.51) for kind, sparse in printed.items() if sparse
    }
    assert known.nvlinks == (nvlink // per_link if nvlink and per_link else None)
    assert known.memory_gib == pytest.approx(MIB[name] / 1024, abs=0.06)


def test_the_page_has_each_gpu() -> None:
    rows = (DOCS / "start" / "gpus.md").read_text(encoding="utf-8").splitlines()
    for name, known in KNOWN_GPUS.items():
        peaks = " / ".join(f"{known.tflops[kind]:,.0f}" for kind in known.tflops)
        links = "bridges" if known.nvlinks is None else known.nvlinks
        row = f"| `{name}` | {known.memory_gib:g} | {known.hbm_tb_s:g} | {peaks} | {links} | {known.source} |"
        assert row in rows
