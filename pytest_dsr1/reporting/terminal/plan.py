"""Output of ``--dsr1-plan``: a shell script of what would run. Only the version probe runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.registry import create, engine_starts, script
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate.eligibility import compared, refuse_unfit
from pytest_dsr1.gate.reference_file import load
from pytest_dsr1.gate.references import References, with_store, with_sweep
from pytest_dsr1.gate.searched import facts_of
from pytest_dsr1.machine.nvidia_smi import shell_lines
from pytest_dsr1.masking import masked_setting, masked_words
from pytest_dsr1.measurement.expected import asking, expected, job_timeout_s, run_timeout_s
from pytest_dsr1.measurement.run import options_of
from pytest_dsr1.process.allocation import sbatch_options
from pytest_dsr1.reporting.terminal import plan_words
from pytest_dsr1.reporting.terminal.listing import to_set
from pytest_dsr1.scenario.schema.scenario import Length, Normal, Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.session.options import site, store
from pytest_dsr1.text import plain, shell_command, shell_comment
from pytest_dsr1.workload.dataset import mean_tokens
from pytest_dsr1.workload.synthetic import content_key
from pytest_dsr1.workload.workload import Workload

if TYPE_CHECKING:
    import pytest

    from pytest_dsr1.machine.values import FactValue
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.profiles import Catalogue

DATASET = "dataset.jsonl"


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of the planned run; the script repeats those that its commands need.

    Attributes:
        gpu_setup: ``check``, ``apply`` or ``off``.
        overrides: the values of ``--dsr1-set``.
        suites: the values of ``--dsr1-suites``.
        profiles: the names that can be selected; other scenarios are named by their file.
        store: the folder of references, if a gate is planned.
        own_store: the value of ``--dsr1-store``.
        swept: the values of ``--dsr1-sweep``.
        probe: whether GPUs are probed, whatever a scenario says.
        sweeps: by sweep, what all of its points take.
        against: the values of ``--dsr1-against``.
        sides: the new side of each scenario, by the scenario's name.
        site: the cluster.
        own_site: the value of ``--dsr1-site``.
    """

    gpu_setup: str
    overrides: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    profiles: frozenset[str] = frozenset()
    store: Path | None = None
    own_store: str | None = None
    swept: tuple[str, ...] = ()
    probe: bool = False
    sweeps: Mapping[str, str] = field(default_factory=dict)
    against: tuple[str, ...] = ()
    sides: Mapping[str, LoadedScenario] = field(default_factory=dict)
    site: Site = field(default_factory=Site)
    own_site: str | None = None


def planned(
    config: pytest.Config,
    scenarios: Sequence[LoadedScenario],
    known: Catalogue,
    sides: Mapping[str, LoadedScenario],
) -> Iterable[str]:
    """Return what ``--dsr1-plan`` prints.

    Args:
        config: of pytest.
        scenarios: the scenarios to show.
        known: all profiles.
        sides: the new side of each scenario; none without ``--dsr1-against``.
    """
    options = PlanOptions(
        gpu_setup=config.getoption("--dsr1-gpu-setup"),
        overrides=tuple(config.getoption("--dsr1-set")),
        suites=tuple(config.getoption("--dsr1-suites")),
        profiles=frozenset(known.names),
        store=store(config) if config.getoption("--dsr1-gate") else None,
        own_store=config.getoption("--dsr1-store"),
        swept=tuple(config.getoption("--dsr1-sweep")),
        probe=config.getoption("--dsr1-probe"),
        against=tuple(config.getoption("--dsr1-against")),
        sides=sides,
        site=site(config),
        own_site=config.getoption("--dsr1-site"),
    )
    return plan(scenarios, options)


