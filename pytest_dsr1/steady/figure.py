"""The steady figure of a run: one number, its standard error, and what it was computed from.

docs/reference/metrics.md describes the computation in words. In short: a rate counts from one submission to
another a whole number of waves later. In a closed loop a wave is ``concurrency`` submissions. Each submission
but the first ones follows the end of a request, so as many requests end in such a window as are submitted. If
requests of equal length move in step, the window has whole periods. Then counts at the end of a request
(requests, input tokens) are as unbiased as counts that are spread over its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.metrics.catalogue import METRICS, found_by_search, gateable
from pytest_dsr1.metrics.inputs import Requests
from pytest_dsr1.metrics.registry import Counted, Divisor, Metric
from pytest_dsr1.metrics.token_flow import flowed, output_flow
from pytest_dsr1.scenario.schema.rule import Purpose
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.mser5 import BATCH, batch_edges, mser5, standard_error
from pytest_dsr1.steady.trace import Trace

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats, Flow, Indices

FEWEST_WAVES = 2
"""The least number of waves in a window, one batch each: fewer have no standard error."""
LOOKS = 200
"""The approximate number of observations of a rate for MSER-5. It is at most the number of requests: the
tokens of a request are spread evenly, so nothing is visible within one."""

FEWEST_READINGS = 10
"""The least number of readings of the energy counters in a window: energy is interpolated between two."""
READINGS_S = 12.0
"""A window in s that certainly has that many, at one per second."""


class NoSteadyFigureError(Dsr1Error):
    """A run has no steady figure of this metric; the message says why, and what to change."""


@dataclass(frozen=True, slots=True)
class SteadyFigure:
    """The steady figure of one run.

    Attributes:
        value: in the metric's unit.
        se_percent: the standard error of the value within the run, as a percentage of the value.
        cut_s: the time from the first submission to the start of the window, in s.
        window_s: the length of the window, in s.
        latency_s: the mean latency of the requests that were submitted in the window.
        requests: the number of requests that were sent.
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


def steady_figure(
    trace: Trace, metric: str, *, warmup_requests: int, requests: int | None = None
) -> SteadyFigure:
    """Return the steady figure of a run.

    Args:
        trace: of the run.
        metric: one of :func:`~pytest_dsr1.metrics.catalogue.gateable`.
        warmup_requests: requests at the start that are warm-up in any case.
        requests: judge the run as if only this many requests had been sent, at least 1; None for all. A
            series has no requests; there it is their share of the output tokens.

    Raises:
        NoSteadyFigureError: the run does not show the metric, or is too short.
    """
    if metric in found_by_search():
        return _found(trace, metric)
    gated = METRICS[metric]
    if not gated.gateable:
        raise NoSteadyFigureError(
            f"{metric} has no steady figure: it is neither a rate over time nor a mean over requests; "
            f"gate one of {', '.join(gateable())}"
        )
    if "gpu" in gated.needs and not trace.gpus:
        raise NoSteadyFigureError(
            f"{metric} has no steady figure: the run used no GPU; set gate.metric: total_output_throughput"
        )
    if "energy" in gated.needs and not trace.energy:
        raise NoSteadyFigureError(f"{metric} has no steady figure: the energy of the GPUs was not measured")
    run = _Run.of(trace, gated, requests)
    return run.rate(warmup_requests) if gated.counts else run.mean(warmup_requests)


def _found(trace: Trace, metric: str) -> SteadyFigure:
    """Return the figure of a search, which is a run for a gate."""
    if metric not in trace.found:
        raise NoSteadyFigureError(f"{metric} has no figure: this is not a search of it")
    value, se_percent = trace.found[metric]
    return SteadyFigure(value, se_percent, 0.0, trace.found_s, 0.0, 1, (value,))


