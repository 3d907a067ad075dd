"""The properties of each test in a JUnit file: its verdict and every metric.

pytest writes a test's properties when the test ends, so they come from the judgment so far. The whole case is
known at the end of the session.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.case.cause.cause import Cause
from pytest_dsr1.case.judgment import judgment_of
from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.session.collection import SEARCH
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.verdict import NOTHING_TO_JUDGE, Status, Verdict


def properties(
    outcome: ScenarioOutcome, status: Status, subject: str, cause: Cause | None = None
) -> Iterable[tuple[str, str]]:
    """Yield property names and values; a metric's name carries its unit, as ``dsr1_average_ttft [ms]``.

    Args:
        outcome: of the test's scenario, so far.
        status: the status of the test.
        subject: the test's name, such as ``target[average_ttft]``.
        cause: what a bad result comes from.
    """
    judgment, measurement = judgment_of(outcome), outcome.measurement
    yield "dsr1_profile", judgment.profile
    yield "dsr1_verdict", status.value
    forced = (measurement.scenario if measurement else outcome.loaded.scenario).forced
    if forced:
        yield "dsr1_forced", forced
    if cause is not None:
        yield "dsr1_cause", cause.word
        yield "dsr1_cause_evidence", cause.sentence
    where = judgment.lines.get(subject)
    if where is not None:
        yield "dsr1_where", where
    for verdict in judgment.judged:
        if verdict.subject == subject:
            yield from _judged(verdict)
    if subject.startswith(f"{SEARCH}[") and outcome.search and not isinstance(outcome.search, Exception):
        for name, (value, low, high) in outcome.search.metrics.items():
            yield f"dsr1_{name} [{metric_named(name).unit}]", repr(value)
            yield f"dsr1_{name}_interval", f"{low!r} to {high!r}"
    of_answers = [verdict for verdict in judgment.accuracy if verdict.subject == subject]
    for found in of_answers:
        yield from _judged_answers(found)
    if status is Status.MEASURED and not of_answers:
        yield "dsr1_message", judgment.answer or NOTHING_TO_JUDGE
    if measurement is not None:
        for name, metric in measurement.metrics.items():
            yield f"dsr1_{name} [{METRICS[name].unit}]", repr(metric.value)
        yield "dsr1_results", str(measurement.folder)


def _judged_answers(verdict: AccuracyVerdict) -> Iterable[tuple[str, str]]:
    """Yield what this test judged, under the same names; shares and agreements are from 0 to 1."""
    yield "dsr1_metric", "agreement" if verdict.compares else "accuracy"
    if verdict.measured is not None:
        yield "dsr1_measured", repr(verdict.measured)
    if verdict.at_least is not None:
        yield "dsr1_target", repr(verdict.at_least)
    if verdict.bound is not None:
        yield "dsr1_bound", repr(verdict.bound)
    yield "dsr1_message", verdict.message


def _judged(verdict: Verdict) -> Iterable[tuple[str, str]]:
    """Yield what this test judged, under names that are the same for every metric, for dashboards."""
    yield "dsr1_metric", verdict.metric
    yield "dsr1_unit", metric_named(verdict.metric).unit
    if verdict.measured is not None:
        yield "dsr1_measured", repr(verdict.measured)
    yield "dsr1_target", repr(verdict.target)
    yield "dsr1_bound", repr(verdict.bound)
    if verdict.margin_percent is not None:
        yield "dsr1_margin_percent", f"{verdict.margin_percent:.3f}"
    yield "dsr1_message", verdict.message
