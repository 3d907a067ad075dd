"""The scenarios of a pytest run: of profiles, of files given as arguments, or of a saved result."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.scenario import SUFFIXES
from pytest_dsr1.session.replay import Replay, replayed
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.overrides import Override
    from pytest_dsr1.scenario.profiles import Catalogue


Sides = dict[str, "LoadedScenario"]
"""The new side of each scenario, by the scenario's name."""


@dataclass(frozen=True)
class Changes:
    """What the command line changes in the scenarios.

    Attributes:
        overrides: of ``--dsr1-set``.
        swept: of ``--dsr1-sweep``.
        most_points: the most points of a sweep.
    """

    overrides: Sequence[str]
    swept: Sequence[str]
    most_points: int


class Selection:
    """The scenarios of this run: those of the chosen profiles, and the files named as arguments.

    Attributes:
        paths: the scenario files to collect, in order.
        replay: the saved results to judge again; None without ``--dsr1-replay``.
        sides: the new side of each scenario, by the scenario's name; none without ``--dsr1-against``.
    """

    def __init__(
        self,
        profiles: Sequence[Path],
        arguments: Sequence[Path],
        catalogue: Catalogue,
        changes: Changes,
        rootdir: Path,
        prefixes: dict[Path, str],
        points: Mapping[Path, Sequence[str]],
    ) -> None:
        self.paths = tuple(dict.fromkeys((*profiles, *arguments)))
        self.replay: Replay | None = None
        self.sides: Sides = {}
        self._catalogue = catalogue
        self._changes = changes
        self._rootdir = rootdir
        self._prefixes = prefixes
        self._points = points
        self._loaded: dict[Path, list[LoadedScenario]] = {}

    def load(self, path: Path) -> list[LoadedScenario]:
        """Return the scenario of a file, or those of its sweep's points, validated once.

        Raises:
            UserError: all mistakes in the file.
        """
        if path not in self._loaded:
            saved = path in self._prefixes
            found = self._load_all(path, saved=saved)
            if patterns := self._points.get(path):
                from pytest_dsr1.scenario.profiles import named

                names = named([each.scenario.name for each in found], patterns)
                found = [each for each in found if each.scenario.name in names]
            known = {other.scenario.name: other.path for other in self.usable()}
            for loaded in found:
                if other := known.get(loaded.scenario.name):
                    raise UserError(
                        f"{path}: has the same name as {other}, {loaded.scenario.name}; results are "
                        "saved by name, so names must be unique within a run: rename one scenario, or run "
                        "them separately"
                    )
            self._loaded[path] = found
        return self._loaded[path]

    def _load_all(
        self, path: Path, changes: Sequence[Override] = (), *, saved: bool = False
    ) -> list[LoadedScenario]:
        from pytest_dsr1.scenario.loading import load_all

        return load_all(
            path,
            overrides=self._changes.overrides,
            changes=changes,
            swept=self._changes.swept,
            most_points=self._changes.most_points,
            catalogue=self._catalogue,
            saved=saved,
        )

    @property
    def swept(self) -> bool:
        """Whether the command line sweeps the scenarios."""
        return bool(self._changes.swept)

    def load_unswept(self, path: Path) -> list[LoadedScenario]:
        """Return the scenarios of a file without ``--dsr1-sweep``; raises as :meth:`load`."""
        from pytest_dsr1.scenario.loading import load_all

        overrides, most = self._changes.overrides, self._changes.most_points
        return load_all(path, overrides=overrides, most_points=most, catalogue=self._catalogue)

    def other_sides(self, texts: Sequence[str], folder: Path) -> Sides:
        """Return the new side of each selected scenario, by the scenario's name.

        Args:
            texts: the values of ``--dsr1-against``; without any, no scenario has a new side.
            folder: where a relative path starts.

        Raises:
            UserError: all mistakes in the changes, and the sides that cannot be compared.
        """
        if not texts:
            return {}
        from pytest_dsr1.pairs.compared import as_new_side, why_not
        from pytest_dsr1.scenario.against import read_against

        named = read_against(texts, self._catalogue, folder)
        problems: list[str] = []
        found: Sides = {}
        for path in self.paths:
            old = self.load(path)
            try:
                new = self._load_all(named.profile or path, named.changes_for(old[0].scenario))
            except UserError as error:
                problems.append(str(error))
                continue
            by_point = {_label(each): each for each in new}
            for each in old:
                name, other = each.scenario.name, by_point.get(_label(each))
                if other is None:
                    there = ", ".join(label or "no sweep" for label in by_point)
                    problems.append(
                        f"{name}: the new side has no such point; expected the same sweep, found {there}"
                    )
                elif why := why_not(each.scenario, other.scenario):
                    problems.append(f"{name}: {why}")
                else:
                    found[name] = replace(other, scenario=as_new_side(each.scenario, other.scenario))
        if problems:
            raise UserError("\n".join(f"--dsr1-against: {each}" for each in dict.fromkeys(problems)))
        return found

    def all(self) -> list[LoadedScenario]:
        """Return every scenario, in order."""
        return [each for path in self.paths for each in self.load(path)]

    def usable(self) -> list[LoadedScenario]:
        """Return the collected scenarios that have no mistakes."""
        return [each for found in self._loaded.values() for each in found]

    def points(self, sweep: str) -> list[LoadedScenario]:
        """Return the points of a sweep among the collected scenarios, in order."""
        return [each for each in self.usable() if each.scenario.point and each.scenario.point.sweep == sweep]

    def curve(self, path: Path) -> LoadedScenario | None:
        """Return a sweep as a whole, if this file is the last one with points of it; else None.

        A replay has a file for each point. Points that are chosen by name are not a curve.
        """
        if path in self._points:
            return None
        last = self.load(path)[-1]
        if last.scenario.point is None or not last.scenario.frontier:
            return None
        sweep = last.scenario.point.sweep
        files = [
            each
            for each in self.paths
            if any(p.scenario.point and p.scenario.point.sweep == sweep for p in self._loaded.get(each, ()))
        ]
        if files[-1:] != [path]:
            return None
        whole = last.scenario.model_copy(update={"name": sweep, "point": None, "targets": []})
        return replace(last, scenario=whole)

    def test_id_prefix(self, path: Path) -> str:
        """Return the path of a scenario file in test ids.

        ``suites/...`` for a shipped file, wherever it is installed, else relative to rootdir. A file outside
        both keeps its full path.
        """
        from pytest_dsr1.scenario.profiles import shipped_suites

        if path in self._prefixes:
            return self._prefixes[path]
        for folder, prefix in ((shipped_suites(), "suites/"), (self._rootdir, "")):
            if path.is_relative_to(folder):
                return prefix + path.relative_to(folder).as_posix()
        return path.as_posix()


