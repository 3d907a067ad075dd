"""Upper bounds of a measurement on its GPUs: a first-order roofline of the decode step.

A decode step takes at least the time in which all GPUs together read its weights and KV cache from memory
once, at their peak bandwidth. It also takes at least the time of its operations at the tensor cores' peak for
the format each weight is stored in. Everything left out (prefill, reading copies on several GPUs,
communication, launches, draft modules) only adds time, so no correct measurement can exceed the bound.

The bound counts the routed experts of one token per step. A batch usually uses more, but need not: similar
tokens choose the same experts. With random weights this happens on the slices of DeepSeek-R1 in suites/ (one
H200 made 10,600 tok/s with 64 requests; with the experts of uniform routing the bound would be 4,826).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.machine.gpu.known import KNOWN_GPUS, KnownGpu, TensorCoreFormat
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.roofline.model import NotKnownError, RunModel, run_model
from pytest_dsr1.workload.deepseek import read_parts

Limit = Literal["memory bandwidth", "tensor cores"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that these GPUs could reach in one metric.

    Attributes:
        metric: the metric's name.
        value: in the metric's unit.
        measured: in the same unit; None if it was not measured.
        share: ``measured`` over ``value``.
        limit: what limits the value.
        arithmetic: the calculation, for a person to check.
    """

    metric: str
    value: float
    measured: float | None
    share: float | None
    limit: Limit
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Step:
    """The least time of a decode step in s, what limits it, and the calculation."""

    seconds: float
    limit: Limit
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Roofline:
    """The least time of decode steps.

    Attributes:
        model: the model served.
        peaks: the peaks of each GPU.
        gpus: number of GPUs that compute a step together.
        servers: number of such groups; each computes steps of its own requests.
    """

    model: RunModel
    peaks: KnownGpu
    gpus: int
    servers: int = 1

    def step(self, batch: int, context: float) -> Step:
        """Return the least time of a decode step.

        Args:
            batch: requests in the step.
            context: average tokens per request in the KV cache.
        """
        return max(self._memory(batch, context), self._tensor_cores(batch, context), key=lambda s: s.seconds)

    def _memory(self, batch: int, context: float) -> Step:
        config, bandwidth_tb_s = self.model.config, self.peaks.hbm_tb_s
        weights = self.model.weight_bytes(config["num_experts_per_tok"])
        cache = batch * context * self.model.cache_token_bytes
        seconds = (weights + cache) / (self.gpus * bandwidth_tb_s * 1e12)
        return Step(
            seconds,
            "memory bandwidth",
            f"a step of {_count(batch, 'request')} reads at least {weights / 1e9:.2f} GB of weights and "
            f"{cache / 1e9:.2f} GB of KV cache, in {seconds * 1e3:.3f} ms at {self.gpus} x "
            f"{bandwidth_tb_s:g} TB/s",
        )

    def _tensor_cores(self, batch: int, context: float) -> Step:
        """Count a multiplication and an addition per weight, and absorbed latent attention per context token.

        The latter takes 2 * heads * (2 * kv_lora_rank + qk_rope_head_dim) operations per layer: scores over
        the latent and its rotary part, values over the latent.
        """
        model, config = self.model, self.model.config
        parts = read_parts(config, config["num_experts_per_tok"])
        scores = config["num_attention_heads"] * (2 * config["kv_lora_rank"] + config["qk_rope_head_dim"])
        tokens = batch * (1 + model.draft_tokens)
        operations: defaultdict[TensorCoreFormat, float] = defaultdict(float)
        for values, stored in (
            (parts.attention, model.attention),
            (parts.feed_forward, model.feed_forward),
            (parts.other, model.other),
            (scores * context * config["num_hidden_layers"], model.cache),
        ):
            operations[stored.tensor_core] += 2 * values * tokens
        seconds = sum(
            count / (self.gpus * self.peaks.tflops[kind] * 1e12) for kind, count in operations.items()
        )
        each = " and ".join(
            f"{count / 1e12:.2f} TFLOP at {self.gpus} x {self.peaks.tflops[kind]:,.0f} TFLOPS ({kind})"
            for kind, count in operations.items()
        )
        return Step(
            seconds,
            "tensor cores",
            f"a step of {_count(batch, 'request')} computes at least {each}, in {seconds * 1e3:.3f} ms",
        )


def _count(count: float, what: str) -> str:
    return f"{count:,.6g} {what}{'' if count == 1 else 's'}"


