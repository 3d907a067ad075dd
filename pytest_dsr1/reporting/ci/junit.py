"""What a JUnit file carries of each test: the verdict's word and every metric, as properties."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.case.case import places
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.verdict.verdict import Verdict, Word


def properties(outcome: ScenarioOutcome, word: Word | None, subject: str) -> Iterable[tuple[str, str]]:
    """Property names and values; a metric's name carries its unit, as ``dsr1_average_ttft [ms]``.

    Args:
        outcome: of the test's scenario.
        word: of the test; None where it has none.
        subject: its name, such as ``target[average_ttft]``.
    """
    yield "dsr1_profile", outcome.loaded.scenario.name
    if word is not None:
        yield "dsr1_verdict", word.value
    where = places(outcome.loaded).get(subject)
    if where is not None:
        yield "dsr1_where", where
    gate = [outcome.gate.verdict] if outcome.gate and outcome.gate.verdict else []
    for verdict in (*outcome.verdicts, *gate):
        if verdict.subject == subject:
            yield from _judged(verdict)
    if outcome.measurement is not None:
        for name, metric in outcome.measurement.metrics.items():
            yield f"dsr1_{name} [{METRICS[name].unit}]", repr(metric.value)
        yield "dsr1_results", str(outcome.measurement.folder)


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