def _label(loaded: LoadedScenario) -> str:
    return loaded.scenario.point.label if loaded.scenario.point else ""


SELECTION = pytest.StashKey[Selection]()


def named_files(config: pytest.Config) -> list[Path]:
    """Return the YAML files given as arguments, named as pytest will name them; folders are not searched.

    Raises:
        UserError: the argument is a folder with the name of a scenario file.
    """
    names = [argument.split("::")[0] for argument in config.args]
    paths = [Path(os.path.abspath(config.invocation_params.dir / n)) for n in names if n.endswith(SUFFIXES)]  # noqa: PTH100 - not through links
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; expected a scenario file")
    return [path for path in paths if path.is_file()]


def catalogue(config: pytest.Config) -> Catalogue:
    """Return the profiles that can be selected.

    Raises:
        UserError: a folder of scenarios cannot be read.
    """
    from pytest_dsr1.scenario.profiles import discover

    folders = [config.invocation_params.dir / folder for folder in config.getoption("--dsr1-suites")]
    return discover([*folders, *config.getini("dsr1_suites")])


def changes(config: pytest.Config) -> Changes:
    """Return what the command line changes in the scenarios.

    Raises:
        UserError: the ini option ``dsr1_max_points`` is not a number above 0.
    """
    most = str(config.getini("dsr1_max_points"))
    if not re.fullmatch(r"[1-9][0-9]{0,8}", most):
        raise UserError(f"ini option dsr1_max_points: expected a whole number of at least 1, found {most!r}")
    return Changes(config.getoption("--dsr1-set"), config.getoption("--dsr1-sweep"), int(most))


def results(config: pytest.Config) -> Path:
    """Return the folder of results."""
    return config.invocation_params.dir / str(config.getoption("--dsr1-results"))


