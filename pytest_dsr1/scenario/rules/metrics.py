"""Rules about the settings that a scenario's judged metrics need."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.metrics.catalogue import METRICS
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
    gated = scenario.gate.metric
    if gated is not None and need in METRICS[gated].needs:
        yield "gate.metric", gated


@must("targets", "gate.metric", "slo")
def _goodput_needs_slo(scenario: Scenario) -> Findings:
    """A target or gate on goodput needs `slo`."""
    for key, metric in _judged(scenario, "slo"):
        if scenario.slo is None:
            yield key, f"{metric} is measured only with `slo`, found none"


@must("targets", "gate.metric", "engine.streaming")
def _streamed_metrics(scenario: Scenario) -> Findings:
    """A target or gate on TTFT, TPOT, gaps or output speed needs `engine.streaming: true`."""
    for key, metric in _judged(scenario, "streaming"):
        if not scenario.engine.streams:
            yield key, f"{metric} is measured only with `engine.streaming: true`, found false"


@must("targets", "gate.metric", "engine.llm_api.speculative_config")
def _acceptance_needs_mtp(scenario: Scenario) -> Findings:
    """A target or gate on `acceptance_length` needs `engine.llm_api.speculative_config`."""
    for key, metric in _judged(scenario, "mtp"):
        if not scenario.engine.draft_tokens:
            yield key, f"{metric} is measured only with `engine.llm_api.speculative_config`, found none"


@must("targets", "gate.metric", "hardware.count", "hardware.gpu")
def _per_gpu_needs_gpu(scenario: Scenario) -> Findings:
    """A target or gate on `per_gpu_output_throughput` needs a GPU."""
    for key, metric in _judged(scenario, "gpu"):
        if not scenario.hardware.count:
            yield key, f"{metric} needs a GPU, but hardware.count is 0"
