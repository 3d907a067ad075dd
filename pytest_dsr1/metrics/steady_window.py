"""Metrics of the steady window of a closed loop, without ramp-up and drain."""

from __future__ import annotations

from statistics import fmean

from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.metrics.registry import Metrics, PerRequest
from pytest_dsr1.metrics.streaming import tpot_ms, ttft_ms
from pytest_dsr1.metrics.token_flow import flowed, output_flow

metrics = Metrics("none in trtllm-bench; request records of a closed loop")


@metrics.metric(
    "steady_output_throughput",
    "output throughput in the steady window",
    "tok/s",
    "higher",
    formula="output tokens in the steady window / its length; a request's tokens after the first are "
    "spread evenly from first token to end; without streaming, all of them from start to end",
    kind="rate",
)
def _output_tok_s(inputs: MetricInputs) -> float | None:
    import numpy as np

    window, requests = inputs.steady_window, inputs.columns
    if window is None:
        return None
    flow = output_flow(
        requests.start_s, requests.first_token_s, requests.last_token_s, requests.output_tokens
    )
    before, after = flowed(np.array(window), *flow)
    return float(after - before) / (window[1] - window[0]) or None


@metrics.metric(
    "steady_average_ttft",
    "average TTFT in the steady window",
    "ms",
    "lower",
    formula="mean of TTFT over the requests that start and end in the steady window",
    kind="mean",
    needs={"streaming"},
)
def _average_ttft_ms(inputs: MetricInputs) -> float | None:
    return _mean_inside(inputs, ttft_ms)


@metrics.metric(
    "steady_average_tpot",
    "average TPOT in the steady window",
    "ms",
    "lower",
    formula="mean of TPOT over the requests that start and end in the steady window",
    kind="mean",
    needs={"streaming"},
)
def _average_tpot_ms(inputs: MetricInputs) -> float | None:
    return _mean_inside(inputs, tpot_ms)


@metrics.metric(
    "steady_window",
    "steady window",
    "ms",
    "neither",
    formula="the longest time in which at least 95% of `load.concurrency` requests were in flight",
    kind="description",
)
def _length_ms(inputs: MetricInputs) -> float | None:
    window = inputs.steady_window
    return None if window is None else (window[1] - window[0]) * 1e3


def _mean_inside(inputs: MetricInputs, of_request: PerRequest) -> float | None:
    import numpy as np

    window, requests = inputs.steady_window, inputs.columns
    if window is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = of_request(requests)
    inside = (requests.start_s >= window[0]) & (requests.last_token_s <= window[1]) & ~np.isnan(values)
    found = values[inside].tolist()
    return (fmean(found) or None) if found else None