def searches(selection: Selection) -> list[str]:
    """Return the names of the selected searches; a file with mistakes is reported when it is collected."""
    found = []
    for path in selection.paths:
        with suppress(UserError):
            found += [each.scenario.name for each in selection.load(path) if each.scenario.search]
    return found


def sweeps(selection: Selection) -> list[str]:
    """Return the names of the selected sweeps; a file with mistakes is reported when it is collected."""
    found = []
    for path in selection.paths:
        with suppress(UserError):
            found += [each.scenario.point.sweep for each in selection.load(path) if each.scenario.point]
    return found


def is_asked_for(config: pytest.Config) -> bool:
    """Return whether any scenario is selected.

    Raises:
        UsageError: ``--dsr1-profile`` is empty, or an argument is a folder with the name of a scenario file.
    """
    given: list[str] | None = config.getoption("--dsr1-profile")
    if given is not None and not _profiles(config).strip(", "):
        raise pytest.UsageError("--dsr1-profile is empty; `pytest --dsr1-list` lists the profiles")
    try:
        return bool(given or config.getoption("--dsr1-replay") or named_files(config))
    except Dsr1Error as error:
        raise pytest.UsageError(harmless(str(error))) from None


def select(config: pytest.Config) -> Selection:
    """Return the scenarios of this run, validated, and give their files to pytest.

    Raises:
        UsageError: a selected scenario does not exist, or has mistakes.
    """
    try:
        arguments = named_files(config)
        selection = _select(config, arguments)
    except Dsr1Error as error:
        raise pytest.UsageError(harmless(str(error))) from None
    named = [str(path) for path in selection.paths if path not in arguments]
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        config.args.extend(named)
    elif named:
        config.args[:] = named
    return selection


def _profiles(config: pytest.Config) -> str:
    return ",".join(config.getoption("--dsr1-profile") or ())


def _select(config: pytest.Config, arguments: list[Path]) -> Selection:
    known, profiles = catalogue(config), _profiles(config)
    chosen = known.select(profiles) if profiles else []
    prefixes: dict[Path, str] = {}
    named, folder = config.getoption("--dsr1-replay"), config.invocation_params.dir
    replay = replayed(named, results(config), folder) if named else None
    if replay is not None and not profiles:
        prefixes = replay.files()
        chosen = list(prefixes)
    points = known.points(profiles)
    selection = Selection(chosen, arguments, known, changes(config), config.rootpath, prefixes, points)
    selection.replay = replay
    for path in chosen:
        selection.load(path)
    selection.sides = selection.other_sides(config.getoption("--dsr1-against"), folder)
    return selection


def _shown(selection: Selection, *, as_it_is: bool = False) -> tuple[list[LoadedScenario], list[str]]:
    """Return the scenarios to show, and the mistakes of the others.

    Args:
        selection: of what is shown.
        as_it_is: whether a scenario that ``--dsr1-sweep`` does not fit is shown without it.
    """
    loaded, problems = [], []
    for path in selection.paths:
        try:
            loaded += selection.load(path)
        except UserError as error:  # the others are still shown
            try:
                if not as_it_is:
                    raise
                loaded += selection.load_unswept(path)
            except UserError:
                problems.append(str(error))
    return loaded, problems


def to_show(config: pytest.Config) -> tuple[list[LoadedScenario], Catalogue, list[str], Sides]:
    """Return the scenarios to list or plan, all profiles, the mistakes of other scenarios, and new sides.

    Raises:
        UserError: a selected scenario does not exist.
    """
    known = catalogue(config)
    names = _profiles(config)
    chosen = known.select(names) if names else []
    paths = chosen or named_files(config) or known.select("*")
    selection = Selection(paths, (), known, changes(config), config.rootpath, {}, known.points(names))
    loaded, problems = _shown(selection)
    if problems and loaded and selection.swept and not (chosen or named_files(config)):
        # Scenarios that cannot be swept so, such as sweeps, were not chosen: they are shown as they are.
        loaded, problems = _shown(selection, as_it_is=True)
    sides: Sides = {}
    if not problems:
        sides = selection.other_sides(config.getoption("--dsr1-against"), config.invocation_params.dir)
    return loaded, known, problems, sides
