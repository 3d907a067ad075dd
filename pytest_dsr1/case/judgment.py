"""The verdicts on one scenario, from this session or from a saved result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate.saved import SavedGate, read_gate
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.session.collection import FRONTIER, GATES, MEASURED, SEARCH, accuracy_keys, frontier_names
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.verdict.accuracy import AccuracyVerdict, accuracy_subject, is_of_answers
from pytest_dsr1.verdict.verdict import GOOD, Status, Verdict, subject_of, worst


@dataclass(frozen=True, slots=True)
class Judgment:
    """The verdicts on a scenario.

    Attributes:
        profile: the scenario's name.
        status: the worst of its verdicts; None if nothing was judged.
        measured: the run is valid, and its scenario has no targets; or a search without a target has ended.
        answer: the answer of a search without a target; empty without one.
        problem: why the run is invalid, in full; empty if it is valid.
        verdicts: one per judged target.
        gate: the result of its gate; None without one.
        gate_is_saved: the gate is that of a saved result, judged again; it did not run in this session.
        gate_unreadable: why the gate of a saved result cannot be read; empty if it can.
        pair: the verdict of its comparison in pairs; None without one.
        in_pairs: its sides were compared in pairs, with or without a verdict.
        pairs_folder: the folder of the first run of its pairs; empty without one.
        undecided: what an interrupted gate or comparison saw so far; empty otherwise.
        refused: the status of a gate, recording or comparison that ended without a verdict, and why.
        unjudged: by test, the status of other tests that ended without a verdict, and why; no status if this
            is allowed.
        accuracy: the verdicts on its answers.
        lines: ``file:line`` in the scenario of each test's subject, such as ``target[average_ttft]``; for
            ``scenario`` the line of its name, which is always in its own file.
    """

    profile: str
    status: Status | None
    problem: str
    verdicts: tuple[Verdict, ...]
    lines: Mapping[str, str]
    measured: bool = False
    answer: str = ""
    gate: SavedGate | None = None
    gate_is_saved: bool = False
    gate_unreadable: str = ""
    pair: Verdict | None = None
    in_pairs: bool = False
    pairs_folder: str = ""
    undecided: str = ""
    refused: tuple[Status, str] | None = None
    unjudged: Mapping[str, tuple[Status | None, str]] = field(default_factory=dict)
    accuracy: tuple[AccuracyVerdict, ...] = ()

    @property
    def performance(self) -> Status | None:
        """The worst of its statuses without those of answers, which say nothing about performance.

        It leaves out pairs too: their loss comes from the change, and not from what the run shows.
        """
        others = self.accuracy or self.in_pairs or any(map(is_of_answers, self.unjudged))
        return worst(self.without_accuracy) if others else self.status

    @property
    def without_accuracy(self) -> set[Status]:
        """Its statuses without those of answers, of tests of answers that were not judged, and of pairs."""
        gate = [self.gate.status] if self.gate is not None else []
        refused = [self.refused[0]] if self.refused is not None and not self.in_pairs else []
        found = {
            *(verdict.status for verdict in self.verdicts),
            *([Status.INVALID] if self.problem else []),
            *gate,
            *refused,
            *(status for test, (status, _) in self.unjudged.items() if not is_of_answers(test)),
            *([Status.MEASURED] if self.measured else []),
        }
        return {status for status in found if status is not None}

    @property
    def bad_answers(self) -> tuple[AccuracyVerdict, ...]:
        """The verdicts on its answers with which something is wrong."""
        return tuple(verdict for verdict in self.accuracy if verdict.status not in GOOD)

    @property
    def said(self) -> frozenset[str]:
        """The sentences of a search's answer, and of tests that ended without a verdict."""
        whys = (why for _, why in self.unjudged.values())
        return frozenset({self.answer, *(line.strip() for why in whys for line in why.splitlines())})

    @property
    def judged(self) -> tuple[Verdict, ...]:
        """The verdicts on its targets, then the verdict of its gate, or of its pairs."""
        gate = [self.gate.verdict] if self.gate and self.gate.verdict else []
        return (*self.verdicts, *gate, *([self.pair] if self.pair else []))

    def gate_of(self, verdict: Verdict) -> SavedGate | None:
        """Return the gate that gave this verdict; None if it is a verdict on a target."""
        return self.gate if self.gate is not None and verdict is self.gate.verdict else None


def judgment_of(outcome: ScenarioOutcome) -> Judgment:
    """Return the verdicts on a scenario of this session, so far."""
    gate, gate_is_saved, unreadable, undecided = None, False, "", ""
    if outcome.gate is not None:
        from pytest_dsr1.gate.progress import saved

        status, error = outcome.refused or (None, None)
        gate = saved(outcome.gate, status, error)
        if gate.verdict is None and outcome.gate.look is not None:
            undecided = outcome.gate.sentence()
    elif folder := _gate_folder(outcome):
        try:
            gate, gate_is_saved = read_gate(folder), True
        except Dsr1Error as error:
            unreadable = str(error)
    pairs = outcome.pairs
    if pairs is not None and pairs.verdict is None and pairs.look is not None and not outcome.refused:
        undecided = pairs.sentence()
    problem = outcome.problem or ""
    measured = outcome.measurement is not None and not problem and not outcome.loaded.scenario.targets
    found = Judgment(
        profile=outcome.loaded.scenario.name,
        status=None,
        problem=problem,
        verdicts=tuple(outcome.verdicts),
        lines=lines_of(outcome.loaded),
        measured=measured or bool(outcome.answer),
        answer=outcome.answer,
        gate=gate,
        gate_is_saved=gate_is_saved,
        gate_unreadable=unreadable,
        pair=pairs.verdict if pairs else None,
        in_pairs=pairs is not None,
        pairs_folder=pairs.folder if pairs else "",
        undecided=undecided,
        refused=outcome.refused,
        unjudged=dict(outcome.unjudged),
        accuracy=tuple(outcome.accuracy),
    )
    of_answers = {verdict.status for verdict in found.accuracy}
    unjudged = {status for status, _ in found.unjudged.values() if status is not None}
    of_pairs = {each for each in (found.pair and found.pair.status, (found.refused or (None,))[0]) if each}
    return replace(found, status=worst(found.without_accuracy | of_answers | unjudged | of_pairs))


def _gate_folder(outcome: ScenarioOutcome) -> Path | None:
    """Return where the gate of a saved result would be; None for a probe, whose search is what was gated."""
    run, point = outcome.measurement, outcome.loaded.scenario.point
    of_run = None if run is None or (point and point.is_probe) else run.folder
    return outcome.gate_folder or of_run


def lines_of(loaded: LoadedScenario) -> dict[str, str]:
    """Return ``file:line`` of each test's subject and of ``scenario``, as in :class:`Judgment`."""
    search = loaded.scenario.search
    targets, gated = [each.metric for each in loaded.scenario.targets], loaded.scenario.gated_metric
    return {
        "scenario": loaded.where("name"),
        "environment": loaded.where("hardware"),
        MEASURED: loaded.where("targets"),
        **{subject_of("target", metric): loaded.where(f"targets.{i}") for i, metric in enumerate(targets)},
        **{
            subject_of(FRONTIER, name): loaded.where(f"frontier.{i}")
            for i, name in enumerate(frontier_names(loaded.scenario))
        },
        **{subject_of(SEARCH, name): loaded.where("search") for name in (search.targets if search else ())},
        **{subject_of(gate, gated): loaded.where("gate") for gate in GATES},
        **{accuracy_subject(name): loaded.where(key) for name, key in accuracy_keys(loaded.scenario).items()},
    }
