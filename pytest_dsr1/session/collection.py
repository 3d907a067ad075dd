"""Collection of a scenario file: tests for the machine, each target, answers, and its gate or reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from _pytest.outcomes import Failed as _PytestFailed

    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.selection import Selection
    from pytest_dsr1.verdict.verdict import Verdict
else:
    _PytestFailed = pytest.fail.Exception


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
            points = selection.load(self.path)
        except Dsr1Error as error:
            raise self.CollectError(str(error)) from None
        module = _Tests("")
        module.__file__ = str(self.path)
        scenarios = [each.scenario for each in points]
        bodies: list[tuple[str, Callable[..., None], str]] = [("environment", _environment, "hardware")]
        if any(each.targets for each in scenarios):
            bodies.append((TARGET, _target, "targets"))
        searched = searches(selection, scenarios[0])
        if not all(each.targets for each in scenarios) and not searched:
            bodies.append((MEASURED, _measured, "targets"))
        if scenarios[0].accuracy is not None:
            bodies.append((ACCURACY, _accuracy, "accuracy"))
        if searched:
            bodies.append((SEARCH, _search, "search"))
        bodies += [
            (name, body, "gate")
            for name, (option, body) in GATES.items()
            if self.config.getoption(option) or (name == PAIR and any(map(self._in_pairs, scenarios)))
        ]
        if selection.curve(self.path) is not None:
            bodies.append((FRONTIER, _frontier, "frontier"))
        for name, body, key in bodies:
            setattr(module, name, _located(body, name, points[0].where(key)))
        return module

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Yield the tests; that of a target, a curve or answers is located at its own line of the YAML."""
        for item in super().collect():
            loaded = loaded_of(item) if isinstance(item, pytest.Function) else None
            if loaded is None or not isinstance(item, pytest.Function):
                yield item
                continue
            name, params = str(item.originalname), item.callspec.params
            if not _is_of(loaded.scenario, name, params):
                continue
            replayed = self.config.stash[SELECTION].replay is not None
            if name == PAIR and replayed and not self._in_pairs(loaded.scenario):
                continue
            if name in _KEYS:
                body, key = _KEYS[name]
                item.obj = _located(body, name, loaded.where(key(loaded.scenario, params)))
            yield item

    def _in_pairs(self, scenario: Scenario) -> bool:
        """Return whether a replay has pairs of a scenario."""
        replay = self.config.stash[SELECTION].replay
        return replay is not None and scenario.name in replay.pairs

    def funcnamefilter(self, name: str) -> bool:  # noqa: ARG002 - pytest's signature
        """Accept every function made from the scenario as a test, whatever ``python_functions`` says."""
        return True


def scenario_file(parent: pytest.Collector, path: Path) -> ScenarioFile:
    """Return the collector of a selected scenario file, with its stable path in test ids."""
    prefix = parent.config.stash[SELECTION].test_id_prefix(path)
    collector: ScenarioFile = ScenarioFile.from_parent(parent, path=path, nodeid=prefix, name=prefix)
    return collector


class Missed(_PytestFailed):
    """The failure of a test whose verdict is bad.

    Attributes:
        figures: the miss in short; empty if the figures are not the reason.
    """

    __module__ = "builtins"  # as pytest's own, else pytest shows the name with its module
    __qualname__ = __name__ = "Failed"

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(harmless(verdict.message), pytrace=False)
        self.figures = verdict.figures


def _environment(dsr1_preflight: object) -> None:
    """Pass if the machine fits the scenario; else the fixture raises."""


def _target(_dsr1_verdict: Any) -> None:
    """Pass if the target is met."""
    if _dsr1_verdict.status != "PASS":
        raise Missed(_dsr1_verdict)


def _accuracy(_dsr1_accuracy_verdict: Any) -> None:
    """Pass if the answers are right, or recorded."""
    if _dsr1_accuracy_verdict.status == "FAIL":
        pytest.fail(harmless(_dsr1_accuracy_verdict.message), pytrace=False)


