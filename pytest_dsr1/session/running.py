"""How the tests of scenarios run: once, in this process, and none of them unjudged without a word."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NoReturn

import pytest
from _pytest import runner
from _pytest.skipping import evaluate_xfail_marks

from pytest_dsr1.errors import UserError
from pytest_dsr1.session.collection import loaded_of
from pytest_dsr1.session.endings import expected_to_fail, not_judged, skipped
from pytest_dsr1.session.state import RunState, fail_setup


class Running:
    """Hooks for the tests of scenarios. Registered after collection, so other plugins' hooks come later."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """Run a scenario's test with pytest's own protocol.

        Plugins that replace it run a test in a process of its own, which cannot share the one measurement, or
        run it again until it passes. A measurement and a gate's verdict are kept, so nothing would change.
        """
        if loaded_of(item) is None:
            return None
        return runner.pytest_runtest_protocol(item, nextitem)

    @pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
    def pytest_runtest_setup_marked(self, item: pytest.Item) -> None:
        """Refuse a test that must be judged, and whose failure would not count."""
        if self._must_be_judged(item) and not item.config.option.runxfail:
            marked = evaluate_xfail_marks(item)
            if marked is not None:
                self._refuse(item, expected_to_fail(marked.reason))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Refuse a test that must be judged, and is skipped."""
        return (yield from self._judged(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Refuse a test that is skipped as late as this."""
        return (yield from self._judged(item))

    def _judged(self, item: pytest.Item) -> Generator[None]:
        try:
            return (yield)
        except pytest.skip.Exception as error:
            if self._must_be_judged(item):
                self._refuse(item, skipped(str(error)))
            raise
        except pytest.xfail.Exception as error:
            if self._must_be_judged(item):
                self._refuse(item, expected_to_fail(str(error)))
            raise

    def _must_be_judged(self, item: pytest.Item) -> bool:
        test = self._state.tests.get(item.nodeid)
        return test is not None and test.judges and not self._state.may_go_unjudged(test.full_name)

    def _refuse(self, item: pytest.Item, why: str) -> NoReturn:
        from pytest_dsr1.verdict.verdict import Status

        test = self._state.tests[item.nodeid].full_name
        fail_setup(UserError(not_judged(test, why)), Status.INCONCLUSIVE)

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> object:
        """Let pytest-timeout end a scenario's test by a signal: its threads would end all of pytest."""
        if settings.method == "signal" or loaded_of(item) is None:
            return None
        by_signal = settings._replace(method="signal")
        return item.config.hook.pytest_timeout_set_timer(item=item, settings=by_signal)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember that ``pytest.exit`` ends the session, and not Ctrl-C."""
        if isinstance(excinfo.value, pytest.exit.Exception):
            self._state.ended_by_exit = str(excinfo.value) or "pytest.exit"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the failures of scenarios' tests as pytest does, to know whether others failed too."""
        if report.nodeid in self._state.tests and report.failed and not hasattr(report, "wasxfail"):
            self._state.failures += 1
