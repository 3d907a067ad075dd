"""Recorded runs that may become references: one file per run, added by any number of machines at once.

``<store>/candidates/<profile>/<UTC time>-<8 hex digits>.json``::

    {"format": "pytest-dsr1 candidate", "version": 1, "profile": ..., "at": ..., "place": ..., "result": ...,
     "facts": {...}, "trace": {...}, "gpus": {...}, "answers": {...}, "sha256": ...}

``at`` is when the run began, ``place`` the scenario's path in test ids, ``result`` the folder of the saved
result, and ``facts`` the fingerprint's facts. A figure of the run is computed from ``trace``
(:class:`~pytest_dsr1.steady.trace.Trace`). ``gpus`` is what the GPUs did meanwhile; it is null on the CPU and
missing in files of earlier versions. ``answers`` has the answers by accuracy test; it is missing without any.
A file never changes after it is written: ``sha256`` is the checksum of everything else in it, as JSON with
sorted keys.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from pytest_dsr1.errors import InvalidRunError, ReferencesError
from pytest_dsr1.gate import comparability
from pytest_dsr1.machine.telemetry.health import conditions
from pytest_dsr1.machine.values import Conditions, FactValue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.steady.trace import Trace
from pytest_dsr1.storage.documents import DocumentError, DocumentKind, changed
from pytest_dsr1.storage.files import entries, write_atomically

RECORDED_RUN = DocumentKind("a recorded run", "pytest-dsr1 candidate", 1)
_ADVICE = "restore the file, or move it out of the folder; until then nothing is accepted"


@dataclass(frozen=True, slots=True)
class RecordedAnswers:
    """The answers of a run to the questions of one accuracy test.

    Attributes:
        basis: what was asked, and which model answered. Only answers with an equal basis are compared.
        answers: of ``same_answers``, by prompt: token ids, or text. Empty for a task.
        right: the number of right answers of a task.
        answered: the number of answers of a task.
    """

    basis: Mapping[str, FactValue]
    answers: tuple[tuple[int, ...] | str, ...] = ()
    right: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One recorded run.

    Attributes:
        name: the file's name without ``.json``.
        profile: the scenario's name.
        at: when it began.
        test_id_prefix: the scenario's path in test ids; ``place`` in the file.
        result: the folder of the saved result, on the machine that ran it.
        facts: the fingerprint.
        trace: the data from which a figure of the run is computed.
        gpus: what the GPUs did meanwhile; None on the CPU and in files of earlier versions.
        answers: by accuracy test; empty without any.
    """

    name: str
    profile: str
    at: AwareDatetime
    test_id_prefix: Annotated[str, Field(alias="place")]
    result: str
    facts: Mapping[str, FactValue]
    trace: Trace
    gpus: Conditions | None = None
    answers: Mapping[str, RecordedAnswers] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """The machine, as :func:`~pytest_dsr1.gate.comparability.node` names it."""
        return comparability.node(self.facts)


_RECORDED_RUN = TypeAdapter(RecordedRun)


def folder_of(store: Path, profile: str) -> Path:
    """Return the folder of a profile's recorded runs."""
    return store / "candidates" / profile


def names(store: Path, profile: str) -> list[str]:
    """Return the names of a profile's recorded runs in order of time; no file is read.

    Raises:
        ReferencesError: the folder cannot be listed.
    """
    found = (entry.name for entry in listed(folder_of(store, profile)))
    return [name.removesuffix(".json") for name in found if name.endswith(".json")]


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder of the store, in order of names; none if there is no folder.

    Raises:
        ReferencesError: the folder cannot be listed, so its content is unknown.
    """
    try:
        return entries(folder)
    except OSError as error:
        raise ReferencesError(
            f"{folder}: cannot be listed: {error.strerror}; `ls -ld {folder}` shows what it is "
            "and who owns it; make it a folder that you can list"
        ) from None


def record(
    store: Path,
    measurement: Measurement,
    trace: Trace,
    answers: Mapping[str, RecordedAnswers] | None = None,
) -> Path:
    """Record a valid measurement; return the file.

    Args:
        store: the folder of references.
        measurement: of the run.
        trace: of its requests.
        answers: by accuracy test.

    Raises:
        InvalidRunError: it cannot be written.
    """
    result = measurement.result
    at = datetime.fromisoformat(measurement.started_utc).astimezone(timezone.utc)
    run = RecordedRun(
        name=f"{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        profile=measurement.scenario.name,
        at=at,
        test_id_prefix=measurement.test_id_prefix,
        result=str(measurement.folder),
        facts=measurement.fingerprint.facts,
        trace=trace,
        gpus=conditions(measurement.telemetry, result.measured_from_s, result.measured_to_s),
        answers=answers or {},
    )
    document = {**RECORDED_RUN.head, **_RECORDED_RUN.dump_python(run, mode="json", by_alias=True)}
    del document["name"]
    if not trace.found:
        del document["trace"]["found"], document["trace"]["found_s"]
    if not run.answers:
        del document["answers"]
    path = folder_of(store, run.profile) / f"{run.name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({**document, "sha256": checksum(document)}))
    except OSError as error:
        raise InvalidRunError(
            f"{path}: the run cannot be recorded: {error.strerror}; make that folder writable, or "
            f"free space there; the run itself is saved in {measurement.folder}"
        ) from None
    return path


def checksum(document: Mapping[str, Any]) -> str:
    """Return the checksum of a recorded run's document, over everything but the checksum itself."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def alike(found: Iterable[RecordedRun], facts: comparability.Facts) -> tuple[RecordedRun, ...]:
    """Return the runs with the node, software, machine and work of a fingerprint."""
    return tuple(
        one
        for one in found
        if one.node == comparability.node(facts)
        and not comparability.changed(one.facts, facts, comparability.EVERYTHING)
    )


def read(store: Path, profile: str) -> tuple[tuple[RecordedRun, ...], tuple[str, ...]]:
    """Return the recorded runs of a profile in order of time, and a sentence for each unusable file.

    An unusable file is left where it is; the sentence says what to do about it.

    Raises:
        ReferencesError: the folder cannot be listed.
    """
    found: list[RecordedRun] = []
    problems: list[str] = []
    known: dict[tuple[datetime, str], str] = {}
    for name in names(store, profile):
        path = folder_of(store, profile) / f"{name}.json"
        try:
            run = _read(path, profile)
        except DocumentError as error:
            problems.append(f"{path}: {error}: {_ADVICE}")
            continue
        first = known.setdefault((run.at, run.node), name)
        if first != name:
            problems.append(f"{path}: is the same run as {first}.json: delete one of the two files")
        else:
            found.append(run)
    return tuple(sorted(found, key=lambda one: (one.at, one.name))), tuple(problems)


def _read(path: Path, profile: str) -> RecordedRun:
    """Read one file.

    Raises:
        DocumentError: it is not a recorded run of this profile; the message says what it is.
    """
    try:
        document = RECORDED_RUN.read_json(path)
    except FileNotFoundError as error:  # moved since the folder was listed
        raise DocumentError(f"cannot be read: {error.strerror}") from None
    if document.get("profile") != profile:
        raise DocumentError(
            f"is a run of {document.get('profile')!r}, not of {profile!r}; record the runs of a "
            "renamed scenario again"
        )
    if document.get("sha256") != checksum(document):
        raise DocumentError("does not match its checksum: it was edited or damaged after it was written")
    try:
        return _RECORDED_RUN.validate_python({**document, "name": path.stem})
    except ValidationError as error:
        raise DocumentError(changed(error)) from None
