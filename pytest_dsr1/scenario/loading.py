"""Loads a scenario file: reads it and what it extends, applies overrides, and judges the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import profiles, variables
from pytest_dsr1.scenario.overrides import apply, parse_override
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem, all_in_one
from pytest_dsr1.scenario.rules.general import relations_of
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.validation import ParsedTree, validate
from pytest_dsr1.scenario.yaml.reader import parse, read
from pytest_dsr1.scenario.yaml.tree import Node, join_key, merged, split_key, without
from pytest_dsr1.text import nearest, shown_path


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario and where it comes from.

    Attributes:
        scenario: with ``${VARIABLE}`` as written; :func:`~pytest_dsr1.scenario.variables.resolve` expands it.
        path: its file.
        warnings: what is unusual in it, each a line that begins with file and line.
    """

    scenario: Scenario
    path: Path
    warnings: tuple[str, ...]
    _marks: Mapping[str, Mark] = field(repr=False, default_factory=dict)

    def where(self, key: str) -> str:
        """``file:line`` of a dotted key such as ``targets.0``, or of the nearest key around it.

        A value from a base is found in the base's file; one that ``--dsr1-set`` gave stands in no file.
        """
        in_files = {name: mark for name, mark in self._marks.items() if mark.line}
        return _mark_of(in_files, key).file_line


def load(
    path: Path, *, overrides: Sequence[str] = (), catalogue: profiles.Catalogue | None = None
) -> LoadedScenario:
    """Loads one scenario file.

    Args:
        path: the file.
        overrides: ``KEY=VALUE`` texts of ``--dsr1-set``, applied in order.
        catalogue: where ``extends: NAME`` looks; by default among the scenarios that ship.

    Raises:
        UserError: the file cannot be used; tells every mistake with its place.
    """
    problems: list[Problem] = []
    try:
        tree = _assembled(path, catalogue, problems, ())
        for text in overrides:
            try:
                tree = apply(tree, parse_override(text))
            except MistakeError as error:
                problems.append(error.problem)
    except MistakeError as error:
        raise all_in_one(path, [*problems, error.problem]) from None
    problems += variables.misplaced(tree)
    parsed = validate(tree)
    marks = {join_key(key): mark for key, mark, _ in parsed.tree.walk()}
    marks[""] = tree.mark
    problems += parsed.problems
    findings = [*_related(parsed, marks)]
    problems += [problem for problem, impossible in findings if impossible]
    if problems or parsed.scenario is None:
        raise all_in_one(path, problems)
    warnings = tuple(
        f"{problem.mark.file_line}: {problem.key}: {problem.message}"
        for problem, impossible in findings
        if not impossible
    )
    return LoadedScenario(parsed.scenario, path, warnings, marks)


def load_named(profile: str, suites: Sequence[str], overrides: Sequence[str]) -> Scenario:
    """The one scenario that a command of ``pytest-dsr1`` names: by its profile, or by its file.

    Args:
        profile: the name, or the path of a scenario file.
        suites: folders of scenarios beside those that ship.
        overrides: as of :func:`load`.

    Raises:
        UserError: it is none or several, or cannot be used.
    """
    catalogue = profiles.discover([Path(folder) for folder in suites])
    named = Path(profile)
    paths = [named] if named.is_file() else catalogue.select(profile)
    if len(paths) != 1:
        raise UserError(f"{profile}: fits {len(paths)} scenarios; name one of them")
    return load(paths[0], overrides=overrides, catalogue=catalogue).scenario


def _assembled(
    path: Path, catalogue: profiles.Catalogue | None, problems: list[Problem], chain: tuple[Path, ...]
) -> Node:
    """The file's tree merged over that of the scenario it extends."""
    tree = parse(read(path), shown_path(path), problems)
    if not isinstance(tree.value, dict):
        found = "a list" if isinstance(tree.value, list) else "a single value"
        message = f"expected a mapping that begins with keys such as `name:`, found {found}"
        raise MistakeError(Problem(tree.mark, "", message))
    extends = tree.child("extends")
    if extends is None:
        _refuse_misspelt_extends(tree)
        return tree
    chain = (*chain, path.resolve())
    base_path = _base(path, extends, catalogue)
    if base_path.resolve() in chain:
        circle = " extends ".join(shown_path(link) for link in (*chain, base_path.resolve()))
        raise MistakeError(Problem(extends.mark, "extends", f"goes in a circle: {circle}"))
    base = _assembled(base_path, catalogue, problems, chain)
    return merged(without(base, ("name",)), without(tree, ("extends",)))


def _refuse_misspelt_extends(tree: Node) -> None:
    """Without its base a scenario would show many mistakes that it does not have."""
    known = json_schema.keys_of(json_schema.scenario_schema())
    for key, mark in tree.keys.items():
        if key not in known and nearest(key, [*known, "extends"]) == "extends":
            raise MistakeError(Problem(mark, key, "unknown key; did you mean 'extends'?"))


def _base(path: Path, extends: Node, catalogue: profiles.Catalogue | None) -> Path:
    """The file that ``extends`` means: a name, or a path relative to the file it stands in."""
    wanted = extends.value
    if not isinstance(wanted, str) or not wanted:
        message = "expected a scenario's name or a file relative to this one"
        raise MistakeError(Problem(extends.mark, "extends", message))
    if "/" in wanted or wanted.endswith(profiles.SUFFIXES):
        base = path.parent / wanted
        if not base.exists():
            message = f"there is no file '{wanted}' beside this one ({shown_path(base)})"
            raise MistakeError(Problem(extends.mark, "extends", message))
        return base
    catalogue = profiles.discover(()) if catalogue is None else catalogue
    found = catalogue.find(wanted, other_than=path)
    if found is None:
        raise MistakeError(Problem(extends.mark, "extends", catalogue.unknown(wanted)))
    return found


def _related(parsed: ParsedTree, marks: Mapping[str, Mark]) -> list[tuple[Problem, bool]]:
    """What breaks a relation between values that are certain, and whether that is impossible."""
    if parsed.scenario is None:
        return []
    return [
        (Problem(_mark_of(marks, key), key, sentence), relation.impossible)
        for relation in relations_of(parsed.scenario)
        if all(map(parsed.is_certain, relation.keys))
        for key, sentence in relation.check(parsed.scenario)
    ]


def _mark_of(marks: Mapping[str, Mark], key: str) -> Mark:
    """The place of a key, or of the nearest one around it."""
    path = split_key(key)
    for length in range(len(path), 0, -1):
        mark = marks.get(join_key(path[:length]))
        if mark is not None:
            return mark
    return marks[""]