def plan(scenarios: Sequence[LoadedScenario], options: PlanOptions) -> Iterable[str]:
    """Yield the lines to print: a script per scenario, with its dialect in the first line.

    Print them as they are: :func:`harmless` would cut long ones. Whatever an engine returns, a comment stays
    one, and a line stays one line.
    """
    points: dict[str, list[Scenario]] = {}
    for loaded in scenarios:
        if loaded.scenario.point is not None:
            points.setdefault(loaded.scenario.point.sweep, []).append(loaded.scenario)
    options = replace(options, sweeps={name: _sweep(name, each) for name, each in points.items()})
    for index, (loaded, is_new) in enumerate(_with_sides(scenarios, options.sides)):
        if index:
            yield ""
        for line in _script(loaded, options, is_new=is_new):
            if line.startswith("#"):
                yield from shell_comment(line[1:].removeprefix(" ")).split("\n")
            else:
                # No command of our own engines has a character that must be shown, but one of a plugin's may.
                yield line if line.isprintable() else plain(line, 10 * len(line))


def _with_sides(
    scenarios: Iterable[LoadedScenario], sides: Mapping[str, LoadedScenario]
) -> Iterable[tuple[LoadedScenario, bool]]:
    """Yield each scenario, then its new side, if it has one; and whether it is a new side."""
    for loaded in scenarios:
        yield loaded, False
        if loaded.scenario.name in sides:
            yield sides[loaded.scenario.name], True


def _script(loaded: LoadedScenario, options: PlanOptions, *, is_new: bool = False) -> Iterable[str]:
    scenario, ran = loaded.scenario, _ran(loaded.scenario)
    made = script(ran.engine, create(ran.engine), _job(ran, options.site)).rstrip("\n")
    first, *rest = made.split("\n")
    yield first
    yield from shell_comment("\n".join(_facts_first(loaded, options, is_new=is_new))).split("\n")
    if rest[:1] == ["set -eu"]:
        yield rest.pop(0)
    if options.gpu_setup != "off":
        yield from _setup(scenario)
    profile = scenario.name if scenario.point is None else scenario.point.sweep
    known = profile in options.profiles
    if not scenario.engine.whole_script:
        yield from (line for line in rest if line.startswith("#"))
        if is_new:
            return  # the command of the old side runs both
        if known:  # a point is a profile too, and only under its name a gate finds its references
            swept = [f"--dsr1-sweep={masked_setting(each)}" for each in options.swept]
            selected = [f"--dsr1-profile={scenario.name}", *swept]
        else:
            selected, options = [str(loaded.path)], _with_point(options, scenario)
        gate = ["--dsr1-gate"] if options.store else []
        gate += [f"--dsr1-store={options.own_store}"] if gate and options.own_store else []
        gate += [f"--dsr1-against={masked_setting(each)}" for each in options.against]
        gate += ["--dsr1-probe"] if options.probe else []
        gate += [f"--dsr1-site={options.own_site}"] if options.own_site else []
        # The end of a batch script's shell is the end of pytest, before it has saved anything.
        replacing = ["exec"] if scenario.hardware.nodes > 1 else []
        words = [*replacing, "pytest", *selected, *gate, *_options(options, "--dsr1-")]
        yield from shell_command(words).split("\n")
        return
    if scenario.dataset.path is None:
        selected = [profile if known else str(loaded.path)]
        words = ["pytest-dsr1", "dataset", *selected, DATASET, *_options(_with_point(options, ran), "--")]
        yield from shell_command(words).split("\n")
    yield from rest


