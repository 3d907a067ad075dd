"""What a JUnit file carries of each test: the verdict's word and every metric, as properties."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.case.case import Judgement
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.verdict.verdict import Status, Verdict


def properties(
    judgement: Judgement, measurement: Measurement | None, word: Status | None, subject: str
) -> Iterable[tuple[str, str]]:
    """Yield property names and values; a metric's name carries its unit, as ``dsr1_average_ttft [ms]``.

    Args:
        judgement: of the test's scenario, so far.
        measurement: that all its tests judge; None where there is none.
        word: of the test; None where it has none.
        subject: its name, such as ``target[average_ttft]``.
    """
    yield "dsr1_profile", judgement.profile
    if word is not None:
        yield "dsr1_verdict", word.value
    where = judgement.lines.get(subject)
    if where is not None:
        yield "dsr1_where", where
    for verdict in judgement.judged:
        if verdict.subject == subject:
            yield from _judged(verdict)
    if measurement is not None:
        for name, metric in measurement.metrics.items():
            yield f"dsr1_{name} [{METRICS[name].unit}]", repr(metric.value)
        yield "dsr1_results", str(measurement.folder)


def _judged(verdict: Verdict) -> Iterable[tuple[str, str]]:
    """What this test judged, under the same names for every metric: a dashboard needs no list of them."""
    yield "dsr1_metric", verdict.metric
    yield "dsr1_unit", METRICS[verdict.metric].unit
    if verdict.measured is not None:
        yield "dsr1_measured", repr(verdict.measured)
    yield "dsr1_target", repr(verdict.target)
    yield "dsr1_bound", repr(verdict.bound)
    if verdict.margin_percent is not None:
        yield "dsr1_margin_percent", f"{verdict.margin_percent:.3f}"
    yield "dsr1_message", verdict.message
