"""The reader of files and folders: it finds out what a file is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_dsr1.importing import inferencex, options_file
from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import Harvest, Refusal
from pytest_dsr1.importing.perf_sanity import aggregated, disaggregated
from pytest_dsr1.importing.served import Origin
from pytest_dsr1.scenario import SUFFIXES
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.yaml.reader import parse, read
from pytest_dsr1.text import shown_path

_WANTED = "configuration"
_MAX_VALUES = 200_000
"""The most values of a file: InferenceX's nvidia-master.yaml has 12,000."""
_FORMATS = (
    "perf-sanity's aggregated and disaggregated files, configs/database of TensorRT-LLM, InferenceX's master "
    "configurations"
)

OriginOf = Callable[[Path], Origin]


def harvest(path: Path, origin_of: OriginOf) -> Harvest:
    """Return what is in a file, or in every YAML file of a folder and its subfolders.

    Args:
        path: the file or folder.
        origin_of: called with a file that has cases, for the source that they name.
    """
    found = Harvest()
    files = list(_files(path, found)) if path.is_dir() else [path]
    if not files and not found.problems:
        found.problems.append(Problem(Mark(shown_path(path)), "", "the folder has no YAML file"))
    for file in files:
        _read(file, origin_of, found)
    _refuse_equal_names(found)
    found.problems.sort(key=lambda problem: (problem.mark.source, problem.mark.line, problem.mark.column))
    return found


def _files(folder: Path, found: Harvest) -> Iterator[Path]:
    """Yield the YAML files of a folder, sorted; a folder behind a symbolic link is not entered."""

    def unreadable(error: OSError) -> None:
        where = shown_path(Path(error.filename or folder))
        found.problems.append(Problem(Mark(where), "", f"cannot be read: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(SUFFIXES))


def _read(path: Path, origin_of: OriginOf, found: Harvest) -> None:
    problems: list[Problem] = []
    try:
        text = read(path, wanted=_WANTED)
        tree = parse(
            text, shown_path(path), problems, wanted=_WANTED, max_values=_MAX_VALUES, merge_keys=True
        )
    except MistakeError as error:
        problems.append(error.problem)
    else:
        if isinstance(tree.value, dict):
            _read_tree(Fields(tree, "", problems), path, origin_of, found)
        else:
            _refuse(tree.mark, f"it is not a configuration that is known ({_FORMATS})", found)
    found.problems += problems


def _read_tree(top: Fields, path: Path, origin_of: OriginOf, found: Harvest) -> None:
    values = top.node.value
    assert isinstance(values, dict)
    if reason := aggregated.why_not(values):
        _refuse(top.node.mark, reason, found)
    elif disaggregated.is_disaggregated(values):
        disaggregated.read(top, path, origin_of(path), found)
    elif aggregated.is_aggregated(values):
        aggregated.read(top, path, origin_of(path), found)
    elif inferencex.is_master(values):
        inferencex.read(top, origin_of(path), found)
    elif options_file.is_options_file(values):
        options_file.read(top, path, origin_of(path), found)
    else:
        _refuse(top.node.mark, f"it is not a configuration that is known ({_FORMATS})", found)


def _refuse(mark: Mark, reason: str, found: Harvest) -> None:
    found.refusals.append(Refusal(Mark(mark.source), "", reason))


def _refuse_equal_names(found: Harvest) -> None:
    """Add a mistake for each case whose file another one has, on disks that ignore upper case."""
    first: dict[str, Mark] = {}
    for case in found.cases:
        if other := first.get(case.name.lower()):
            message = f"the scenario {case.name} is also made of {other.file_line}; import one of them alone"
            found.problems.append(Problem(case.mark, "", message))
        first.setdefault(case.name.lower(), case.mark)
