"""The hooks. Imports nothing heavy: every pytest run on the machine pays for this file."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.session import options
from pytest_dsr1.session.collection import (
    GATES,
    SELECTION,
    ScenarioFile,
    Selection,
    gates,
    loaded_of,
    measured,
    named_files,
    scenario_file,
)
from pytest_dsr1.session.fixtures import (
    BENCHMARK_FIXTURE,
    _dsr1_benchmark,
    _dsr1_shared,
    _dsr1_target,
    _dsr1_verdict,
    dsr1_dataset,
    dsr1_engine,
    dsr1_gpu,
    dsr1_measurement,
    dsr1_model,
    dsr1_preflight,
    dsr1_scenario,
)
from pytest_dsr1.session.gate_fixtures import (
    _dsr1_gate_plan,
    _dsr1_gate_told,
    _dsr1_gated,
    _dsr1_recorded,
    _dsr1_regression,
    _dsr1_starts,
    _dsr1_store,
    refuse_skip,
)
from pytest_dsr1.session.state import STATE, RunState, ScenarioOutcome
from pytest_dsr1.text import harmless, say

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.profiles import Catalogue

__all__ = [
    "_dsr1_benchmark",
    "_dsr1_gate_plan",
    "_dsr1_gate_told",
    "_dsr1_gated",
    "_dsr1_recorded",
    "_dsr1_regression",
    "_dsr1_shared",
    "_dsr1_starts",
    "_dsr1_store",
    "_dsr1_target",
    "_dsr1_verdict",
    "dsr1_dataset",
    "dsr1_engine",
    "dsr1_gpu",
    "dsr1_measurement",
    "dsr1_model",
    "dsr1_preflight",
    "dsr1_scenario",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; every name begins with ``--dsr1-``."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Select the scenarios. With none selected nothing more of the plugin is loaded."""
    config.addinivalue_line("markers", "dsr1: a test made from a scenario file")
    saved = config.getoption("--dsr1-replay")
    # Without "..", as pytest writes the paths that it collects; links are not followed.
    replay = Path(os.path.abspath(config.invocation_params.dir / saved)) if saved else None  # noqa: PTH100
    given: list[str] | None = config.getoption("--dsr1-profile")
    profiles = ",".join(given or ())
    if given is not None and not profiles.strip(", "):
        raise pytest.UsageError("--dsr1-profile names no scenario; `pytest --dsr1-list` shows what there is")
    try:
        arguments = named_files(config)
    except Dsr1Error as error:
        raise pytest.UsageError(harmless(str(error))) from None
    if not (profiles or replay or arguments):
        options.refuse_without_selection(config)
        return
    options.refuse_xdist(config)
    mode = options.mode(config)
    selection = _select(config, profiles, arguments, replay)
    from pytest_dsr1.reporting.html import render
    from pytest_dsr1.reporting.terminal import progress

    reports = options.reports(config, render.missing)

    config.stash[SELECTION] = selection
    config.stash[STATE] = RunState(
        watch=partial(progress.progress, config),
        count=partial(progress.counter, config),
        tell=lambda text: progress.tell(config, f"dsr1: {text}"),
        results=config.invocation_params.dir / config.getoption("--dsr1-results"),
        replay=replay,
        gpu_setup=config.getoption("--dsr1-gpu-setup"),
        allow_mismatch=config.getoption("--dsr1-allow-mismatch"),
        store=config.rootpath / options.STORE,
        mode=mode,
        reports=reports,
    )
    named = [str(path) for path in selection.paths if path not in arguments]
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        config.args.extend(named)
    elif named:
        config.args[:] = named


def _catalogue(config: pytest.Config) -> Catalogue:
    from pytest_dsr1.scenario.profiles import discover

    folders = [config.invocation_params.dir / folder for folder in config.getoption("--dsr1-suites")]
    return discover([*folders, *config.getini("dsr1_suites")])


