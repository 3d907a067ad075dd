"""Everything known about one scenario: the data of the terminal, JUnit and every report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pytest_dsr1.case.cause.cause import Cause, cause_of, unfit
from pytest_dsr1.case.cause.gather import evidence_of
from pytest_dsr1.case.judgment import Judgment, judgment_of
from pytest_dsr1.case.location import locations
from pytest_dsr1.case.next_step import commands
from pytest_dsr1.case.since import Since, since
from pytest_dsr1.diagnosis.diagnosis import FoundClue, diagnose
from pytest_dsr1.errors import Dsr1Error, InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.history import NO_HISTORY, History, PastRun, comparable_runs
from pytest_dsr1.gate.reference_file import load as load_references
from pytest_dsr1.gate.references import References, noise_by
from pytest_dsr1.gate.saved import SavedGate
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.roofline.bounds import Bound, bounds
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.session.state import ScenarioOutcome, of_the_hardware
from pytest_dsr1.text import head, number
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.verdict import GOOD, NOTHING_TO_JUDGE, Status, Verdict


@dataclass(frozen=True, slots=True)
class RunData:
    """The data of a scenario's run.

    Attributes:
        measurement: of the run that all tests judge, else of the gate's latest run; None without either.
        of_gate: whether it is of a gate's run.
        folder: the folder of the saved run, even of a failed one; None if nothing is saved.
        run_folder: the folder of the run that all tests judge; None if only a gate ran.
        bounds: upper bounds of what its GPUs can reach.
        clues: possible reasons for low figures.
        locations: where in the run it went wrong, if the run shows it; empty if all passed.
    """

    measurement: Measurement | None = None
    of_gate: bool = False
    folder: Path | None = None
    run_folder: Path | None = None
    bounds: tuple[Bound, ...] = ()
    clues: tuple[FoundClue, ...] = ()
    locations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Background:
    """What a scenario's run is compared with.

    Attributes:
        references: the accepted references; None if none can be read.
        comparable: the references that a gate would compare the run with: those of its node, if every fact
            that must be equal is equal; None otherwise.
        figure: the run's steady figure, computed as theirs; None without one.
        noise: how much engine starts differ, by the metric of each verdict on a target.
        past: the other runs that a gate would compare with this one, oldest first.
        since: what changed since the scenario was good; None if it is good now, or did not run.
    """

    references: References | None = None
    comparable: References | None = None
    figure: float | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)
    past: tuple[PastRun, ...] = ()
    since: Since | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario with everything known about it.

    Attributes:
        scenario: as it ran, or would have run.
        test_id_prefix: its path in test ids.
        machine: hardware and engine, in a few words.
        headline: the result in a sentence, without the status.
        judgment: the verdicts.
        run: the data of its run.
        background: what the run is compared with.
        cause: what its bad result comes from; None if the result is good, and if another sentence says why
            nothing was measured.
        scenario_warnings: warnings about the scenario, from before it ran.
        notes: remarks about references and answers.
        incomplete: why the data of its run is missing; empty if nothing is.
    """

    scenario: Scenario
    test_id_prefix: str
    machine: str
    headline: str
    judgment: Judgment
    run: RunData
    background: Background
    cause: Cause | None = None
    scenario_warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    incomplete: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to report: its tests were skipped, or ended without a result."""
        judgment = self.judgment
        seen = (self.run.measurement, self.notes, self.incomplete, judgment.answer)
        ended = (judgment.gate, judgment.in_pairs, judgment.refused, judgment.unjudged)
        return not any((*seen, judgment.verdicts, judgment.problem, *ended))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every sentence that a person must see with the verdict."""
        measurement, gate = self.run.measurement, self.judgment.gate
        return (
            *self.scenario_warnings,
            *(measurement.warnings if measurement else ()),
            *(gate.warnings if gate else ()),
            *self.notes,
            *([self.incomplete] if self.incomplete else []),
        )

    @property
    def unlike(self) -> str:
        """Why the accepted references are not comparable with the run; empty if they are, or without any."""
        references, measurement = self.background.references, self.run.measurement
        if references is None or measurement is None or self.background.comparable is not None:
            return ""
        facts = measurement.fingerprint.facts
        found = comparability.differences(references.facts, facts, references.under_test)
        return (
            comparability.in_brief(found)
            or f"none of them was recorded on node {comparability.short(comparability.node(facts))}"
        )

    def noise_of(self, verdict: Verdict) -> Noise | None:
        """Return how much engine starts differ in the judged metric; None if that is unknown."""
        gate = self.judgment.gate_of(verdict)
        if verdict is self.judgment.pair:
            return None  # the interval in its message has the noise of the pairs themselves
        if gate is not None:
            return Noise(gate.noise_percent, gate.references.runs)
        return self.background.noise.get(verdict.metric)


