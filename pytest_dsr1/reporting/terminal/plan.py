"""``--dsr1-list`` and ``--dsr1-plan``: the scenarios there are, and what would run as a shell script.

Nothing runs but the version probe.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.case.case import machine
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.registry import create
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate.eligibility import compared, refuse_unfit
from pytest_dsr1.gate.plan import gate_plan
from pytest_dsr1.gate.reference_file import load
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.nvidia_smi import shell_lines
from pytest_dsr1.measurement.run import expected_s, options_of, run_timeout_s
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.scenario import Hardware, Length, Normal, Scenario, Target
from pytest_dsr1.scenario.variables import unset_variables
from pytest_dsr1.session.options import STORE
from pytest_dsr1.text import number
from pytest_dsr1.workload.dataset import mean_tokens
from pytest_dsr1.workload.synthetic import content_key
from pytest_dsr1.workload.workload import Workload

if TYPE_CHECKING:
    import pytest

    from pytest_dsr1.machine.values import FactValue
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.profiles import Catalogue

DATASET = "dataset.jsonl"


def _target(target: Target) -> str:
    metric = METRICS[target.metric]
    sign = ">=" if metric.better == "higher" else "<="
    bound = f"{sign} {number(target.value)} {metric.unit}"
    return f"{metric.label} {bound} (tolerance {target.tolerance_percent:g}%)"


def to_set(scenario: Scenario) -> Iterable[str]:
    """The variables that must be set before the scenario runs, as a person sets them."""
    return (f"export {name}=..." for name in unset_variables(scenario, os.environ))


def _lines(scenario: Scenario) -> Iterable[str]:
    yield scenario.name
    yield f"    {scenario.description}"
    yield f"    {machine(scenario)}"
    for target in scenario.targets:
        yield f"    {_target(target)}"
    for line in to_set(scenario):
        yield f"    set first: {line}"


def listing(scenarios: Sequence[LoadedScenario]) -> Iterable[str]:
    """The lines to print; the profiles' names stand in the first column."""
    for loaded in scenarios:
        yield from _lines(loaded.scenario)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the run that is planned; the script repeats those its commands need.

    Attributes:
        gpu_setup: ``check``, ``apply`` or ``off``.
        overrides: the values of ``--dsr1-set``.
        suites: the values of ``--dsr1-suites``.
        profiles: the names that can be selected; any other scenario is named by its file.
        store: the folder of references, where a gate is planned.
    """

    gpu_setup: str
    overrides: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    profiles: frozenset[str] = frozenset()
    store: Path | None = None


def printed(config: pytest.Config, scenarios: Sequence[LoadedScenario], known: Catalogue) -> Iterable[str]:
    """Return what ``--dsr1-list`` or ``--dsr1-plan`` prints of scenarios.

    Args:
        config: of pytest, with one of the two options.
        scenarios: to be shown.
        known: the profiles there are.
    """
    if config.getoption("--dsr1-list"):
        return listing(scenarios)
    asked = Asked(
        gpu_setup=config.getoption("--dsr1-gpu-setup"),
        overrides=tuple(config.getoption("--dsr1-set")),
        suites=tuple(config.getoption("--dsr1-suites")),
        profiles=frozenset(known.names),
        store=config.rootpath / STORE if config.getoption("--dsr1-gate") else None,
    )
    return plan(scenarios, asked)


def plan(scenarios: Sequence[LoadedScenario], asked: Asked) -> Iterable[str]:
    """The lines to print: a script for each scenario, its dialect in the first line."""
    for index, loaded in enumerate(scenarios):
        if index:
            yield ""
        yield from _script(loaded, asked)


def _script(loaded: LoadedScenario, asked: Asked) -> Iterable[str]:
    scenario = loaded.scenario
    first, *rest = create(scenario.engine).script(_job(scenario)).splitlines()
    yield first
    yield f"# scenario: {scenario.name} ({loaded.path})"
    yield f"# machine: {needed(scenario.hardware)}"
    yield f"# expected: {duration(scenario)}"
    for line in _gate(loaded, asked.store) if asked.store else ():
        yield f"# gate: {line}"
    for line in to_set(scenario):
        yield f"# set first: {line}"
    for warning in loaded.warnings:
        yield f"# warning: {warning}"
    if rest[:1] == ["set -eu"]:
        yield rest.pop(0)
    if asked.gpu_setup != "off":
        yield from shell_lines(scenario.gpu_setup, scenario.hardware.count)
    known = scenario.name in asked.profiles
    if not scenario.engine.script_is_whole:
        yield from (line for line in rest if line.startswith("#"))
        selected = [f"--dsr1-profile={scenario.name}"] if known else [str(loaded.path)]
        gate = ["--dsr1-gate"] if asked.store else []
        yield shlex.join(["pytest", *selected, *gate, *_options(asked, "--dsr1-")])
        return
    if scenario.dataset.path is None:
        selected = [scenario.name if known else str(loaded.path)]
        yield shlex.join(["pytest-dsr1", "dataset", *selected, DATASET, *_options(asked, "--")])
    yield from rest


def _gate(loaded: LoadedScenario, store: Path) -> Iterable[str]:
    """What the gate will do, on the node with the most references, or why there is none."""
    scenario, now = loaded.scenario, datetime.now(timezone.utc)
    try:
        refuse_unfit(loaded, scenario, lambda: _job(scenario).workload)
        references = load(store, scenario, now)
        compared(references, _facts(scenario, references))
        lines = gate_plan(store, references, scenario, None, now).statement()
    except Dsr1Error as error:
        lines = tuple(str(error).splitlines())
    yield from (line.removeprefix(f"{scenario.name}: ") for line in lines)


def _facts(scenario: Scenario, references: References) -> dict[str, FactValue]:
    """The fingerprint of a run, as far as the scenario tells it; the rest as in the references."""
    others = {key: fact for key, fact in references.facts.items() if not key.startswith("option.")}
    known = options_of(scenario)
    if scenario.dataset.path is None:
        known["dataset.content"] = content_key(scenario.dataset, scenario.load)
    return {**others, **known}


def _options(asked: Asked, prefix: str) -> Iterable[str]:
    for name, values in (("suites", asked.suites), ("set", asked.overrides)):
        yield from (f"{prefix}{name}={value}" for value in values)


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
