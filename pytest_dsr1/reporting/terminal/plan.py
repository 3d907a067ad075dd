"""Output of ``--dsr1-plan``: a shell script of what would run. Only the version probe runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.registry import create, engine_starts, script
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate.eligibility import compared, refuse_unfit
from pytest_dsr1.gate.reference_file import load
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.nvidia_smi import shell_lines
from pytest_dsr1.machine.probe.values import expected_s as probes_take_s
from pytest_dsr1.masking import masked_setting
from pytest_dsr1.measurement.expected import Asking, asking, expected, run_timeout_s
from pytest_dsr1.measurement.run import options_of
from pytest_dsr1.reporting.terminal.listing import to_set
from pytest_dsr1.scenario.schema.accuracy import SAME_ANSWERS, Accuracy
from pytest_dsr1.scenario.schema.scenario import Hardware, Length, Normal, Scenario
from pytest_dsr1.scenario.schema.search import Search
from pytest_dsr1.session.options import store
from pytest_dsr1.text import number, plain, shell_command, shell_comment
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
        probe: whether GPUs are probed, whatever a scenario says.
        sweeps: by sweep, what all of its points take.
        against: the values of ``--dsr1-against``.
        sides: the new side of each scenario, by the scenario's name.
    """

    gpu_setup: str
    overrides: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    profiles: frozenset[str] = frozenset()
    store: Path | None = None
    own_store: str | None = None
    probe: bool = False
    sweeps: Mapping[str, str] = field(default_factory=dict)
    against: tuple[str, ...] = ()
    sides: Mapping[str, LoadedScenario] = field(default_factory=dict)


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
        probe=config.getoption("--dsr1-probe"),
        against=tuple(config.getoption("--dsr1-against")),
        sides=sides,
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
    scenario = loaded.scenario
    made = script(scenario.engine, create(scenario.engine), _job(scenario)).rstrip("\n")
    first, *rest = made.split("\n")
    yield first
    yield from shell_comment("\n".join(_facts_first(loaded, options, is_new=is_new))).split("\n")
    if rest[:1] == ["set -eu"]:
        yield rest.pop(0)
    if options.gpu_setup != "off":
        yield from shell_lines(scenario.gpu_setup, scenario.hardware.count)
    profile = scenario.name if scenario.point is None else scenario.point.sweep
    known = profile in options.profiles
    options = replace(options, overrides=(*options.overrides, *_of_point(scenario)))
    if not scenario.engine.script_is_whole:
        yield from (line for line in rest if line.startswith("#"))
        if is_new:
            return  # the command of the old side runs both
        selected = [f"--dsr1-profile={profile}"] if known else [str(loaded.path)]
        gate = ["--dsr1-gate"] if options.store else []
        gate += [f"--dsr1-store={options.own_store}"] if gate and options.own_store else []
        gate += [f"--dsr1-against={masked_setting(each)}" for each in options.against]
        gate += ["--dsr1-probe"] if options.probe else []
        words = ["pytest", *selected, *gate, *_options(options, "--dsr1-")]
        yield from shell_command(words).split("\n")
        return
    if scenario.dataset.path is None:
        selected = [profile if known else str(loaded.path)]
        words = ["pytest-dsr1", "dataset", *selected, DATASET, *_options(options, "--")]
        yield from shell_command(words).split("\n")
    yield from rest