def _facts_first(loaded: LoadedScenario, options: PlanOptions, *, is_new: bool) -> Iterable[str]:
    """Yield what a person reads before the commands."""
    scenario = loaded.scenario
    yield f"scenario: {scenario.name} ({loaded.path})"
    if scenario.point is not None:
        yield f"sweep: {options.sweeps[scenario.point.sweep]}"
        yield f"point: {scenario.point.label}"
    yield f"machine: {plan_words.needed(scenario.hardware)}"
    if scenario.hardware.nodes > 1:
        yield f"Slurm: this script runs on the first node: {_sbatch(scenario, options.site)}"
    ran = _ran(scenario)
    if not scenario.targets:  # then neither a target nor a published figure says how much is asked
        lowest = "" if ran is scenario else "of a probe at the lowest load: "
        yield f"load: {lowest}{plan_words.load_in_words(ran)}"
    questions = asking(scenario)
    if ran is scenario:
        yield f"expected: {plan_words.duration(scenario, questions)}"
    if scenario.accuracy is not None and questions is not None:
        yield f"accuracy: {plan_words.asked(scenario.accuracy, questions)}"
    if scenario.search is not None:
        starts = engine_starts([scenario] * _runs(scenario))
        yield from (f"search: {line}" for line in plan_words.searched(scenario, scenario.search, starts))
    gate, starts = _gate(loaded, options, options.store) if options.store else ((), _starts(scenario))
    pairs: Sequence[str] = ()
    if scenario.name in options.sides:
        pairs, starts = _pairs(loaded)
    if (options.probe or scenario.probe) and not is_new:  # the starts of the old side are those of both
        yield f"probe: {plan_words.probed(scenario, starts)}"
    if scenario.forced:
        yield f"{scenario.forced}: compare no figure with one of natural acceptance"
    if is_new:
        yield "pair: this is the new side, which starts in turn with the old one above"
    else:
        yield from (f"pair: {line}" for line in pairs)
    yield from (f"gate: {line}" for line in gate)
    for line in to_set(scenario):
        yield f"set first: {line}"
    for warning in loaded.warnings:
        yield f"warning: {warning}"


def _sbatch(scenario: Scenario, at: Site) -> str:
    """Return the command that runs the printed script, saved as a file, on the scenario's nodes."""
    nodes, limit_s = scenario.hardware.nodes, job_timeout_s(scenario)
    made = sbatch_options(nodes, max(scenario.gpus_by_node), at.slurm.sbatch, limit_s)
    return shell_command(["sbatch", *masked_words(made), "--wrap=exec sh SCRIPT"])


