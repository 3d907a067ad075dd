"""The input of every metric: the requests of one run, its load, and the state of the machine meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_dsr1.metrics.in_flight import steady_window
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.storage.documents import NUMBER, attributes_of

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests as columns, one value per request; NaN where it is unknown.

    Attributes:
        start_s: when the latency begins to count.
        first_token_s: NaN without streaming.
        last_token_s: when the request ended.
        input_tokens: tokens in.
        output_tokens: tokens out.
        decoding_iterations: steps that made the output tokens.
    """

    start_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    decoding_iterations: Floats

    @classmethod
    def of(cls, rows: Sequence[Sequence[float | None]]) -> Requests:
        """Return the columns of rows that hold the attributes in their order; None is unknown."""
        import numpy as np

        return cls(*np.array(rows, dtype=float).reshape(-1, 6).T)

    @property
    def latency_s(self) -> Floats:
        """The time from start to end, in s."""
        return self.last_token_s - self.start_s

    @property
    def decode_s(self) -> Floats:
        """The time from the first token to the last, in s.

        NaN for a request of one token, and for one whose tokens all came at one moment: they have no time
        per output token.
        """
        import numpy as np

        time_s = self.last_token_s - self.first_token_s
        return np.where((self.output_tokens > 1) & (time_s > 0), time_s, np.nan)

    @property
    def streamed(self) -> bool:
        """True if the time of every request's first token is known."""
        import numpy as np

        return not np.isnan(self.first_token_s).any()

    @property
    def counted_steps(self) -> bool:
        """True if the decoding iterations of every request are known."""
        return bool((self.decoding_iterations > 0).all())


@dataclass(frozen=True, slots=True)
class SloLimits:
    """The limits of a request, in ms; None for no limit."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    request_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scenario sends.

    Attributes:
        requests: the number of requests.
        concurrency: the most of them in flight.
        input_tokens: of all requests.
        output_tokens: of all requests.
        gpus: 1 on the CPU.
        slots: if all are sent at once, the most that are answered at the same time; None otherwise.
    """

    requests: int
    concurrency: int
    input_tokens: float
    output_tokens: float
    gpus: int
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What a run answered.

    Attributes:
        requests: the number of requests that succeeded.
        output_tokens: of all of them.
        seconds: the total latency.
    """

    requests: float
    output_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class GpuTotals:
    """The total of all GPUs over the measured time; None if it is unknown for any of them.

    Attributes:
        power_w: on average, by the samples.
        energy_j: in all, by NVML's counters.
    """

    power_w: float | None
    energy_j: float | None


_SERVER: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "none": ("why_none", str),
    "path": ("path", str),
    "file": ("file", str),
    "readings": ("samples", int),
    "missed": ("missed_samples", int),
    "whole": ("complete", bool),
    **{
        name: (name, NUMBER)
        for name in (
            "running_requests_mean",
            "running_requests_max",
            "waiting_requests_mean",
            "waiting_requests_max",
            "kv_cache_used_share_mean",
            "kv_cache_used_share_max",
            "generated_tokens",
            "preemptions",
            "prefix_cache_hit_share",
            "acceptance_length",
        )
    },
}
"""The keys of the saved statistics, each with its field and the type of its value."""


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What a server's own metrics say about the measured time; None if it does not report it.

    Attributes:
        why_none: why there are no metrics.
        path: where the server has them.
        file: the file in the result's ``engine/`` folder with every sample.
        samples: the number of samples.
        missed_samples: the number of times that the server gave none.
        complete: whether the samples begin before the measured time and end after it.
        running_requests_mean: requests that the engine works on, on average.
        running_requests_max: the most of them.
        waiting_requests_mean: requests in its queue, on average.
        waiting_requests_max: the most of them.
        kv_cache_used_share_mean: the share of the KV cache in use, on average.
        kv_cache_used_share_max: the largest share.
        generated_tokens: output tokens that it counted.
        preemptions: requests that it stopped to make room, and computed again.
        prefix_cache_hit_share: the share of the prompts that its prefix cache had.
        acceptance_length: tokens per request in a step with drafts.
        other: what is only saved.
    """

    why_none: str | None = None
    path: str | None = None
    file: str | None = None
    samples: int | None = None
    missed_samples: int | None = None
    complete: bool | None = None
    running_requests_mean: float | None = None
    running_requests_max: float | None = None
    waiting_requests_mean: float | None = None
    waiting_requests_max: float | None = None
    kv_cache_used_share_mean: float | None = None
    kv_cache_used_share_max: float | None = None
    generated_tokens: float | None = None
    preemptions: float | None = None
    prefix_cache_hit_share: float | None = None
    acceptance_length: float | None = None
    other: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, saved: Mapping[str, object]) -> ServerStatistics:
        """Return the statistics of a saved result."""
        known, other = attributes_of(saved, _SERVER)
        return cls(**known, other=other)

    def saved(self) -> dict[str, object]:
        """Return the statistics as they are saved: one mapping, empty if no server was measured."""
        own = {key: getattr(self, name) for key, (name, _) in _SERVER.items()}
        return {**{key: value for key, value in own.items() if value is not None}, **self.other}


