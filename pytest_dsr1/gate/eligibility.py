"""Eligibility for a gate: which scenarios it can judge, and which runs compare with the references."""

from __future__ import annotations

from collections.abc import Callable

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.gate import comparability, searched
from pytest_dsr1.gate.references import References, how_to_get_more
from pytest_dsr1.metrics.catalogue import METRICS, gateable
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import output_rates
from pytest_dsr1.steady.run_length import LATENCIES
from pytest_dsr1.study.eligibility import no_metric
from pytest_dsr1.workload.workload import Workload


class NotComparableError(Dsr1Error):
    """The run differs from the references in facts that must be equal (verdict NOT COMPARABLE)."""


def refuse_unfit(
    loaded: LoadedScenario, scenario: Scenario, workload: Callable[[], Workload], *, searches: bool = True
) -> None:
    """Refuse a scenario whose runs cannot be gated or become references.

    Args:
        loaded: gives the file and line of a value.
        scenario: the same scenario, resolved.
        workload: returns its requests; this may take a while.
        searches: whether the result of a search can be what is gated.

    Raises:
        UserError: no part of a run is steady, no metric is named, we do not start the server, the runs are
            too short, or they do not report the metric.
    """
    load, engine = scenario.load, scenario.engine
    if scenario.gates_search:
        if not searches:
            raise UserError(
                f"{loaded.where('gate.metric')}: gate.metric: pairs compare runs, not searches, and "
                f"{scenario.gated_metric} is a result of `search`; set gate.metric to a metric of a run, "
                "such as total_output_throughput"
            )
        searched.refuse_unfit(loaded, scenario)
    waves = 1 + LATENCIES + 1
    if load.floods and not scenario.gates_search:
        raise UserError(
            f"{loaded.where('load.concurrency')}: with `all` no request waits until another one ends, "
            "so no part of a run is steady; references and gates need a number: set load.concurrency to at "
            f"most {max(load.num_requests // waves, 1):,} for these {load.num_requests:,} requests"
        )
    if scenario.gated_metric is None:
        raise UserError(f"{loaded.where('gate')}: {no_metric()}")
    name = scenario.gated_metric
    if engine.attached_url is not None:
        key, advice = next(iter(engine.decided_by.get("attached_url", ())), "engine"), engine.settings_for
        remedy = f"set {advice['own_start']}" if "own_start" in advice else "use an engine that it starts"
        raise UserError(
            f"{loaded.where(key)}: gates compare engine starts, and pytest-dsr1 does not start the server "
            f"at {engine.attached_url}; {remedy}"
        )
    if scenario.gates_search:
        return
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
