"""Annotations of what did not pass, at its line of the scenario: commands for GitHub, a report for GitLab."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_dsr1.case.answers import Fault, faults, is_it_real, what_is_the_cause, what_to_do
from pytest_dsr1.case.case import Case, title_of
from pytest_dsr1.text import plain
from pytest_dsr1.verdict.verdict import Status

SHOWN = 10
"""Annotations of one kind that GitHub shows per step; it drops the others."""
_LINES, _LINE_LIMIT = 30, 500
_INSTALLED = {"site-packages", "dist-packages"}


def commands(cases: Sequence[Case], workspace: Path | None) -> list[str]:
    """Return workflow commands, one per line, with which GitHub annotates what did not pass.

    Args:
        cases: worst first.
        workspace: the folder that GitHub's paths are relative to.
    """
    found = [(case, fault) for case in cases for fault in faults(case)]
    shown = found if len(found) <= SHOWN else found[: SHOWN - 1]
    lines = [_command(case, fault, workspace) for case, fault in shown]
    if len(found) > len(shown):
        more = f"{len(found) - len(shown)} more did not pass: see the job summary"
        lines.append(f"::error title={_property(title_of(cases))}::{_data(more)}")
    return lines


def _command(case: Case, fault: Fault, workspace: Path | None) -> str:
    title = _title(case, fault)
    properties = {"title": title}
    position = workspace and _position(case, fault, workspace)
    if position:
        properties = {"file": position[0], "line": str(position[1]), **properties}
    else:
        line = _line(case, fault)
        properties["title"] = f"{title} ({case.test_id_prefix}{f':{line}' if line else ''})"
    head = ",".join(f"{name}={_property(plain(value))}" for name, value in properties.items())
    answers = [fault.answers]
    if not fault.answers:
        answers = [is_it_real(case, fault.status), what_is_the_cause(case), what_to_do(case, fault.status)]
    lines = [plain(line, _LINE_LIMIT) for line in fault.message.splitlines()]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], "..."]
    lines += ["", *(plain(answer, _LINE_LIMIT) for answer in answers if answer)]
    return f"::error {head}::{_data(chr(10).join(lines))}"


def _data(text: str) -> str:
    """Escape the message of a command, as actions/toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property of a command, as actions/toolkit does."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def code_quality(cases: Sequence[Case], root: Path) -> str:
    """Return GitLab's Code Quality report, with an entry for each fault.

    Args:
        cases: worst first.
        root: the folder that paths are relative to.
    """
    return json.dumps([_entry(case, fault, root) for case in cases for fault in faults(case)], indent=1)


def _entry(case: Case, fault: Fault, root: Path) -> dict[str, object]:
    # Only our own repository has the shipped scenarios, so elsewhere the name has to do.
    file, line = _position(case, fault, root) or (case.test_id_prefix, _line(case, fault) or 1)
    identity = json.dumps([case.scenario.name, fault.subject, fault.status.value])
    cause = f" Cause: {case.cause.sentence}." if case.cause and not fault.answers else ""
    description = f"{_title(case, fault)}: {' '.join(fault.message.split())}{cause}"
    return {
        "description": plain(description, 1000),
        "check_name": f"dsr1 {fault.subject}",
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest(),
        "severity": "critical" if fault.status is Status.FAIL else "major",
        "location": {"path": plain(file), "lines": {"begin": line}},
    }


def _title(case: Case, fault: Fault) -> str:
    """Return the verdict, the scenario, what was judged, and what is forced."""
    words = filter(None, [case.scenario.name, fault.label, case.scenario.forced])
    return f"{fault.status.value}: {', '.join(words)}"


def _position(case: Case, fault: Fault, root: Path) -> tuple[str, int] | None:
    """Return file and line below a folder: of the fault, maybe in a base file, else of the scenario."""
    if _saved(case):
        return None
    return next(_below(root, [fault.where, case.judgment.lines["scenario"]]), None)


def _line(case: Case, fault: Fault) -> int | None:
    """Return the line in the scenario's own file: of the fault, else of the name; None for a saved copy."""
    if _saved(case):
        return None
    (own, name), (file, line) = _split(case.judgment.lines["scenario"]), _split(fault.where)
    return line if file == own else name


def _saved(case: Case) -> bool:
    """Return whether the scenario is a copy in a saved result, whose lines differ from its file's."""
    if case.run.folder is None:
        return False
    path = Path(os.path.realpath(_split(case.judgment.lines["scenario"])[0]))
    return path.is_relative_to(os.path.realpath(case.run.folder))


def _below(root: Path, positions: Sequence[str]) -> Iterator[tuple[str, int]]:
    for where in positions:
        file, line = _split(where)
        path = Path(os.path.realpath(file))
        folder = Path(os.path.realpath(root))
        if path.is_relative_to(folder) and not _INSTALLED & set(path.parts):
            yield path.relative_to(folder).as_posix(), line


def _split(where: str) -> tuple[str, int]:
    file, _, line = where.rpartition(":")
    return file, int(line)
