"""The file of questions for a worker program. Only the standard library is used."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from pytest_dsr1.records import Question, QuestionSet
from pytest_dsr1.storage.files import write_atomically

FILE = "questions.json"
"""Its name in the job's folder."""


def save(folder: Path, sets: Iterable[QuestionSet]) -> str | None:
    """Write the file and return its path; None if there are no questions."""
    plain = [dataclasses.asdict(each) for each in sets]
    if not plain:
        return None
    path = folder.absolute() / FILE
    write_atomically(path, json.dumps(plain) + "\n")
    return str(path)


def load(path: str | None) -> tuple[QuestionSet, ...]:
    """Return the questions in a file that :func:`save` wrote."""
    if path is None:
        return ()
    return tuple(
        QuestionSet(tuple(map(_question, each["questions"])), each["at_once"])
        for each in json.loads(Path(path).read_text(encoding="utf-8"))
    )


def _question(fields: dict[str, object]) -> Question:
    prompt = fields.pop("prompt")
    return Question(prompt=tuple(prompt) if isinstance(prompt, list) else str(prompt), **fields)  # type: ignore[arg-type]