def roofline(measurement: Measurement) -> Roofline:
    """Return the roofline of a measurement.

    Raises:
        NotKnownError: GPU, model or number format is not known for sure; the message says which.
    """
    gpus, name = measurement.result.gpus, measurement.fingerprint.facts.get("gpu.name")
    if not gpus:
        raise NotKnownError("the run used no GPU")
    if not isinstance(name, str):
        raise NotKnownError("the fingerprint does not name a single kind of GPU")
    if name not in KNOWN_GPUS:
        raise NotKnownError(f"the peak performance of {name} is unknown")
    model, peaks = run_model(measurement), KNOWN_GPUS[name]
    for stored in (model.attention, model.feed_forward, model.cache):
        if stored.tensor_core not in peaks.tflops:
            raise NotKnownError(
                f"{name} has no {stored.tensor_core} tensor cores and computes in another format"
            )
    # Of disaggregated servers only these decode, each with weights of its own.
    writing = [each.gpus for each in measurement.result.facts.roles if each.role == "generation"]
    return Roofline(model, peaks, max(writing), len(writing)) if writing else Roofline(model, peaks, gpus)


def why_no_bounds(measurement: Measurement) -> str | None:
    """Return why a measurement has no bounds, as a clause; None if it has bounds."""
    try:
        roofline(measurement)
    except NotKnownError as reason:
        return str(reason)
    return None


def bounds(measurement: Measurement) -> tuple[Bound, ...]:
    """Return the bounds of the measured metrics that have one; empty without certainty.

    Throughput is bounded with every request that may be in flight in each step, because larger steps make
    more tokens per second. A user's rate is bounded with one request per step: at the ends of a run, or when
    requests wait in a queue, a step has fewer requests than the concurrency.
    """
    try:
        least = roofline(measurement)
    except NotKnownError:
        return ()
    accepted, context = _accepted(measurement, least.model), _least_context(measurement, least.model)
    batch = min(measurement.scenario.load.at_once, measurement.workload.requests)
    servers = min(least.servers, batch)
    largest = math.ceil(batch / servers)
    return tuple(
        _bound(measurement, metric, least.step(size, context), size * at_once * accepted, per, at_once)
        for metric, size, at_once, per in (
            ("per_user_output_throughput", 1, 1, 1),
            ("total_output_throughput", largest, servers, 1),
            ("per_gpu_output_throughput", largest, servers, measurement.result.gpus),
        )
        if metric in measurement.metrics
    )


def _bound(measurement: Measurement, metric: str, step: Step, tokens: float, per: int, servers: int) -> Bound:
    """Return a bound: ``tokens`` of all ``servers`` in each step, divided by ``per`` GPUs."""
    value, measured = tokens / step.seconds / per, measurement.metrics[metric].value
    split = f" / {per} GPUs" if per > 1 else ""
    on_each = f" on each of {servers} servers" if servers > 1 else ""
    return Bound(
        metric=metric,
        value=value,
        measured=measured,
        share=measured / value,
        limit=step.limit,
        arithmetic=(
            f"{step.arithmetic}{on_each}: {_count(tokens, 'token')} / {step.seconds * 1e3:.3f} ms{split} = "
            f"{value:,.1f} {METRICS[metric].unit}"
        ),
    )


def _accepted(measurement: Measurement, model: RunModel) -> float:
    """Return the tokens that a request gets per step: as measured, else the most possible."""
    measured = measurement.metrics.get("acceptance_length")
    most = 1 + model.draft_tokens
    return float(most) if measured is None or not model.draft_tokens else max(measured.value, 1.0)


def _least_context(measurement: Measurement, model: RunModel) -> float:
    """Return the tokens that the shortest request has in the KV cache, on average over its steps.

    The step that reads the prompt counts as a step, without cache. Return 0 if no length is known for sure.
    """
    return min((_context(*lengths, model.draft_tokens) for lengths in _lengths(measurement)), default=0.0)


def _context(input_tokens: float, output_tokens: float, draft_tokens: int) -> float:
    steps = max(output_tokens / (1 + draft_tokens), 1.0)
    return (input_tokens + output_tokens / 2) * (1 - 1 / steps)


def _lengths(measurement: Measurement) -> Iterator[tuple[float, float]]:
    """Yield (input, output) tokens of each request, or once if all are alike and answers as long as asked."""
    workload, engine = measurement.workload, measurement.scenario.engine
    done = [record for record in measurement.result.records if record.error is None]
    if done:
        yield from ((record.input_tokens, record.output_tokens) for record in done)
    elif (
        engine.exact_lengths
        and workload.mean_input is not None
        and workload.mean_input == workload.max_input
        and workload.mean_output == workload.max_output
    ):
        yield workload.mean_input, workload.mean_output
