"""Metrics of energy, power and cost. Energy is the growth of all GPUs' NVML counters in the measured time.

A gate divides the same amounts in its window. The counters are read once per second, so a gate needs a
window of several seconds, and does not end a run early.
"""

from __future__ import annotations

from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.metrics.registry import Counted, Metrics

metrics = Metrics("NVML's energy counters")

_ENERGY: tuple[Counted, ...] = ("energy",)


@metrics.metric(
    "energy_per_output_token",
    "energy per output token",
    "J/tok",
    "lower",
    formula="energy of all GPUs in the measured time / sum of output tokens",
    kind="rate",
    needs={"gpu", "energy"},
    counts=_ENERGY,
    per="output tokens",
    headline=True,
)
def _per_token_j(inputs: MetricInputs) -> float | None:
    answered, energy_j = inputs.answered, inputs.energy_j
    return None if answered is None or energy_j is None else energy_j / answered.output_tokens


@metrics.metric(
    "energy_per_request",
    "energy per request",
    "J/req",
    "lower",
    formula="energy of all GPUs in the measured time / N",
    kind="rate",
    needs={"gpu", "energy"},
    counts=_ENERGY,
    per="requests",
    headline=True,
)
def _per_request_j(inputs: MetricInputs) -> float | None:
    answered, energy_j = inputs.answered, inputs.energy_j
    return None if answered is None or energy_j is None else energy_j / answered.requests


@metrics.metric(
    "output_throughput_per_watt",
    "output throughput per watt",
    "tok/s/W",
    "higher",
    formula="total output throughput / mean power",
    kind="rate",
    needs={"gpu", "energy"},
    counts=("output tokens",),
    per="energy",
    headline=True,
)
def _per_watt_tok_s(inputs: MetricInputs) -> float | None:
    answered, power_w = inputs.answered, _power_w(inputs)
    if answered is None or power_w is None:
        return None
    return answered.output_tokens / answered.seconds / power_w


@metrics.metric(
    "mean_power",
    "mean power of all GPUs",
    "W",
    "lower",
    formula="energy of all GPUs in the measured time / measured time",
    kind="rate",
    needs={"gpu", "energy"},
    counts=_ENERGY,
    headline=True,
)
def _power_w(inputs: MetricInputs) -> float | None:
    energy_j = inputs.energy_j
    return None if energy_j is None or inputs.measured_s <= 0 else energy_j / inputs.measured_s


@metrics.metric(
    "mean_power_per_gpu",
    "mean power per GPU",
    "W/GPU",
    "lower",
    formula="mean power / (tp * pp)",
    kind="rate",
    needs={"energy"},
    counts=_ENERGY,
    per_gpu=True,
)
def _per_gpu_w(inputs: MetricInputs) -> float | None:
    power_w = _power_w(inputs)
    return None if power_w is None or not inputs.gpus else power_w / inputs.gpus


@metrics.metric(
    "cost_per_million_output_tokens",
    "cost per million output tokens",
    "currency/Mtok",
    "lower",
    formula="`hardware.gpu_hour_price` * (tp * pp) * total latency in hours / sum of output tokens in "
    "millions; not gateable, because only throughput changes it: gate per_gpu_output_throughput",
    source="request records and the scenario's price",
    kind="rate",
    needs={"gpu", "price"},
    headline=True,
)
def _cost(inputs: MetricInputs) -> float | None:
    answered, price = inputs.answered, inputs.gpu_hour_price
    if answered is None or price is None or not inputs.gpus:
        return None
    return price * inputs.gpus * (answered.seconds / 3600) / (answered.output_tokens / 1e6)
