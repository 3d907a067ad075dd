"""What is told of one scenario in a report, a summary or an annotation, whichever it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pytest_dsr1.case.location import whereabouts
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
from pytest_dsr1.session.state import Outcome
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Verdict, Word


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario with all that is known of it.

    Attributes:
        scenario: as it ran, or was to run.
        place: its path in test ids.
        machine: what it ran on and with, in a few words.
        word: the worst of its words; None where nothing was judged.
        headline: what came out, in a sentence, without the word.
        problem: why the run proves nothing, in full; empty where it does.
        verdicts: one a judged target.
        where: ``file:line`` in the scenario of each test's subject, such as ``target[average_ttft]``; of
            ``scenario`` the line of its name, which always stands in its own file.
        measurement: None where there is none.
        gate: what became of its gate; None without one.
        references: the accepted ones; None without any that can be read.
        noise: how much engine starts differ, by metric of the verdicts on targets.
        clues: what the run shows of the reasons why its figures may be low.
        bounds: the most that its GPUs could show.
        warnings: sentences a person must see beside the verdict.
        folder: where the run is saved; None where nothing is.
        refused: why its gate, or the recording of a reference, ended without a verdict, and the word of that.
        whereabouts: where in the run it went wrong, as far as it tells; empty where all passed.
        comparable: what a gate would compare the run with: the references of its node, if all is equal that
            must be; None otherwise.
        figure: the run's steady figure as those references have theirs; None where there is none.
        past: the other runs that a gate would compare this one with, in order of time.
    """

    scenario: Scenario
    place: str
    machine: str
    word: Word | None
    headline: str
    problem: str
    verdicts: tuple[Verdict, ...]
    where: Mapping[str, str]
    measurement: Measurement | None
    gate: SavedGate | None
    references: References | None
    noise: Mapping[str, Noise]
    clues: tuple[FoundClue, ...]
    bounds: tuple[Bound, ...]
    warnings: tuple[str, ...]
    folder: Path | None
    refused: tuple[Word, str] | None = None
    whereabouts: tuple[str, ...] = ()
    comparable: References | None = None
    figure: float | None = None
    past: tuple[PastRun, ...] = ()

    @property
    def judged(self) -> tuple[Verdict, ...]:
        """The verdicts on its targets, then that of its gate."""
        return (*self.verdicts, *([self.gate.verdict] if self.gate and self.gate.verdict else []))

    @property
    def unlike(self) -> str:
        """What keeps the accepted references from being comparable with the run; empty where nothing does."""
        references, measurement = self.references, self.measurement
        if references is None or measurement is None or self.comparable is not None:
            return ""
        facts = measurement.fingerprint.facts
        found = comparability.differences(references.facts, facts, references.under_test)
        return (
            comparability.in_brief(found)
            or f"they have no run on node {comparability.short(comparability.node(facts))}"
        )

    def gate_of(self, verdict: Verdict) -> SavedGate | None:
        """The gate whose verdict this is; None of one on a target."""
        return self.gate if self.gate is not None and verdict is self.gate.verdict else None

    def noise_of(self, verdict: Verdict) -> Noise | None:
        """How much engine starts differ in what was judged; None where nobody knows."""
        gate = self.gate_of(verdict)
        if gate is not None:
            return Noise(gate.noise_percent, gate.references.runs)
        return self.noise.get(verdict.metric)


