"""The progress of a run: one rewritten line on a terminal, plain periodic lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pytest_dsr1.records import Phase, RequestRecord
from pytest_dsr1.text import clock, harmless

if TYPE_CHECKING:
    import pytest

    from pytest_dsr1.records import Observer
    from pytest_dsr1.scenario.schema.scenario import Scenario


TERMINAL_INTERVAL_S = 0.5
PLAIN_INTERVAL_S = 30.0
RATE_WINDOW_S = 10.0


class Counter:
    """The progress of a long task, shown twice a second on a terminal and every 30 s elsewhere.

    A context manager; call it with the number of parts done and the total number.
    """

    def __init__(
        self,
        what: str,
        write: Callable[[str], None],
        *,
        terminal: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._write, self._terminal, self._now = what, write, terminal, now
        self._interval_s = TERMINAL_INTERVAL_S if terminal else PLAIN_INTERVAL_S
        self._next_s = now() + self._interval_s
        self._shown = False

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._shown:
            self._write("")

    def __call__(self, done: int, total: int) -> None:
        """Show the progress, if the interval has passed."""
        if self._now() >= self._next_s:
            self._next_s = self._now() + self._interval_s
            self._shown = True
            self._write(f"{self._what}  {done:,}/{total:,}  {done / total:.0%}")


class Progress:
    """An :class:`~pytest_dsr1.records.Observer` of one run that shows its progress.

    A separate thread writes, because an engine can be silent for half an hour while weights load.

    Args:
        name: the profile.
        requests: how many are measured.
        expected_s: the expected duration of the measurement.
        write: takes a line of text, without a line break.
        terminal: whether to rewrite one line, or to write a line on each change of phase and every 30 s.
        output_tokens: expected from all requests; with low concurrency, tokens show the progress of a run
            sooner than requests do.
        gpus: returns the current state of the GPUs, such as ``612 W 1980 MHz``; empty on the CPU.
        duration_s: the time after which no more requests are sent; None for no limit.
    """

    def __init__(
        self,
        name: str,
        requests: int,
        expected_s: float,
        write: Callable[[str], None],
        *,
        terminal: bool,
        output_tokens: float,
        gpus: Callable[[], str] = str,
        duration_s: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._duration_s = duration_s
        self._name, self._requests, self._expected_s = name, requests, expected_s
        self._output_tokens = output_tokens
        self._write, self._terminal, self.gpus, self._now = write, terminal, gpus, now
        self._phase: Phase = "starting"
        self._detail = ""
        self._phase_since_s = now()
        self._done = (0, 0)
        self._recent: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="dsr1-progress", daemon=True)

    def __enter__(self) -> Progress:
        self._show()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._terminal:
            self._write("")

    def phase(self, phase: Phase, detail: str = "") -> None:
        """Show a new phase, or more detail about this one."""
        with self._lock:
            changed = phase != self._phase
            if changed:
                self._phase, self._phase_since_s = phase, self._now()
            self._detail = detail
        if changed and not self._terminal:
            self._show()

    def progress(self, requests: int, output_tokens: int) -> None:
        """Remember the requests and output tokens so far."""
        with self._lock:
            now = self._now()
            self._done = (requests, output_tokens)
            self._recent.append((now, output_tokens))
            while len(self._recent) > 2 and now - self._recent[0][0] > RATE_WINDOW_S:
                self._recent.popleft()

    def record(self, record: RequestRecord) -> None:
        """Ignore it: single requests are not shown."""

    def line(self) -> str:
        """Return the state in one line."""
        with self._lock:
            now = self._now()
            elapsed_s = now - self._phase_since_s
            parts = [f"{self._name}: {self._phase}"]
            if self._phase == "measuring":
                parts.append(f"{self._done[0]:,}/{self._requests:,} requests")
                if len(self._recent) > 1 and self._recent[-1][0] > self._recent[0][0]:
                    (from_s, before), (to_s, after) = self._recent[0], self._recent[-1]
                    parts.append(f"{(after - before) / (to_s - from_s):,.0f} tok/s")
            gpus = self.gpus()
            if gpus:
                parts.append(gpus)
            parts.append(clock(elapsed_s))
            if self._phase == "measuring":
                share = max(self._done[0] / self._requests, self._done[1] / self._output_tokens)
                left_s = elapsed_s * (1 - share) / share if share > 0.05 else self._expected_s - elapsed_s
                if self._duration_s is not None:
                    left_s = min(left_s, self._duration_s - elapsed_s)
                if left_s > 0:
                    parts.append(f"about {clock(left_s)} left")
            elif self._detail:
                parts.append(self._detail)
            return "  ".join(parts)

    def _show(self) -> None:
        line = self.line()
        with self._writing:
            self._write(line)

    def _tick(self) -> None:
        interval_s = TERMINAL_INTERVAL_S if self._terminal else PLAIN_INTERVAL_S
        while not self._stop.wait(interval_s):
            self._show()


@contextmanager
def _terminal(config: pytest.Config) -> Generator[Any]:
    """Yield the terminal reporter with capturing suspended: fixtures run while pytest captures output."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        yield config.pluginmanager.getplugin("terminalreporter")


def write_line(config: pytest.Config, text: str) -> None:
    """Write a new line at once."""
    with _terminal(config) as reporter:
        if reporter is not None:  # -p no:terminal
            reporter.ensure_newline()
            reporter.write_line(harmless(text))
            reporter.flush()  # Python buffers what goes into a pipe or a file


def _rewrite(config: pytest.Config, text: str) -> None:
    """Rewrite the line, cut to the width of the terminal; empty text clears it."""
    with _terminal(config) as reporter:
        reporter.ensure_newline()
        reporter.rewrite(harmless(text)[: config.get_terminal_writer().fullwidth - 1], erase=True)
        if not text:
            reporter.rewrite("")  # the next output begins at the left edge


def _writer(config: pytest.Config) -> tuple[bool, Callable[[str], None]]:
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    terminal = reporter is not None and reporter.isatty
    return terminal, partial(_rewrite if terminal else write_line, config)


def counter(config: pytest.Config, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Return what shows the progress of a long task."""
    terminal, write = _writer(config)
    return Counter(what, write, terminal=terminal)


def progress(
    config: pytest.Config, scenario: Scenario, expected_s: float, gpus: Callable[[], str]
) -> AbstractContextManager[Observer]:
    """Return the observer that shows the progress of a run."""
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
