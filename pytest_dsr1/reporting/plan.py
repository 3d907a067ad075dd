"""``--dsr1-plan``: what would run, on what and for how long, as a shell script.

Nothing runs but the version probe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.engines import create
from pytest_dsr1.engines.base import Job
from pytest_dsr1.environment.script import shell_lines
from pytest_dsr1.measurement.run import expected_s, run_timeout_s
from pytest_dsr1.reporting.listing import to_set
from pytest_dsr1.scenario.model import Hardware, Length, Normal, Scenario
from pytest_dsr1.workload.dataset import mean_tokens
from pytest_dsr1.workload.values import Workload

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario

DATASET = "dataset.jsonl"


def plan(scenarios: Sequence[LoadedScenario], gpu_setup: str) -> Iterable[str]:
    """The lines to print: a script for each scenario, its dialect in the first line."""
    for index, loaded in enumerate(scenarios):
        if index:
            yield ""
        yield from _script(loaded, gpu_setup)


def _script(loaded: LoadedScenario, gpu_setup: str) -> Iterable[str]:
    scenario = loaded.scenario
    first, *rest = create(scenario.engine).script(_job(scenario)).splitlines()
    yield first
    yield f"# scenario: {scenario.name} ({loaded.path})"
    yield f"# machine: {needed(scenario.hardware)}"
    yield f"# expected: {duration(scenario)}"
    for line in to_set(scenario):
        yield f"# set first: {line}"
    for warning in loaded.warnings:
        yield f"# warning: {warning}"
    if rest[:1] == ["set -eu"]:
        yield rest.pop(0)
    if gpu_setup != "off":
        yield from shell_lines(scenario.gpu_setup, scenario.hardware.count)
    if scenario.dataset.path is None and scenario.engine.type == "trtllm-bench":
        yield f"pytest-dsr1 dataset {scenario.name} {DATASET}"
    yield from rest


def _longest(length: Length) -> int:
    """The longest length that is drawn; for a normal distribution four standard deviations above the mean."""
    if isinstance(length, int):
        return length
    return round(length.mean + 4 * length.stdev) if isinstance(length, Normal) else length.maximum


def _job(scenario: Scenario) -> Job:
    dataset = scenario.dataset
    workload = Workload(
        path=Path(dataset.path or DATASET),
        requests=scenario.load.num_requests,
        sha256="",
        synthetic=dataset.path is None,
        mean_input=mean_tokens(dataset.input_tokens),
        max_input=_longest(dataset.input_tokens),
        mean_output=mean_tokens(dataset.output_tokens),
        max_output=_longest(dataset.output_tokens),
    )
    return Job(scenario, workload, Path(), run_timeout_s(scenario))


def needed(hardware: Hardware) -> str:
    """The machine in words."""
    if hardware.gpu is None:
        return "any CPU"
    memory = f", at least {hardware.min_memory_gib:g} GiB each" if hardware.min_memory_gib else ""
    driver = f", driver {hardware.min_driver} or newer" if hardware.min_driver else ""
    return f"{hardware.count} x {hardware.gpu}{memory}{driver}"


def duration(scenario: Scenario) -> str:
    """The measured time when the targets are met exactly, and what it costs."""
    seconds = expected_s(scenario)
    if seconds is None:
        return "unknown, since no target says how fast tokens come out"
    time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    if not scenario.hardware.count:
        return f"at most {time} measured, when the targets are just met"
    hours = seconds * scenario.hardware.count / 3600
    return (
        f"{time} measured when the targets are met, {hours:.2f} GPU-hours; loading the weights comes on top"
    )
