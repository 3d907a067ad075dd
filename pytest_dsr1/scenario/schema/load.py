"""The part of the scenario schema about traffic: arrivals and service levels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pytest_dsr1.scenario.schema.base import ExpandedStr, Part

Rate = Annotated[float, Field(gt=0)]


class ConstantArrival(Part):
    """An open loop with equal gaps."""

    type: Literal["constant"]
    """Requests come at a constant rate."""
    rate_req_s: Rate
    """Requests per second."""


class PoissonArrival(Part):
    """An open loop of independent users."""

    type: Literal["poisson"]
    """Requests come as a Poisson process."""
    rate_req_s: Rate
    """Requests per second, on average."""
    seed: int = 420
    """The seed of the gaps."""


class GammaArrival(Part):
    """An open loop that is burstier, or smoother, than independent users."""

    type: Literal["gamma"]
    """Requests come with gamma-distributed gaps."""
    rate_req_s: Rate
    """Requests per second, on average."""
    burstiness: Rate
    """The gamma distribution's shape: 1 is a Poisson process, less is burstier, more is smoother."""
    seed: int = 420
    """The seed of the gaps."""


class TraceArrival(Part):
    """An open loop that replays recorded traffic."""

    type: Literal["trace"]
    """Requests come at the times in a trace."""
    path: ExpandedStr
    """A JSONL file in the Mooncake format: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`."""
    speedup: Rate = 1.0
    """Speed of the replay; 2 is twice as fast as recorded."""


Arrival = Annotated[
    ConstantArrival | PoissonArrival | GammaArrival | TraceArrival, Field(discriminator="type")
]


class Slo(Part):
    """The service level that a request must keep to count in `goodput`."""

    preset: Literal["mlperf-server", "mlperf-interactive"] | None = None
    """MLPerf Inference's limits for DeepSeek-R1: TTFT 2,000 ms and TPOT 80 ms for `mlperf-server`, 1,500 ms and 15 ms for `mlperf-interactive` (MLPerf applies them at P99)."""  # noqa: E501
    ttft_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time to first token; overrides the preset."""
    tpot_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time per output token; overrides the preset."""
    request_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time to the last token."""
