"""The loader of scenario files: it reads a file and its bases, applies overrides and checks the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_dsr1 import extensions
from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import SUFFIXES, profiles, search, sweep, swept_point, variables
from pytest_dsr1.scenario.overrides import Override, apply, parse_override
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem, all_in_one
from pytest_dsr1.scenario.rules.general import decided_by, general_relations, relations_of
from pytest_dsr1.scenario.rules.speculation import as_saved, only_by_the_key
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.engine import plugin_of
from pytest_dsr1.scenario.schema.rule import Relation
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.validation import ParsedTree, idle_nulls, validate
from pytest_dsr1.scenario.yaml.reader import parse, read
from pytest_dsr1.scenario.yaml.tree import Node, join_key, merged, node_of, split_key, with_value, without
from pytest_dsr1.text import did_you_mean, nearest, shown_path


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario and its origin.

    Attributes:
        scenario: with ``${VARIABLE}`` as written; :func:`~pytest_dsr1.scenario.variables.resolve` expands it.
        path: its file.
        warnings: one text for each unusual value; each begins with ``file:line``.
    """

    scenario: Scenario
    path: Path
    warnings: tuple[str, ...]
    _marks: Mapping[str, Mark] = field(repr=False, default_factory=dict)

    def where(self, key: str) -> str:
        """Return ``file:line`` of a dotted key such as ``targets.0``, or of the nearest key around it.

        A value from a base is in the base's file; a value from ``--dsr1-set`` is in no file.
        """
        in_files = {name: mark for name, mark in self._marks.items() if mark.line}
        return _mark_of(in_files, key).file_line


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    catalogue: profiles.Catalogue | None = None,
    saved: bool = False,
) -> LoadedScenario:
    """Load a file of one scenario; see :func:`load_all`.

    Raises:
        UserError: the file cannot be used, or is a sweep of several points.
    """
    found = load_all(path, overrides=overrides, catalogue=catalogue, saved=saved)
    if len(found) != 1:
        raise UserError(
            f"{path}: is a sweep of {len(found)} points, expected one scenario; set sweep=null, and a value "
            "for each swept key"
        )
    return found[0]


def load_all(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    changes: Sequence[Override] = (),
    swept: Sequence[str] = (),
    catalogue: profiles.Catalogue | None = None,
    saved: bool = False,
    most_points: int = sweep.MOST_POINTS,
) -> list[LoadedScenario]:
    """Load one scenario file: one scenario, or one for each point of its sweep, in the order of their runs.

    Args:
        path: the file.
        overrides: ``KEY=VALUE`` texts of ``--dsr1-set``, applied in order.
        changes: applied after them.
        swept: ``KEY=VALUE,VALUE`` texts of ``--dsr1-sweep``.
        catalogue: the profiles in which ``extends: NAME`` is looked up; by default those that ship.
        saved: whether the file is that of a result, which never runs: ``${NAME}`` is accepted anywhere,
            because earlier versions wrote it instead of secrets, and so is what forced the acceptance length.
        most_points: the most points of a sweep.

    Raises:
        UserError: the file cannot be used; the message lists every mistake of every point with its position.
    """
    problems: list[Problem] = []
    try:
        tree, origin = _assembled(path, catalogue, problems, ())
        for text in overrides:
            try:
                tree = apply(tree, parse_override(text))
            except MistakeError as error:
                problems.append(error.problem)
        for change in changes:
            try:
                tree = apply(tree, change)
            except MistakeError as error:
                problems.append(error.problem)
        if not saved and (point := tree.child("point")) is not None:
            problems.append(Problem(point.mark, "point", "is written by pytest-dsr1 into results; remove it"))
    except MistakeError as error:
        raise all_in_one(path, [*problems, error.problem]) from None
    known = len(problems)
    tree = sweep.from_options(swept_point.without_points(search.nested(tree)), swept, problems)
    points = sweep.points_of(tree, most_points, problems)
    if len(problems) > known:  # a broken sweep says nothing about its points
        raise all_in_one(path, problems)
    trees, checked = _checked_points(tree, points, origin, problems, saved=saved)
    if not problems and not saved:
        problems += _of_search(trees[0], checked[0])
    if problems:
        raise all_in_one(path, problems)
    return [_with_idle_gpus(_loaded(path, each, saved=saved), tree) for each in checked]


def _checked_points(
    tree: Node, points: Sequence[sweep.Point], origin: Node, problems: list[Problem], *, saved: bool = False
) -> tuple[list[Node], list[_Checked]]:
    """Return each point, or the scenario itself; mistakes of all go to ``problems``."""
    problems += [*swept_point.mistakes(tree, points), *search.mistakes(tree)]
    trees = _of_points(tree, points, origin, problems) if points else [_with_changes(tree, origin)]
    checked = [_check(swept_point.with_requests(each), saved=saved) for each in trees]
    for each, found in zip(trees, checked, strict=True):
        problems += swept_point.explained(swept_point.with_requests(each), found.problems)
    return trees, checked