def case_of(outcome: Outcome, store: Path, now: datetime, past: History = NO_HISTORY) -> Case:
    """The case of a scenario of this session.

    Args:
        outcome: what became of it.
        store: the folder of references.
        now: for the age of references.
        past: runs to set it beside.
    """
    gate, refused = _gate(outcome)
    measurement = outcome.measurement or (outcome.gate.latest if outcome.gate else None)
    clues = diagnose(measurement) if measurement else ()
    scenario = measurement.scenario if measurement else outcome.loaded.scenario
    problem = outcome.problem or ""
    references = None
    with suppress(Dsr1Error):
        references = load_references(store, scenario, now)
    comparable = _comparable(references, measurement) if references and measurement else None
    alike = comparable_runs(past, measurement) if measurement else ()
    verdicts = tuple(outcome.verdicts)
    words = {verdict.word for verdict in verdicts} | ({Word.INVALID} if problem else set())
    if gate is not None and gate.word is not None:
        words.add(gate.word)
    if refused is not None:
        words.add(refused[0])
    word = next((each for each in (*EXIT_STATUS, Word.PASS) if each in words), None)
    return Case(
        scenario=scenario,
        place=outcome.place,
        machine=machine(scenario),
        word=word,
        headline="; ".join(_headline(word, verdicts, problem, gate, refused, measurement, clues)),
        problem=problem,
        verdicts=verdicts,
        where=places(outcome.loaded),
        measurement=measurement,
        gate=gate,
        references=references,
        noise={
            each.metric: noise_by(references, scenario, measurement.fingerprint.facts, each.metric)
            for each in verdicts
            if measurement
        },
        clues=clues,
        bounds=bounds(measurement) if measurement else (),
        warnings=(
            *outcome.loaded.warnings,
            *(measurement.warnings if measurement else ()),
            *(gate.warnings if gate else ()),
            *outcome.notes,
        ),
        folder=measurement.folder if measurement else outcome.folder,
        refused=refused,
        whereabouts=(
            tuple(whereabouts(measurement, _not_of(gate, alike)))
            if measurement and word is not Word.PASS
            else ()
        ),
        comparable=comparable,
        figure=_figure_like(comparable, measurement) if comparable and measurement else None,
        past=tuple(alike),
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


def places(loaded: LoadedScenario) -> dict[str, str]:
    """``file:line`` in the scenario of each test's subject, and of ``scenario``: see :class:`Case`."""
    scenario = loaded.scenario
    return {
        "scenario": loaded.where("name"),
        "environment": loaded.where("hardware"),
        **{f"target[{each.metric}]": loaded.where(f"targets.{i}") for i, each in enumerate(scenario.targets)},
        **{f"{gate}[{scenario.gated_metric}]": loaded.where("gate") for gate in GATES},
    }


def _gate(outcome: Outcome) -> tuple[SavedGate | None, tuple[Word, str] | None]:
    """The gate that this session ran or, where a saved result is judged again, the one that was saved."""
    if outcome.gate is not None:
        from pytest_dsr1.gate.progress import saved

        word, error = outcome.refused or (None, None)
        return saved(outcome.gate, word, error), outcome.refused
    if outcome.measurement is not None:
        with suppress(Dsr1Error):
            return read_gate(outcome.measurement.folder), outcome.refused
    return None, outcome.refused


def _headline(
    word: Word | None,
    verdicts: tuple[Verdict, ...],
    problem: str,
    gate: SavedGate | None,
    refused: tuple[Word, str] | None,
    measurement: Measurement | None,
    clues: tuple[FoundClue, ...],
) -> Iterable[str]:
    judged = [*verdicts, *([gate.verdict] if gate and gate.verdict else [])]
    if word in {Word.FAIL, Word.PASS}:
        of_word = [verdict for verdict in judged if verdict.word is word]
        yield _first(of_word[0].message.split("; that is ")[0])
        if len(of_word) > 1:
            more = f"{len(of_word) - 1} more"
            yield f"{more} missed" if word is Word.FAIL else f"{more} met"
    elif word is Word.INVALID and problem:
        yield _first(problem)
    elif refused is not None:
        yield _first(refused[1])
    elif gate is not None and gate.error:
        yield _first(gate.error)
    elif judged:
        yield _first(judged[0].message)
    else:
        yield "not judged"
    if word in {Word.FAIL, Word.PASS} and measurement is not None:
        yield from _gpus(measurement, capped=any(clue.key == "power-cap" for clue in clues))
    if word is Word.FAIL and clues:
        count = "one finding" if len(clues) == 1 else f"{len(clues)} findings"
        yield f"{count}: {', '.join(clue.key.replace('-', ' ') for clue in clues)}"


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
