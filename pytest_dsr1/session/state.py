"""The shared state of the plugin and its fixtures during one pytest session."""

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

    from pytest_dsr1.findings import Finding
    from pytest_dsr1.gate.progress import GateProgress
    from pytest_dsr1.machine.values import SetupMode
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.measurement.run import Watch
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.verdict.verdict import Status, Verdict
else:
    _PytestFailed = pytest.fail.Exception

_OF_THE_MACHINE = ("GPU", "NVIDIA driver", "CUDA_VISIBLE_DEVICES")
"""Starts of the findings that ``--dsr1-allow-mismatch`` overrides; it does not help with missing software."""
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
        benchmarked: whether its measurement was given to pytest-benchmark.
        gate: the progress of its gate; None without one.
        refused: the status of a gate or recording that ended without a verdict, and why.
        notes: remarks about references.
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
        """Why the scenario cannot be judged: a failed measurement, or findings of the preflight."""
        if self.error is not None:
            return str(self.error)
        mismatches = [f"{f.subject}: {f.message}" for f in self.findings if f.severity == "mismatch"]
        if not mismatches or self.measurement is not None:
            return None
        hardware = any(line.startswith(_OF_THE_MACHINE) for line in mismatches)
        return listed("this machine cannot run the scenario", mismatches, _ALLOW if hardware else "")


@dataclass(eq=False, repr=False)  # every pytest run imports this module
class RunState:
    """The state of this session: options, outcomes, and the status of each test.

    Attributes:
        watch: makes the observer of a run.
        count: shows the progress of a long task.
        notify: prints a sentence at once.
        results: the folder of results.
        replay: a saved result to judge instead of a new run.
        gpu_setup: what to do with the GPUs' settings.
        allow_mismatch: whether a machine that differs from the scenario's hardware is only a warning.
        store: the folder of references.
        mode: whether runs are compared with references, or recorded; None for neither.
        selected: the profiles of all selected tests, in order.
        whole: the profiles with a selected test that judges a whole run.
        gated: the profiles with a selected gate or recording.
        outcomes: by profile.
        statuses: the status of each test, by test id.
        compared: the files that pytest-benchmark compares with.
        written: lines for the terminal about the reports, each with its markup.
    """

    watch: Watch
    count: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
    notify: Callable[[str], None]
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
    statuses: dict[str, Status] = field(default_factory=dict)
    compared: list[Mapping[str, Any]] = field(default_factory=list)
    written: list[tuple[str, Mapping[str, bool]]] = field(default_factory=list)

    def exit_status(self, failed: int) -> int | None:
        """Return the exit status of the verdicts; None if pytest's own applies.

        Args:
            failed: how many tests failed; if some are not ours, pytest's own status applies.
        """
        from pytest_dsr1.verdict.verdict import Status, exit_status

        ours = sum(status is not Status.PASS for status in self.statuses.values())
        return exit_status(self.statuses.values()) if failed <= ours else None


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


def note_selected(state: RunState, items: Iterable[pytest.Item]) -> None:
    """Remember what is selected, and which whole runs are judged: a gate alone may send fewer requests."""
    for item in items:
        loaded = loaded_of(item)
        if loaded is None:
            continue
        state.selected[loaded.scenario.name] = None
        if measured(item):
            state.whole.add(loaded.scenario.name)
        if gates(item):
            state.gated.add(loaded.scenario.name)


def note_status(state: RunState, item: pytest.Item, call: pytest.CallInfo[None]) -> Status | None:
    """Remember and return the status of a test that has just been set up or called; None without one."""
    from pytest_dsr1.verdict.verdict import Status

    error = call.excinfo.value if call.excinfo else None
    status = error.status if isinstance(error, Failed) else None
    given = getattr(item, "funcargs", {})
    verdict: Verdict | None = given.get("_dsr1_verdict") or given.get("_dsr1_regression")
    if call.when == "call":
        status = verdict.status if verdict else (Status.FAIL if error else Status.PASS)
    elif call.when == "teardown" or status is None:
        return None
    state.statuses[item.nodeid] = status
    loaded = loaded_of(item)
    outcome = state.outcomes.get(loaded.scenario.name) if loaded else None
    if outcome is not None and call.when == "setup" and gates(item):
        outcome.refused = status, str(error)
    return status


def listed(head: str, lines: Iterable[str], tail: str = "") -> str:
    """Return a sentence with a list below it."""
    return "\n".join([f"{head}:", *(f"  {line}" for line in lines), *([tail] if tail else [])])