def _facts_first(loaded: LoadedScenario, options: PlanOptions, *, is_new: bool) -> Iterable[str]:
    """Yield what a person reads before the commands."""
    scenario = loaded.scenario
    yield f"scenario: {scenario.name} ({loaded.path})"
    if scenario.point is not None:
        yield f"sweep: {options.sweeps[scenario.point.sweep]}"
        yield f"point: {scenario.point.label}"
    yield f"machine: {needed(scenario.hardware)}"
    if not scenario.targets:  # then neither a target nor a published figure says how much is asked
        yield f"load: {load_in_words(scenario)}"
    questions = asking(scenario)
    yield f"expected: {duration(scenario, questions)}"
    if scenario.accuracy is not None and questions is not None:
        yield f"accuracy: {_asked(scenario.accuracy, questions)}"
    if scenario.search is not None:
        yield f"search: {_searched(scenario.search)}"
    if (options.probe or scenario.probe) and scenario.hardware.gpu is not None:
        yield f"probe: {_probed(scenario.hardware.count)}"
    if scenario.forced:
        yield f"{scenario.forced}: compare no figure with one of natural acceptance"
    if is_new:
        yield "pair: this is the new side, which starts in turn with the old one above"
    elif scenario.name in options.sides:
        yield from (f"pair: {line}" for line in _pairs(loaded))
    for line in _gate(loaded, options.store) if options.store else ():
        yield f"gate: {line}"
    for line in to_set(scenario):
        yield f"set first: {line}"
    for warning in loaded.warnings:
        yield f"warning: {warning}"


def _of_point(scenario: Scenario) -> Iterable[str]:
    """Yield what makes the point of a sweep of its file, as values of ``--dsr1-set``."""
    point = scenario.point
    if point is None:
        return
    yield "sweep=null"
    values = dict(point.values)
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
        parts.append(f"{_time(sum(seconds for seconds, _ in known))} measuring")
        if hours := sum(seconds * gpus for seconds, gpus in known) / 3600:
            parts.append(f"{hours:.2f} GPU-hours")
    if unknown := len(points) - len(known):
        parts.append(f"the time of {unknown} point{'s' if unknown > 1 else ''} is unknown")
    return ", ".join(parts)


def _gate(loaded: LoadedScenario, store: Path) -> Iterable[str]:
    """Yield what the gate will do on the node with the most references, or why there will be none."""
    from pytest_dsr1.gate.plan import gate_plan

    scenario, now = loaded.scenario, datetime.now(timezone.utc)
    try:
        refuse_unfit(loaded, scenario, lambda: _job(scenario).workload)
        references = load(store, scenario, now)
        compared(references, _facts(scenario, references))
        lines = gate_plan(store, references, scenario, None, now).statement()
    except Dsr1Error as error:
        lines = tuple(str(error).splitlines())
    yield from (line.removeprefix(f"{scenario.name}: ") for line in lines)


def _pairs(loaded: LoadedScenario) -> Iterable[str]:
    """Yield what a comparison in pairs will do, or why there will be none."""
    from pytest_dsr1.measurement.expected import expected_s
    from pytest_dsr1.pairs.plan import pairs_plan

    scenario = loaded.scenario
    try:
        refuse_unfit(loaded, scenario, lambda: _job(scenario).workload)
        seconds = expected_s(scenario)
        lines = pairs_plan(scenario, seed=0, again="").statement(seconds)
        lines += () if seconds is None else ("hours are without the time to start the engine",)
    except Dsr1Error as error:
        lines = tuple(str(error).splitlines())
    yield from (line.removeprefix(f"{scenario.name}: ") for line in lines)


def _facts(scenario: Scenario, references: References) -> dict[str, FactValue]:
    """Return the fingerprint of a run: options from the scenario, other facts from the references."""
    others = {key: fact for key, fact in references.facts.items() if not key.startswith("option.")}
    known = options_of(scenario)
    if scenario.dataset.path is None:
        known["dataset.content"] = content_key(scenario.dataset, scenario.load)
    return {**others, **known}


def _options(options: PlanOptions, prefix: str) -> Iterable[str]:
    overrides = tuple(map(masked_setting, options.overrides))
    for name, values in (("suites", options.suites), ("set", overrides)):
        yield from (f"{prefix}{name}={value}" for value in values)


def _longest(length: Length) -> int:
    """Return the longest length; for a normal distribution four standard deviations above the mean."""
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
    """Return the machine in words."""
    if hardware.gpu is None:
        return "any CPU"
    memory = f", at least {hardware.min_memory_gib:g} GiB each" if hardware.min_memory_gib else ""
    driver = f", driver {hardware.min_driver} or newer" if hardware.min_driver else ""
    return f"{hardware.count} x {hardware.gpu}{memory}{driver}"


