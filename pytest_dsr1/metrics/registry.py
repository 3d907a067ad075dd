"""The declaration of metrics: all facts about a metric, next to the function that computes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pytest_dsr1.metrics.inputs import MetricInputs, Requests

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

Better = Literal["higher", "lower", "neither"]
Kind = Literal["rate", "mean", "tail", "total", "description"]
Need = Literal["streaming", "mtp", "gpu", "slo"]
Counted = Literal["requests", "input tokens", "output tokens"]
Compute = Callable[[MetricInputs], "float | None"]
PerRequest = Callable[[Requests], "Floats"]

REPORT = "trtllm-bench report, PERFORMANCE OVERVIEW"
CLIENT = "none in trtllm-bench; engine openai"

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity of a run. A scenario may set a target for it unless it only describes the run.

    Attributes:
        name: what a scenario and a test id call it: lower-case letters, digits and underscores.
        label: the name in tables and messages.
        unit: the unit of every value of this metric.
        better: the direction of improvement; ``neither`` describes the run and cannot be a target.
        formula: the definition in words.
        source: where TensorRT-LLM prints or defines it, or who else does.
        kind: ``rate`` over time, ``mean`` over requests, ``tail`` (percentiles and extremes), ``total`` (it
            grows with the length of the run) or ``description`` of the run.
        compute: returns the value from a run; None if the run does not show it.
        needs: what a run must have to show it: ``streaming``, ``mtp`` (speculative decoding), ``gpu`` or
            ``slo``.
        may_be_zero: whether 0 is a measurement; by default a run with a 0 is INVALID.
        of_request: returns the value of each request, for a gate to average; None if the metric is not such
            a mean.
        counts: the amounts that a gate counts over time; empty if the metric is not such a rate. The rate is
            per GPU if ``needs`` has ``gpu``.
    """

    name: str
    label: str
    unit: str
    better: Better
    formula: str
    source: str
    kind: Kind
    compute: Compute
    needs: frozenset[Need] = frozenset()
    may_be_zero: bool = False
    of_request: PerRequest | None = None
    counts: tuple[Counted, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a metric name: use lower-case letters, digits and underscores, "
                "and begin with a letter"
            )

    @property
    def targetable(self) -> bool:
        """True if a scenario may set a target for it."""
        return self.better != "neither"

    @property
    def gateable(self) -> bool:
        """True if a gate can judge it: a part of a run is a sample of it."""
        return self.of_request is not None or bool(self.counts)

    def per_request(self, requests: Requests) -> Floats | None:
        """Return the value of each request, NaN for one without; None if the run does not show them."""
        return None if self.of_request is None else values_of(self.of_request, self.needs, requests)


def values_of(of_request: PerRequest, needs: Collection[Need], requests: Requests) -> Floats | None:
    """Return the value of each request, NaN for one without; None if a request lacks needed data."""
    import numpy as np

    if "streaming" in needs and not requests.streamed:
        return None
    if "mtp" in needs and not requests.counted_steps:
        return None
    # A division by zero gives a value that is not finite; callers check that later.
    with np.errstate(divide="ignore", invalid="ignore"):
        return of_request(requests)


def known(of_request: PerRequest, needs: Collection[Need], inputs: MetricInputs) -> list[float]:
    """Return the values of the requests that succeeded and have one."""
    import numpy as np

    found = None if inputs.requests is None else values_of(of_request, needs, inputs.requests)
    return [] if found is None else found[~np.isnan(found)].tolist()


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return a percentile as TensorRT-LLM defines it: ``sorted[int(n * share)]``, without interpolation."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


SPREAD = (
    ("minimum", "minimum", "smallest", 0.0),
    ("p50", "P50", "sorted[int(n * 0.50)]", 0.50),
    ("p90", "P90", "sorted[int(n * 0.90)]", 0.90),
    ("p95", "P95", "sorted[int(n * 0.95)]", 0.95),
    ("p99", "P99", "sorted[int(n * 0.99)]", 0.99),
    ("maximum", "maximum", "largest", 1.0),
)
"""The spread of values: ending of the name, ending of the label, rule in words, share of the values."""