def _frontier(_dsr1_frontier_verdict: Any) -> None:
    """Pass if the curve of a sweep reaches its figure."""
    if _dsr1_frontier_verdict.status != "PASS":
        raise Missed(_dsr1_frontier_verdict)


def _search(_dsr1_search_verdict: Any) -> None:
    """Pass if what the search found is as high as the target, or if there is no target."""
    if _dsr1_search_verdict is not None and _dsr1_search_verdict.status != "PASS":
        raise Missed(_dsr1_search_verdict)


def _measured(_dsr1_measured: None) -> None:
    """Pass if a scenario without targets has a valid run: it is measured, and there is nothing to judge."""


def _regression(_dsr1_gated: str | None, _dsr1_regression: Any) -> None:
    """Pass if a loss of delta against the accepted references is ruled out."""
    if _dsr1_regression.status != "PASS":
        raise Missed(_dsr1_regression)


def _reference(_dsr1_gated: str | None, _dsr1_recorded: Path) -> None:
    """Pass if the run is recorded, so that it may become a reference."""


def _pair(_dsr1_gated: str | None, _dsr1_pair_verdict: Any) -> None:
    """Pass if the new side is not slower than the old one."""
    if _dsr1_pair_verdict.status != "PASS":
        raise Missed(_dsr1_pair_verdict)


MEASURED = "measured"
"""The test of a scenario without targets."""

ACCURACY = "accuracy"
"""The test of a scenario's answers."""

PAIR = "pair"
"""The test of a comparison in pairs."""

GATES: dict[str, tuple[str, Callable[..., None]]] = {
    "regression": ("--dsr1-gate", _regression),
    "reference": ("--dsr1-reference", _reference),
    PAIR: ("--dsr1-against", _pair),
}
"""Tests that exist only with an option: the option, then the test. Saved pairs are judged in a replay too."""


FRONTIER = "frontier"
"""The test of a sweep's curve."""

SEARCH = "search"
"""The test of a search for the highest load."""

TARGET = "target"
"""The test of a target."""


def frontier_names(scenario: Scenario) -> list[str]:
    """Return the name of each test of a sweep's curve, such as ``per_gpu_output_throughput-at-50``.

    Two that would be equal end with the metric across the curve.
    """
    names = [f"{each.metric}-at-{each.at:.15g}" for each in scenario.frontier]
    return [
        name if names.count(name) == 1 else f"{name}-{each.of}"
        for name, each in zip(names, scenario.frontier, strict=True)
    ]


def searches(selection: Selection, scenario: Scenario) -> bool:
    """Return whether a scenario is searched: a replay needs a saved search, and makes no new probes."""
    replay = selection.replay
    return scenario.search is not None and (replay is None or scenario.name in replay.searches)


def target_index(scenario: Scenario, metric: str) -> int:
    """Return the index of the target on this metric."""
    return [target.metric for target in scenario.targets].index(metric)


def _is_of(scenario: Scenario, name: str, params: Mapping[str, Any]) -> bool:
    """Return whether a point has this test: points of a sweep may have other targets."""
    if name == TARGET:
        return any(target.metric == params["_dsr1_target"] for target in scenario.targets)
    if name in GATES:
        return bool(scenario.gated_metric == params["_dsr1_gated"])
    return name != MEASURED or not scenario.targets


_Key = Callable[["Scenario", Mapping[str, Any]], str]
_KEYS: Mapping[str, tuple[Callable[..., None], _Key]] = {
    TARGET: (
        _target,
        lambda scenario, params: f"targets.{target_index(scenario, params['_dsr1_target'])}",
    ),
    ACCURACY: (_accuracy, lambda scenario, params: accuracy_keys(scenario)[params["_dsr1_accuracy"]]),
    FRONTIER: (_frontier, lambda _, params: f"frontier.{params['_dsr1_frontier']}"),
}
"""By test, its body and the key of the YAML that it judges."""


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
    """Return whether a test judges a target, a curve, answers, a gate and the like, or is all there is."""
    names = {TARGET, MEASURED, ACCURACY, FRONTIER, SEARCH, *GATES}
    return made(item) and getattr(item, "originalname", None) in names


