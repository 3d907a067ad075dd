"""Settings for all tests: signals, programs and packages of a developer's shell, and which tests run where.

A background job of a shell ignores SIGINT, and a job of nohup ignores SIGHUP. Programs that tests start would
inherit this and never end by the signal.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_dsr1.machine.warm_start import Starts

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# `.venv/bin/pytest` finds the programs of its environment without `activate`, as tox does.
PROGRAMS = str(Path(sys.executable).parent)
if PROGRAMS not in os.environ.get("PATH", "").split(os.pathsep):
    os.environ["PATH"] = os.pathsep.join(filter(None, (PROGRAMS, os.environ.get("PATH"))))

# pytest also reads this file when a user runs the shipped scenarios of a clone, without Hypothesis.
if importlib.util.find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # A slow test on a busy machine is not a failure, and no merge depends on luck. To search further, use
    # `--hypothesis-profile=random`, which is loaded after this file.
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("random", patient, derandomize=False)
    settings.register_profile("steady", patient, derandomize=True)
    settings.load_profile("steady")

TESTS = Path(__file__).parent
OURS = ("tests", "benchmarks", "pytest_dsr1", "docs")
"""Our own packages: if one of them cannot be imported, this is always an error."""
LACKING = pytest.StashKey[dict[str, set[str]]]()
"""The folders of skipped tests, by the missing package."""
COMPLETE = os.environ.get("TOX_ENV_NAME") == "tests"
"""Whether every package must be there, so that a test that cannot run is an error."""
VERSIONS = (
    "engines/openai/client/test_connection.py",
    "engines/openai/client/test_exchange.py",
    "study/test_boundaries.py",
    "gate/test_decision.py",
    "gate/test_noise.py",
    "machine/gpu",
    "machine/preflight",
    "machine/test_fingerprint.py",
    "measurement/test_store.py",
    "metrics",
    "pairs/test_decision.py",
    "plugin/test_bad_input.py",
    "plugin/test_benchmark.py",
    "plugin/test_selecting.py",
    "reporting/charts",
    "reporting/html",
    "scenario",
    "search/test_evidence.py",
    "search/test_fit.py",
    "search/test_placing.py",
    "steady/test_mser5.py",
    "test_extensions.py",
    "workload/test_dataset.py",
    "workload/test_questions.py",
    "workload/test_scoring.py",
    "workload/test_synthetic.py",
)
"""Tests marked `versions`: they use most of each dependency and of Python in a short time."""
COVERED_CHILDREN = (
    "cli",
    "engines/tensorrt_llm/llm_api",
    "engines/transformers",
    "machine/probe",
    "plugin/test_end_to_end.py",
    "process",
)
"""Tests that start our own programs as children, whose coverage is measured too, as with real inference."""
UNCOVERED = (
    "benchmarks",
    "case/test_case.py",
    "cli/test_compare.py::test_colors_are_for_a_terminal_that_wants_them",
    "cli/test_references.py::test_accept",
    "cli/test_sbatch.py::test_wait_makes_one_page_of_the_results_of_all_jobs",
    "engines/openai/client/test_event_gaps.py",
    "engines/openai/client/test_pool.py",
    "engines/openai/sending/test_crew.py::test_a_trace_keeps_its_times",
    "engines/openai/sending/test_crew.py::test_several_servers",
    "engines/openai/server/test_random_model.py::test_folder_of_the_slice",
    "engines/tensorrt_llm/bench/test_command.py::test_shipped_scenarios_make_a_script_the_shell_understands",
    "engines/tensorrt_llm/bench/test_engine.py",
    "engines/tensorrt_llm/llm_api/test_engine.py::test_a_tokenizer_that_cannot_be_loaded",
    "gate/test_decision.py",
    "gate/test_gate_simulation.py",
    "gate/test_progress.py::test_a_loss_stays_a_loss_day_after_day",
    "gate/test_recordings.py::test_many_may_write_while_others_read",
    "gate/test_searches_simulation.py",
    "metrics/test_catalogue.py",
    "pairs/test_pairs_simulation.py",
    "plugin/test_accuracy.py::test_the_same_answers_pass",
    "plugin/test_benchmark.py",
    "plugin/test_example_plugin.py",
    "plugin/test_gate.py",
    "plugin/test_other_plugins.py",
    "plugin/test_pairs.py::test_a_replay_judges_pairs_again",
    "plugin/test_pairs.py::test_a_side_that_is_not_slower_passes",
    "plugin/test_pairs.py::test_pairs_go_on_where_they_stopped",
    "plugin/test_probing.py",
    "plugin/test_published.py",
    "plugin/test_reports.py",
    "plugin/test_search.py::test_a_probe_that_does_not_count_is_repeated",
    "plugin/test_search.py::test_a_replay_judges_the_search_again",
    "plugin/test_search.py::test_a_replay_shows_the_probes",
    "plugin/test_search.py::test_a_search_that_was_ended_goes_on",
    "plugin/test_search.py::test_a_target",
    "plugin/test_search.py::test_a_target_next_to_a_search_needs_its_own_run_in_a_replay",
    "plugin/test_search.py::test_a_target_of_the_throughput",
    "plugin/test_search.py::test_an_slo_that_everything_or_nothing_keeps",
    "plugin/test_search_gate.py",
    "plugin/test_selecting.py",
    "plugin/test_serving.py",
    "plugin/test_sweep.py::test_a_sweep_is_judged_again",
    "plugin/test_third_party.py",
    "reporting/html",
    "reporting/terminal/test_plan.py",
    "scenario/test_overrides.py::test_any_override_is_read_or_a_user_error",
    "scenario/test_suites.py",
    "scenario/test_sweep.py::test_any_sweep_is_its_product_or_an_error",
    "scenario/test_validation.py::test_each_is_an_error_without_a_traceback",
    "scenario/test_writer.py",
    "search/test_evidence.py",
    "search/test_search_simulation.py",
    "search/test_waves_simulation.py",
    "steady/test_run_length.py::test_it_stops_when_the_error_is_small",
    "storage/test_yaml_loaders.py",
    "test_docs.py",
    "test_layout.py",
    "test_pipelines.py",
    "verdict/test_accuracy.py::test_a_run_like_its_references_fails_in_less_than_1_of_100",
    "verdict/test_accuracy.py::test_the_verdict_changes_where_the_bound_does",
)
"""Tests whose coverage is not measured, because others cover the same lines: measuring doubles their time."""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Accept a run without tests: tox runs pytest twice, and `tox -- PATH` may select for one run only."""
    if COMPLETE and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