BAD = frozenset({Status.FAIL, Status.INVALID})
"""The statuses whose cause is sought."""
MOST_MODELS = 3
"""The most models that a title names."""


def title_of(cases: Iterable[Case]) -> str:
    """Return the title of a report: the models of its cases, without their owners."""
    models = dict.fromkeys(case.scenario.model.name.rpartition("/")[2] for case in cases)
    if not models:
        return "Performance"
    if len(models) > MOST_MODELS:
        return f"Performance of {len(models)} models"
    return f"{', '.join(models)} performance"


def case_of(
    outcome: ScenarioOutcome,
    store: Path,
    now: datetime,
    past: History = NO_HISTORY,
    *,
    with_clues: bool = True,
) -> Case:
    """Return the case of a scenario of this session.

    Args:
        outcome: of the scenario in this session.
        store: the folder of references.
        now: the time from which the age of references counts.
        past: earlier runs to compare with.
        with_clues: look for clues even if nothing failed.
    """
    judgment, measurement = judgment_of(outcome), _measurement(outcome)
    scenario = measurement.scenario if measurement else outcome.loaded.scenario
    background = _background(judgment, scenario, measurement, store, now, past)
    run = _run_data(outcome, judgment, measurement, background.past, with_clues=with_clues)
    return _case(outcome, judgment, run, background, _cause(judgment, run, background, outcome.findings))


def case_without_data(outcome: ScenarioOutcome, error: Exception) -> Case:
    """Return the case of a scenario whose data cannot be computed, because of a mistake of ours.

    Args:
        outcome: of the scenario in this session.
        error: the mistake.
    """
    own = outcome.measurement
    folder = own.folder if own else outcome.folder
    run = RunData(_measurement(outcome), of_gate=own is None, folder=folder, run_folder=folder)
    case = _case(outcome, judgment_of(outcome), run, Background())
    why = (
        f"{case.scenario.name}: the report is incomplete, because pytest-dsr1 itself failed: {error!r}; the "
        "verdicts are not affected; please report this as a bug"
    )
    return replace(case, incomplete=why)


def _measurement(outcome: ScenarioOutcome) -> Measurement | None:
    """Return the run that all tests judge, else the gate's latest."""
    return outcome.measurement or (outcome.gate.latest if outcome.gate else None)


def _case(
    outcome: ScenarioOutcome,
    judgment: Judgment,
    run: RunData,
    background: Background,
    cause: Cause | None = None,
) -> Case:
    scenario = run.measurement.scenario if run.measurement else outcome.loaded.scenario
    return Case(
        scenario=scenario,
        test_id_prefix=outcome.test_id_prefix,
        machine=scenario.machine,
        headline="; ".join(filter(None, [*_headline(judgment, run), scenario.forced])),
        judgment=judgment,
        run=run,
        background=background,
        cause=cause,
        scenario_warnings=outcome.loaded.warnings,
        notes=tuple(note for note in outcome.notes if note not in judgment.said),
    )


def _cause(
    judgment: Judgment, run: RunData, background: Background, findings: Iterable[Finding]
) -> Cause | None:
    if run.measurement is None:
        wrong = [each for each in findings if each.severity == "mismatch"]
        # Whatever else ended a run before it was measured is named by its own sentence.
        return unfit(wrong) if wrong and all(map(of_the_hardware, wrong)) else None
    since, references = background.since, background.references
    # Wrong answers are not a matter of performance, which a cause explains.
    of_performance = replace(judgment, status=judgment.performance)
    evidence = evidence_of(of_performance, run.measurement, run.clues, since, references)
    cause = cause_of(evidence) if evidence else None
    if cause is None or cause.kind != "software":
        return cause
    lost = judgment.gate is not None and judgment.gate.status is Status.FAIL
    further = commands(run.measurement, lost=lost)
    return replace(cause, next_step=f"{cause.next_step}: {further}")


def _run_data(
    outcome: ScenarioOutcome,
    judgment: Judgment,
    measurement: Measurement | None,
    past: Iterable[PastRun],
    *,
    with_clues: bool,
) -> RunData:
    own = outcome.measurement
    run_folder = own.folder if own else outcome.folder
    if measurement is None:
        return RunData(folder=run_folder, run_folder=run_folder)
    others = _without_gate_runs(judgment.gate, past)
    return RunData(
        measurement=measurement,
        of_gate=own is None,
        folder=measurement.folder,
        run_folder=run_folder,
        bounds=bounds(measurement),
        clues=diagnose(measurement) if with_clues or judgment.performance in BAD else (),
        locations=() if judgment.performance in GOOD else tuple(locations(measurement, others)),
    )