def _select(config: pytest.Config, profiles: str, arguments: list[Path], replay: Path | None) -> Selection:
    try:
        catalogue = _catalogue(config)
        chosen = catalogue.select(profiles) if profiles else []
        places: dict[Path, str] = {}
        if replay:
            from pytest_dsr1.measurement.store import load

            saved = load(replay)
            if not profiles:
                chosen = [saved.folder / "scenario.yaml"]
                places = {chosen[0]: saved.test_id_prefix}
        selection = Selection(
            chosen, arguments, catalogue, config.getoption("--dsr1-set"), config.rootpath, places
        )
        for path in chosen:
            selection.load(path)
    except Dsr1Error as error:
        raise pytest.UsageError(harmless(str(error))) from None
    return selection


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """``--dsr1-list`` and ``--dsr1-plan`` print and end; nothing is collected."""
    if not (config.getoption("--dsr1-list") or config.getoption("--dsr1-plan")):
        return None
    problems: list[str] = []
    try:
        catalogue = _catalogue(config)
        names = ",".join(config.getoption("--dsr1-profile") or ())
        chosen = catalogue.select(names) if names else []
        paths = chosen or named_files(config) or catalogue.select("*")
        selection = Selection(paths, (), catalogue, config.getoption("--dsr1-set"), config.rootpath, {})
        loaded = []
        for path in selection.paths:
            try:
                loaded.append(selection.load(path))
            except Dsr1Error as error:  # the others are shown all the same
                problems.append(str(error))
        for line in _printed(config, loaded, catalogue):
            say(line)
    except Dsr1Error as error:
        problems.append(str(error))
    if problems:
        raise pytest.UsageError(harmless("\n".join(problems)))
    return 0