class Module(pytest.Module):
    """A test module that is skipped if a package that it needs is not installed."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Import the module, and skip it for a package that only some environments have."""
        try:
            return super().collect()
        except self.CollectError as error:
            skip_for_a_package(error.__cause__, self)
            raise


def skip_for_a_package(cause: BaseException | None, node: pytest.Collector | pytest.Item) -> None:
    """Skip the node if the cause is a missing package, and name the package; ignore other causes."""
    if COMPLETE or not isinstance(cause, ModuleNotFoundError) or not cause.name:
        return
    package = cause.name.partition(".")[0]
    if package not in OURS:
        folder = node.path.parent.relative_to(node.config.rootpath).as_posix()
        node.config.stash.setdefault(LACKING, {}).setdefault(package, set()).add(folder)
        pytest.skip(f"needs {package}", allow_module_level=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the missing packages, and the folders of the tests that were skipped for them."""
    for package, folders in sorted(config.stash.get(LACKING, {}).items()):
        terminalreporter.write_line(f"skipped, needs {package}: tests in {', '.join(sorted(folders))}")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Make every test module one that may need a missing package."""
    return Module.from_parent(parent, path=module_path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test, by name, that is marked to need a missing package, which it does not import itself."""
    for mark in item.iter_markers("needs"):
        for package in mark.args:
            if importlib.util.find_spec(package) is None:
                skip_for_a_package(ModuleNotFoundError(name=package), item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test that imports a missing package while it runs."""
    try:
        return (yield)
    except ModuleNotFoundError as error:
        skip_for_a_package(error, item)
        raise


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no other file when only the tests for other versions run, which takes a few seconds."""
    if config.option.markexpr != "versions" or not collection_path.is_relative_to(TESTS):
        return None
    place = collection_path.relative_to(TESTS).as_posix()
    is_test = collection_path.name.startswith("test_")
    return True if is_test and not _is_in(place, VERSIONS) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Make warnings errors in our own tests alone, and mark those for the oldest and newest versions."""
    if item.path.is_relative_to(TESTS):
        item.add_marker(pytest.mark.filterwarnings("error"))
        place = item.path.relative_to(TESTS).as_posix()
        if _is_in(place, VERSIONS):
            item.add_marker(pytest.mark.versions)


def _is_in(place: str, places: Iterable[str]) -> bool:
    """Return whether a test file is one of these files, or in one of these folders."""
    return any(place == one or place.startswith(f"{one}/") for one in places)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of `-n auto`: one more than processors, since many tests wait, and at most eight."""
    return min((os.cpu_count() or 1) + 1, 8)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Pause the measuring of coverage for some tests, and for the programs that most tests start."""
    if not item.path.is_relative_to(TESTS):
        return (yield)
    place, measuring = item.path.relative_to(TESTS).as_posix(), sys.gettrace()
    paused = _is_in(place, UNCOVERED) or f"{place}::{item.name.partition('[')[0]}" in UNCOVERED
    with pytest.MonkeyPatch.context() as patch:
        if paused or not _is_in(place, COVERED_CHILDREN):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        if paused:
            sys.settrace(None)
        try:
            return (yield)
        finally:
            if paused:
                sys.settrace(measuring)


@pytest.fixture(scope="session", autouse=True)
def drawn_once() -> Iterator[None]:
    """Draw equal pictures once: the tests draw 55 different ones 420 times, which takes 50 ms each."""
    if importlib.util.find_spec("vl_convert") is None:
        yield
        return
    vl_convert = importlib.import_module("vl_convert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vl_convert, "vegalite_to_svg", functools.cache(vl_convert.vegalite_to_svg))
        yield


@pytest.fixture
def client_unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the check of how late the client is: runs of 2 s would fail it on a busy machine."""
    # By import, not by a dotted name: its package forgets it when a pytest run in this process ends.
    self_check = importlib.import_module("pytest_dsr1.engines.openai.client.self_check")
    monkeypatch.setattr(self_check, "SHORTEST_S", 600.0)


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    """The known engine starts of a node that has seen none."""
    from pytest_dsr1.machine.warm_start import Starts  # not before the plugin, which pytest loads

    return Starts({"DSR1_STATE_DIR": str(tmp_path / "state")}, print)
