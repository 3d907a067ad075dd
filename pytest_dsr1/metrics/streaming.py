"""Metrics of streaming: time to first token (TTFT), time per output token (TPOT), and output speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import Requests
from pytest_dsr1.metrics.registry import REPORT, Metrics

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics(REPORT)


@metrics.mean_and_spread(
    "ttft",
    "TTFT",
    mean=("average_ttft", "average time to first token (TTFT)"),
    of="first token - start",
    source="trtllm-bench report, Time-to-First-Token Breakdown",
    needs={"streaming"},
)
def ttft_ms(requests: Requests) -> Floats:
    """Return the time to first token of each request; NaN where it is unknown."""
    return (requests.first_token_s - requests.start_s) * 1e3


@metrics.mean_and_spread(
    "tpot",
    "TPOT",
    mean=("average_tpot", "average time per output token (TPOT)"),
    of="(end - first token) / (output tokens - 1)",
    source="trtllm-bench report, Time-per-Output-Token Breakdown",
    needs={"streaming"},
)
def tpot_ms(requests: Requests) -> Floats:
    """Return the time per output token of each request; NaN for one without."""
    return requests.decode_s * 1e3 / (requests.output_tokens - 1)


@metrics.mean(
    "per_user_output_speed",
    "per-user output speed (1/TPOT)",
    "tok/s/user",
    "higher",
    formula="mean over i of (output tokens - 1) / (end - first token)",
    needs={"streaming"},
)
def _speed_tok_s(requests: Requests) -> Floats:
    return (requests.output_tokens - 1) / requests.decode_s
