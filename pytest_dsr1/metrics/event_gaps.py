"""Metrics of the gaps between the events of a stream; the engine openai reports them itself."""

from __future__ import annotations

from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.metrics.registry import SPREAD, Kind, Metrics

metrics = Metrics("none in trtllm-bench; engine openai")


def _declare(name: str, label: str, formula: str, kind: Kind) -> None:
    @metrics.metric(name, label, "ms", "lower", formula=formula, kind=kind, needs={"streaming"})
    def _in_the_report(_: MetricInputs) -> None:
        """Return None: records have no gaps, because a run has too many."""


_declare(
    "average_inter_event_gap",
    "average gap between events",
    "mean over all gaps between two token-carrying events of one stream; not per token",
    "mean",
)
for _key, _text, _rule, _ in SPREAD[1:]:  # without the minimum
    _declare(
        f"inter_event_gap_{_key}", f"gap between events {_text}", f"{_rule} of all gaps, to 0.1%", "tail"
    )