def _printed(config: pytest.Config, loaded: list[LoadedScenario], catalogue: Catalogue) -> Iterable[str]:
    if config.getoption("--dsr1-list"):
        from pytest_dsr1.reporting.terminal.plan import listing

        return listing(loaded)
    from pytest_dsr1.reporting.terminal.plan import Asked, plan

    asked = Asked(
        gpu_setup=config.getoption("--dsr1-gpu-setup"),
        overrides=tuple(config.getoption("--dsr1-set")),
        suites=tuple(config.getoption("--dsr1-suites")),
        profiles=frozenset(catalogue.names),
        store=config.rootpath / options.STORE if config.getoption("--dsr1-gate") else None,
    )
    return plan(loaded, asked)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """A selected scenario file is a test file; any other YAML is left alone."""
    selection = parent.config.stash.get(SELECTION, None)
    if selection is None or file_path not in selection.paths:
        return None
    return scenario_file(parent, file_path)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """With --collect-only: what must be set before the collected scenarios run."""
    selection = config.stash.get(SELECTION, None)
    if selection is None or not config.option.collectonly:
        return []
    from pytest_dsr1.reporting.terminal.plan import to_set

    lines = (line for loaded in selection.usable() for line in to_set(loaded.scenario))
    return [f"dsr1: set first: {line}" for line in dict.fromkeys(lines)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a scenario its own one, or a Python test every selected one."""
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
        gated = [loaded[0].scenario.gated_metric]
        metafunc.parametrize("_dsr1_gated", gated, ids=gated, indirect=True)
    if file and "_dsr1_target" in metafunc.fixturenames:
        metrics = [target.metric for target in loaded[0].scenario.targets]
        metafunc.parametrize("_dsr1_target", range(len(metrics)), ids=metrics, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Tests that need inference count as benchmarks for --benchmark-only and --benchmark-skip.

    pytest-benchmark looks for its fixture's name, and is shown it. Where the whole measurement is judged, the
    fixture that feeds it stays; the runs of a gate are no benchmark, since each is as long as it has to be.
    """
    if not (SELECTION in config.stash and config.pluginmanager.hasplugin("benchmark")):
        return (yield)
    inferred = [item for item in items if measured(item) or gates(item)]
    lists: dict[int, list[str]] = {id(names): names for names in (item.fixturenames for item in inferred)}  # type: ignore[attr-defined]
    shown = [names for names in lists.values() if "benchmark" not in names]
    for names in shown:
        names.append("benchmark")
    try:
        return (yield)
    finally:
        for names in shown:
            names.remove("benchmark")
            if "dsr1_measurement" in names:
                names.append(BENCHMARK_FIXTURE)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what is selected, and whose whole run is judged: a gate alone needs its own number of requests."""
    state = session.config.stash.get(STATE, None)
    for item in session.items if state else ():
        loaded = loaded_of(item)
        if state is None or loaded is None:
            continue
        state.selected[loaded.scenario.name] = None
        if measured(item):
            state.whole.add(loaded.scenario.name)
        if gates(item):
            state.gated.add(loaded.scenario.name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """A gate or a recording that was asked for is not green where something else skips its test."""
    try:
        return (yield)
    except pytest.skip.Exception as skipped:
        state, loaded = item.config.stash.get(STATE, None), loaded_of(item)
        if state is None or loaded is None or not gates(item):
            raise
        place = item.config.stash[SELECTION].test_id_prefix(loaded.path)
        state.outcomes.setdefault(loaded.scenario.name, ScenarioOutcome(loaded, place))
        refuse_skip(f"{loaded.scenario.name}: {item.name}", str(skipped))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Note each test's word, and hand the measurement to JUnit."""
    session = item.config.stash.get(STATE, None)
    loaded = loaded_of(item)
    if session is None or loaded is None:
        return (yield)
    _note(session, item, call, session.outcomes.get(loaded.scenario.name))
    return (yield)


def _note(
    session: RunState, item: pytest.Item, call: pytest.CallInfo[None], outcome: ScenarioOutcome | None
) -> None:
    from pytest_dsr1.reporting.ci.junit import properties
    from pytest_dsr1.verdict.verdict import Word

    error = call.excinfo.value if call.excinfo else None
    word: Word | None = getattr(error, "dsr1_word", None)
    given = getattr(item, "funcargs", {})
    verdict = given.get("_dsr1_verdict") or given.get("_dsr1_regression")
    if call.when == "call":
        word = verdict.word if verdict else (Word.FAIL if error else Word.PASS)
    elif call.when == "teardown" or word is None:
        return
    session.words[item.nodeid] = word
    if outcome is not None:
        if call.when == "setup" and gates(item):
            outcome.refused = word, str(error)
        item.user_properties.extend(properties(outcome, word, item.name))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn 'some test failed' into the exit status of the verdicts: 1 before 10 before 11 before 12.

    Then write the reports: here, so that they are written without a terminal and after Ctrl-C as well.
    """
    state = session.config.stash.get(STATE, None)
    if state is None or session.config.option.collectonly:
        return
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        from pytest_dsr1.verdict.verdict import Word, exit_status

        not_ours = session.testsfailed - sum(word is not Word.PASS for word in state.words.values())
        status = exit_status(state.words.values())
        if status is not None and not_ours <= 0:
            session.exitstatus = status
    from pytest_dsr1.reporting.ci.files import write

    state.written = write(state, int(session.exitstatus), session.config.rootpath, os.environ)
    silent = session.config.getoption("no_summary", False)
    if silent or not session.config.pluginmanager.hasplugin("terminalreporter"):
        for text, markup in state.written:
            if markup:  # what could not be written is told all the same
                say(text, error=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The PERFORMANCE OVERVIEW, and what was written."""
    session = config.stash.get(STATE, None)
    if session is None:
        return
    shown = [o for o in session.outcomes.values() if o.shown]
    if shown:
        from pytest_dsr1.reporting.terminal.overview import overview

        terminalreporter.section("PERFORMANCE OVERVIEW")
        for text, markup in overview(shown, terminalreporter.config.get_terminal_writer().fullwidth):
            terminalreporter.write_line(text, **markup)
        for compared in session.compared:
            from pytest_dsr1.reporting.compare.differences import differences

            for line in differences(shown, compared):
                terminalreporter.write_line(harmless(line), yellow=True)
    for text, markup in session.written:
        terminalreporter.write_line(text, **markup)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """The GPUs, beside what pytest-benchmark says of the host; asked for before the run and after it."""
    session, selection = config.stash.get(STATE, None), config.stash.get(SELECTION, None)
    if session is None or selection is None or config.option.collectonly:
        return
    if session.replay:
        from pytest_dsr1.measurement.store import load

        facts = load(session.replay).fingerprint.facts
        gpus = {key: facts[key] for key in ("gpu.name", "gpu.count", "driver") if key in facts}
    elif any(loaded.scenario.hardware.gpu for loaded in selection.all()):
        from pytest_dsr1.machine.gpu.inventory import read_machine

        machine = read_machine(os.environ)
        names = sorted({gpu.name for gpu in machine.gpus})
        gpus = {"gpu.name": ", ".join(names), "gpu.count": len(machine.gpus), "driver": machine.driver}
    else:
        return
    if gpus:
        machine_info["gpu"] = gpus


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, compared_benchmark: dict[str, object]
) -> None:
    """Keep what is compared with: what differs can be said once this run's fingerprint is known."""
    session = config.stash.get(STATE, None)
    if session is not None:
        session.compared.append(compared_benchmark)
