"""What a gate compares of a search: its facts, and how narrow it must be. One search is one figure."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import median

from pytest_dsr1.errors import UserError
from pytest_dsr1.gate.comparability import Facts
from pytest_dsr1.gate.noise import Level
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.metrics.catalogue import AT_SLO
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number

_OF_PROBE = (
    "dataset.",
    "option.load.concurrency",
    "option.load.num_requests",
    "option.load.duration_s",
    "option.load.arrival.rate_req_s",
)
"""Facts of one probe, by how they begin."""


def facts_of(facts: Facts, scenario: Scenario) -> dict[str, FactValue]:
    """Return the facts of a search, from those of any of its probes: its question instead of their load.

    Args:
        facts: of a probe, or of the scenario before its search.
        scenario: that is searched.
    """
    search = scenario.search
    assert search is not None
    found = {key: fact for key, fact in facts.items() if not key.startswith(_OF_PROBE)}
    slo = {"preset": search.slo} if search.slo else scenario.slo.model_dump() if scenario.slo else {}
    asked: dict[str, FactValue] = {
        "range": [f"{end:.10g}" for end in search.ends],
        "goal": search.goal,
        "width_percent": search.width_percent,
        **{f"slo.{key}": value for key, value in slo.items() if value is not None},
        "dataset": json.dumps(scenario.dataset.model_dump(mode="json", exclude_none=True), sort_keys=True),
    }
    return found | {f"option.load.search.{key}": value for key, value in asked.items()}


def refuse_unfit(loaded: LoadedScenario, scenario: Scenario) -> None:
    """Refuse a search whose result cannot be gated.

    Raises:
        UserError: the search is not narrower than the loss that must not be missed.
    """
    search, delta = scenario.search, scenario.gate.delta_percent
    assert search is not None
    if delta <= search.width_percent:
        raise UserError(
            f"{loaded.where('gate.delta_percent')}: a gate of searches needs gate.delta_percent above "
            f"search.width_percent, found {delta:g} and {search.width_percent:g}: set a larger delta, or a "
            "narrower search"
        )


def too_coarse(scenario: Scenario, mean: float) -> str:
    """Return that a step of the concurrency is more than the loss that must not be missed; empty if not.

    The throughput has no steps: it changes with the server's speed at the same concurrency too.

    Args:
        scenario: that is searched.
        mean: of the references, in the metric's unit.
    """
    search, step_percent, delta = scenario.search, 100 / mean, scenario.gate.delta_percent
    if search is None or not search.whole or scenario.gated_metric == AT_SLO or delta > step_percent:
        return ""
    return (
        f"{scenario.name}: a step of the concurrency is {step_percent:.2g}% of the references' mean "
        f"{number(mean)}, so a search cannot show a loss of {delta:g}%: set a larger gate.delta_percent, or "
        "search load.rate"
    )


def with_own_error(level: Level, se_percent: list[float]) -> Level:
    """Return the level of searches: their noise is at least the error of one of them.

    A concurrency is a whole number, so references may agree better than they know the answer.

    Args:
        level: of the references.
        se_percent: the standard error of each reference, in percent.
    """
    return replace(level, sd=max(level.sd, median(se_percent) / 100))
