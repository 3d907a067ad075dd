"""Which scenarios and runs a gate can use: valid, with an own engine start, not a warm-up."""

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
    """The run differs from the references in what must be equal (verdict NOT COMPARABLE)."""


def refuse_unfit(loaded: LoadedScenario, scenario: Scenario, workload: Callable[[], Workload]) -> None:
    """Refuse a scenario no run of which could be gated, or become a reference.

    Args:
        loaded: says where a value stands.
        scenario: the same, resolved.
        workload: its requests, for which one may have to wait.

    Raises:
        UserError: the server was not started by us, the runs are too short, or they do not report the metric.
    """
    name, load, engine = scenario.gated_metric, scenario.load, scenario.engine
    if engine.attached_url is not None:
        raise UserError(
            f"{loaded.where('engine.url')}: the unit of evidence is one engine start, and the server at "
            f"{engine.attached_url} is started by somebody else; let pytest-dsr1 start it: engine.command or "
            "engine.server instead of engine.url"
        )
    least = (1 + LATENCIES + 1) * load.concurrency
    if load.arrival is None and load.concurrency > 1 and load.num_requests < least:
        raise UserError(
            f"{loaded.where('load.num_requests')}: {load.num_requests:,} requests at load.concurrency "
            f"{load.concurrency:,} are too few for references and gates: one wave warms up, three count, "
            f"one runs out; set load.num_requests to at least {least:,}"
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


def why_not(measurement: Measurement, starts: Starts) -> str:
    """Return why a run does not count, or nothing; a valid start is noted in ``starts``."""
    return "; ".join(invalid_reasons(measurement)) or own_start(measurement) or warm_up(measurement, starts)


def own_start(measurement: Measurement) -> str:
    """Why the engine was not started for this run alone, or nothing."""
    facts = measurement.result.facts
    if facts.server_started is not False:
        return ""
    return f"its server had been started for {facts.server_kept_from or 'others'}"


def warm_up(measurement: Measurement, starts: Starts) -> str:
    """Why this start is unlike the starts after it, or nothing; the start is noted."""
    key = start_key(measurement.fingerprint.facts)
    first = not starts.seen(key)
    starts.note(key)
    if measurement.caches_filled:
        return f"warm-up: this start filled {', '.join(measurement.caches_filled)}"
    return "warm-up: the first start of this software on this node" if first else ""


def compared(references: References, facts: comparability.Facts) -> tuple[str, ...]:
    """What changed under test, by the facts of a run, or those that are known before it.

    Raises:
        NotComparableError: what is fixed differs; all of it.
    """
    problems = comparability.differences(references.facts, facts, references.under_test)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise NotComparableError(
            f"{references.profile}: this run and the references differ in what must be equal:\n{lines}\n"
            f"put it back, or make new references of it: {how_to_get_more(references.profile)}; "
            "gate.under_test says what may differ"
        )
    return tuple(comparability.changed(references.facts, facts, references.under_test))


def figure(
    measurement: Measurement, *, requests: int | None = None, warmup_requests: int | None = None
) -> SteadyFigure:
    """The steady figure of a run.

    Raises:
        InvalidRunError: it has none.
    """
    scenario = measurement.scenario
    warm = warmup_requests or warmup_of(scenario)
    try:
        return steady_figure(
            trace(measurement), scenario.gated_metric, warmup_requests=warm, requests=requests
        )
    except NoSteadyFigureError as error:
        raise InvalidRunError(f"{scenario.name}: {error}") from None


def save_evidence(measurement: Measurement, found: SteadyFigure) -> None:
    """``evidence.json`` beside the measurement: the steady figure, its cut and its batches.

    Raises:
        InvalidRunError: it cannot be written.
    """
    document = {"metric": measurement.scenario.gated_metric, **asdict(found)}
    with saving(measurement.folder):
        write_atomically(measurement.folder / "evidence.json", json.dumps(document, indent=1))
