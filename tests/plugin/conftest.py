"""Pytest runs as a user starts them, on scenarios of their own."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pkgutil import walk_packages

import pytest

from pytest_dsr1 import (
    gate,
    machine,
    measurement,
    metrics,
    pairs,
    process,
    reporting,
    scenario,
    search,
    session,
    sweep,
    workload,
)
from pytest_dsr1.extensions import HOOKS
from tests.helpers.environment import without_coverage
from tests.helpers.paths import ROOT
from tests.helpers.real_run import RealRun, undisturbed
from tests.helpers.suites import Suites

# A pytest run in this process forgets the modules that it was first to import. When they are imported again,
# they have classes of their own.
for name in chain.from_iterable(hook.ours for hook in HOOKS.values()):
    import_module(name)
# The modules of these rooms are imported where they are needed, by nearly every run: here they are once.
ROOMS = (
    *(gate, machine, measurement, metrics, pairs, process),
    *(reporting, scenario, search, session, sweep, workload),
)
for room in ROOMS:
    for module in walk_packages(room.__path__, f"{room.__name__}."):
        import_module(module.name)

ELSEWHERE = (
    "CI",
    "BUILD_NUMBER",
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKSPACE",
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
)
"""Variables of CI servers, where more is written, and of workers, where pytest-benchmark is off."""


@pytest.fixture(autouse=True)
def at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a user does, on a terminal of 80 columns."""
    for name in ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """Read the published results once: every HTML page shows those of all scenarios that ship."""
    history = import_module("pytest_dsr1.reporting.charts.history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "shipped_points", functools.cache(history.shipped_points))
        yield


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """Run cpu-min-latency for real; any machine meets one of its targets, and none the other.

    Its coverage is not measured, which would slow down the inference; other tests cover its parts.
    """
    place = tmp_path_factory.mktemp("real")
    command = [
        *(sys.executable, "-m", "pytest"),
        "--dsr1-profile=cpu-min-latency",
        "--dsr1-set=targets.per_user_output_throughput.value=1000000",
        "--dsr1-set=targets.total_output_throughput.value=0.001",
        "--benchmark-json=bench.json",
    ]
    environment = {key: value for key, value in without_coverage().items() if key not in ELSEWHERE}
    environment |= {"COLUMNS": "80", "XDG_CACHE_HOME": str(place / "cache"), "PYTHONPATH": str(ROOT)}
    done = undisturbed(command, place, environment)
    return RealRun(place, done.returncode, done.stdout.splitlines())


@pytest.fixture
def suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """Two profiles, ``alpha`` and ``beta``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("DSR1_STATE_DIR", str(pytester.path / "state"))
    monkeypatch.delenv("SCRIPTED_FAIL", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    own = Suites(pytester)
    own.write("alpha")
    own.write("beta")
    return own
