"""Metrics of speculative decoding (MTP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import Requests
from pytest_dsr1.metrics.registry import Metrics

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics("trtllm-bench report, DECODING STATISTICS")


@metrics.mean(
    "acceptance_length",
    "acceptance length",
    "tokens/step",
    "higher",
    formula="mean over i of output tokens / decoding iterations; engine openai: 1 + accepted draft tokens / "
    "drafts, by the server's counters",
    needs={"mtp"},
    headline=True,
    neutral=1.0,  # no speculation
)
def _tokens_per_step(requests: Requests) -> Floats:
    return requests.output_tokens / requests.decoding_iterations
