"""Everything known about one scenario: what the terminal, JUnit and every report are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pytest_dsr1.case.location import locations
from pytest_dsr1.diagnosis.diagnosis import FoundClue, diagnose
from pytest_dsr1.errors import Dsr1Error, InvalidRunError
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.history import NO_HISTORY, History, PastRun, comparable_runs
from pytest_dsr1.gate.reference_file import load as load_references
from pytest_dsr1.gate.references import References, noise_by
from pytest_dsr1.gate.saved import SavedGate, read_gate
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.roofline.bounds import Bound, bounds
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.session.collection import GATES
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Status, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was judged of a scenario, and how it came out.

    Attributes:
        profile: the scenario's name.
        word: the worst of its words; None where nothing was judged.
        problem: why the run is invalid, in full; empty where it is valid.
        verdicts: one a judged target.
        gate: what became of its gate; None without one.
        gate_is_saved: the gate ran with the saved result that is judged again, not in this session.
        gate_unreadable: why the gate of a saved result cannot be read; empty where it can.
        undecided: what the gate saw so far, where it was interrupted; empty otherwise.
        refused: why its gate, or the recording of a reference, ended without a verdict, and the word of that.
        lines: ``file:line`` in the scenario of each test's subject, such as ``target[average_ttft]``; of
            ``scenario`` the line of its name, which always stands in its own file.
    """

    profile: str
    word: Status | None
    problem: str
    verdicts: tuple[Verdict, ...]
    lines: Mapping[str, str]
    gate: SavedGate | None = None
    gate_is_saved: bool = False
    gate_unreadable: str = ""
    undecided: str = ""
    refused: tuple[Status, str] | None = None

    @property
    def judged(self) -> tuple[Verdict, ...]:
        """The verdicts on its targets, then that of its gate."""
        return (*self.verdicts, *([self.gate.verdict] if self.gate and self.gate.verdict else []))

    def gate_of(self, verdict: Verdict) -> SavedGate | None:
        """Return the gate whose verdict this is; None of one on a target."""
        return self.gate if self.gate is not None and verdict is self.gate.verdict else None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a scenario's run shows.

    Attributes:
        measurement: of the run that all tests judge, else the latest of the gate's; None where there is none.
        of_gate: it is the gate's.
        folder: where it is saved; of a run that failed too. None where nothing is.
        run_folder: where the run that all tests judge is saved; None where only a gate ran.
        bounds: the most that its GPUs could show.
        clues: what the run shows of the reasons why its figures may be low.
        locations: where in the run it went wrong, as far as it shows that; empty where all passed.
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
    """What a scenario's run is set beside.

    Attributes:
        references: the accepted ones; None without any that can be read.
        comparable: what a gate would compare the run with: the references of its node, if all is equal that
            must be; None otherwise.
        figure: the run's steady figure as those references have theirs; None where there is none.
        noise: how much engine starts differ, by metric of the verdicts on targets.
        past: the other runs that a gate would compare this one with, in order of time.
    """

    references: References | None = None
    comparable: References | None = None
    figure: float | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)
    past: tuple[PastRun, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario with everything known about it.

    Attributes:
        scenario: as it ran, or was to run.
        test_id_prefix: its path in test ids.
        machine: what it ran on and with, in a few words.
        headline: what came out, in a sentence, without the word.
        judgement: how it came out.
        findings: what its run shows.
        background: what the run is set beside.
        scenario_warnings: what was to be said of the scenario before it ran.
        notes: what is to be said of references.
    """

    scenario: Scenario
    test_id_prefix: str
    machine: str
    headline: str
    judgement: Judgement
    findings: Findings
    background: Background
    scenario_warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say: its tests were skipped, or ended before anything came out."""
        judgement = self.judgement
        known = self.findings.measurement, judgement.problem, judgement.gate, judgement.refused, self.notes
        return not any(known)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every sentence a person must see beside the verdict."""
        measurement, gate = self.findings.measurement, self.judgement.gate
        return (
            *self.scenario_warnings,
            *(measurement.warnings if measurement else ()),
            *(gate.warnings if gate else ()),
            *self.notes,
        )

    @property
    def unlike(self) -> str:
        """What keeps the accepted references from being comparable with the run; empty where nothing does."""
        references, measurement = self.background.references, self.findings.measurement
        if references is None or measurement is None or self.background.comparable is not None:
            return ""
        facts = measurement.fingerprint.facts
        found = comparability.differences(references.facts, facts, references.under_test)
        return (
            comparability.in_brief(found)
            or f"they have no run on node {comparability.short(comparability.node(facts))}"
        )

    def noise_of(self, verdict: Verdict) -> Noise | None:
        """Return how much engine starts differ in what was judged; None where that is unknown."""
        gate = self.judgement.gate_of(verdict)
        if gate is not None:
            return Noise(gate.noise_percent, gate.references.runs)
        return self.background.noise.get(verdict.metric)


def case_of(outcome: ScenarioOutcome, store: Path, now: datetime, past: History = NO_HISTORY) -> Case:
    """Return the case of a scenario of this session.

    Args:
        outcome: what became of it.
        store: the folder of references.
        now: for the age of references.
        past: runs to set it beside.
    """
    judgement = judgement_of(outcome)
    measurement = outcome.measurement or (outcome.gate.latest if outcome.gate else None)
    scenario = measurement.scenario if measurement else outcome.loaded.scenario
    background = _background(judgement, scenario, measurement, store, now, past)
    findings = _findings(outcome, judgement, measurement, background.past)
    return Case(
        scenario=scenario,
        test_id_prefix=outcome.test_id_prefix,
        machine=machine(scenario),
        headline="; ".join(_headline(judgement, findings)),
        judgement=judgement,
        findings=findings,
        background=background,
        scenario_warnings=outcome.loaded.warnings,
        notes=tuple(outcome.notes),
    )


def judgement_of(outcome: ScenarioOutcome) -> Judgement:
    """Return how a scenario of this session came out, so far."""
    gate, gate_is_saved, unreadable, undecided = None, False, "", ""
    if outcome.gate is not None:
        from pytest_dsr1.gate.progress import saved

        word, error = outcome.refused or (None, None)
        gate = saved(outcome.gate, word, error)
        if gate.verdict is None and outcome.gate.look is not None:
            undecided = outcome.gate.sentence()
    elif outcome.measurement is not None:
        try:
            gate, gate_is_saved = read_gate(outcome.measurement.folder), True
        except Dsr1Error as error:
            unreadable = str(error)
    problem = outcome.problem or ""
    words = {verdict.word for verdict in outcome.verdicts} | ({Status.INVALID} if problem else set())
    if gate is not None and gate.word is not None:
        words.add(gate.word)
    if outcome.refused is not None:
        words.add(outcome.refused[0])
    return Judgement(
        profile=outcome.loaded.scenario.name,
        word=next((each for each in (*EXIT_STATUS, Status.PASS) if each in words), None),
        problem=problem,
        verdicts=tuple(outcome.verdicts),
        lines=lines_of(outcome.loaded),
        gate=gate,
        gate_is_saved=gate_is_saved,
        gate_unreadable=unreadable,
        undecided=undecided,
        refused=outcome.refused,
    )


def _findings(
    outcome: ScenarioOutcome,
    judgement: Judgement,
    measurement: Measurement | None,
    past: Iterable[PastRun],
) -> Findings:
    own = outcome.measurement
    run_folder = own.folder if own else outcome.folder
    if measurement is None:
        return Findings(folder=run_folder, run_folder=run_folder)
    others = _not_of(judgement.gate, past)
    return Findings(
        measurement=measurement,
        of_gate=own is None,
        folder=measurement.folder,
        run_folder=run_folder,
        bounds=bounds(measurement),
        clues=diagnose(measurement),
        locations=() if judgement.word is Status.PASS else tuple(locations(measurement, others)),
    )


def _background(
    judgement: Judgement,
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
        noise={
            each.metric: noise_by(references, scenario, facts, each.metric) for each in judgement.verdicts
        },
        past=tuple(comparable_runs(past, measurement)),
    )


def _comparable(references: References, measurement: Measurement) -> References | None:
    facts = measurement.fingerprint.facts
    runs = references.on(comparability.node(facts))
    if not runs or comparability.differences(references.facts, facts, references.under_test):
        return None
    return replace(references, runs=runs)


def _figure_like(references: References, measurement: Measurement) -> float | None:
    from pytest_dsr1.gate.eligibility import figure

    warmup, requests = references.warmup_requests, references.requests
    try:
        return figure(measurement, warmup_requests=warmup, requests=requests).value
    except InvalidRunError:
        return None


def _not_of(gate: SavedGate | None, runs: Iterable[PastRun]) -> list[PastRun]:
    """Those that are not the gate's own: they run what this one runs."""
    own = {Path(run.folder).name for run in gate.runs} if gate else set()
    return [run for run in runs if run.folder.name not in own]


def lines_of(loaded: LoadedScenario) -> dict[str, str]:
    """Return ``file:line`` of each test's subject, and of ``scenario``: see :class:`Judgement`."""
    scenario = loaded.scenario
    return {
        "scenario": loaded.where("name"),
        "environment": loaded.where("hardware"),
        **{f"target[{each.metric}]": loaded.where(f"targets.{i}") for i, each in enumerate(scenario.targets)},
        **{f"{gate}[{scenario.gated_metric}]": loaded.where("gate") for gate in GATES},
    }


def _headline(judgement: Judgement, findings: Findings) -> Iterable[str]:
    word, measurement, clues = judgement.word, findings.measurement, findings.clues
    yield from _outcome(judgement)
    if word in {Status.FAIL, Status.PASS} and measurement is not None:
        yield from _gpus(measurement, capped=any(clue.key == "power-cap" for clue in clues))
    if word is Status.FAIL and clues:
        count = "one finding" if len(clues) == 1 else f"{len(clues)} findings"
        yield f"{count}: {', '.join(clue.key.replace('-', ' ') for clue in clues)}"


def _outcome(judgement: Judgement) -> Iterable[str]:
    word, judged, gate = judgement.word, judgement.judged, judgement.gate
    if word in {Status.FAIL, Status.PASS}:
        of_word = [verdict for verdict in judged if verdict.word is word]
        yield _first(of_word[0].message.split("; that is ")[0])
        if len(of_word) > 1:
            more = f"{len(of_word) - 1} more"
            yield f"{more} missed" if word is Status.FAIL else f"{more} met"
    elif word is Status.INVALID and judgement.problem:
        yield _first(judgement.problem)
    elif judgement.refused is not None:
        yield _first(judgement.refused[1])
    elif gate is not None and gate.error:
        yield _first(gate.error)
    elif judged:
        yield _first(judged[0].message)
    else:
        yield "not judged"


def _gpus(measurement: Measurement, *, capped: bool) -> Iterable[str]:
    if not measurement.telemetry.gpus:
        return
    healthy = f"GPUs healthy{', at their power cap' if capped else ''}"
    doubts = [f for f in measurement.findings if f.severity != "ok" and f.subject.startswith("GPU")]
    more = f" (and {len(doubts) - 1} more of GPUs)" if len(doubts) > 1 else ""
    yield f"{doubts[0].subject}: {doubts[0].message}{more}" if doubts else healthy


def _first(text: str) -> str:
    """The first sentence of a message: of a list under a heading, the first entry."""
    head, *rest = text.strip().splitlines() or [""]
    return rest[0].strip() if head.endswith(":") and rest else head


def machine(scenario: Scenario) -> str:
    """Hardware and engine in a few words."""
    hardware = scenario.hardware
    gpus = f"{hardware.count} x {hardware.gpu}" if hardware.gpu else "CPU"
    return f"{gpus}, engine {scenario.engine.type}"