class Metrics(Iterable[Metric]):
    """The metrics of one module, in the order in which they are declared.

    Args:
        source: the source of the metrics that name no other.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._declared: list[Metric] = []

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._declared)

    def metric(
        self,
        name: str,
        label: str,
        unit: str,
        better: Better,
        *,
        formula: str,
        kind: Kind,
        source: str | None = None,
        needs: Collection[Need] = (),
        may_be_zero: bool = False,
        of_request: PerRequest | None = None,
        counts: tuple[Counted, ...] = (),
    ) -> Callable[[Compute], Compute]:
        """Declare a metric; decorates the function that computes it."""

        def register(compute: Compute) -> Compute:
            self._declared.append(
                Metric(
                    name,
                    label,
                    unit,
                    better,
                    formula,
                    source or self._source,
                    kind,
                    compute,
                    needs=frozenset(needs),
                    may_be_zero=may_be_zero,
                    of_request=of_request,
                    counts=counts,
                )
            )
            return compute

        return register

    def mean(
        self,
        name: str,
        label: str,
        unit: str,
        better: Better,
        *,
        formula: str,
        source: str | None = None,
        needs: Collection[Need] = (),
    ) -> Callable[[PerRequest], PerRequest]:
        """Declare a mean over requests; decorates the function that returns the value of each."""

        def register(of_request: PerRequest) -> PerRequest:
            def compute(inputs: MetricInputs) -> float | None:
                values = known(of_request, needs, inputs)
                return fmean(values) if values else None

            self.metric(
                name,
                label,
                unit,
                better,
                formula=formula,
                kind="mean",
                source=source,
                needs=needs,
                of_request=of_request,
            )(compute)
            return of_request

        return register

    def rate(
        self,
        name: str,
        label: str,
        unit: str,
        *,
        formula: str,
        counts: tuple[Counted, ...],
        needs: Collection[Need] = (),
    ) -> None:
        """Declare a rate: counted amounts over the total latency; per GPU if it needs a GPU."""

        def compute(inputs: MetricInputs) -> float | None:
            requests = inputs.requests
            divisor = inputs.gpus if "gpu" in needs else 1
            if requests is None or not divisor:
                return None
            amounts = {
                "requests": len(requests.start_s),
                "input tokens": requests.input_tokens.sum(),
                "output tokens": requests.output_tokens.sum(),
            }
            return float(sum(amounts[each] for each in counts) / inputs.total_s / divisor)

        self.metric(name, label, unit, "higher", formula=formula, kind="rate", needs=needs, counts=counts)(
            compute
        )

    def mean_and_spread(
        self,
        prefix: str,
        label: str,
        *,
        mean: tuple[str, str],
        of: str,
        source: str,
        needs: Collection[Need] = (),
    ) -> Callable[[PerRequest], PerRequest]:
        """Declare a time in ms: its mean over requests, and minimum, maximum and percentiles.

        Decorates the function that returns the time of each request.

        Args:
            prefix: the start of the names of the spread.
            label: the start of their labels.
            mean: name and label of the mean.
            of: the formula of one request's time.
            source: the source of the spread.
            needs: what the run must show.
        """

        def register(of_request: PerRequest) -> PerRequest:
            self.mean(*mean, "ms", "lower", formula=f"mean over i of {of}", needs=needs)(of_request)
            for key, text, rule, share in SPREAD:

                def compute(inputs: MetricInputs, share: float = share) -> float | None:
                    values = sorted(known(of_request, needs, inputs))
                    return percentile(values, share) if values else None

                self.metric(
                    f"{prefix}_{key}",
                    f"{label} {text}",
                    "ms",
                    "lower",
                    formula=f"{rule} of {of}",
                    kind="tail",
                    source=source,
                    needs=needs,
                )(compute)
            return of_request

        return register
