"""A real slow-down of the engine ``transformers`` on a GPU, to see a gate fail.

With this folder on PYTHONPATH each decode step waits ``SLOWER_US`` microseconds on the GPU, as with a slower
kernel. The machine itself is not changed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

CLOCK_MHZ = 1980
"""The SM clock of an H200 that is not throttled; it converts the wait into cycles."""


def slow_down() -> None:
    """Add a wait before each captured step."""
    import torch

    from pytest_dsr1.engines.transformers.model import Batch

    cycles = int(float(os.environ["SLOWER_US"]) * CLOCK_MHZ)
    capture = Batch.capture

    def slower(self: Batch, **arguments: Any) -> None:
        capture(self, **arguments)
        step = self.step

        def waiting() -> None:
            torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
            step()

        self.step = waiting

    Batch.capture = slower  # type: ignore[method-assign]


if os.environ.get("SLOWER_US") and "pytest_dsr1.engines.transformers.worker" in sys.orig_argv:
    slow_down()