_DECIDES = {
    "targets": "at target rates",
    "arrivals": "at the rate of arrivals",
    "duration": "until load.duration_s",
}


def duration(scenario: Scenario, questions: Asking | None) -> str:
    """Return the measured time, what decides it, and its cost, with that of the questions."""
    found = expected(scenario)
    if found is None:
        why = "no target gives a token rate" if scenario.targets else "the scenario has no targets"
        return f"unknown, because {why}"
    seconds = found.seconds
    time = _time(seconds)
    why = _DECIDES[found.by]
    if not scenario.hardware.count:
        at_targets = found.by == "targets"
        return f"at most {time} measuring if the targets are met" if at_targets else f"{time} measuring {why}"
    asked_s = 0.0 if questions is None else questions.seconds
    hours = (seconds + (asked_s or 0.0)) * scenario.hardware.count / 3600
    cost = f"{hours:.2f} GPU-hours"
    if asked_s is None:
        cost += " without the questions"
    elif asked_s:
        cost = f"at most {cost} with the questions"
    return f"{time} measuring {why}, {cost}, plus loading the weights"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _asked(accuracy: Accuracy, asked: Asking) -> str:
    """Return how many questions are asked, how long the answers can be, and their longest time."""
    same = accuracy.same_answers
    parts = (
        [] if same is None else [f"{SAME_ANSWERS} {same.prompts:,} x {same.output_tokens:,} output tokens"]
    )
    for task, questions in zip(accuracy.tasks, asked.questions, strict=True):
        number = "all of its file" if questions is None else f"{questions:,}"
        parts.append(f"{task.test_name} {number} x at most {task.max_output_tokens:,} output tokens")
    speed = f"{asked.tok_s_user:.3g} tok/s per user"
    speed += ", as the targets ask" if asked.by == "targets" else ""
    longest = "" if asked.seconds is None else f"; at most {_time(asked.seconds)} at {speed}"
    return f"after the measured part, {', '.join(parts)}{longest}"


def _searched(search: Search) -> str:
    """Return the range of a search, and what its probes need."""
    from pytest_dsr1.search.evidence import LEAST_KEPT
    from pytest_dsr1.search.placing import MOST_PROBES

    low, high = map(number, search.ends)
    return (
        f"{search.key} {low} to {high}, at most {MOST_PROBES} probes of at most "
        f"{search.most_requests:,} requests each; a probe that keeps {number(100 * search.goal)}% within the "
        f"SLO needs {LEAST_KEPT:,} or more"
    )


def _probed(count: int) -> str:
    """Return when the GPUs are probed, and its cost."""
    seconds = probes_take_s(count)
    hours = 2 * seconds * count / 3600
    return (
        f"{count} GPU{'s' if count > 1 else ''}, about {seconds:.0f} s before the engine starts and "
        f"{seconds:.0f} s after it has ended, {hours:.2f} GPU-hours; not while a server is kept running"
    )


def load_in_words(scenario: Scenario) -> str:
    """Return the requests of a scenario, their lengths, and how they are sent."""
    load, dataset = scenario.load, scenario.dataset
    what = "random tokens" if dataset.path is None else "the dataset"
    lengths = f"{_length(dataset.input_tokens)} tokens in and {_length(dataset.output_tokens)} out"
    if load.arrival is not None:
        limit = f", at most {load.at_once:,} in flight" if load.limited else ""
        sent = f"{load.arrival.type} arrivals{limit}"
    else:
        sent = "all at once" if load.floods else f"{load.at_once:,} in flight"
    warm = f", after {load.warmup_requests:,} for warm-up" if load.warmup_requests else ""
    streamed = ", streamed" if scenario.engine.streams else ""
    template = ", through the chat template" if scenario.engine.uses_chat_template else ""
    return f"{load.num_requests:,} requests of {what}, {lengths}{template}, {sent}{streamed}{warm}"


def _length(length: Length) -> str:
    if isinstance(length, int):
        return f"{length:,}"
    if isinstance(length, Normal):
        return f"{length.mean:,.0f} (standard deviation {length.stdev:,.0f})"
    return f"{length.minimum:,} to {length.maximum:,}"
