"""Rules about an acceptance length that is forced on purpose."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_dsr1.scenario.rules.registry import Rules
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario, Speculation

rules = Rules()
must, should = rules.must, rules.should

_KEY = "speculation.acceptance_length"


@must(_KEY, "engine.type", answers=("draft_tokens", "attached_url"))
def _can_be_forced(scenario: Scenario) -> Findings:
    """`speculation.acceptance_length` needs an engine that can force it, draft tokens in the engine's settings, and is at most one more than these."""  # noqa: E501
    engine, speculation = scenario.engine, scenario.speculation
    if speculation is None:
        return
    length, drafts = speculation.acceptance_length, engine.draft_tokens
    if why := engine.cannot_force(length):
        yield _KEY, why
    elif drafts == 0:
        setting = engine.setting_for("speculation")
        wanted = f"`{setting}`" if setting else "draft tokens"
        yield _KEY, f"expected {wanted}, without which no draft token is accepted; found none"
    elif drafts is not None and length > drafts + 1:
        wanted = f"expected at most {drafts + 1}, the {drafts} draft tokens of a step and one more"
        yield _KEY, f"{wanted}; found {length:.10g}"


@must(_KEY, "slo.preset", "source.document")
def _not_for_mlperf(scenario: Scenario) -> Findings:
    """`speculation.acceptance_length` is not used for MLPerf's scenarios (`slo.preset`, or a source of mlcommons)."""  # noqa: E501
    preset = scenario.slo.preset if scenario.slo else None
    source = scenario.source.document if scenario.source else ""
    if scenario.speculation and (preset or source.startswith("mlcommons/")):
        found = f"slo.preset {preset}" if preset else f"source.document {source}"
        yield _KEY, f"not possible for an MLPerf scenario ({found}): MLPerf forbids artificial acceptance"


@should(_KEY, "targets", "published")
def _targets_are_not_natural(scenario: Scenario) -> Findings:
    """With `speculation.acceptance_length`, targets are not within 20% of a published result: it was measured without forcing."""  # noqa: E501
    for index, target in enumerate(scenario.targets if scenario.speculation else ()):
        values = [each.values[target.metric] for each in scenario.published if target.metric in each.values]
        near = [value for value in values if math.isclose(value, target.value, rel_tol=0.2)]
        if near:
            yield (
                f"targets.{index}",
                f"{target.value:.10g} is close to the published {near[0]:.10g}, which was measured without "
                f"forcing ({scenario.forced} here): change the target",
            )


@must(_KEY, "engine.type", "engine.environment")
def only_by_the_key(scenario: Scenario) -> Findings:
    """Only `speculation.acceptance_length` forces the acceptance length, not a variable or an argument."""
    for key, length in scenario.engine.forced_by_hand({}):
        value, known = (", its value is not known", "") if length is None else ("", f": {length:.10g}")
        yield key, f"forces the acceptance length{value}: remove it, and set {_KEY}{known}"


def by_hand(scenario: Scenario, environ: Mapping[str, str]) -> tuple[float | None, ...]:
    """Return the acceptance length that a variable or an argument forces; empty if none does.

    A length that is not known stands as None.

    Args:
        scenario: the scenario.
        environ: the environment that its processes inherit; empty to look at the scenario's keys alone.
    """
    return tuple(length for _, length in scenario.engine.forced_by_hand(environ))[:1]


def as_saved(scenario: Scenario) -> Scenario:
    """Return the scenario of a result, with the key `speculation` if something else forced the acceptance.

    Versions without this key saved such results. A length that is not known is not a value of the key.
    """
    (length,) = by_hand(scenario, {}) or (None,)
    if scenario.speculation or length is None or length < 1:
        return scenario
    return scenario.model_copy(update={"speculation": Speculation(acceptance_length=length)})
