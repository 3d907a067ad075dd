"""The scenarios of a pytest run: of profiles, of files given as arguments, or of a saved result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.scenario import SUFFIXES
from pytest_dsr1.text import harmless, shown_path

if TYPE_CHECKING:
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.profiles import Catalogue


class Selection:
    """The scenarios of this run: those of the chosen profiles, and the files named as arguments.

    Attributes:
        paths: the scenario files to collect, in order.
        replay: the saved results to judge again, by profile.
    """

    def __init__(
        self,
        profiles: Sequence[Path],
        arguments: Sequence[Path],
        catalogue: Catalogue,
        overrides: Sequence[str],
        rootdir: Path,
        prefixes: dict[Path, str],
    ) -> None:
        self.paths = tuple(dict.fromkeys((*profiles, *arguments)))
        self.replay: dict[str, Measurement] = {}
        self._catalogue = catalogue
        self._overrides = overrides
        self._rootdir = rootdir
        self._prefixes = prefixes
        self._loaded: dict[Path, LoadedScenario] = {}

    def load(self, path: Path) -> LoadedScenario:
        """Return the scenario of a file, validated once.

        Raises:
            UserError: all mistakes in the file.
        """
        if path not in self._loaded:
            from pytest_dsr1.scenario.loading import load

            saved = path in self._prefixes
            loaded = load(path, overrides=self._overrides, catalogue=self._catalogue, saved=saved)
            for other in self._loaded.values():
                if other.scenario.name == loaded.scenario.name:
                    raise UserError(
                        f"{path}: has the same name as {other.path}, {loaded.scenario.name}; results are "
                        "saved by name, so names must be unique within a run: rename one scenario, or run "
                        "them separately"
                    )
            self._loaded[path] = loaded
        return self._loaded[path]

    def all(self) -> list[LoadedScenario]:
        """Return every scenario, in order."""
        return [self.load(path) for path in self.paths]

    def usable(self) -> list[LoadedScenario]:
        """Return the collected scenarios that have no mistakes."""
        return list(self._loaded.values())

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


def results(config: pytest.Config) -> Path:
    """Return the folder of results."""
    return config.invocation_params.dir / str(config.getoption("--dsr1-results"))


def _replayed(config: pytest.Config) -> dict[str, Measurement]:
    """Return the saved results to judge again, by profile; each is loaded once.

    Raises:
        UserError: a name means no saved result, or two results have the same profile.
    """
    from pytest_dsr1.measurement.store import find, load

    found: dict[Path, Measurement] = {}
    for name in config.getoption("--dsr1-replay"):
        for each in find(name, results(config), config.invocation_params.dir):
            folder = Path(os.path.abspath(each))  # noqa: PTH100 - not through links
            if folder not in found:
                found[folder] = load(folder)
    replayed: dict[str, Measurement] = {}
    for saved in found.values():
        profile = saved.scenario.name
        known = replayed.setdefault(profile, saved)
        if known is not saved:
            both = f"{shown_path(known.folder)} and {shown_path(saved.folder)}"
            raise UserError(
                f"--dsr1-replay: {both} are both results of {profile}; a run judges one result of a "
                "profile: give one of them, or the profile's name for its newest result"
            )
    return replayed


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
    replay = _replayed(config) if config.getoption("--dsr1-replay") else {}
    if replay and not profiles:
        prefixes = {saved.folder / "scenario.yaml": saved.test_id_prefix for saved in replay.values()}
        chosen = list(prefixes)
    selection = Selection(chosen, arguments, known, config.getoption("--dsr1-set"), config.rootpath, prefixes)
    selection.replay = replay
    for path in chosen:
        selection.load(path)
    return selection


def to_show(config: pytest.Config) -> tuple[list[LoadedScenario], Catalogue, list[str]]:
    """Return the scenarios to list or plan, all profiles, and the mistakes of other scenarios.

    Raises:
        UserError: a selected scenario does not exist.
    """
    known = catalogue(config)
    names = _profiles(config)
    chosen = known.select(names) if names else []
    paths = chosen or named_files(config) or known.select("*")
    selection = Selection(paths, (), known, config.getoption("--dsr1-set"), config.rootpath, {})
    loaded, problems = [], []
    for path in selection.paths:
        try:
            loaded.append(selection.load(path))
        except Dsr1Error as error:  # the others are still shown
            problems.append(str(error))
    return loaded, known, problems
