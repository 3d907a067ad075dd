"""The steady figure of a run: one number, how sure it is, and what it was computed from.

docs/reference/metrics.md says in words what is computed here. In short: a rate counts from one submission
to a later one that lies a whole number of waves behind it. In a closed loop a wave is ``concurrency``
submissions. Since each submission but the first ones answers the end of a request, exactly as many requests
end in such a window as are submitted, and where requests of equal length move in step the window holds
whole periods. What is counted at the end of a request (requests, input tokens) is then as unbiased as what
is spread over its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.measurement.token_flow import flowed, output_flow
from pytest_dsr1.metrics.catalogue import GATEABLE, METRICS
from pytest_dsr1.steady.mser5 import BATCH, batch_edges, mser5, standard_error
from pytest_dsr1.steady.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Flow = tuple[Floats, Floats, Floats]

FEWEST_WAVES = 2
"""Waves that a window holds at least, one batch each: of fewer there is no standard error."""
LOOKS = 200
"""Observations in which MSER-5 sees a rate, about. There are no more than requests: the tokens of a request
are spread evenly, so within one there is nothing to see."""


class NoEvidenceError(Dsr1Error):
    """A run has no steady figure of this metric; says why, and what to change."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The steady figure of one run.

    Attributes:
        value: in the metric's unit.
        se_percent: the standard error of the value within the run, in percent of the value.
        cut_s: from the first submission to the begin of the window, in s.
        window_s: the length of the window, in s.
        latency_s: the mean latency of the requests that were submitted in the window.
        requests: how many had been sent.
        batches: the value of each batch of the window, in the metric's unit.
    """

    value: float
    se_percent: float
    cut_s: float
    window_s: float
    latency_s: float
    requests: int
    batches: tuple[float, ...]

    @property
    def within_variance_s(self) -> float:
        """The relative variance of the value times the seconds of its window."""
        return (self.se_percent / 100) ** 2 * self.window_s


def evidence(trace: Trace, metric: str, *, warmup_requests: int, requests: int | None = None) -> Evidence:
    """The steady figure of a run.

    Args:
        trace: of the run.
        metric: one of :data:`~pytest_dsr1.metrics.catalogue.GATEABLE`.
        warmup_requests: the first so many requests are warm-up in any case.
        requests: judge the run as if only the first so many requests had been sent, at least 1; None for all.
            Of a series, which has no requests, it is their share of the output tokens.

    Raises:
        NoEvidenceError: the run does not tell it, or is too short.
    """
    if metric not in GATEABLE:
        raise NoEvidenceError(
            f"{metric} has no steady figure: it is neither a rate over time nor a mean over requests; "
            f"gate one of {', '.join(GATEABLE)}"
        )
    if metric == "per_gpu_output_throughput" and not trace.gpus:
        raise NoEvidenceError(
            f"{metric} has no steady figure: the run used no GPU; set gate.metric: total_output_throughput"
        )
    run = _Run.of(trace, metric, requests)
    values = None if metric in _RATES else run.values(metric)
    return run.rate(metric, warmup_requests) if values is None else run.mean(metric, values, warmup_requests)


OUTPUT_RATES = ("total_output_throughput", "per_gpu_output_throughput")
"""What a series of output tokens over time tells, without request records."""
_STREAMED = ("average_ttft", "average_tpot", "per_user_output_speed")
_RATES = ("request_throughput", "total_token_throughput", *OUTPUT_RATES)


def _looks(last: int, wave: int) -> tuple[Indices, Indices]:
    """Where MSER-5's observations begin and end: each holds whole waves.

    They overlap where a wave is long. What goes up and down within a wave, such as the rate while requests
    are read, is the same in all of them and not taken for a warm-up.
    """
    import numpy as np

    step = max(1, last // LOOKS)
    width = wave * -(-step // wave)
    begin = np.arange(0, last - width + 1, step)
    return begin, begin + width


def _steady_from(begin: Indices, looks: Floats, wave: int) -> int:
    """Where MSER-5 cuts. It tells that to five looks only, for which no wave is given up."""
    cut = mser5(looks)
    return int(begin[cut]) - min(int(begin[BATCH] - begin[0]) - 1, wave // 2) if cut else 0


@dataclass(frozen=True, slots=True)
class _Run:
    """The requests that count, as arrays in order of start; unknown values are NaN.

    Attributes:
        output: how their output tokens came.
    """

    trace: Trace
    start_s: Floats
    first_s: Floats
    last_s: Floats
    input: Floats
    tokens: Floats
    steps: Floats
    output: Flow

    @classmethod
    def of(cls, trace: Trace, metric: str, requests: int | None) -> _Run:
        import numpy as np

        if not trace.requests:
            return cls._of_series(trace, metric, requests)
        columns = np.array(trace.requests[:requests], dtype=float).T
        start_s, first_s, last_s, read, tokens, steps = columns
        wrong = (last_s <= start_s) | (np.diff(start_s, prepend=start_s[0]) < 0)
        if wrong.any():
            raise NoEvidenceError(
                f"request {int(np.argmax(wrong)) + 1} of the run starts before the one before it, or does "
                "not end after its start; its times were changed after they were written, or the engine's "
                "clock is wrong"
            )
        output = output_flow(start_s, first_s, last_s, tokens)
        return cls(trace, start_s, first_s, last_s, read, tokens, steps, output)

    @classmethod
    def _of_series(cls, trace: Trace, metric: str, requests: int | None) -> _Run:
        """As if all requests had equally many tokens and ended one after another.

        Request i has then ended when the share (i + 1) / N of all output tokens had come, and the next one
        was sent in its place.
        """
        import numpy as np

        name = METRICS[metric].label
        if not trace.series:
            raise NoEvidenceError(
                f"{name} has no steady figure: the run has neither request records nor a series over time; "
                "set engine.request_records: true (or, for output throughput alone, "
                "engine.llm_api.print_iter_log: true)"
            )
        if metric not in OUTPUT_RATES:
            streaming = " and engine.streaming: true" if metric in _STREAMED else ""
            raise NoEvidenceError(
                f"{name} has no steady figure: the run has no request records; set "
                f"engine.request_records: true{streaming}"
            )
        ends_s, rates = np.array(trace.series, dtype=float).T
        edges_s = np.concatenate(([0.0], ends_s))
        amounts = rates * np.diff(edges_s)
        came = np.concatenate(([0.0], np.cumsum(amounts)))
        shares = np.arange(1, trace.series_requests + 1) / trace.series_requests
        last_s = np.interp(shares * came[-1], came, edges_s)
        start_s = np.concatenate((np.zeros(trace.concurrency), last_s))[: len(last_s)]
        start_s, last_s = start_s[:requests], last_s[:requests]
        unknown = np.full(len(last_s), np.nan)
        output = edges_s[:-1], ends_s, amounts
        return cls(trace, start_s, unknown, last_s, unknown, unknown, unknown, output)

    # Means over requests

    def values(self, metric: str) -> Floats:
        """The metric of each request; NaN for one that has none, as in measurement/metrics.py."""
        import numpy as np

        latency_s, steps = self.last_s - self.start_s, self.tokens - 1
        if metric in _STREAMED and np.isnan(self.first_s).any():
            raise NoEvidenceError(
                f"{METRICS[metric].label} has no steady figure: not every request has the time of its first "
                "token; set engine.streaming: true"
            )
        if metric == "acceptance_length" and not (self.steps > 0).all():
            raise NoEvidenceError(
                f"{METRICS[metric].label} has no steady figure: this engine does not tell each request's "
                "decoding iterations; gate another metric, such as gate.metric: total_output_throughput"
            )
        # What cannot be divided is no number, and found to be none later.
        with np.errstate(divide="ignore", invalid="ignore"):
            decode_s = np.where(
                (steps > 0) & (self.last_s > self.first_s), self.last_s - self.first_s, np.nan
            )
            values: dict[str, Floats] = {
                "per_user_output_throughput": self.tokens / latency_s,
                "average_request_latency": latency_s * 1e3,
                "average_ttft": (self.first_s - self.start_s) * 1e3,
                "average_tpot": decode_s * 1e3 / steps,
                "per_user_output_speed": steps / decode_s,
                "acceptance_length": self.tokens / self.steps,
            }
        return values[metric]

    def mean(self, metric: str, values: Floats, warmup: int) -> Evidence:
        """The steady figure of a mean over requests.

        Of a closed loop with several users the last ``concurrency`` requests are left out: they drain.
        """
        import numpy as np

        wave, known = self.trace.wave, ~np.isnan(values)
        last = len(values) - (wave if wave > 1 else 0)
        # Sums over the first so many requests, and how many of them have a value.
        sums, counts = (
            np.concatenate(([0.0], np.cumsum(part))) for part in (np.nan_to_num(values), known.astype(float))
        )
        begin, end = _looks(last, wave)
        begin, end = begin[counts[end] > counts[begin]], end[counts[end] > counts[begin]]
        steady = _steady_from(begin, (sums[end] - sums[begin]) / (counts[end] - counts[begin]), wave)
        edges = self._window(last, warmup, warmup, steady)
        borders_s = self._borders()
        window = borders_s[edges[0]], borders_s[min(edges[-1], len(borders_s) - 1)]
        return self._evidence(metric, np.diff(sums[edges]), np.diff(counts[edges]), window)

    # Rates over time

    def rate(self, metric: str, warmup: int) -> Evidence:
        """The steady figure of a rate."""
        import numpy as np

        borders_s, flow = self._borders(), self._flow(metric)
        # The first request that was sent after the warm-up had ended.
        ended_s = np.sort(self.last_s)
        warm = int(np.searchsorted(borders_s, ended_s[warmup - 1])) if 0 < warmup <= len(ended_s) else warmup
        edges = self._window(len(borders_s) - 1, warmup, warm, self._steady_rate_from(borders_s, flow))
        per = self.trace.gpus if metric == "per_gpu_output_throughput" else 1
        amounts = np.diff(flowed(borders_s[edges], *flow)) / per
        return self._evidence(
            metric, amounts, np.diff(borders_s[edges]), (borders_s[edges[0]], borders_s[edges[-1]])
        )

    def _steady_rate_from(self, borders_s: Floats, flow: Flow) -> int:
        """The border at which the rate becomes steady, by MSER-5."""
        import numpy as np

        if self.trace.open_loop:  # many may be sent at one moment, so only intervals of time are equal
            bins = min(LOOKS, int(np.count_nonzero(self.last_s <= borders_s[-1])))
            edges_s = np.linspace(borders_s[0], borders_s[-1], bins + 1)
            return int(np.searchsorted(borders_s, edges_s[mser5(np.diff(flowed(edges_s, *flow)))]))
        begin, end = _looks(len(borders_s) - 1, self.trace.wave)
        seconds = borders_s[end] - borders_s[begin]
        begin, end, seconds = begin[seconds > 0], end[seconds > 0], seconds[seconds > 0]
        amounts = flowed(borders_s[end], *flow) - flowed(borders_s[begin], *flow)
        return _steady_from(begin, amounts / seconds, self.trace.wave)

    def _flow(self, metric: str) -> Flow:
        """How what the metric counts came: requests, and with them their input tokens, at their end."""
        import numpy as np

        if metric == "request_throughput":
            return self.last_s, self.last_s, np.ones(len(self.last_s))
        if metric != "total_token_throughput":
            return self.output
        begin_s, end_s, amount = self.output
        return (
            np.concatenate((begin_s, self.last_s)),
            np.concatenate((end_s, self.last_s)),
            np.concatenate((amount, self.input)),
        )

    # Both

    def _borders(self) -> Floats:
        """Where a window may begin or end: at each submission, and at the last end where nothing drains."""
        import numpy as np

        alone = self.trace.concurrency == 1 and not self.trace.open_loop
        return np.concatenate((self.start_s, [self.last_s.max()])) if alone else self.start_s

    def _window(self, last: int, warmup: int, warm: int, steady: int) -> Indices:
        """The edges of the batches, as places: whole waves that end at ``last`` and begin after both cuts.

        Args:
            last: where the window ends.
            warmup: the declared requests of warm-up.
            warm: where they end.
            steady: where MSER-5 cuts; if less than the fewest waves were left after it, they are taken.
        """
        wave, sent = self.trace.wave, len(self.start_s)
        if last - FEWEST_WAVES * wave < warm:
            least = sent - last + warm + FEWEST_WAVES * wave
            raise NoEvidenceError(
                f"{sent} requests are too few for a steady figure: after {warmup} of warm-up and at "
                f"load.concurrency {self.trace.concurrency} it takes at least {least}; raise "
                "load.num_requests or lower gate.warmup_requests"
            )
        waves = max((last - max(warm, steady)) // wave, FEWEST_WAVES)
        return last - waves * wave + wave * batch_edges(waves)

    def _evidence(self, metric: str, amounts: Floats, sizes: Floats, window: tuple[float, float]) -> Evidence:
        import numpy as np

        begin_s, end_s = window
        if not ((amounts > 0) & np.isfinite(amounts) & (sizes > 0)).all():
            raise NoEvidenceError(
                f"{METRICS[metric].label} has no steady figure: a part of the window from {begin_s:.1f} to "
                f"{end_s:.1f} s holds nothing of it; make the run longer (load.num_requests)"
            )
        value = amounts.sum() / sizes.sum()
        inside = (self.start_s >= begin_s) & (self.start_s < end_s)
        return Evidence(
            value=float(value),
            se_percent=100 * standard_error(amounts, sizes) / float(value),
            cut_s=float(begin_s - self.start_s[0]),
            window_s=float(end_s - begin_s),
            latency_s=float(np.mean((self.last_s - self.start_s)[inside])),
            requests=len(self.start_s),
            batches=tuple((amounts / sizes).tolist()),
        )
