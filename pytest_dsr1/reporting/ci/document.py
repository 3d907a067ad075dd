"""The results of a session as JSON, for programs. docs/reference/results.md describes each field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_dsr1.case.answers import faults
from pytest_dsr1.case.case import Case
from pytest_dsr1.reporting.formats import Report
from pytest_dsr1.results.result import MetricResult, Result
from pytest_dsr1.results.table import facts_of, finite
from pytest_dsr1.storage.documents import DocumentKind
from pytest_dsr1.text import harmless
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.verdict import Verdict

REPORT = DocumentKind("a report of results", "pytest-dsr1 report", 1)


def to_json(report: Report) -> str:
    """Return the report as JSON: each scenario in the order in which they ran."""
    document = {
        **REPORT.head,
        "created_utc": report.now.isoformat(timespec="seconds"),
        "exit_status": int(report.status),
        "results": [_result(case) for case in report.cases],
        "not_run": list(report.not_run),
    }
    return json.dumps(document, indent=1)


def _result(case: Case) -> dict[str, Any]:
    judgment = case.judgment
    return {
        "profile": case.scenario.name,
        "verdict": judgment.status.value if judgment.status else None,
        "headline": harmless(case.headline),
        **_run(case),
        "verdicts": [
            *(_verdict(each, judgment.lines) for each in judgment.judged),
            *(_accuracy(each, judgment.lines) for each in judgment.accuracy),
        ],
        "problems": [
            {
                "verdict": each.status.value,
                "subject": each.subject,
                "message": harmless(each.message),
                "where": each.where,
            }
            for each in faults(case)
        ],
        "cause": harmless(case.cause.sentence) if case.cause else None,
        "warnings": list(map(harmless, case.warnings)),
    }


def _run(case: Case) -> dict[str, Any]:
    """Return the facts and metrics of the run; nothing if it has no result."""
    if case.run.measurement is None:
        return {"run": None, "metrics": {}}
    problem = case.judgment.problem
    found = Result(case.run.measurement, case.judgment.verdicts, _why_invalid=(problem,) if problem else ())
    facts = facts_of(found)
    return {
        "run": {name: facts[name] for name in facts if name not in {"profile", "run_verdict"}},
        "metrics": {name: _metric(each) for name, each in found.metrics.items()},
    }


def _metric(metric: MetricResult) -> dict[str, Any]:
    return {
        "label": metric.label,
        "value": finite(metric.value),
        "unit": metric.unit,
        "better": metric.better,
        "target": metric.target,
        "bound": metric.bound,
        "verdict": metric.verdict,
    }


def _verdict(verdict: Verdict, lines: Mapping[str, str]) -> dict[str, Any]:
    return {
        "verdict": verdict.status.value,
        "subject": verdict.subject,
        "metric": verdict.metric,
        "measured": finite(verdict.measured),
        "target": verdict.target,
        "bound": verdict.bound,
        "message": harmless(verdict.message),
        "where": lines.get(verdict.subject),
    }


def _accuracy(verdict: AccuracyVerdict, lines: Mapping[str, str]) -> dict[str, Any]:
    return {
        "verdict": verdict.status.value,
        "subject": verdict.subject,
        "metric": "accuracy",
        "measured": verdict.measured,
        "target": verdict.at_least,
        "bound": verdict.bound,
        "message": harmless(verdict.message),
        "where": lines.get(verdict.subject),
    }
