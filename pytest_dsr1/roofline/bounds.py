"""The most that the GPUs of a measurement could show: a first-order roofline of the decode step.

A decode step takes at least the time in which all GPUs together read, at their peak bandwidth, what it needs
from memory once: its weights and the KV cache. And at least the time of its operations at the tensor cores'
peak for the format each weight is stored in. Everything that is left out (reading prompts, several reads of
what GPUs hold in copies, communication, launches, draft modules) only takes more time, so that no right
measurement can lie above.

Of the routed experts a step counts with those of one token. A batch usually uses more, but nothing makes it:
tokens that are alike choose the same ones, which random weights do on the slices of DeepSeek-R1 in suites/
(one H200 made 10,600 tok/s with 64 requests, and with the experts that uniform routing would use the bound
were 4,826).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.machine.gpu.peaks import GPU_PEAKS, GpuPeaks, TensorCoreFormat
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.roofline.model import NotKnownError, ServedModel, served_model
from pytest_dsr1.workload.deepseek import read_parts

Limit = Literal["memory bandwidth", "tensor cores"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that these GPUs could show of one metric.

    Attributes:
        metric: the metric's name.
        value: in the metric's unit.
        measured: likewise; None where it was not measured.
        share: ``measured`` over ``value``.
        limit: what stands in the way of more.
        arithmetic: the numbers, for a person to check.
    """

    metric: str
    value: float
    measured: float | None
    share: float | None
    limit: Limit
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Step:
    """The least time of a decode step, in s, what takes it, and the numbers."""

    seconds: float
    limit: Limit
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Roofline:
    """What decode steps take at least.

    Attributes:
        model: what is served.
        peaks: of each GPU.
        gpus: how many there are.
    """

    model: ServedModel
    peaks: GpuPeaks
    gpus: int

    def step(self, batch: int, context: float) -> Step:
        """A decode step.

        Args:
            batch: requests in it.
            context: tokens that each has in the KV cache, in the mean.
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
        """Multiply and add for each weight; absorbed latent attention for each token of the context.

        That is 2 * heads * (2 * kv_lora_rank + qk_rope_head_dim) operations a layer: scores over the latent
        and its rotary part, values over the latent.
        """
        model, config = self.model, self.model.config
        parts = read_parts(config, config["num_experts_per_tok"])
        scores = config["num_attention_heads"] * (2 * config["kv_lora_rank"] + config["qk_rope_head_dim"])
        tokens = batch * (1 + model.draft_tokens)
        operations: dict[TensorCoreFormat, float] = {}
        for values, stored in (
            (parts.attention, model.attention),
            (parts.feed_forward, model.feed_forward),
            (parts.other, model.other),
            (scores * context * config["num_hidden_layers"], model.cache),
        ):
            done = operations.get(stored.tensor_core, 0.0)
            operations[stored.tensor_core] = done + 2 * values * tokens
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
    """The roofline of a measurement.

    Raises:
        NotKnownError: GPU, model or number format are not known for sure; says which.
    """
    gpus, name = measurement.result.gpus, measurement.fingerprint.facts.get("gpu.name")
    if not gpus:
        raise NotKnownError("the run used no GPU")
    if not isinstance(name, str):
        raise NotKnownError("the fingerprint does not name one kind of GPU")
    if name not in GPU_PEAKS:
        raise NotKnownError(f"the peaks of {name} are not known here")
    model, peaks = served_model(measurement), GPU_PEAKS[name]
    for stored in (model.attention, model.feed_forward, model.cache):
        if stored.tensor_core not in peaks.tflops:
            raise NotKnownError(
                f"{name} has no {stored.tensor_core} tensor cores and computes in another format"
            )
    return Roofline(model, peaks, gpus)


def why_none(measurement: Measurement) -> str | None:
    """Why a measurement has no bounds, in a sentence; None where it has."""
    try:
        roofline(measurement)
    except NotKnownError as reason:
        return str(reason)
    return None


def bounds(measurement: Measurement) -> tuple[Bound, ...]:
    """The most that the GPUs could show of each metric that was measured and has such a bound.

    Throughput is bounded with ``load.concurrency`` requests in a step, as steps of more requests make tokens
    faster. A user's rate is bounded alone on the GPUs: at the ends of a run, and beside a queue, requests
    share a step with fewer than the concurrency. Empty where anything is not known for sure
    (:func:`why_none`).
    """
    try:
        least = roofline(measurement)
    except NotKnownError:
        return ()
    accepted, context = _accepted(measurement, least.model), _least_context(measurement, least.model)
    batch = min(measurement.scenario.load.concurrency, measurement.workload.requests)
    return tuple(
        _bound(measurement, metric, least.step(size, context), size * accepted, per)
        for metric, size, per in (
            ("per_user_output_throughput", 1, 1),
            ("total_output_throughput", batch, 1),
            ("per_gpu_output_throughput", batch, least.gpus),
        )
        if metric in measurement.metrics
    )


def _bound(measurement: Measurement, metric: str, step: Step, tokens: float, per: int) -> Bound:
    value, measured = tokens / step.seconds / per, measurement.metrics[metric].value
    split = f" / {per} GPUs" if per > 1 else ""
    return Bound(
        metric=metric,
        value=value,
        measured=measured,
        share=measured / value,
        limit=step.limit,
        arithmetic=(
            f"{step.arithmetic}: {_count(tokens, 'token')} / {step.seconds * 1e3:.3f} ms{split} = "
            f"{value:,.1f} {METRICS[metric].unit}"
        ),
    )


def _accepted(measurement: Measurement, model: ServedModel) -> float:
    """Tokens that a request gets in a step: as measured, else the most possible."""
    measured = measurement.metrics.get("acceptance_length")
    most = 1 + model.draft_tokens
    return float(most) if measured is None or not model.draft_tokens else max(measured.value, 1.0)


def _least_context(measurement: Measurement, model: ServedModel) -> float:
    """Tokens in the KV cache of a step, in the mean over a request's steps: those of the shortest request.

    The step that reads the prompt, which reads no cache, counts as one. 0 where lengths differ and there are
    no records of them.
    """
    return min((_context(*lengths, model.draft_tokens) for lengths in _lengths(measurement)), default=0.0)


def _context(input_tokens: float, output_tokens: float, draft_tokens: int) -> float:
    steps = max(output_tokens / (1 + draft_tokens), 1.0)
    return (input_tokens + output_tokens / 2) * (1 - 1 / steps)


def _lengths(measurement: Measurement) -> Iterator[tuple[float, float]]:
    """(input, output) tokens of the requests, or of each of them where all are alike."""
    workload, engine = measurement.workload, measurement.scenario.engine
    done = [record for record in measurement.result.records if record.error is None]
    if done:
        yield from ((record.input_tokens, record.output_tokens) for record in done)
    elif workload.mean_input is not None and workload.mean_input == workload.max_input:
        as_asked = engine.exact_lengths
        alike = workload.mean_output == workload.max_output
        yield workload.mean_input, workload.mean_output if as_asked and alike else 1.0