def _of_search(tree: Node, checked: _Checked) -> Iterator[Problem]:
    """Yield what is wrong with a probe at an end of the range of a search."""
    asked = checked.scenario.search if checked.scenario else None
    for end in search.ends(tree, asked) if asked else ():
        yield from _check(end).problems


def _of_points(
    tree: Node, points: Sequence[sweep.Point], origin: Node, problems: list[Problem]
) -> list[Node]:
    """Return the tree of each point; mistakes of values that cannot be set go to ``problems``."""
    trees: list[Node] = []
    for point in points:
        try:
            changed = _with_changes(swept_point.tree_of(tree, point), origin)
        except MistakeError as error:
            problems.append(error.problem)
            continue
        # Other prompts of the same lengths are no change.
        trees.append(swept_point.with_own_prompts(changed, point) if len(points) > 1 else changed)
    return trees


def _with_idle_gpus(loaded: LoadedScenario, tree: Node) -> LoadedScenario:
    used = loaded.scenario.hardware.count
    idle = swept_point.idle_gpus(tree, used) if loaded.scenario.point else ()
    return replace(loaded, warnings=(*loaded.warnings, *idle))


def _loaded(path: Path, checked: _Checked, *, saved: bool) -> LoadedScenario:
    assert checked.scenario is not None
    warnings = tuple(
        f"{problem.mark.file_line}: {problem.key}: {problem.message}" for problem in checked.unusual
    )
    if not saved:
        return LoadedScenario(checked.scenario, path, warnings, checked.marks)
    scenario = variables.without_secrets(checked.scenario)
    forced = _forced(scenario, checked.marks)
    return LoadedScenario(as_saved(scenario), path, (*warnings, *forced), checked.marks)


def _forced(scenario: Scenario, marks: Mapping[str, Mark]) -> Iterator[str]:
    """Yield a warning for each variable or argument that forced the acceptance length of a saved result."""
    for key, length in scenario.engine.forced_by_hand({}):
        value = ", its value is not known" if length is None else f": {length:.10g}"
        yield f"{_mark_of(marks, key).file_line}: {key}: forced the acceptance length{value}"


def mistakes_in(tree: Node) -> tuple[Problem, ...]:
    """Return every mistake in a scenario that is in no file yet, or in the points of its sweep."""
    problems: list[Problem] = []
    points = sweep.points_of(tree, sweep.MOST_POINTS, problems)
    if not problems:
        _checked_points(tree, points, tree, problems)
    return tuple(dict.fromkeys(problems))


@dataclass(frozen=True, slots=True)
class _Checked:
    """A tree as a scenario: its mistakes, its unusual values, and the positions of its keys."""

    scenario: Scenario | None
    problems: tuple[Problem, ...]
    unusual: tuple[Problem, ...]
    marks: Mapping[str, Mark]


def _check(tree: Node, *, saved: bool = False) -> _Checked:
    parsed = validate(tree)
    marks = {join_key(key): mark for key, mark, _ in parsed.tree.walk()}
    marks[""] = tree.mark
    findings = _broken_relations(parsed, marks, saved=saved)
    broken = [problem for problem, impossible in findings if impossible]
    unusual = tuple(problem for problem, impossible in findings if not impossible)
    misplaced = () if saved else variables.misplaced(tree)
    problems = _said_once((*misplaced, *parsed.problems, *broken))
    return _Checked(parsed.scenario, problems, unusual, marks)


def _assembled(
    path: Path, catalogue: profiles.Catalogue | None, problems: list[Problem], chain: tuple[Path, ...]
) -> tuple[Node, Node]:
    """Return the file's tree, merged over the tree of the scenario that it extends.

    The second tree is that of the file with the published results.
    """
    tree = search.nested(parse(read(path), shown_path(path), problems))
    if not isinstance(tree.value, dict):
        found = "a list" if isinstance(tree.value, list) else "a single value"
        message = f"expected a mapping with keys such as `name:`, found {found}"
        raise MistakeError(Problem(tree.mark, "", message))
    extends = tree.child("extends")
    if extends is None:
        _refuse_misspelled_extends(tree)
        problems += idle_nulls(tree)
        return _with_origin(tree), tree
    chain = (*chain, path.resolve())
    base_path = _base(path, extends, catalogue)
    if base_path.resolve() in chain:
        circle = " extends ".join(shown_path(link) for link in (*chain, base_path.resolve()))
        raise MistakeError(Problem(extends.mark, "extends", f"goes in a circle: {circle}"))
    base, origin = _assembled(base_path, catalogue, problems, chain)
    whole = merged(without(base, ("name",)), without(tree, ("extends",)))
    return (whole, origin) if tree.child("published") is None else (_with_origin(whole), whole)


_ORIGIN: Mapping[str, tuple[str, str]] = {
    "model": ("model", "name"),
    "gpu": ("hardware", "gpu"),
    "gpus": ("hardware", "count"),
}
"""The keys of a published result that say of what it is, and where the same file says it."""