def warmup_of(scenario: Scenario) -> int:
    """Return the least number of requests at the start of a run that do not count."""
    load = scenario.load
    return scenario.gate.warmup_requests or (load.at_once if load.limited else -(-load.num_requests // 10))


def output_rates() -> tuple[str, ...]:
    """Return the metrics that a series of output tokens over time shows, without request records."""
    known = {"output tokens", "energy", "time"}
    return tuple(metric.name for metric in METRICS.values() if metric.counts and metric.amounts <= known)


def _looks(last: int, wave: int) -> tuple[Indices, Indices]:
    """Return where MSER-5's observations begin and end: each consists of whole waves.

    They overlap if a wave is long. Changes within a wave, such as of the rate during prefill, are the same in
    all observations, so they are not mistaken for a warm-up.
    """
    import numpy as np

    step = max(1, last // LOOKS)
    width = wave * -(-step // wave)
    begin = np.arange(0, last - width + 1, step)
    return begin, begin + width


def _steady_from(begin: Indices, looks: Floats, wave: int) -> int:
    """Return where MSER-5 cuts. The cut is accurate only to five looks; this costs no wave."""
    cut = mser5(looks)
    return int(begin[cut]) - min(int(begin[BATCH] - begin[0]) - 1, wave // 2) if cut else 0


def _advice(trace: Trace, *purposes: Purpose) -> str:
    """Return what to set for these purposes, as the engine of the run names it."""
    found = [trace.settings_for[each] for each in purposes if each in trace.settings_for]
    if len(found) < len(purposes):
        return "use an engine and settings that report this"
    over_time = trace.settings_for.get("output_over_time")
    instead = f" (or, for output throughput alone, {over_time})" if over_time and not trace.series else ""
    return f"set {' and '.join(found)}{instead}"


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that shows a metric.

    Attributes:
        sent: the requests that count, in order of start.
        output: when their output tokens came.
    """

    trace: Trace
    metric: Metric
    sent: Requests
    output: Flow

    @classmethod
    def of(cls, trace: Trace, metric: Metric, requests: int | None) -> _Run:
        import numpy as np

        if not trace.requests:
            return cls._of_series(trace, metric, requests)
        sent = Requests.of(trace.requests[:requests])
        wrong = (sent.last_token_s <= sent.start_s) | (np.diff(sent.start_s, prepend=sent.start_s[0]) < 0)
        if wrong.any():
            raise NoSteadyFigureError(
                f"request {int(np.argmax(wrong)) + 1} of the run starts before the previous request, or "
                "does not end after its own start; either its times were changed after they were written, "
                "or the engine's clock is wrong"
            )
        output = output_flow(sent.start_s, sent.first_token_s, sent.last_token_s, sent.output_tokens)
        return cls(trace, metric, sent, output)

    @classmethod
    def _of_series(cls, trace: Trace, metric: Metric, requests: int | None) -> _Run:
        """Return a run as if all requests had the same number of tokens and ended one after another.

        Request i then ended when the share (i + 1) / N of all output tokens had come, and the next one was
        sent in its place.
        """
        import numpy as np

        if not trace.series:
            raise NoSteadyFigureError(
                f"{metric.label} has no steady figure: the run has neither request records nor a series over "
                f"time; {_advice(trace, 'request_records')}"
            )
        if metric.name not in output_rates():
            wanted: list[Purpose] = ["request_records"]
            wanted += ["streaming"] if "streaming" in metric.needs else []
            raise NoSteadyFigureError(
                f"{metric.label} has no steady figure: the run has no request records; "
                f"{_advice(trace, *wanted)}"
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
        sent = Requests(start_s, unknown, last_s, unknown, unknown, unknown)
        return cls(trace, metric, sent, output)

    # Means over requests

    def _values(self) -> Floats:
        """Return the metric of each request; NaN for one that has none."""
        values = self.metric.per_request(self.sent)
        if values is not None:
            return values
        if "streaming" in self.metric.needs:
            raise NoSteadyFigureError(
                f"{self.metric.label} has no steady figure: not every request has the time of its first "
                f"token; {_advice(self.trace, 'streaming')}"
            )
        raise NoSteadyFigureError(
            f"{self.metric.label} has no steady figure: this engine does not report each request's "
            "decoding iterations; gate another metric, such as gate.metric: total_output_throughput"
        )

    def mean(self, warmup: int) -> SteadyFigure:
        """Return the steady figure of a mean over requests.

        In a closed loop with several users the last ``concurrency`` requests are left out: they drain.
        """
        import numpy as np

        values = self._values()
        wave, known = self.trace.wave, ~np.isnan(values)
        last = len(values) - (wave if wave > 1 else 0)
        # Sums over the first n requests, and the number of these that have a value.
        sums, counts = (
            np.concatenate(([0.0], np.cumsum(part))) for part in (np.nan_to_num(values), known.astype(float))
        )
        begin, end = _looks(last, wave)
        begin, end = begin[counts[end] > counts[begin]], end[counts[end] > counts[begin]]
        steady = _steady_from(begin, (sums[end] - sums[begin]) / (counts[end] - counts[begin]), wave)
        edges = self._window(last, warmup, warmup, steady)
        borders_s = self._borders()
        window = borders_s[edges[0]], borders_s[min(edges[-1], len(borders_s) - 1)]
        return self._figure(np.diff(sums[edges]), np.diff(counts[edges]), window)

    # Rates over time

    def rate(self, warmup: int) -> SteadyFigure:
        """Return the steady figure of a rate."""
        import numpy as np

        borders_s = self._borders()
        # The first request that was sent after the warm-up had ended.
        ended_s = np.sort(self.sent.last_token_s)
        warm = int(np.searchsorted(borders_s, ended_s[warmup - 1])) if 0 < warmup <= len(ended_s) else warmup
        edges = self._window(len(borders_s) - 1, warmup, warm, self._steady_rate_from(borders_s))
        window = borders_s[edges[0]], borders_s[edges[-1]]
        if "energy" in self.metric.amounts:
            self._check_readings(*window)
        amounts, sizes = (np.diff(came) for came in self._came(borders_s[edges]))
        return self._figure(amounts / (self.trace.gpus if self.metric.per_gpu else 1), sizes, window)

    def _check_readings(self, begin_s: float, end_s: float) -> None:
        readings = sum(begin_s <= time_s <= end_s for time_s, _ in self.trace.energy)
        if readings < FEWEST_READINGS:
            raise NoSteadyFigureError(
                f"{self.metric.label} has no steady figure: the energy counters were read {readings} times "
                f"in the window from {begin_s:.1f} to {end_s:.1f} s, expected at least {FEWEST_READINGS}; "
                "make the run longer (load.num_requests)"
            )

    def _steady_rate_from(self, borders_s: Floats) -> int:
        """Return the border at which the rate becomes steady, by MSER-5."""
        import numpy as np

        if self.trace.open_loop:  # many may be sent at once, so only intervals of time are comparable
            bins = min(LOOKS, int(np.count_nonzero(self.sent.last_token_s <= borders_s[-1])))
            edges_s = np.linspace(borders_s[0], borders_s[-1], bins + 1)
            amounts, sizes = (np.diff(came) for came in self._came(edges_s))
            cut = mser5(amounts[sizes > 0] / sizes[sizes > 0])
            return int(np.searchsorted(borders_s, edges_s[:-1][sizes > 0][cut])) if cut else 0
        begin, end = _looks(len(borders_s) - 1, self.trace.wave)
        first, last = self._came(borders_s[begin]), self._came(borders_s[end])
        amounts, sizes = last[0] - first[0], last[1] - first[1]
        rates = amounts[sizes > 0] / sizes[sizes > 0]
        return _steady_from(begin[sizes > 0], rates, self.trace.wave)

    def _came(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Return how much had come at each time: of the counted amounts, and of what divides them."""
        import numpy as np

        counted: Floats = np.sum([self._came_of(each, times_s) for each in self.metric.counts], axis=0)
        return counted, self._came_of(self.metric.per, times_s)

    def _came_of(self, amount: Counted | Divisor, times_s: Floats) -> Floats:
        """Return how much had come at each time; requests and their input tokens come at their end."""
        import numpy as np

        if amount == "time":
            return times_s
        if amount == "energy":
            read_s, joules = np.array(self.trace.energy).T
            energy_j: Floats = np.interp(times_s, read_s, joules)
            return energy_j
        last_s = self.sent.last_token_s
        flows: dict[Counted | Divisor, Flow] = {
            "requests": (last_s, last_s, np.ones(len(last_s))),
            "input tokens": (last_s, last_s, self.sent.input_tokens),
            "output tokens": self.output,
        }
        return flowed(times_s, *flows[amount])

    # Both

    def _borders(self) -> Floats:
        """Return where a window may begin or end: at each submission; with one user also at the last end."""
        import numpy as np

        alone = self.trace.concurrency == 1 and not self.trace.open_loop
        return (
            np.concatenate((self.sent.start_s, [self.sent.last_token_s.max()]))
            if alone
            else self.sent.start_s
        )

    def _window(self, last: int, warmup: int, warm: int, steady: int) -> Indices:
        """Return the edges of the batches, as indices: whole waves that end at ``last``, after both cuts.

        Args:
            last: the index at which the window ends.
            warmup: the declared requests of warm-up.
            warm: the index at which they end.
            steady: the index at which MSER-5 cuts; ignored if fewer than ``FEWEST_WAVES`` are left after it.
        """
        wave, sent = self.trace.wave, len(self.sent.start_s)
        if wave >= sent > 1:
            raise NoSteadyFigureError(
                f"no part of the run is steady, because none of the {sent} requests waited until another one "
                "ended; set load.concurrency to a lower number"
            )
        if last - FEWEST_WAVES * wave < warm:
            least = sent - last + warm + FEWEST_WAVES * wave
            raise NoSteadyFigureError(
                f"{sent} requests are too few for a steady figure: with {warmup} warm-up requests and "
                f"load.concurrency {self.trace.concurrency}, at least {least} are needed; raise "
                "load.num_requests or lower gate.warmup_requests"
            )
        waves = max((last - max(warm, steady)) // wave, FEWEST_WAVES)
        return last - waves * wave + wave * batch_edges(waves)

    def _figure(self, amounts: Floats, sizes: Floats, window: tuple[float, float]) -> SteadyFigure:
        import numpy as np

        begin_s, end_s = window
        if not ((amounts > 0) & np.isfinite(amounts) & (sizes > 0)).all():
            raise NoSteadyFigureError(
                f"{self.metric.label} has no steady figure: nothing was measured for it in part of the "
                f"window from {begin_s:.1f} to {end_s:.1f} s; make the run longer (load.num_requests)"
            )
        value = amounts.sum() / sizes.sum()
        inside = (self.sent.start_s >= begin_s) & (self.sent.start_s < end_s)
        return SteadyFigure(
            value=float(value),
            se_percent=100 * standard_error(amounts, sizes) / float(value),
            cut_s=float(begin_s - self.sent.start_s[0]),
            window_s=float(end_s - begin_s),
            latency_s=float(np.mean(self.sent.latency_s[inside])),
            requests=len(self.sent.start_s),
            batches=tuple((amounts / sizes).tolist()),
        )
