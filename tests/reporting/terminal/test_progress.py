"""The progress line, with a clock that is moved by hand."""

from __future__ import annotations

import threading

import pytest

from pytest_dsr1.reporting.terminal.progress import Counter, Progress


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make(lines: list[str], now: Clock, *, terminal: bool = False, gpus: str = "") -> Progress:
    return Progress(
        "alpha",
        100,
        60.0,
        lines.append,
        terminal=terminal,
        output_tokens=100_000,
        gpus=lambda: gpus,
        now=now,
    )


def test_the_line_says_phase_requests_rate_gpus_and_time_left() -> None:
    now = Clock()
    progress = make([], now, gpus="612 W 1980 MHz")
    assert progress.line() == "alpha: starting  612 W 1980 MHz  00:00"
    progress.phase("loading", "reading shard 3 of 163")
    now.now_s += 65
    assert progress.line() == "alpha: loading  612 W 1980 MHz  01:05  reading shard 3 of 163"
    progress.phase("measuring")
    assert progress.line() == "alpha: measuring  0/100 requests  612 W 1980 MHz  00:00  about 01:00 left"
    for requests in (10, 20):
        now.now_s += 10
        progress.progress(requests, requests * 1000)
    expected = "alpha: measuring  20/100 requests  1,000 tok/s  612 W 1980 MHz  00:20  about 01:20 left"
    assert progress.line() == expected


def test_where_many_requests_end_at_once_tokens_tell_the_time_left() -> None:
    """64 of 320 requests at a time, as on an H200: after 13 s the second 64 are nearly done."""
    now = Clock()
    progress = Progress(
        "alpha", 320, 36.0, list[str]().append, terminal=False, output_tokens=320 * 128, now=now
    )
    progress.phase("measuring")
    now.now_s += 13
    progress.progress(64, 64 * 128 + 64 * 102)
    assert progress.line().endswith("00:13  about 00:23 left")


def test_requests_are_sent_no_longer_than_the_duration() -> None:
    now = Clock()
    progress = Progress(
        "alpha",
        100,
        60.0,
        list[str]().append,
        terminal=False,
        output_tokens=10_000,
        duration_s=30.0,
        now=now,
    )
    progress.phase("measuring")
    assert progress.line().endswith("00:00  about 00:30 left")
    now.now_s += 10
    progress.progress(10, 1000)
    assert progress.line().endswith("00:10  about 00:20 left")
    now.now_s += 25
    assert progress.line().endswith("00:35"), "what is in flight ends when it ends"


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    now = Clock()
    progress = make([], now)
    progress.phase("measuring")
    for second in range(30):
        now.now_s += 1
        progress.progress(1, second * (10 if second < 15 else 100))
    assert "  100 tok/s  " in progress.line()


def test_elsewhere_than_on_a_terminal_each_phase_is_a_line() -> None:
    lines: list[str] = []
    with make(lines, Clock()) as progress:
        progress.phase("loading")
        progress.phase("loading", "more detail is no new line")
        progress.phase("measuring")
    assert [line.split("  ")[0] for line in lines] == [
        "alpha: starting",
        "alpha: loading",
        "alpha: measuring",
    ]


def test_on_a_terminal_the_line_is_rewritten_and_wiped_at_the_end() -> None:
    lines: list[str] = []
    shown = threading.Event()

    def write(line: str) -> None:
        lines.append(line)
        if len(lines) > 1:
            shown.set()

    with Progress("alpha", 1, 1.0, write, terminal=True, output_tokens=1) as progress:
        progress.phase("loading")
        assert shown.wait(30)
    assert lines[0].startswith("alpha: starting")
    assert lines[-1] == ""


@pytest.mark.parametrize(("terminal", "lines"), [(True, ["x  2/4  50%", ""]), (False, [])])
def test_a_counter_shows_only_what_takes_long(terminal: bool, lines: list[str]) -> None:
    now, written = Clock(), list[str]()
    with Counter("x", written.append, terminal=terminal, now=now) as counter:
        counter(1, 4)
        now.now_s += 1
        counter(2, 4)
        counter(3, 4)
    assert written == lines
