"""Eligibility for a gate: runs must be valid, have their own engine start, and not be a warm-up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from pytest_dsr1.errors import Dsr1Error, InvalidRunError, UserError
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.references import References, how_to_get_more
from pytest_dsr1.machine.warm_start import Starts, start_key
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import saving
from pytest_dsr1.metrics.catalogue import METRICS, gateable
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import (
    NoSteadyFigureError,
    SteadyFigure,
    output_rates,
    steady_figure,
    warmup_of,
)
from pytest_dsr1.steady.run_length import LATENCIES
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.verdict.validity import invalid_reasons
from pytest_dsr1.workload.workload import Workload


class NotComparableError(Dsr1Error):
    """The run differs from the references in facts that must be equal (verdict NOT COMPARABLE)."""


def refuse_unfit(loaded: LoadedScenario, scenario: Scenario, workload: Callable[[], Workload]) -> None:
    """Refuse a scenario whose runs cannot be gated or become references.

    Args:
        loaded: gives the file and line of a value.
        scenario: the same scenario, resolved.
        workload: returns its requests; this may take a while.

    Raises:
        UserError: no part of a run is steady, no metric is named, we do not start the server, the runs are
            too short, or they do not report the metric.
    """
    load, engine = scenario.load, scenario.engine
    waves = 1 + LATENCIES + 1
    if load.floods:
        raise UserError(
            f"{loaded.where('load.concurrency')}: with `all` no request waits until another one ends, "
            "so no part of a run is steady; references and gates need a number: set load.concurrency to at "
            f"most {max(load.num_requests // waves, 1):,} for these {load.num_requests:,} requests"
        )
    if scenario.gated_metric is None:
        raise UserError(f"{loaded.where('gate')}: {_no_metric()}")
    name = scenario.gated_metric
    if engine.attached_url is not None:
        key, advice = next(iter(engine.decided_by.get("attached_url", ())), "engine"), engine.settings_for
        remedy = f"set {advice['own_start']}" if "own_start" in advice else "use an engine that it starts"
        raise UserError(
            f"{loaded.where(key)}: gates compare engine starts, and pytest-dsr1 does not start the server "
            f"at {engine.attached_url}; {remedy}"
        )
    least = waves * load.at_once
    if load.arrival is None and load.at_once > 1 and load.num_requests < least:
        raise UserError(
            f"{loaded.where('load.num_requests')}: {load.num_requests:,} requests at load.concurrency "
            f"{load.at_once:,} are too few for references and gates: one wave warms up, three count, "
            f"one drains; set load.num_requests to at least {least:,}"
        )
    if not METRICS[name].gateable:
        raise UserError(
            f"{loaded.where('targets.0.metric')}: {name}, the metric of the first target, cannot be "
            f"gated; set gate.metric to one of: {', '.join(gateable())}"
        )
    without = engine.without_records(lambda: workload().total_output) if name not in output_rates() else None
    if without is not None:
        key = "gate.metric" if scenario.gate.metric else "targets.0.metric"
        raise UserError(
            f"{loaded.where(key)}: {name} cannot be gated without request records, and {without}, or "
            f"gate.metric to one of: {', '.join(output_rates())}"
        )


def gated_metric(scenario: Scenario) -> str:
    """Return the metric that the gate of a scenario judges.

    Raises:
        UserError: neither ``gate.metric`` nor a target names one.
    """
    if scenario.gated_metric is None:
        raise UserError(f"{scenario.name}: {_no_metric()}")
    return scenario.gated_metric


def _no_metric() -> str:
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
    return f"its server was started for {facts.server_kept_from or 'another scenario'}"


def warm_up(measurement: Measurement, starts: Starts) -> str:
    """Return why this start differs from those after it, or an empty text; note the start."""
    key = start_key(measurement.fingerprint.facts)
    first = not starts.seen(key)
    starts.note(key)
    if measurement.caches_filled:
        return f"warm-up: this start filled {', '.join(measurement.caches_filled)}"
    return "warm-up: the first start of this software on this node" if first else ""


def compared(references: References, facts: comparability.Facts) -> tuple[str, ...]:
    """Return what changed under test, from the facts of a run or those known before it.

    Raises:
        NotComparableError: fixed facts differ; the message lists all of them.
    """
    problems = comparability.differences(references.facts, facts, references.under_test)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise NotComparableError(
            f"{references.profile}: this run and the references differ in facts that must be equal:\n"
            f"{lines}\nrestore these facts, or make new references: {how_to_get_more(references.profile)}; "
            "gate.under_test sets which facts may differ"
        )
    return tuple(comparability.changed(references.facts, facts, references.under_test))


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