def _background(
    judgment: Judgment,
    scenario: Scenario,
    measurement: Measurement | None,
    store: Path,
    now: datetime,
    past: History,
) -> Background:
    references = None
    with suppress(Dsr1Error):
        references = load_references(store, scenario, now)
    if measurement is None:
        return Background(references)
    comparable = _comparable(references, measurement) if references else None
    facts = measurement.fingerprint.facts
    return Background(
        references=references,
        comparable=comparable,
        figure=_figure_like(comparable, measurement) if comparable else None,
        noise={each.metric: noise_by(references, scenario, facts, each.metric) for each in judgment.verdicts},
        past=tuple(comparable_runs(past, measurement)),
        since=_since(judgment, measurement, past, references),
    )


def _since(
    judgment: Judgment, measurement: Measurement, past: History, references: References | None
) -> Since | None:
    status = judgment.performance
    if status not in BAD:
        return None
    missed = [verdict for verdict in judgment.verdicts if verdict.status is Status.FAIL]
    # Targets say nothing about a loss: runs of the same candidate may have met all of them.
    lost = status is Status.FAIL and not missed
    runs = [] if lost else _without_gate_runs(judgment.gate, past.runs)
    found = since(measurement, runs, references, missed)
    # Of a run that does not count, it does not matter whether the scenario was ever green.
    return None if status is Status.INVALID and found.green == "never" else found


def _comparable(references: References, measurement: Measurement) -> References | None:
    facts = measurement.fingerprint.facts
    runs = references.on(comparability.node(facts))
    if not runs or comparability.differences(references.facts, facts, references.under_test):
        return None
    return replace(references, runs=runs)


def _figure_like(references: References, measurement: Measurement) -> float | None:
    from pytest_dsr1.study.eligibility import figure

    warmup, requests = references.warmup_requests, references.requests
    try:
        return figure(measurement, warmup_requests=warmup, requests=requests).value
    except InvalidRunError:
        return None


def _without_gate_runs(gate: SavedGate | None, runs: Iterable[PastRun]) -> list[PastRun]:
    """Return the runs that are not of this gate: its own runs measure the same candidate."""
    own = {Path(run.folder).name for run in gate.runs} if gate else set()
    return [run for run in runs if run.folder.name not in own]


def _headline(judgment: Judgment, run: RunData) -> Iterable[str]:
    status, measurement, clues = judgment.status, run.measurement, run.clues
    yield from _outcome(judgment, measurement)
    if status in {Status.FAIL, *GOOD} and measurement is not None:
        yield from _gpus(measurement, (clue.gpu_state for clue in clues if clue.gpu_state))
    if judgment.performance is Status.FAIL and clues:
        count = "one finding" if len(clues) == 1 else f"{len(clues)} findings"
        yield f"{count}: {', '.join(clue.key.replace('-', ' ') for clue in clues)}"


def _outcome(judgment: Judgment, measurement: Measurement | None) -> Iterable[str]:
    status, gate = judgment.status, judgment.gate
    judged: tuple[Verdict | AccuracyVerdict, ...] = (*judgment.judged, *judgment.accuracy)
    if status in {Status.FAIL, Status.PASS}:
        of_status = [verdict for verdict in judged if verdict.status is status]
        yield head(of_status[0].message.split("; that is ")[0])
        if len(of_status) > 1:
            more = f"{len(of_status) - 1} more"
            yield f"{more} missed" if status is Status.FAIL else f"{more} met"
    elif status is Status.MEASURED:
        yield NOTHING_TO_JUDGE + _main_figure(measurement)
    elif status is Status.INVALID and judgment.problem:
        yield head(judgment.problem)
    elif judgment.refused is not None:
        yield head(judgment.refused[1])
    elif gate is not None and gate.error:
        yield head(gate.error)
    elif judged:
        worst = [verdict for verdict in judged if verdict.status is status]
        yield head((worst or judged)[0].message)
    elif judgment.unjudged:
        yield head(next(iter(judgment.unjudged.values()))[1])
    else:
        yield "not judged"


def _main_figure(measurement: Measurement | None) -> str:
    """Return the output throughput as the end of a sentence; empty if it was not measured."""
    name = "total_output_throughput"
    found, metric = measurement and measurement.metrics.get(name), METRICS[name]
    return f": {metric.label} {number(found.value)} {metric.unit}" if found else ""


def _gpus(measurement: Measurement, states: Iterable[str]) -> Iterable[str]:
    if not measurement.telemetry.gpus:
        return
    healthy = ", ".join(["GPUs healthy", *dict.fromkeys(states)])
    doubts = [f for f in measurement.findings if f.severity != "ok" and f.subject.startswith("GPU")]
    more = f" (and {len(doubts) - 1} more about GPUs)" if len(doubts) > 1 else ""
    yield f"{doubts[0].where}: {doubts[0].message}{more}" if doubts else healthy
