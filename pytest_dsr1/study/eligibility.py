"""Eligibility of runs: they must be valid, have their own engine start, and not be a warm-up."""

from __future__ import annotations

import json
from dataclasses import asdict

from pytest_dsr1.errors import InvalidRunError, UserError
from pytest_dsr1.machine.warm_start import Starts, start_key
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import saving
from pytest_dsr1.metrics.catalogue import METRICS, gateable
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import NoSteadyFigureError, SteadyFigure, steady_figure, warmup_of
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.verdict.validity import invalid_reasons


def gated_metric(scenario: Scenario) -> str:
    """Return the metric that the gate of a scenario judges.

    Raises:
        UserError: neither ``gate.metric`` nor a target names one.
    """
    if scenario.gated_metric is None:
        raise UserError(f"{scenario.name}: {no_metric()}")
    return scenario.gated_metric


def no_metric() -> str:
    """Return the message about a scenario that names no metric."""
    return (
        "gate.metric: expected a metric, found none; a scenario without targets names the metric of its gate "
        f"and references there, one of: {', '.join(gateable())}"
    )


def why_not(measurement: Measurement, starts: Starts) -> str:
    """Return why a run does not count, or an empty text; note a valid start in ``starts``."""
    return "; ".join(invalid_reasons(measurement)) or own_start(measurement) or warm_up(measurement, starts)


def own_start(measurement: Measurement) -> str:
    """Return why the engine was not started for this run alone, or an empty text."""
    facts = measurement.result.facts
    if facts.server_started is not False:
        return ""
    if facts.server_kept_from is None:
        return "it used a running server"
    return f"its server was started for {facts.server_kept_from}"


def warm_up(measurement: Measurement, starts: Starts) -> str:
    """Return why this start differs from those after it, or an empty text; note the start."""
    key = start_key(measurement.fingerprint.facts)
    first = not starts.seen(key)
    starts.note(key)
    if measurement.caches_filled:
        return f"warm-up: this start filled {', '.join(measurement.caches_filled)}"
    return "warm-up: the first start of this software on this node" if first else ""


def figure(
    measurement: Measurement, *, requests: int | None = None, warmup_requests: int | None = None
) -> SteadyFigure:
    """Return the steady figure of a run.

    Raises:
        InvalidRunError: the run has none.
    """
    scenario = measurement.scenario
    metric, warm = gated_metric(scenario), warmup_requests or warmup_of(scenario)
    why = measurement.why_not_measured(metric)
    if why is not None:
        raise InvalidRunError(f"{scenario.name}: {METRICS[metric].label} has no steady figure: {why}")
    try:
        return steady_figure(trace(measurement), metric, warmup_requests=warm, requests=requests)
    except NoSteadyFigureError as error:
        raise InvalidRunError(f"{scenario.name}: {error}") from None


def save_figure(measurement: Measurement, found: SteadyFigure) -> None:
    """Write ``evidence.json`` next to the measurement: the steady figure, its cut and its batches.

    Raises:
        InvalidRunError: the file cannot be written.
    """
    document = {"metric": measurement.scenario.gated_metric, **asdict(found)}
    with saving(measurement.folder):
        write_atomically(measurement.folder / "evidence.json", json.dumps(document, indent=1))
