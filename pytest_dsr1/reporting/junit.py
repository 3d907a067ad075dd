"""What a JUnit file carries of each test: the verdict's word and every metric, as properties."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.scenario.metrics import METRICS
from pytest_dsr1.session import Outcome
from pytest_dsr1.verdict.words import Word


def properties(outcome: Outcome, word: Word | None) -> Iterable[tuple[str, str]]:
    """Property names and values; a metric's name carries its unit, as ``dsr1_average_ttft [ms]``."""
    yield "dsr1_profile", outcome.loaded.scenario.name
    if word is not None:
        yield "dsr1_verdict", word.value
    if outcome.measurement is not None:
        for name, metric in outcome.measurement.metrics.items():
            yield f"dsr1_{name} [{METRICS[name].unit}]", repr(metric.value)
        yield "dsr1_results", str(outcome.measurement.folder)
