"""Verdicts beside the measurement they are of: ``verdicts.json`` and ``gate.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.store import first_problem, saving
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.verdict.verdict import Verdict, Word

FORMAT = "pytest-dsr1 gate"
VERSION = 1


@dataclass(frozen=True, slots=True)
class GateRun:
    """One engine start of a gate.

    Attributes:
        folder: where it is saved; empty where there is nothing.
        evidence: its steady figure; None where the run does not count.
        why: why it does not count; empty where it does.
    """

    folder: str
    evidence: SteadyFigure | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class SavedAcceptance:
    """Who accepted the references, when and why."""

    at: AwareDatetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class SavedReferences:
    """What a gate compared with: how many runs, and their mean in the metric's unit."""

    runs: int
    mean: float
    accepted: SavedAcceptance


@dataclass(frozen=True, slots=True)
class SavedGate:
    """What became of one gate, as ``gate.json`` keeps it in the folder of its first run.

    Attributes:
        profile: the scenario's name.
        metric: what was gated.
        word: how it ended; None while it runs, and after a kill.
        verdict: PASS or FAIL with the evidence; None otherwise.
        error: why there is no verdict; None otherwise.
        delta_percent: the loss that must not be missed.
        noise_percent: standard deviation between the references' engine starts.
        max_runs: the most runs it allowed itself.
        references: what it compared with.
        changed: what under test differed from the references.
        runs: every engine start, in order.
        warnings: what was to be said of the references before the first run.
    """

    profile: str
    metric: str
    word: Word | None
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


def write_gate(folder: Path, gate: SavedGate) -> None:
    """Save a gate as it is now.

    Raises:
        InvalidRunError: it cannot be written.
    """
    document = {"format": FORMAT, "version": VERSION, **_GATE.dump_python(gate, mode="json")}
    with saving(folder):
        write_atomically(folder / "gate.json", json.dumps(document, indent=1))


def read_gate(folder: Path) -> SavedGate | None:
    """The gate whose first run is saved in the folder; None where there is none.

    Raises:
        UserError: the file is not as it was written.
    """
    path = folder / "gate.json"
    document = _document(path)
    if document is None:
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f'{path}: is not a saved gate ("format" is not "{FORMAT}")')
    if document.get("version") != VERSION:
        raise UserError(
            f"{path}: has format version {document.get('version')!r}; this pytest-dsr1 reads version "
            f"{VERSION}"
        )
    gate: SavedGate = _validated(_GATE, document, path)
    return gate


def write_verdicts(folder: Path, verdicts: Sequence[Verdict]) -> None:
    """Save what the measurement was judged to be.

    Raises:
        InvalidRunError: they cannot be written.
    """
    with saving(folder):
        write_atomically(folder / "verdicts.json", json.dumps([asdict(each) for each in verdicts], indent=1))


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); it was damaged after it was written") from None


def _validated(adapter: TypeAdapter[Any], document: Any, path: Path) -> Any:
    try:
        return adapter.validate_json(json.dumps(document))
    except ValidationError as error:
        raise UserError(
            f"{path}: {first_problem(error)}; the file was changed after it was written"
        ) from None
