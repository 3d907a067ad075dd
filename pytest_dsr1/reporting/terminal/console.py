"""Writing to pytest's terminal while tests run: single lines, and lines that are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dsr1.reporting.terminal.progress import Counter, Progress
from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from pytest_dsr1.records import Observer
    from pytest_dsr1.scenario.schema.scenario import Scenario


@contextmanager
def _terminal(config: pytest.Config) -> Generator[Any]:
    """The terminal reporter, with capturing lifted: fixtures run while pytest captures output."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        yield config.pluginmanager.getplugin("terminalreporter")


def tell(config: pytest.Config, text: str) -> None:
    """A line of its own, at once."""
    with _terminal(config) as reporter:
        if reporter is not None:  # -p no:terminal
            reporter.ensure_newline()
            reporter.write_line(harmless(text))
            reporter.flush()  # into a pipe or a file Python would keep it back for pages


def _rewrite(config: pytest.Config, text: str) -> None:
    """The same line again, as wide as the terminal at most; empty text wipes it."""
    with _terminal(config) as reporter:
        reporter.ensure_newline()
        reporter.rewrite(harmless(text)[: config.get_terminal_writer().fullwidth - 1], erase=True)
        if not text:
            reporter.rewrite("")  # what follows begins at the left edge


def _writer(config: pytest.Config) -> tuple[bool, Callable[[str], None]]:
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    terminal = reporter is not None and reporter.isatty
    return terminal, partial(_rewrite if terminal else tell, config)


def counter(config: pytest.Config, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Shows how much of a long task is done."""
    terminal, write = _writer(config)
    return Counter(what, write, terminal=terminal)


def progress(
    config: pytest.Config, scenario: Scenario, expected_s: float, gpus: Callable[[], str]
) -> AbstractContextManager[Observer]:
    """Shows how far a run is."""
    from pytest_dsr1.workload.dataset import mean_tokens

    terminal, write = _writer(config)
    load = scenario.load
    return Progress(
        scenario.name,
        load.num_requests,
        expected_s,
        write,
        output_tokens=load.num_requests * mean_tokens(scenario.dataset.output_tokens),
        terminal=terminal,
        gpus=gpus,
        duration_s=load.duration_s,
    )
