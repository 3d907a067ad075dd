"""What the plugin and the fixtures share during one pytest session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.session.collection import gates, loaded_of, measured
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from _pytest.outcomes import Failed as _PytestFailed

    from pytest_dsr1.gate.progress import GateProgress
    from pytest_dsr1.machine.values import Finding, SetupMode
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.measurement.run import Watch
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.verdict.verdict import Status, Verdict
else:
    _PytestFailed = pytest.fail.Exception

_OF_THE_MACHINE = ("GPU", "NVIDIA driver", "CUDA_VISIBLE_DEVICES")
"""How findings begin that ``--dsr1-allow-mismatch`` helps with; with missing software it does not."""
_ALLOW = "--dsr1-allow-mismatch runs all the same and keeps this as a warning"


@dataclass
class ScenarioOutcome:
    """What became of one scenario in this run.

    Attributes:
        loaded: the scenario.
        findings: of the preflight.
        measurement: None until it was measured, or when it failed.
        error: why there is none; raised again in every test that asks for it.
        folder: where the run is saved, also when it failed.
        verdicts: one a judged target.
        benchmarked: its measurement was given to pytest-benchmark.
        gate: what became of its gate; None without one.
        refused: why its gate, or the recording of a reference, ended without a verdict, and the word of that.
        notes: what is to be told of references.
    """

    loaded: LoadedScenario
    test_id_prefix: str
    findings: tuple[Finding, ...] = ()
    measurement: Measurement | None = None
    error: Dsr1Error | None = None
    folder: Path | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    benchmarked: bool = False
    gate: GateProgress | None = None
    refused: tuple[Status, str] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        """Why the scenario cannot be judged: the failed measurement, or what the preflight found."""
        if self.error is not None:
            return str(self.error)
        mismatches = [f"{f.subject}: {f.message}" for f in self.findings if f.severity == "mismatch"]
        if not mismatches or self.measurement is not None:
            return None
        hardware = any(line.startswith(_OF_THE_MACHINE) for line in mismatches)
        return listed("this machine cannot run the scenario", mismatches, _ALLOW if hardware else "")


@dataclass
class RunState:
    """What the plugin and the fixtures share: options, outcomes, and the word of each test.

    Attributes:
        watch: makes the observer of a run; ``count`` shows how much of a long task is done, ``tell`` a
            sentence at once.
        results: the folder of results; ``store`` that of references.
        replay: a saved result that is judged instead of a run.
        gpu_setup: what is done about the GPUs' settings.
        allow_mismatch: a machine that differs from the scenario's is only warned of.
        mode: whether runs are gated against references, or recorded as candidates of them.
        selected: the profiles of all selected tests, in order.
        whole: the profiles of which a selected test judges a whole run.
        gated: the profiles of which a selected test gates, or records.
        outcomes: by profile.
        words: of the verdicts, by test id.
        compared: files that pytest-benchmark compares with.
        written: lines for the terminal that tell of the reports, each with its markup.
    """

    watch: Watch
    count: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
    tell: Callable[[str], None]
    results: Path
    replay: Path | None
    gpu_setup: SetupMode
    allow_mismatch: bool
    store: Path
    mode: Literal["gate", "record"] | None = None
    selected: dict[str, None] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    outcomes: dict[str, ScenarioOutcome] = field(default_factory=dict)
    words: dict[str, Status] = field(default_factory=dict)
    compared: list[Mapping[str, Any]] = field(default_factory=list)
    written: list[tuple[str, Mapping[str, bool]]] = field(default_factory=list)

    def exit_status(self, failed: int) -> int | None:
        """Return the exit status of the verdicts; None where that of pytest stands.

        Args:
            failed: how many tests failed; those that are not ours keep pytest's own status.
        """
        from pytest_dsr1.verdict.verdict import Status, exit_status

        ours = sum(word is not Status.PASS for word in self.words.values())
        return exit_status(self.words.values()) if failed <= ours else None


STATE = pytest.StashKey[RunState]()


class Failed(_PytestFailed):
    """The failure of a fixture, with the word of the verdict: for exit status and JUnit."""

    __module__ = "builtins"  # as that of pytest's own, which shows the name with its module otherwise

    def __init__(self, message: str, word: Status) -> None:
        super().__init__(message, pytrace=False)
        self.word = word


def fail_setup(error: Dsr1Error, word: Status | None = None) -> NoReturn:
    """End a fixture: pytest shows the sentence, without a traceback, as an error of set-up.

    Args:
        error: its message is the sentence.
        word: of the verdict; by default INVALID.
    """
    from pytest_dsr1.verdict.verdict import Status

    raise Failed(harmless(str(error)), word or Status.INVALID) from None


def note_selected(state: RunState, items: Iterable[pytest.Item]) -> None:
    """Note what is selected, and whose whole run is judged: a gate alone needs its own number of requests."""
    for item in items:
        loaded = loaded_of(item)
        if loaded is None:
            continue
        state.selected[loaded.scenario.name] = None
        if measured(item):
            state.whole.add(loaded.scenario.name)
        if gates(item):
            state.gated.add(loaded.scenario.name)


def note_word(state: RunState, item: pytest.Item, call: pytest.CallInfo[None]) -> Status | None:
    """Note the word of a test that has just been set up or called; None where it has none."""
    from pytest_dsr1.verdict.verdict import Status

    error = call.excinfo.value if call.excinfo else None
    word = error.word if isinstance(error, Failed) else None
    given = getattr(item, "funcargs", {})
    verdict: Verdict | None = given.get("_dsr1_verdict") or given.get("_dsr1_regression")
    if call.when == "call":
        word = verdict.word if verdict else (Status.FAIL if error else Status.PASS)
    elif call.when == "teardown" or word is None:
        return None
    state.words[item.nodeid] = word
    loaded = loaded_of(item)
    outcome = state.outcomes.get(loaded.scenario.name) if loaded else None
    if outcome is not None and call.when == "setup" and gates(item):
        outcome.refused = word, str(error)
    return word


def listed(head: str, lines: Iterable[str], tail: str = "") -> str:
    """A sentence with a list below it."""
    return "\n".join([f"{head}:", *(f"  {line}" for line in lines), *([tail] if tail else [])])
