"""The answers of accepted references: ``<store>/<profile>.answers.json``, next to the references.

::

    {"format": "pytest-dsr1 answers", "version": 1, "profile": ...,
     "tests": {"same_answers": {"basis": {...}, "prompts": [[ANSWER, ...], ...], "runs": {RUN: [0, ...]}},
               "questions": {"basis": {...}, "runs": {RUN: [RIGHT, ANSWERED]}}},
     "sha256": ...}

Equal starts give equal answers, so each prompt has a list of its different answers, and each run has the
number of its answer in that list. A run's name is that of its recording; a run that is not among the accepted
references does not count. ``sha256`` is the checksum of everything else, as of a recorded run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pytest_dsr1.errors import ReferencesError
from pytest_dsr1.gate import reference_file
from pytest_dsr1.gate.recordings import RecordedAnswers, RecordedRun, checksum
from pytest_dsr1.gate.reference_file import again
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.storage.documents import DocumentError, DocumentKind, changed
from pytest_dsr1.storage.files import write_atomically

ANSWERS = DocumentKind("a file of references' answers", "pytest-dsr1 answers", 1)

ByRun = Mapping[str, RecordedAnswers]
"""The answers to one test, by the name of the run."""
_LINES = 4
"""A list or mapping nested less deeply than this has a line per item, so that a review shows what changed."""


@dataclass(frozen=True, slots=True)
class _Test:
    basis: Mapping[str, FactValue]
    runs: Mapping[str, tuple[int, ...]]
    prompts: tuple[tuple[tuple[int, ...] | str, ...], ...] = field(default=())


_TESTS = TypeAdapter(dict[str, _Test])


def path_of(store: Path, profile: str) -> Path:
    """Return the file of a profile's accepted answers."""
    return store / f"{profile}.answers.json"


def chosen(runs: Sequence[RecordedRun]) -> dict[str, ByRun]:
    """Return the answers of runs, by test: those that answered what the newest of them did.

    Args:
        runs: in order of time.
    """
    found: dict[str, ByRun] = {}
    for name in dict.fromkeys(name for run in runs for name in run.answers):
        of_test = {run.name: run.answers[name] for run in runs if name in run.answers}
        basis = next(reversed(of_test.values())).basis
        found[name] = {run: each for run, each in of_test.items() if each.basis == basis}
    return found


def write(store: Path, profile: str, answers: Mapping[str, ByRun]) -> None:
    """Replace the accepted answers of a profile; without any there is no file.

    Raises:
        ReferencesError: the file cannot be written or removed; the old one is unchanged.
    """
    path = path_of(store, profile)
    tests = _TESTS.dump_python({name: _packed(runs) for name, runs in answers.items()}, mode="json")
    for test in tests.values():
        if not test["prompts"]:
            del test["prompts"]
    document = {**ANSWERS.head, "profile": profile, "tests": tests}
    try:
        if answers:
            write_atomically(path, _text({**document, "sha256": checksum(document)}) + "\n")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ReferencesError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None


def read(store: Path, profile: str) -> dict[str, ByRun]:
    """Return the accepted answers of a profile, by test; empty if there is no file.

    Raises:
        ReferencesError: the file cannot be trusted.
    """
    path = path_of(store, profile)
    try:
        tests = _TESTS.validate_python(_checked(ANSWERS.read_json(path), profile))
        return {name: dict(_unpacked(test)) for name, test in tests.items()}
    except FileNotFoundError:
        return {}
    except DocumentError as error:
        raise ReferencesError(f"{path}: {error}; {again(str(path))}") from None
    except ValidationError as error:
        raise ReferencesError(f"{path}: {changed(error)}; {again(str(path))}") from None
    except (IndexError, ValueError):
        raise ReferencesError(f"{path}: the answers of a run are missing; {again(str(path))}") from None


class Accepted:
    """The accepted references of a profile and their answers, read once, when a test first needs them.

    Args:
        store: the folder of references.
        profile: the scenario's name.
        now: the current time, for the references' age.

    Raises:
        NoReferenceError: there are none.
        ReferencesError: a file cannot be trusted.
    """

    def __init__(self, store: Path, profile: str, now: datetime) -> None:
        self.path = path_of(store, profile)
        self._store, self._profile, self._now = store, profile, now

    @cached_property
    def references(self) -> References:
        """The references."""
        return reference_file.read(self._store, self._profile, self._now)

    @cached_property
    def answers(self) -> Mapping[str, ByRun]:
        """Their answers, by test."""
        return read(self._store, self._profile)


def _checked(document: Mapping[str, Any], profile: str) -> object:
    """Return the tests of a document.

    Raises:
        DocumentError: it was changed after it was written, or is of another profile.
    """
    if document.get("sha256") != checksum(document):
        raise DocumentError(
            "does not match its checksum: it was edited by hand or merged after it was written"
        )
    if document.get("profile") != profile:
        raise DocumentError(f"contains answers of {document.get('profile')!r}, not of {profile!r}")
    return document.get("tests")


def _packed(runs: ByRun) -> _Test:
    basis = next(iter(runs.values())).basis
    columns = list(zip(*(each.answers for each in runs.values()), strict=True))
    if not columns:
        return _Test(basis, {run: (each.right, each.answered) for run, each in runs.items()})
    different = [list(dict.fromkeys(column)) for column in columns]
    numbers = {
        run: tuple(known.index(answer) for known, answer in zip(different, each.answers, strict=True))
        for run, each in runs.items()
    }
    return _Test(basis, numbers, tuple(map(tuple, different)))


def _unpacked(test: _Test) -> Iterator[tuple[str, RecordedAnswers]]:
    for run, numbers in test.runs.items():
        if test.prompts:
            answers = (known[number] for known, number in zip(test.prompts, numbers, strict=True))
            yield run, RecordedAnswers(test.basis, tuple(answers))
        else:
            right, answered = numbers
            yield run, RecordedAnswers(test.basis, right=right, answered=answered)


def _text(value: Any, depth: int = 0) -> str:
    if depth >= _LINES or not isinstance(value, dict | list) or not value:
        return json.dumps(value)
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_text(each, depth + 1)}" for key, each in value.items()]
    else:
        items = [_text(each, depth + 1) for each in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    inner = ",\n".join(" " * (depth + 1) + item for item in items)
    return f"{opened}\n{inner}\n{' ' * depth}{closed}"
