"""Pytest runs as a user starts them, on scenarios of their own."""

from __future__ import annotations

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.suites import Suites


@pytest.fixture(autouse=True)
def at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a user does: not in CI, not on GitHub, not as a worker of pytest-xdist, 80 columns wide.

    In CI pytest writes longer summaries and this plugin writes to GitHub; in a worker pytest-benchmark
    turns itself off.
    """
    github = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")
    for name in ("CI", "BUILD_NUMBER", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", *github):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """Two profiles, ``alpha`` and ``beta``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("DSR1_STATE_DIR", str(pytester.path / "state"))
    monkeypatch.delenv("SCRIPTED_FAIL", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    own = Suites(pytester)
    own.write("alpha")
    own.write("beta")
    return own
