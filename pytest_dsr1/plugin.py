"""The hooks. Nothing heavy is imported: every pytest run on the machine loads this file."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.session import options, plugins, selection
from pytest_dsr1.session.collection import (
    ScenarioFile,
    of_answers,
    of_curve,
    parametrize,
    scenario_file,
    together,
)
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.session.state import NOT_WRITTEN, STATE, RunState
from pytest_dsr1.text import harmless, say

if TYPE_CHECKING:
    from pytest_dsr1.reporting.formats import Report, ReportFormat

FILES: pytest.StashKey[Mapping[Path, ReportFormat]] = pytest.StashKey()
"""The reports to write."""
REPORT_MISSING = 10
"""The exit status if all passed and a report cannot be written, as of results that cannot be written."""
REPORT: pytest.StashKey[Report] = pytest.StashKey()
"""The content of the terminal's overview and of every report, once the run has ended."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; every name begins with ``--dsr1-``."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Select the scenarios. If none are selected, no more of the plugin is loaded."""
    config.addinivalue_line("markers", "dsr1: a test made from a scenario file")
    # Not by `pytest_plugins`, for which pytest searches the entry points of all packages: that takes 2 ms.
    config.pluginmanager.import_plugin("pytest_dsr1.session.fixtures")
    plugins.accept(config)
    options.refuse_empty(config)
    if not selection.is_asked_for(config):
        options.refuse_without_selection(config)
        return
    options.refuse_xdist(config)
    mode = options.mode(config)
    plugins.register(config)
    config.stash[SELECTION] = selection.select(config)
    config.pluginmanager.import_plugin("pytest_dsr1.session.judging.gate_fixtures")
    config.pluginmanager.import_plugin("pytest_dsr1.session.judging.accuracy_fixtures")
    config.pluginmanager.import_plugin("pytest_dsr1.session.judging.pair_fixtures")
    config.pluginmanager.import_plugin("pytest_dsr1.session.judging.sweep_fixtures")
    config.pluginmanager.import_plugin("pytest_dsr1.session.judging.search_fixtures")
    from pytest_dsr1.reporting import formats
    from pytest_dsr1.reporting.terminal import progress

    try:
        config.stash[FILES] = formats.requested(config)
        site = options.site(config)
        if config.getoption("--dsr1-resume"):
            from pytest_dsr1.session.resume import refuse_nothing

            chosen = config.stash[SELECTION]
            swept, searched = selection.sweeps(chosen), selection.searches(chosen)
            refuse_nothing(selection.results(config), swept, searched, pairs=mode == "pair")
    except Dsr1Error as error:
        raise pytest.UsageError(harmless(str(error))) from None
    config.stash[STATE] = RunState(
        watch=partial(progress.progress, config),
        count=partial(progress.counter, config),
        notify=lambda text: progress.write_line(config, f"dsr1: {text}"),
        results=selection.results(config),
        replay=config.stash[SELECTION].replay,
        gpu_setup=config.getoption("--dsr1-gpu-setup"),
        allow_mismatch=config.getoption("--dsr1-allow-mismatch"),
        store=options.store(config),
        site=site,
        may_go_unjudged=options.may_go_unjudged(config),
        mode=mode,
        probe=config.getoption("--dsr1-probe"),
        resume=config.getoption("--dsr1-resume"),
    )
    if (replay := config.stash[SELECTION].replay) is not None:
        config.stash[STATE].written += [(f"dsr1: {note}", {"yellow": True}) for note in replay.notes]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print for ``--dsr1-list`` and ``--dsr1-plan``, then end; nothing is collected."""
    # pytest-xdist starts a process for it before it configures anything.
    if config.getoption("looponfail", False) and selection.is_asked_for(config):
        options.refuse_xdist(config)
    if not (config.getoption("--dsr1-list") or config.getoption("--dsr1-plan")):
        return None
    options.refuse_empty(config)
    options.mode(config)
    plugins.register(config)
    problems: list[str] = []
    try:
        loaded, known, problems, sides = selection.to_show(config)
        if config.getoption("--dsr1-list"):
            from pytest_dsr1.reporting.terminal.listing import listing

            for line in listing(loaded):
                say(line)
        else:
            from pytest_dsr1.reporting.terminal.plan import planned

            sys.stdout.writelines(f"{line}\n" for line in planned(config, loaded, known, sides))
    except Dsr1Error as error:
        problems.append(str(error))
    if problems:
        raise pytest.UsageError(harmless("\n".join(problems)))
    return 0


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Collect a selected scenario file; any other YAML file is left alone."""
    chosen = parent.config.stash.get(SELECTION, None)
    if chosen is None or file_path not in chosen.paths:
        return None
    return scenario_file(parent, file_path)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Return what must be set before the collected scenarios run, for --collect-only."""
    chosen = config.stash.get(SELECTION, None)
    if chosen is None or not config.option.collectonly:
        return []
    from pytest_dsr1.reporting.terminal.listing import to_set

    lines = (line for loaded in chosen.usable() for line in to_set(loaded.scenario))
    return [f"dsr1: set first: {line}" for line in dict.fromkeys(lines)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its scenarios."""
    parametrize(metafunc)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Count tests that need inference as benchmarks, for --benchmark-only and --benchmark-skip.

    The tests of a scenario run next to each other, and those of a sweep's curve after its points.
    """
    if SELECTION not in config.stash:
        return (yield)
    together(items)
    if config.pluginmanager.hasplugin("benchmark"):
        from pytest_dsr1.session.benchmark import counted

        with counted(items):
            result = yield
    else:
        result = yield
    items.sort(key=of_curve)
    return result


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember which tests are selected, and how they must run."""
    config = session.config
    state = config.stash.get(STATE, None)
    if state is None:
        return
    from pytest_dsr1.session.benchmark import only_where_asked, saved_or_noted
    from pytest_dsr1.session.endings import note_selected
    from pytest_dsr1.session.running import Running

    note_selected(state, session.items)
    config.pluginmanager.register(Running(state), "dsr1-running")
    only_where_asked(config)
    saved_or_noted(config, lambda text: state.written.append((f"dsr1: {harmless(text)}", NOT_WRITTEN)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember each test's status, and hand verdict and measurement to JUnit."""
    state = item.config.stash.get(STATE, None)
    if state is None or item.nodeid not in state.tests:
        return (yield)
    from pytest_dsr1.session.endings import note_skipped, note_status, shorten

    status, loaded = note_status(state, item, call), state.tests[item.nodeid].loaded
    if status and (outcome := state.outcomes.get(loaded.scenario.name)):
        from pytest_dsr1.reporting.ci.files import cause_so_far
        from pytest_dsr1.reporting.ci.junit import properties

        # Wrong answers are not a matter of performance, which a cause explains.
        cause = None if of_answers(item) else cause_so_far(state, outcome, status)
        item.user_properties.extend(properties(outcome, status, state.tests[item.nodeid].name, cause))
    report: pytest.TestReport = yield
    note_skipped(state, item, call, report)
    shorten(state, call, report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give the exit status of the verdicts: 1 before 10 before 11 before 12.

    Then write the reports. This hook also runs without a terminal, and after Ctrl-C.
    """
    config = session.config
    state = config.stash.get(STATE, None)
    if state is None or config.option.collectonly:
        return
    from pytest_dsr1.session.endings import note_unjudged, why_ended_early

    early = why_ended_early(session, state)
    if early or exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        why = "--setup-only runs no test" if config.option.setuponly else "its test did not run"
        if early or not (session.shouldfail or session.shouldstop):
            note_unjudged(state, early or why)
        status = state.exit_status(session.testsfailed, ended_early=early is not None)
        session.exitstatus = status or exitstatus
    from pytest_dsr1.reporting.ci import files

    status, wanted = int(session.exitstatus), files.is_wanted(config.stash[FILES], os.environ)
    report = config.stash[REPORT] = files.report_of(state, status, config.rootpath, is_wanted=wanted)
    state.written += files.write(report, config.stash[FILES], os.environ) if wanted else []
    # A replay leaves the saved result alone.
    state.written += [] if state.replay else files.keep_causes(report.cases)
    failed = [text for text, markup in state.written if markup == NOT_WRITTEN]
    if failed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = REPORT_MISSING
    silent = config.getoption("no_summary", False)
    if silent or not config.pluginmanager.hasplugin("terminalreporter"):
        for text in failed:  # these are shown even then
            say(text, error=True)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None]:
    """Print the PERFORMANCE OVERVIEW, and which reports were written, even if another summary fails."""
    try:
        return (yield)
    finally:
        _overview(terminalreporter, config)


def _overview(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    state, report = config.stash.get(STATE, None), config.stash.get(REPORT, None)
    if state is None or report is None:
        return
    shown = [case for case in report.cases if not case.is_empty]
    if shown:
        from pytest_dsr1.reporting.terminal.overview import overview

        above = {} if config.option.tbstyle in {"no", "line"} else state.shown
        terminalreporter.section("PERFORMANCE OVERVIEW")
        for text, markup in overview(shown, config.get_terminal_writer().fullwidth, above):
            terminalreporter.write_line(text, **markup)
        for compared in state.compared:
            from pytest_dsr1.reporting.compare.differences import differences

            for line in differences(shown, compared):
                terminalreporter.write_line(harmless(line), yellow=True)
    for text, markup in state.written:
        terminalreporter.write_line(text, **markup)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """Add the GPUs to pytest-benchmark's data of the host; called before and after the run."""
    state, chosen = config.stash.get(STATE, None), config.stash.get(SELECTION, None)
    if state is None or chosen is None or config.option.collectonly:
        return
    from pytest_dsr1.session.benchmark import gpus_of

    if gpus := gpus_of(state, chosen):
        machine_info["gpu"] = gpus


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the cause of a bad result to pytest-benchmark's data of a scenario."""
    state = config.stash.get(STATE, None)
    if state is None:
        return
    from pytest_dsr1.reporting.ci.files import causes_so_far

    causes = causes_so_far(state)
    for benchmark in output_json["benchmarks"]:
        if cause := causes.get(benchmark["extra_info"].get("profile")):
            benchmark["extra_info"] |= {"cause": cause.word, "cause_evidence": cause.sentence}


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, compared_benchmark: dict[str, object]
) -> None:
    """Keep the compared file: what differs is only known with this run's fingerprint."""
    state = config.stash.get(STATE, None)
    if state is not None:
        state.compared.append(compared_benchmark)
