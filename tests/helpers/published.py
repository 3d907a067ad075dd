"""Measurements with the published figures of a shipped scenario, or else with its targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.scenario.loading import load, load_all
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload
from tests.helpers.paths import SUITES
from tests.helpers.values import measurement

MEMORY_GIB = {"NVIDIA H200": 139.8, "NVIDIA B200": 179.0}
"""The memory that NVML reports."""
SHIPPED = [each.scenario for path in sorted(SUITES.glob("*/*.yaml")) for each in load_all(path)]
"""All that ship, with each point of a sweep."""


@cache
def shipped(name: str) -> Scenario:
    """Return a shipped scenario by its path below suites/, such as ``h200/min-latency``."""
    return load(SUITES / f"{name}.yaml").scenario


def figures(scenario: Scenario) -> Iterator[Mapping[str, float]]:
    """Yield each set of published values; for a scenario without them, the values of its targets."""
    if scenario.published:
        yield from (published.values for published in scenario.published)
    else:
        yield {target.metric: target.value for target in scenario.targets}


def measured(scenario: Scenario, values: Mapping[str, float], **changes: Any) -> Measurement:
    """Return a measurement as trtllm-bench leaves it without request records, on the scenario's own GPUs.

    Args:
        scenario: the scenario that ran.
        values: the values of its metrics.
        changes: fields of the measurement; ``facts`` are the facts of the engine.
    """
    dataset, facts = scenario.dataset, changes.pop("facts", {})
    lengths = dataset.input_tokens, dataset.output_tokens
    assert isinstance(lengths[0], int)
    assert isinstance(lengths[1], int)
    count, gpu = scenario.load.num_requests, scenario.hardware.gpu
    fields: dict[str, Any] = {
        "scenario": scenario,
        "workload": Workload(
            Path("d"), count, "ab", dataset.path is None, lengths[0], lengths[0], lengths[1], lengths[1]
        ),
        "records": (),
        "result": EngineResult((), values, 0.0, 1.0, scenario.hardware.count, facts=EngineFacts.of(facts)),
        "metrics": {name: MetricValue(value, "report") for name, value in values.items()},
        "fingerprint": Fingerprint({"gpu.name": gpu, "gpu.memory_gib": MEMORY_GIB.get(gpu or "")}),
    }
    return measurement(**{**fields, **changes})
