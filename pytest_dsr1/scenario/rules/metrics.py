"""Rules about the settings that a scenario's judged metrics need."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.metrics.registry import Need
from pytest_dsr1.scenario.rules.registry import Rules
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario

rules = Rules()
must = rules.must


def _judged(scenario: Scenario, need: Need) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of each judged metric that has this need."""
    for index, target in enumerate(scenario.targets):
        if need in METRICS[target.metric].needs:
            yield f"targets.{index}.metric", target.metric
    for index, frontier in enumerate(scenario.frontier):
        for key, metric in (("metric", frontier.metric), ("of", frontier.of)):
            if need in METRICS[metric].needs:
                yield f"frontier.{index}.{key}", metric
    gated = scenario.gate.metric
    if gated is not None and need in metric_named(gated).needs:
        yield "gate.metric", gated


@must("targets", "frontier", "gate.metric", "slo")
def _goodput_needs_slo(scenario: Scenario) -> Findings:
    """A target, curve or gate on goodput needs `slo`."""
    for key, metric in _judged(scenario, "slo"):
        if scenario.slo is None:
            yield key, f"{metric} is measured only with `slo`, found none"


@must("targets", "frontier", "gate.metric", answers=("streams",))
def _streamed_metrics(scenario: Scenario) -> Findings:
    """A target, curve or gate on TTFT, TPOT, gaps or output speed needs streaming."""
    engine = scenario.engine
    setting = engine.settings_for.get("streaming")
    wanted = f"`{setting}`, found false" if setting else f"streaming, which the engine `{engine.type}` lacks"
    for key, metric in _judged(scenario, "streaming"):
        if not engine.streams:
            yield key, f"{metric} is measured only with {wanted}"


@must("targets", "frontier", "gate.metric", answers=("draft_tokens",))
def _acceptance_needs_drafts(scenario: Scenario) -> Findings:
    """A target, curve or gate on `acceptance_length` needs draft tokens."""
    engine = scenario.engine
    setting = engine.setting_for("speculation")
    wanted = f"`{setting}`, found none" if setting else f"drafts, which the engine `{engine.type}` lacks"
    for key, metric in _judged(scenario, "mtp"):
        if engine.draft_tokens == 0:
            yield key, f"{metric} is measured only with {wanted}"


@must("targets", "frontier", "gate.metric", "hardware.count", "hardware.gpu")
def _per_gpu_needs_gpu(scenario: Scenario) -> Findings:
    """A target, curve or gate on `per_gpu_output_throughput`, energy, power or cost needs a GPU."""
    for key, metric in _judged(scenario, "gpu"):
        if not scenario.hardware.count:
            yield key, f"{metric} needs a GPU, but hardware.count is 0"


@must("targets", "frontier", "hardware.gpu_hour_price")
def _cost_needs_price(scenario: Scenario) -> Findings:
    """A target or curve on `cost_per_million_output_tokens` needs `hardware.gpu_hour_price`."""
    for key, metric in _judged(scenario, "price"):
        if scenario.hardware.gpu_hour_price is None:
            yield key, f"{metric} is measured only with `hardware.gpu_hour_price`, found none"


@must("frontier", "point")
def _frontier_needs_sweep(scenario: Scenario) -> Findings:
    """`frontier` needs `sweep`."""
    if scenario.frontier and scenario.point is None:
        yield "frontier", "is the curve of several points; expected `sweep`, found none"


@must("frontier")
def _frontier_is_a_curve(scenario: Scenario) -> Findings:
    """The `metric` of each entry of `frontier` differs from its `of`; no two judge the same there."""
    seen: dict[tuple[str, str, float], int] = {}
    for index, each in enumerate(scenario.frontier):
        if each.metric == each.of:
            yield (
                f"frontier.{index}.metric",
                f"expected a different metric, found {each.of} for `of` and `metric`",
            )
        place = (each.metric, each.of, each.at)
        if place in seen:
            yield f"frontier.{index}", f"{each.metric} is judged there already, by frontier.{seen[place]}"
        seen.setdefault(place, index)