def _with_origin(tree: Node) -> Node:
    """Return a copy whose published results say of what they are: a file that extends it may change that.

    Random weights have no name.
    """
    published, random = tree.child("published"), tree.find(("model", "random_weights"))
    is_random = random is not None and random.value is not None
    for index, each in published.children() if published else ():
        for key, path in _ORIGIN.items():
            known = None if key == "model" and is_random else tree.find(path)
            if isinstance(each.value, dict) and each.child(key) is None and known is not None:
                tree = with_value(tree, ("published", index, key), known)
    return tree


_COMPARED = ("dataset", "engine", "gpu_setup", "load", "slo")
"""What decides the figures of a model on its GPUs."""


def _with_changes(tree: Node, origin: Node) -> Node:
    """Return a copy whose published results say which keys have other values than where they were published.

    Args:
        tree: the scenario as it would run.
        origin: the tree of the file with the published results.
    """
    keys = [key for part in _COMPARED for key in _changed(origin.child(part), tree.child(part), (part,))]
    published = tree.child("published")
    for index, each in published.children() if published and keys else ():
        if isinstance(each.value, dict):
            before = each.child("changed")
            known = before.plain() if before and isinstance(before.value, list) else []
            changed = node_of(list(dict.fromkeys([*known, *keys])), each.mark)
            tree = with_value(tree, ("published", index, "changed"), changed)
    return tree


def _changed(before: Node | None, after: Node | None, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the dotted keys whose values differ; of an engine of another type, only its ``type``."""
    if before and after and isinstance(before.value, dict) and isinstance(after.value, dict):
        for key in dict.fromkeys(["type", *before.value, *after.value]):
            found = list(_changed(before.child(key), after.child(key), (*path, key)))
            yield from found
            if found == ["engine.type"]:
                return
    elif (before and [before.plain()]) != (after and [after.plain()]):
        yield join_key(path)


def _said_once(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the problems without those of a value that :func:`_with_origin` copied, if it has one itself."""

    def is_copy(problem: Problem) -> bool:
        path = split_key(problem.key)
        return path[0] == "published" and path[-1] in _ORIGIN

    own = {problem.mark for problem in problems if not is_copy(problem)}
    return tuple(problem for problem in problems if not (is_copy(problem) and problem.mark in own))


def _refuse_misspelled_extends(tree: Node) -> None:
    """Raise for a misspelled ``extends``: without the base, many correct values would look like mistakes."""
    known = json_schema.keys_of(json_schema.scenario_schema())
    for key, mark in tree.keys.items():
        if key not in known and nearest(key, [*known, "extends"]) == "extends":
            raise MistakeError(Problem(mark, key, f"unknown key{did_you_mean(key, ['extends'])}"))


def _base(path: Path, extends: Node, catalogue: profiles.Catalogue | None) -> Path:
    """Return the file that ``extends`` names: a scenario's name, or a path relative to the extending file."""
    wanted = extends.value
    if not isinstance(wanted, str) or not wanted:
        message = "expected the name of a scenario or a path relative to this file"
        raise MistakeError(Problem(extends.mark, "extends", message))
    if "/" in wanted or wanted.endswith(SUFFIXES):
        base = path.parent / wanted
        if not base.exists():
            message = f"there is no file '{wanted}' relative to this file ({shown_path(base)})"
            raise MistakeError(Problem(extends.mark, "extends", message))
        return base
    catalogue = profiles.discover(()) if catalogue is None else catalogue
    found = catalogue.find(wanted, other_than=path)
    if found is None:
        raise MistakeError(Problem(extends.mark, "extends", catalogue.unknown(wanted)))
    return found


def _broken_relations(
    parsed: ParsedTree, marks: Mapping[str, Mark], *, saved: bool
) -> list[tuple[Problem, bool]]:
    """Return each broken rule between certain values, and whether breaking it is a mistake."""
    if parsed.scenario is None:
        return []
    return [
        (Problem(_mark_of(marks, key), key, sentence), relation.impossible)
        for relation in relations_of(parsed.scenario)
        if not (saved and relation.check is only_by_the_key)
        if parsed.knows_engine or (relation in general_relations() and not relation.answers)
        if all(map(parsed.is_certain, (*relation.keys, *decided_by(relation, parsed.scenario))))
        for key, sentence in _breaches(relation, parsed.scenario)
    ]


def _breaches(relation: Relation, scenario: Scenario) -> list[tuple[str, str]]:
    """Return the breaches of a rule; an engine's rule that fails is the fault of the engine's plugin."""
    if relation in general_relations():
        return list(relation.check(scenario))
    plugin, what = plugin_of(scenario.engine), f'the rule "{relation.rule}" of its engine'
    with extensions.named(plugin, what):
        found = extensions.listed(plugin, what, relation.check(scenario), tuple)
    for breach in found:
        if len(breach) != 2 or not all(isinstance(part, str) for part in breach):
            why = f"{what} returned {extensions.shown(breach)}, expected a key and a sentence"
            raise extensions.broken(plugin, why)
    return found


def _mark_of(marks: Mapping[str, Mark], key: str) -> Mark:
    """Return the position of a key, or of the nearest key around it."""
    path = split_key(key)
    for length in range(len(path), 0, -1):
        if (mark := marks.get(join_key(path[:length]))) is not None:
            return mark
    return marks[""]
