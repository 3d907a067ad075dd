"""The shared state of the plugin and its fixtures during one pytest session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import pytest

from pytest_dsr1.errors import Dsr1Error, EndedError
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from _pytest.outcomes import Failed as _PytestFailed

    from pytest_dsr1.findings import Finding
    from pytest_dsr1.gate.history import History
    from pytest_dsr1.gate.progress import GateProgress
    from pytest_dsr1.machine.values import SetupMode
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.measurement.run import Watch
    from pytest_dsr1.pairs.progress import PairsProgress
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.schema.site import Site
    from pytest_dsr1.search.progress import SearchResult
    from pytest_dsr1.session.replay import Replay
    from pytest_dsr1.study.record import StudyRecord
    from pytest_dsr1.verdict.accuracy import AccuracyVerdict
    from pytest_dsr1.verdict.verdict import Status, Verdict

    _AnyVerdict = TypeVar("_AnyVerdict", Verdict, AccuracyVerdict)
else:
    _PytestFailed = pytest.fail.Exception

_OF_THE_HARDWARE = ("GPU", "NVIDIA driver", "CUDA_VISIBLE_DEVICES")
"""Starts of the findings that ``--dsr1-allow-mismatch`` overrides; no run can do without missing software."""
_ALLOW = "--dsr1-allow-mismatch runs anyway and keeps this as a warning"


@dataclass(eq=False, repr=False)  # every pytest run imports this module
class ScenarioOutcome:
    """The outcome of one scenario in this session.

    Attributes:
        loaded: the scenario.
        test_id_prefix: its path in test ids.
        findings: of the preflight.
        measurement: None before it is made, and if it failed.
        error: why the measurement failed; raised again in every test that asks for it.
        folder: the folder of the saved run, even of a failed one.
        verdicts: one per judged target.
        accuracy: the verdicts on its answers, one per judged test.
        benchmarked: whether its measurement was given to pytest-benchmark.
        gate: the progress of its gate; None without one.
        pairs: the progress of its comparison in pairs; None without one.
        word: how its gate or comparison ended: the verdict, or why there is none. Kept for the session, so
            that no plugin can run it again until it passes.
        refused: the status of a gate, recording or comparison that ended without a verdict, and why.
        unjudged: by test, the status of other tests that ended without a verdict, and why; no status if
            ``dsr1_unjudged`` allows it.
        search: how its search ended: the result, or why there is none.
        probes: the probes of its search that count, for a gate.
        answer: the answer of a search without a target; empty without one.
        gate_folder: of a saved search, where the gate that it was a run of is saved; None without one.
        notes: remarks about references, answers and searches.
    """

    loaded: LoadedScenario
    test_id_prefix: str
    findings: tuple[Finding, ...] = ()
    measurement: Measurement | None = None
    error: Dsr1Error | None = None
    folder: Path | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    accuracy: list[AccuracyVerdict] = field(default_factory=list)
    benchmarked: bool = False
    gate: GateProgress | None = None
    pairs: PairsProgress | None = None
    word: Verdict | Dsr1Error | None = None
    refused: tuple[Status, str] | None = None
    unjudged: dict[str, tuple[Status | None, str]] = field(default_factory=dict)
    search: SearchResult | Dsr1Error | None = None
    probes: list[Measurement] = field(default_factory=list)
    answer: str = ""
    gate_folder: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        """Why the scenario cannot be judged: a failed measurement, or findings of the preflight."""
        if self.error is not None:
            return str(self.error)
        found = [finding for finding in self.findings if finding.severity == "mismatch"]
        if not found or self.measurement is not None:
            return None
        from pytest_dsr1.machine.gpu.inventory import sentences

        mismatches = sentences(found)
        helps = all(map(of_the_hardware, found))
        return listed("this machine cannot run the scenario", mismatches, _ALLOW if helps else "")


def keep(verdicts: list[_AnyVerdict], verdict: _AnyVerdict) -> None:
    """Add a verdict in place of an earlier one on the same subject: a plugin may run a test again."""
    verdicts[:] = [each for each in verdicts if each.subject != verdict.subject] + [verdict]


def of_the_hardware(finding: Finding) -> bool:
    """Return whether a finding of the preflight is about GPUs or their driver, and not about software."""
    return finding.subject.startswith(_OF_THE_HARDWARE)


def allowed(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings with a warning instead of each mismatch of the hardware: --dsr1-allow-mismatch."""
    return tuple(
        replace(each, severity="warning", message=f"{each.message} (allowed by --dsr1-allow-mismatch)")
        if each.severity == "mismatch" and of_the_hardware(each)
        else each
        for each in findings
    )


@dataclass(eq=False, repr=False)  # every pytest run imports this module
class SelectedTest:
    """A selected test of a scenario.

    Attributes:
        loaded: the scenario.
        test_id_prefix: the scenario's path in test ids.
        name: the test's name, such as ``target[average_ttft]``.
        made: whether it is made from the scenario file, and not a user's own test.
        judges: whether it judges a target, answers, a gate or a recording, so it must not go unjudged.
        gates: whether it judges a gate or a recording.
    """

    loaded: LoadedScenario
    test_id_prefix: str
    name: str
    made: bool
    judges: bool
    gates: bool

    @property
    def full_name(self) -> str:
        """The name as in ``dsr1_unjudged``: ``PROFILE::TEST``."""
        return f"{self.loaded.scenario.name}::{self.name}"