def of_answers(item: pytest.Item) -> bool:
    """Return whether a test judges a scenario's answers."""
    return made(item) and getattr(item, "originalname", None) == ACCURACY


def gates(item: pytest.Item) -> bool:
    """Return whether a test is a scenario's gate, the recording of a reference, or a comparison."""
    return made(item) and getattr(item, "originalname", None) in GATES


def of_search(item: pytest.Item) -> bool:
    """Return whether a test searches the highest load."""
    return made(item) and getattr(item, "originalname", None) == SEARCH


def of_curve(item: pytest.Item) -> bool:
    """Return whether a test judges the curve of a sweep."""
    return made(item) and getattr(item, "originalname", None) == FRONTIER


def name_of(item: pytest.Item) -> str:
    """Return a test's name without its point of a sweep, which the name of its scenario has already."""
    loaded = loaded_of(item)
    point = loaded.scenario.point if loaded else None
    if point is None or not made(item):
        return item.name
    name, _, rest = item.name.partition(f"[{point.label}")
    return f"{name}[{rest[1:]}" if rest.startswith("-") else name


def loaded_of(item: pytest.Item) -> LoadedScenario | None:
    """Return the scenario of a test; None for a test without one."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("dsr1_scenario") if callspec else None


def together(items: Iterable[pytest.Item]) -> None:
    """Let pytest put the tests of a scenario next to each other, and not those of several files' points.

    It knows the parameter of a session by its number, which starts anew in every file.
    """
    numbers: dict[str, int] = {}
    for item in items:
        callspec, loaded = getattr(item, "callspec", None), loaded_of(item)
        if callspec is not None and loaded is not None:
            number = numbers.setdefault(loaded.scenario.name, len(numbers))
            callspec.indices["dsr1_scenario"] = number


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a scenario file's test its own scenario, and a Python test every selected scenario."""
    if "dsr1_scenario" not in metafunc.fixturenames:
        return
    selection = metafunc.config.stash.get(SELECTION, None)
    if selection is None:
        metafunc.parametrize("dsr1_scenario", [], indirect=True, scope="session")
        return
    file = metafunc.definition.getparent(ScenarioFile)
    if file is None:
        loaded = selection.all()
        ids = [each.scenario.name for each in loaded]
        metafunc.parametrize("dsr1_scenario", loaded, ids=ids, indirect=True, scope="session")
        return
    curve = selection.curve(file.path) if metafunc.function.__name__ == FRONTIER else None
    loaded = selection.load(file.path) if curve is None else [curve]
    scenarios = [each.scenario for each in loaded]
    labels = [each.point.label if each.point else pytest.HIDDEN_PARAM for each in scenarios]
    metafunc.parametrize("dsr1_scenario", loaded, ids=labels, indirect=True, scope="session")
    if curve is not None:
        names = frontier_names(curve.scenario)
        metafunc.parametrize("_dsr1_frontier", range(len(names)), ids=names, indirect=True)
    if metafunc.function.__name__ in GATES:
        gated = list(dict.fromkeys(each.gated_metric for each in scenarios))
        names_of = [each or pytest.HIDDEN_PARAM for each in gated]
        metafunc.parametrize("_dsr1_gated", gated, ids=names_of, indirect=True)
    if metafunc.function.__name__ == SEARCH and scenarios[0].search is not None:
        metrics = list(scenarios[0].search.targets)
        metafunc.parametrize("_dsr1_search", metrics, ids=metrics, indirect=True)
    if "_dsr1_accuracy" in metafunc.fixturenames:
        names = list(accuracy_keys(scenarios[0]))
        metafunc.parametrize("_dsr1_accuracy", names, ids=names, indirect=True)
    if "_dsr1_target" in metafunc.fixturenames:
        metrics = list(dict.fromkeys(target.metric for each in scenarios for target in each.targets))
        metafunc.parametrize("_dsr1_target", metrics, ids=metrics, indirect=True)