NO_SERVER = ServerStatistics()
"""The statistics of a run without a server that reports its own metrics."""


@dataclass(frozen=True)
class MetricInputs:
    """The data from which metrics are computed.

    Attributes:
        records: every request that ended, including failed ones; empty if the engine has no records.
        gpus: tp * pp; 0 on the CPU.
        concurrency: ``load.concurrency``; None if it is ``all``, and in an open loop.
        slo: the limits of ``slo``; None without one.
        measured_s: the measured time, in s.
        gpu: totals of the GPUs over it; None on the CPU.
        server: a server's own metrics over it.
        reported: what was answered by the engine's report, for a run without records; None if unknown.
        gpu_hour_price: ``hardware.gpu_hour_price``; None without one.
    """

    records: Sequence[RequestRecord]
    gpus: int = 0
    concurrency: int | None = None
    slo: SloLimits | None = None
    measured_s: float = 0.0
    gpu: GpuTotals | None = None
    server: ServerStatistics = NO_SERVER
    reported: Answered | None = None
    gpu_hour_price: float | None = None

    @cached_property
    def done(self) -> tuple[RequestRecord, ...]:
        """The requests that succeeded."""
        return tuple(record for record in self.records if record.error is None)

    @cached_property
    def columns(self) -> Requests:
        """The requests that succeeded, as columns."""
        return Requests.of(list(map(row, self.done)))

    @cached_property
    def requests(self) -> Requests | None:
        """The requests that succeeded, as columns; None if there are none, or if their times are wrong."""
        found = self.columns
        return found if self.done and self.total_s > 0 and (found.latency_s > 0).all() else None

    @cached_property
    def total_s(self) -> float:
        """The time from the first start to the last end of successful requests, in s; 0 without any."""
        return span_s(self.done)

    @cached_property
    def answered(self) -> Answered | None:
        """What the run answered, by its records or else by the engine's report; None if that is nothing."""
        found = self.reported
        if self.requests is not None:
            tokens = float(self.requests.output_tokens.sum())
            found = Answered(len(self.done), tokens, self.total_s)
        return found if found is not None and found.output_tokens > 0 else None

    @property
    def energy_j(self) -> float | None:
        """The energy of all GPUs over the measured time, in J; None if it is unknown."""
        return None if self.gpu is None else self.gpu.energy_j

    @cached_property
    def steady_window(self) -> tuple[float, float] | None:
        """The start and end of the steady window, in s; None if there is none, or without a concurrency."""
        if self.concurrency is None or not self.done:
            return None
        found = steady_window(self.records, self.concurrency)
        return found if found is not None and found[1] > found[0] else None


def row(record: RequestRecord) -> tuple[float, float | None, float, int, int, int | None]:
    """Return a record as a row for :meth:`Requests.of`."""
    return (
        record.start_s,
        record.first_token_s,
        record.last_token_s,
        record.input_tokens,
        record.output_tokens,
        record.decoding_iterations,
    )


def span_s(records: Iterable[RequestRecord]) -> float:
    """Return the time from the first start to the last end, in s; 0 without records."""
    records = tuple(records)
    if not records:
        return 0.0
    return max(r.last_token_s for r in records) - min(r.start_s for r in records)
