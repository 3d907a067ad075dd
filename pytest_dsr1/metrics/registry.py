"""The declaration of metrics: all facts about a metric, next to the function that computes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pytest_dsr1.metrics.inputs import MetricInputs, Plan, Requests

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

Better = Literal["higher", "lower", "neither"]
Kind = Literal["rate", "mean", "tail", "total", "description"]
Need = Literal["streaming", "mtp", "gpu", "slo", "energy", "price"]
Counted = Literal["requests", "input tokens", "output tokens", "energy"]
Divisor = Literal["time", "requests", "output tokens", "energy"]
Compute = Callable[[MetricInputs], "float | None"]
PerRequest = Callable[[Requests], "Floats"]
Duration = Callable[[float, Plan], float]
"""Returns how long a run takes, in s, whose metric has this value."""

REPORT = "trtllm-bench report, PERFORMANCE OVERVIEW"

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
        kind: ``rate`` (an amount per time or per other amount), ``mean`` over requests, ``tail`` (percentiles
            and extremes), ``total`` (it grows with the length of the run) or ``description`` of the run (if
            ``better`` is ``neither``).
        compute: returns the value from a run; None if the run does not show it.
        needs: what a run must have to show it: ``streaming``, ``mtp`` (speculative decoding), ``gpu``,
            ``slo``, ``energy`` (the counter of every GPU) or ``price`` (of a GPU-hour).
        may_be_zero: whether 0 is a measurement; by default a run with a 0 is INVALID.
        of_request: returns the value of each request, for a gate to average; only for a ``mean``, and None if
            the metric is not such a mean.
        counts: the amounts that a gate counts; only for a ``rate``, and empty if the metric is not such a
            rate.
        per: what a gate divides them by.
        per_gpu: whether the rate is divided by the number of GPUs; then ``needs`` has ``gpu``.
        duration_s: returns how long a run takes that reaches a value; None if a value does not say. A metric
            with ``counts`` needs none.
        headline: whether the overview shows it even without a target.
        neutral: a value that the overview leaves out because it says nothing; None if each says something.

    Raises:
        ValueError: the name is not possible, or two attributes contradict each other.
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
    per: Divisor = "time"
    per_gpu: bool = False
    duration_s: Duration | None = None
    headline: bool = False
    neutral: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a metric name: use lower-case letters, digits and underscores, "
                "and begin with a letter"
            )
        if contradiction := self._contradiction():
            raise ValueError(f"metric {self.name}: {contradiction}")
        if self.per_gpu:
            object.__setattr__(self, "needs", self.needs | {"gpu"})
        if "energy" in self.amounts:
            object.__setattr__(self, "needs", self.needs | {"gpu", "energy"})

    def _contradiction(self) -> str | None:
        if self.kind == "description" and self.better != "neither":
            return f"kind=description needs better=neither, not `{self.better}`"
        if self.better == "neither" and self.kind != "description":
            return f"better=neither needs kind=description, not `{self.kind}`"
        if self.counts and self.kind != "rate":
            return f"`counts` needs kind `rate`, not `{self.kind}`"
        if self.per != "time" and not self.counts:
            return "`per` needs `counts`"
        if self.of_request is not None and self.kind != "mean":
            return f"`of_request` needs kind `mean`, not `{self.kind}`"
        return "`per_gpu` needs `counts`" if self.per_gpu and not self.counts else None

    @property
    def targetable(self) -> bool:
        """True if a scenario may set a target for it."""
        return self.kind != "description"

    @property
    def gateable(self) -> bool:
        """True if a gate can judge it: a part of a run is a sample of it."""
        return self.of_request is not None or bool(self.counts)

    @property
    def amounts(self) -> frozenset[Counted | Divisor]:
        """The amounts that a gate counts and divides by; empty if it does neither."""
        return frozenset((*self.counts, self.per)) if self.counts else frozenset()

    def expected_s(self, value: float, plan: Plan) -> float | None:
        """Return how long a run takes that reaches this value, in s; None if the value does not say."""
        if "time" not in self.amounts or "energy" in self.amounts:
            return None if self.duration_s is None else self.duration_s(value, plan)
        amounts = {
            "requests": plan.requests,
            "input tokens": plan.input_tokens,
            "output tokens": plan.output_tokens,
        }
        per_s = value * (plan.gpus if self.per_gpu else 1)
        return sum(amounts[each] for each in self.counts) / per_s

    @property
    def allowed(self) -> str:
        """The values that can be a measurement, in words."""
        return f"a finite number {'of at least' if self.may_be_zero else 'above'} 0"

    def allows(self, value: object) -> bool:
        """Return whether a value can be a measurement: a finite number above 0, or 0 if that is declared."""
        if isinstance(value, bool) or not isinstance(value, Real):
            return False
        found = float(value)
        return 0 < found < float("inf") or (found == 0 and self.may_be_zero)

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
        per: Divisor = "time",
        per_gpu: bool = False,
        duration_s: Duration | None = None,
        headline: bool = False,
        neutral: float | None = None,
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
                    per=per,
                    per_gpu=per_gpu,
                    duration_s=duration_s,
                    headline=headline,
                    neutral=neutral,
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
        duration_s: Duration | None = None,
        headline: bool = False,
        neutral: float | None = None,
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
                duration_s=duration_s,
                headline=headline,
                neutral=neutral,
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
        per_gpu: bool = False,
        headline: bool = False,
    ) -> None:
        """Declare a rate: counted amounts over the total latency, and over the GPUs if it is per GPU."""

        def compute(inputs: MetricInputs) -> float | None:
            requests = inputs.requests
            if requests is None or (not inputs.gpus and (per_gpu or "gpu" in needs)):
                return None
            amounts = {
                "requests": len(requests.start_s),
                "input tokens": requests.input_tokens.sum(),
                "output tokens": requests.output_tokens.sum(),
            }
            divisor = inputs.gpus if per_gpu else 1
            return float(sum(amounts[each] for each in counts) / inputs.total_s / divisor)

        self.metric(
            name,
            label,
            unit,
            "higher",
            formula=formula,
            kind="rate",
            needs=needs,
            counts=counts,
            per_gpu=per_gpu,
            headline=headline,
        )(compute)

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
        """Declare a time in ms: its mean over requests, a headline, and minimum, maximum and percentiles.

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
            formula = f"mean over i of {of}"
            self.mean(*mean, "ms", "lower", formula=formula, needs=needs, headline=True)(of_request)
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
