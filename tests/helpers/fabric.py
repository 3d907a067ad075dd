"""The state of the NVLink fabric, which nvidia-ml-py before 13.580 cannot read."""

from __future__ import annotations

import pynvml
import pytest

KNOWN = hasattr(pynvml, "c_nvmlGpuFabricInfo_v2_t")
COMPLETED = "completed" if KNOWN else None
"""The values that a healthy GPU reports."""
needs_fabric = pytest.mark.skipif(
    not KNOWN, reason="nvidia-ml-py before 13.580 cannot read the NVLink fabric"
)
