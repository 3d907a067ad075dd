"""A scenario YAML becomes tests: one for the machine, one for each target, one for its gate or reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.profiles import Catalogue

SUFFIXES = (".yaml", ".yml")


class Selection:
    """The scenarios of this run: those of the chosen profiles, and the files named as arguments.

    Attributes:
        paths: the scenario files to collect, in order.
    """

    def __init__(
        self,
        profiles: Sequence[Path],
        arguments: Sequence[Path],
        catalogue: Catalogue,
        overrides: Sequence[str],
        rootdir: Path,
        places: dict[Path, str],
    ) -> None:
        self.paths = tuple(dict.fromkeys((*profiles, *arguments)))
        self._catalogue = catalogue
        self._overrides = overrides
        self._rootdir = rootdir
        self._places = places
        self._loaded: dict[Path, LoadedScenario] = {}

    def load(self, path: Path) -> LoadedScenario:
        """The scenario of a file, validated once.

        Raises:
            UserError: all mistakes in the file.
        """
        if path not in self._loaded:
            from pytest_dsr1.scenario.loading import load

            loaded = load(path, overrides=self._overrides, catalogue=self._catalogue)
            for other in self._loaded.values():
                if other.scenario.name == loaded.scenario.name:
                    raise UserError(
                        f"{path}: is named {loaded.scenario.name}, and so is {other.path}; a run takes each "
                        "name once, since results are kept by it: rename one, or run them one after the other"
                    )
            self._loaded[path] = loaded
        return self._loaded[path]

    def all(self) -> list[LoadedScenario]:
        """Every scenario, in order."""
        return [self.load(path) for path in self.paths]

    def usable(self) -> list[LoadedScenario]:
        """Those of them that have no mistakes, once they were collected."""
        return list(self._loaded.values())

    def test_id_prefix(self, path: Path) -> str:
        """The path of a scenario file in test ids.

        ``suites/...`` for a shipped one wherever it is installed, else relative to rootdir; a file outside of
        both keeps its whole path.
        """
        from pytest_dsr1.scenario.profiles import shipped_suites

        if path in self._places:
            return self._places[path]
        for folder, prefix in ((shipped_suites(), "suites/"), (self._rootdir, "")):
            if path.is_relative_to(folder):
                return prefix + path.relative_to(folder).as_posix()
        return path.as_posix()


SELECTION = pytest.StashKey[Selection]()


def named_files(config: pytest.Config) -> list[Path]:
    """The YAML files given as arguments, as pytest itself will name them; a folder that is walked names none.

    Raises:
        UserError: a folder stands where a scenario file was named.
    """
    names = [argument.split("::")[0] for argument in config.args]
    paths = [Path(os.path.abspath(config.invocation_params.dir / n)) for n in names if n.endswith(SUFFIXES)]  # noqa: PTH100 - not through links
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; expected a scenario file")
    return [path for path in paths if path.is_file()]


class ScenarioFile(pytest.Module):
    """The tests of one scenario.

    A module whose functions are made from the YAML, so that everything pytest does with test functions
    (fixtures and their overriding, -k, markers, --setup-show, other plugins) works for scenarios as well.
    """

    obj: ModuleType

    def _getobj(self) -> ModuleType:
        selection = self.config.stash[SELECTION]
        try:
            loaded = selection.load(self.path)
        except Dsr1Error as error:
            raise self.CollectError(str(error)) from None
        module = ModuleType("")
        module.__file__ = str(self.path)
        module.pytestmark = [pytest.mark.dsr1]  # type: ignore[attr-defined]
        bodies = [("environment", _environment, "hardware"), ("target", _target, "targets")]
        bodies += [
            (name, body, "gate") for name, (option, body) in GATES.items() if self.config.getoption(option)
        ]
        for name, body, key in bodies:
            setattr(module, name, _located(body, name, loaded.where(key)))
        return module

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The tests; each target's is located at its own line of the YAML."""
        loaded = self.config.stash[SELECTION].load(self.path) if self.obj else None
        for item in super().collect():
            if loaded and isinstance(item, pytest.Function) and item.originalname == "target":
                key = f"targets.{item.callspec.params['_dsr1_target']}"
                item.obj = _located(_target, "target", loaded.where(key))
            yield item

    def funcnamefilter(self, name: str) -> bool:  # noqa: ARG002 - pytest's signature
        """Every function made from the scenario is a test, whatever ``python_functions`` says."""
        return True


def scenario_file(parent: pytest.Collector, path: Path) -> ScenarioFile:
    """The collector of a selected scenario file, with its stable place in test ids."""
    place = parent.config.stash[SELECTION].test_id_prefix(path)
    collector: ScenarioFile = ScenarioFile.from_parent(parent, path=path, nodeid=place, name=place)
    return collector


def _environment(dsr1_preflight: object) -> None:
    """The machine is what the scenario says; the fixture raises otherwise."""


def _target(_dsr1_verdict: Any) -> None:
    """The target is met."""
    if _dsr1_verdict.word != "PASS":
        pytest.fail(harmless(_dsr1_verdict.message), pytrace=False)


def _regression(_dsr1_gated: str, _dsr1_regression: Any) -> None:
    """No loss of delta against the accepted references."""
    if _dsr1_regression.word != "PASS":
        pytest.fail(harmless(_dsr1_regression.message), pytrace=False)


def _reference(_dsr1_gated: str, _dsr1_recorded: Path) -> None:
    """The run is kept as one that may become a reference."""


GATES: dict[str, tuple[str, Callable[..., None]]] = {
    "regression": ("--dsr1-gate", _regression),
    "reference": ("--dsr1-reference", _reference),
}
"""Tests that exist only with an option, which stands first."""


def _located(body: Callable[..., None], name: str, where: str) -> FunctionType:
    """The body under the test's name, located at ``file:line``: pytest and JUnit point there."""
    file, _, line = where.rpartition(":")
    code: CodeType = body.__code__.replace(co_filename=file, co_firstlineno=int(line), co_name=name)
    test = FunctionType(code, body.__globals__, name)
    test.__annotations__ = body.__annotations__
    test.__doc__ = body.__doc__
    test.__module__ = ""  # that of the module made for the file, see ScenarioFile
    return test


def measured(item: pytest.Item) -> bool:
    """Whether a test judges a whole run."""
    return "dsr1_measurement" in getattr(item, "fixturenames", ())


def gates(item: pytest.Item) -> bool:
    """Whether a test is the gate of a scenario, or the recording of a reference."""
    return item.getparent(ScenarioFile) is not None and getattr(item, "originalname", None) in GATES


def loaded_of(item: pytest.Item) -> LoadedScenario | None:
    """The scenario that a test is of."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("dsr1_scenario") if callspec else None