@dataclass(eq=False, repr=False)  # every pytest run imports this module
class RunState:
    """The state of this session: options, outcomes, and the status of each test.

    Attributes:
        watch: makes the observer of a run.
        count: shows the progress of a long task.
        notify: prints a sentence at once.
        results: the folder of results.
        replay: the saved results to judge instead of new runs; None if the session makes runs.
        gpu_setup: what to do with the GPUs' settings.
        allow_mismatch: whether a machine that differs from the scenario's hardware is only a warning.
        store: the folder of references.
        site: the cluster.
        may_go_unjudged: returns whether ``dsr1_unjudged`` names a test: ``PROFILE::TEST``.
        mode: whether runs are compared with references, recorded, or compared in pairs; None for neither.
        probe: whether the GPUs are probed, whatever a scenario says.
        resume: whether sweeps, searches and pairs go on where they stopped.
        studies: by kind and scenario, the file and the record of its runs.
        tests: the selected tests of scenarios, by test id.
        failures: how many reports of these tests are failures.
        ended_by_exit: the reason that ``pytest.exit`` gave; empty if it did not end the session.
        shown: by message, the id of the first test that failed with it: there it is shown in full.
        whole: the profiles with a selected test that judges a whole run.
        outcomes: by profile.
        statuses: the status of each test, by test id.
        compared: the files that pytest-benchmark compares with.
        written: lines for the terminal about the reports, each with its markup.
        past: earlier runs in the folder of results; None until a bad result is compared with them.
    """

    watch: Watch
    count: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
    notify: Callable[[str], None]
    results: Path
    replay: Replay | None
    gpu_setup: SetupMode
    allow_mismatch: bool
    store: Path
    site: Site
    may_go_unjudged: Callable[[str], bool]
    mode: Literal["gate", "record", "pair"] | None = None
    probe: bool = False
    resume: bool = False
    studies: dict[tuple[str, str], tuple[Path, StudyRecord]] = field(default_factory=dict)
    tests: dict[str, SelectedTest] = field(default_factory=dict)
    failures: int = 0
    ended_by_exit: str = ""
    shown: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    outcomes: dict[str, ScenarioOutcome] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    compared: list[Mapping[str, Any]] = field(default_factory=list)
    written: list[tuple[str, Mapping[str, bool]]] = field(default_factory=list)
    past: History | None = None

    @property
    def selected(self) -> tuple[str, ...]:
        """The profiles of all selected tests, in order."""
        return tuple(dict.fromkeys(test.loaded.scenario.name for test in self.tests.values()))

    @property
    def gated(self) -> frozenset[str]:
        """The profiles with a selected gate or recording."""
        return frozenset(test.loaded.scenario.name for test in self.tests.values() if test.gates)

    def outcome_of(self, loaded: LoadedScenario, test_id_prefix: str) -> ScenarioOutcome:
        """Return the outcome of a scenario so far."""
        return self.outcomes.setdefault(loaded.scenario.name, ScenarioOutcome(loaded, test_id_prefix))

    def exit_status(self, failed: int, *, ended_early: bool) -> int | None:
        """Return the exit status of the verdicts; None if pytest's own applies.

        Args:
            failed: how many failures pytest counted. If some are not ours, pytest's own status applies,
                unless they kept a test from being judged.
            ended_early: whether the session ended before its last test.
        """
        from pytest_dsr1.verdict.verdict import exit_status

        every = (status for outcome in self.outcomes.values() for status, _ in outcome.unjudged.values())
        unjudged = [status for status in every if status is not None]
        if failed > self.failures and not (ended_early and unjudged):
            return None
        return exit_status([*self.statuses.values(), *unjudged])


NOT_WRITTEN: Mapping[str, bool] = {"red": True, "bold": True}
"""The markup of a line that a report cannot be written."""
INTERRUPTIONS = (KeyboardInterrupt, pytest.exit.Exception)
"""What ends the whole session."""
STATE = pytest.StashKey[RunState]()


class Failed(_PytestFailed):
    """The failure of a fixture, with the status for exit status and JUnit."""

    __module__ = "builtins"  # as pytest's own, else pytest shows the name with its module

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message, pytrace=False)
        self.status = status


def fail_setup(error: Dsr1Error, status: Status | None = None) -> NoReturn:
    """End a fixture: pytest shows the message without a traceback, as an error of setup.

    Args:
        error: its message is shown.
        status: the status; INVALID by default.

    Raises:
        Failed: always.
    """
    from pytest_dsr1.verdict.verdict import Status

    raise Failed(harmless(str(error)), status or Status.INVALID) from None


def ended_by(error: BaseException, what: str) -> EndedError:
    """Return the error that an exception which is not ours ended something, such as a plugin's time limit."""
    if isinstance(error, pytest.fail.Exception):
        why = str(error.msg).strip().rstrip(".")
    else:
        why = ": ".join(filter(None, (type(error).__name__, str(error).strip())))
    return EndedError(f"{what} was ended: {why}; it does not count: remove the cause, then run it again")


def listed(head: str, lines: Iterable[str], tail: str = "") -> str:
    """Return a sentence with a list below it."""
    return "\n".join([f"{head}:", *(f"  {line}" for line in lines), *([tail] if tail else [])])