def _setup(scenario: Scenario) -> Iterable[str]:
    """Yield the setup of the GPUs as shell lines, for every node."""
    if scenario.hardware.nodes == 1:
        yield from shell_lines(scenario.gpu_setup, scenario.hardware.count)
        return
    first, alike = 0, [(count, len(list(same))) for count, same in groupby(scenario.gpus_by_node)]
    for count, nodes in alike:
        where = [f"--relative={first}"] if len(alike) > 1 else []
        tasks = [*where, f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        for line in shell_lines(scenario.gpu_setup, count):
            if not line.startswith("#"):
                yield shell_command(["srun", "--overlap", *tasks, "sh", "-c", line])
            elif not first:
                yield line
        first += nodes


def _with_point(options: PlanOptions, scenario: Scenario) -> PlanOptions:
    """Return options that also make the point of its file."""
    return replace(options, overrides=(*options.overrides, *_of_point(scenario)))


def _of_point(scenario: Scenario) -> Iterable[str]:
    """Yield what makes the point of a sweep of its file, as values of ``--dsr1-set``."""
    point = scenario.point
    if point is None:
        return
    yield "sweep=null"
    values = dict(point.values)
    if point.is_probe:
        values["load.num_requests"] = scenario.load.num_requests
    if scenario.hardware.gpu is not None:
        values.setdefault("hardware.count", scenario.hardware.count)
    if scenario.dataset.path is None:
        values.setdefault("dataset.seed", scenario.dataset.seed)
    yield from (f"{key}={json.dumps(value)}" for key, value in values.items())


def _sweep(name: str, points: Sequence[Scenario]) -> str:
    """Return what the points of a sweep take together."""
    starts = engine_starts(points)
    times = [(expected(point), max(point.hardware.count, 0)) for point in points]
    known = [(found.seconds, gpus) for found, gpus in times if found is not None]
    several = ("" if len(points) == 1 else "s"), ("" if starts == 1 else "s")
    parts = [f"{name}, {len(points)} point{several[0]}, {starts} engine start{several[1]}"]
    if known:
        parts.append(f"{plan_words.in_words(sum(seconds for seconds, _ in known))} measuring")
        if hours := sum(seconds * gpus for seconds, gpus in known) / 3600:
            parts.append(f"{hours:.2f} GPU-hours")
    if unknown := len(points) - len(known):
        parts.append(f"the time of {unknown} point{'s' if unknown > 1 else ''} is unknown")
    return ", ".join(parts)


def _starts(scenario: Scenario) -> int:
    """Return the most engine starts of a run or a search, at least one."""
    return max(1, engine_starts([scenario] * _runs(scenario)))


def _runs(scenario: Scenario) -> int:
    """Return the most runs of a scenario that count."""
    from pytest_dsr1.search.placing import MOST_PROBES

    return 1 if scenario.search is None else MOST_PROBES


def _ran(scenario: Scenario) -> Scenario:
    """Return what the script runs: of a search whose own load is not measured, a probe of the lowest load."""
    search = scenario.search
    if search is None or scenario.targets or scenario.accuracy is not None:
        return scenario
    return plan_words.probe_at(scenario, search, search.ends[0], search.least_requests)


def _gate(loaded: LoadedScenario, options: PlanOptions, store: Path) -> tuple[Sequence[str], int]:
    """Return what the gate will do on the node with the most references, or why there will be none.

    The number is that of engine starts, at most. Commands name the store and the sweep of an option.
    """
    from pytest_dsr1.gate.plan import gate_plan

    scenario, now = loaded.scenario, datetime.now(timezone.utc)
    try:
        refuse_unfit(loaded, scenario, lambda: _workload(scenario))
        references = load(store, scenario, now)
        compared(references, _facts(scenario, references))
        made = gate_plan(store, references, scenario, None, now)
        each = _starts(scenario) if scenario.gates_search else 1
        lines, starts = made.statement(), made.starts * each
    except Dsr1Error as error:
        lines, starts = tuple(str(error).splitlines()), 1
    named = (with_sweep(with_store(line, options.own_store), options.swept) for line in lines)
    return _without_name(scenario, named), starts


def _pairs(loaded: LoadedScenario) -> tuple[Sequence[str], int]:
    """Return what a comparison in pairs will do, or why there will be none, and its engine starts."""
    from pytest_dsr1.measurement.expected import expected_s
    from pytest_dsr1.pairs.plan import pairs_plan

    scenario = loaded.scenario
    try:
        refuse_unfit(loaded, scenario, lambda: _workload(scenario), searches=False)
        seconds = expected_s(scenario)
        made = pairs_plan(scenario, seed=0, again="")
        lines = made.statement(seconds)
        lines += () if seconds is None else ("hours are without the time to start the engine",)
        return _without_name(scenario, lines), made.starts
    except Dsr1Error as error:
        return _without_name(scenario, str(error).splitlines()), 1


def _without_name(scenario: Scenario, lines: Iterable[str]) -> list[str]:
    return [line.removeprefix(f"{scenario.name}: ") for line in lines]


def _facts(scenario: Scenario, references: References) -> dict[str, FactValue]:
    """Return the fingerprint of a run: options from the scenario, other facts from the references."""
    others = {key: fact for key, fact in references.facts.items() if not key.startswith("option.")}
    known = options_of(scenario)
    if scenario.dataset.path is None:
        known["dataset.content"] = content_key(scenario.dataset, scenario.load)
    found = {**others, **known}
    return facts_of(found, scenario) if scenario.gates_search else found


def _options(options: PlanOptions, prefix: str) -> Iterable[str]:
    overrides = tuple(map(masked_setting, options.overrides))
    for name, values in (("suites", options.suites), ("set", overrides)):
        yield from (f"{prefix}{name}={value}" for value in values)


def _longest(length: Length) -> int:
    """Return the longest length; for a normal distribution four standard deviations above the mean."""
    if isinstance(length, int):
        return length
    return round(length.mean + 4 * length.stdev) if isinstance(length, Normal) else length.maximum


def _job(scenario: Scenario, at: Site) -> Job:
    return Job(scenario, _workload(scenario), Path(), run_timeout_s(scenario), site=at)


def _workload(scenario: Scenario) -> Workload:
    dataset = scenario.dataset
    return Workload(
        path=Path(dataset.path or DATASET),
        requests=scenario.load.num_requests,
        sha256="",
        synthetic=dataset.path is None,
        mean_input=mean_tokens(dataset.input_tokens),
        max_input=_longest(dataset.input_tokens),
        mean_output=mean_tokens(dataset.output_tokens),
        max_output=_longest(dataset.output_tokens),
    )
