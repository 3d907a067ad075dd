"""Saved verdicts, next to the measurement that they judge.

``verdicts.json`` on targets, ``accuracy.json`` on answers, ``gate.json`` of a gate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.store import saving
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.storage.documents import DocumentError, DocumentKind, changed
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.verdict import Status, Verdict, saved_key

GATE = DocumentKind("a saved gate", "pytest-dsr1 gate", 1)


@dataclass(frozen=True, slots=True)
class GateRun:
    """One engine start of a gate.

    Attributes:
        folder: where it is saved; empty if nothing was saved.
        evidence: its steady figure; None if the run does not count.
        why: why it does not count; empty if it does.
    """

    folder: str
    evidence: SteadyFigure | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class SavedAcceptance:
    """The acceptance of the references: who, when and why."""

    at: AwareDatetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class SavedReferences:
    """The references of a gate: the number of runs, and their mean in the metric's unit."""

    runs: int
    mean: float
    accepted: SavedAcceptance


@dataclass(frozen=True, slots=True)
class SavedGate:
    """The state or result of one gate, as ``gate.json`` keeps it in the folder of its first run.

    Attributes:
        profile: the scenario's name.
        metric: the gated metric.
        status: how it ended; None while it runs, and after a kill.
        verdict: PASS or FAIL with the evidence; None otherwise.
        error: why there is no verdict; None otherwise.
        delta_percent: the loss that must not be missed.
        noise_percent: the standard deviation between the references' engine starts.
        max_runs: the largest number of runs that it may take.
        references: the references it compares with.
        changed: the facts under test that differ from the references.
        runs: every engine start, in order.
        warnings: warnings about the references, known before the first run.
    """

    __pydantic_config__: ClassVar[Any] = {"alias_generator": saved_key}

    profile: str
    metric: str
    status: Status | None
    verdict: Verdict | None
    error: str | None
    delta_percent: float
    noise_percent: float
    max_runs: int
    references: SavedReferences
    changed: tuple[str, ...]
    runs: tuple[GateRun, ...]
    warnings: tuple[str, ...] = ()


_GATE = TypeAdapter(SavedGate)
_VERDICTS = TypeAdapter(list[Verdict])
_ACCURACY = TypeAdapter(list[AccuracyVerdict])


def write_gate(folder: Path, gate: SavedGate) -> None:
    """Save a gate as it is now.

    Raises:
        InvalidRunError: it cannot be written.
    """
    document = {**GATE.head, **_GATE.dump_python(gate, mode="json", by_alias=True)}
    with saving(folder):
        write_atomically(folder / "gate.json", json.dumps(document, indent=1))


def read_gate(folder: Path) -> SavedGate | None:
    """Return the gate whose first run is saved in the folder; None if there is none.

    Raises:
        UserError: the file was changed after it was written.
    """
    path = folder / "gate.json"
    try:
        return _GATE.validate_json(json.dumps(GATE.read_json(path)))
    except FileNotFoundError:
        return None
    except DocumentError as error:
        raise UserError(f"{path}: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {changed(error)}") from None


def write_verdicts(folder: Path, verdicts: Sequence[Verdict]) -> None:
    """Save the verdicts on a measurement.

    Raises:
        InvalidRunError: they cannot be written.
    """
    document = _VERDICTS.dump_json([*verdicts], indent=1, by_alias=True).decode()
    with saving(folder):
        write_atomically(folder / "verdicts.json", document)


def write_accuracy(folder: Path, verdicts: Sequence[AccuracyVerdict]) -> None:
    """Save the verdicts on the answers of a measurement.

    Raises:
        InvalidRunError: they cannot be written.
    """
    document = _ACCURACY.dump_json([*verdicts], indent=1, by_alias=True).decode()
    with saving(folder):
        write_atomically(folder / "accuracy.json", document)


def saved_accuracy(folder: Path) -> tuple[AccuracyVerdict, ...]:
    """Return the latest verdicts on the answers of the measurement in a folder; empty if none can be read."""
    try:
        return tuple(_ACCURACY.validate_json((folder / "accuracy.json").read_bytes(), by_alias=True))
    except (OSError, ValidationError):
        return ()


def saved_verdicts(folder: Path) -> tuple[Verdict, ...]:
    """Return the latest verdicts on the measurement in a folder; empty if none can be read."""
    try:
        return tuple(_VERDICTS.validate_json((folder / "verdicts.json").read_bytes(), by_alias=True))
    except (OSError, ValidationError):
        return ()
