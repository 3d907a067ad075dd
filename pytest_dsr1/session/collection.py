"""Collection of a scenario file: tests for the machine, each target, answers, and its gate or reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.schema.scenario import Scenario


class _Tests(ModuleType):
    """The module made from a scenario."""

    pytestmark: ClassVar = [pytest.mark.dsr1]


class ScenarioFile(pytest.Module):
    """The tests of one scenario.

    A module whose functions are made from the YAML. So everything that pytest does with test functions
    (fixtures and their overriding, -k, markers, --setup-show, other plugins) works for scenarios too.
    """

    obj: ModuleType

    def _getobj(self) -> ModuleType:
        selection = self.config.stash[SELECTION]
        try:
            loaded = selection.load(self.path)
        except Dsr1Error as error:
            raise self.CollectError(str(error)) from None
        module = _Tests("")
        module.__file__ = str(self.path)
        judged = ("target", _target) if loaded.scenario.targets else (MEASURED, _measured)
        bodies = [("environment", _environment, "hardware"), (*judged, "targets")]
        if loaded.scenario.accuracy is not None:
            bodies.append((ACCURACY, _accuracy, "accuracy"))
        bodies += [
            (name, body, "gate") for name, (option, body) in GATES.items() if self.config.getoption(option)
        ]
        for name, body, key in bodies:
            setattr(module, name, _located(body, name, loaded.where(key)))
        return module

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Yield the tests; that of a target or of answers is located at its own line of the YAML."""
        loaded = self.config.stash[SELECTION].load(self.path) if self.obj else None
        for item in super().collect():
            if loaded and isinstance(item, pytest.Function) and item.originalname == "target":
                key = f"targets.{item.callspec.params['_dsr1_target']}"
                item.obj = _located(_target, "target", loaded.where(key))
            if loaded and isinstance(item, pytest.Function) and item.originalname == ACCURACY:
                key = accuracy_keys(loaded.scenario)[str(item.callspec.params["_dsr1_accuracy"])]
                item.obj = _located(_accuracy, ACCURACY, loaded.where(key))
            yield item

    def funcnamefilter(self, name: str) -> bool:  # noqa: ARG002 - pytest's signature
        """Accept every function made from the scenario as a test, whatever ``python_functions`` says."""
        return True


def scenario_file(parent: pytest.Collector, path: Path) -> ScenarioFile:
    """Return the collector of a selected scenario file, with its stable path in test ids."""
    prefix = parent.config.stash[SELECTION].test_id_prefix(path)
    collector: ScenarioFile = ScenarioFile.from_parent(parent, path=path, nodeid=prefix, name=prefix)
    return collector


def _environment(dsr1_preflight: object) -> None:
    """Pass if the machine fits the scenario; else the fixture raises."""


def _target(_dsr1_verdict: Any) -> None:
    """Pass if the target is met."""
    if _dsr1_verdict.status != "PASS":
        pytest.fail(harmless(_dsr1_verdict.message), pytrace=False)


def _accuracy(_dsr1_accuracy_verdict: Any) -> None:
    """Pass if the answers are right, or recorded."""
    if _dsr1_accuracy_verdict.status == "FAIL":
        pytest.fail(harmless(_dsr1_accuracy_verdict.message), pytrace=False)


def _measured(_dsr1_measured: None) -> None:
    """Pass if a scenario without targets has a valid run: it is measured, and there is nothing to judge."""


def _regression(_dsr1_gated: str | None, _dsr1_regression: Any) -> None:
    """Pass if a loss of delta against the accepted references is ruled out."""
    if _dsr1_regression.status != "PASS":
        pytest.fail(harmless(_dsr1_regression.message), pytrace=False)


def _reference(_dsr1_gated: str | None, _dsr1_recorded: Path) -> None:
    """Pass if the run is recorded, so that it may become a reference."""


MEASURED = "measured"
"""The test of a scenario without targets."""

ACCURACY = "accuracy"
"""The test of a scenario's answers."""

GATES: dict[str, tuple[str, Callable[..., None]]] = {
    "regression": ("--dsr1-gate", _regression),
    "reference": ("--dsr1-reference", _reference),
}
"""Tests that exist only with an option: the option, then the test."""


def accuracy_keys(scenario: Scenario) -> dict[str, str]:
    """Return the scenario's key of each accuracy test, by the test's name."""
    if scenario.accuracy is None:
        return {}
    tasks = {task.test_name: f"accuracy.tasks.{i}" for i, task in enumerate(scenario.accuracy.tasks)}
    return {name: tasks.get(name, f"accuracy.{name}") for name in scenario.accuracy.test_names}


def _located(body: Callable[..., None], name: str, where: str) -> FunctionType:
    """Return the body under the test's name, located at ``file:line``: pytest and JUnit point there."""
    file, _, line = where.rpartition(":")
    code: CodeType = body.__code__.replace(co_filename=file, co_firstlineno=int(line), co_name=name)
    test = FunctionType(code, body.__globals__, name)
    test.__annotations__ = body.__annotations__
    test.__doc__ = body.__doc__
    test.__module__ = ""  # the name of the module made for the file, see ScenarioFile
    return test


def measured(item: pytest.Item) -> bool:
    """Return whether a test judges a whole run."""
    return "dsr1_measurement" in getattr(item, "fixturenames", ())


def made(item: pytest.Item) -> bool:
    """Return whether a test is made from a scenario file; a user's own test of a scenario is not."""
    return item.getparent(ScenarioFile) is not None


def judges(item: pytest.Item) -> bool:
    """Return whether a test judges a target, answers, a gate or a recording, or is all of these there is."""
    return made(item) and getattr(item, "originalname", None) in {"target", MEASURED, ACCURACY, *GATES}


def of_answers(item: pytest.Item) -> bool:
    """Return whether a test judges a scenario's answers."""
    return made(item) and getattr(item, "originalname", None) == ACCURACY


def gates(item: pytest.Item) -> bool:
    """Return whether a test is a scenario's gate or the recording of a reference."""
    return made(item) and getattr(item, "originalname", None) in GATES


def loaded_of(item: pytest.Item) -> LoadedScenario | None:
    """Return the scenario of a test; None for a test without one."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("dsr1_scenario") if callspec else None


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a scenario file's test its own scenario, and a Python test every selected scenario."""
    if "dsr1_scenario" not in metafunc.fixturenames:
        return
    selection = metafunc.config.stash.get(SELECTION, None)
    if selection is None:
        metafunc.parametrize("dsr1_scenario", [], indirect=True, scope="session")
        return
    file = metafunc.definition.getparent(ScenarioFile)
    loaded = [selection.load(file.path)] if file else selection.all()
    ids = [pytest.HIDDEN_PARAM] if file else [each.scenario.name for each in loaded]
    metafunc.parametrize("dsr1_scenario", loaded, ids=ids, indirect=True, scope="session")
    if file and metafunc.function.__name__ in GATES:
        gated = loaded[0].scenario.gated_metric
        metafunc.parametrize("_dsr1_gated", [gated], ids=[gated or pytest.HIDDEN_PARAM], indirect=True)
    if file and "_dsr1_accuracy" in metafunc.fixturenames:
        names = list(accuracy_keys(loaded[0].scenario))
        metafunc.parametrize("_dsr1_accuracy", names, ids=names, indirect=True)
    if file and "_dsr1_target" in metafunc.fixturenames:
        metrics = [target.metric for target in loaded[0].scenario.targets]
        metafunc.parametrize("_dsr1_target", range(len(metrics)), ids=metrics, indirect=True)
