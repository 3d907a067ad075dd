"""The comparison of searches: the true answers, our own search in it, and its table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scipy.stats import gamma

from benchmarks.search.peers import HEAD, LIMITS, Outcome, every, main, once, true_answer
from benchmarks.search.searchers import GOAL, Answer


@pytest.mark.parametrize("limit", LIMITS)
def test_the_true_answer_keeps_the_goal_and_one_more_does_not(limit: float) -> None:
    answer = true_answer(limit)
    kept = [float(gamma(answer + more).cdf(limit)) for more in (0, 1)]
    assert kept[0] >= GOAL > kept[1]


def outcome(answer: Answer | None) -> Outcome:
    return Outcome("tool", 208.0, 20.0, answer, 12_345, 61.7, 8.031)


def test_a_row() -> None:
    cells = outcome(Answer(18, 17, 21, 9, 16.44, 18)).cells
    assert dict(zip(HEAD, cells, strict=True)) == {
        "tool": "tool",
        "limit": "208 ms",
        "true": "20",
        "answer": "18",
        "interval": "17 to 21",
        "error": "-10%",
        "in flight": "16.4 of 18",
        "probes": "9",
        "requests": "12,345",
        "s": "62",
        "service": "8.03 ms",
    }


def test_a_row_without_an_answer() -> None:
    cells = outcome(None).cells
    assert cells == ["tool", "208 ms", "20", "none", "", "", "", "", "12,345", "62", "8.03 ms"]


class Scripted:
    """A tool that sends one request and reports what it is told."""

    name = "scripted"
    environment = {"SAYS": "14"}  # noqa: RUF012
    program = """\
import os, sys, urllib.request
body = b'{"prompt": "a", "max_tokens": 1}'
urllib.request.urlopen(sys.argv[1] + "/v1/completions", body).read()
open("says.txt", "w").write(os.environ["SAYS"])
"""

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        return [sys.executable, "-c", self.program, url]

    def read(self, folder: Path) -> Answer:
        load = float((folder / "says.txt").read_text())
        return Answer(load, load, load, 1, load, int(load))


class Silent(Scripted):
    """A tool that asks and reports nothing."""

    name = "silent"
    program = "print('no such option')"

    def read(self, folder: Path) -> Answer:
        raise KeyError("no such key")


def test_a_search_of_a_tool(tmp_path: Path) -> None:
    found = once(Scripted(), 24.0, 5.0, seed=1, folder=tmp_path / "run")
    assert (found.tool, found.limit_ms, found.true, found.requests) == ("scripted", 120.0, 16.0, 1)
    assert found.answer == Answer(14, 14, 14, 1, 14, 14)


def test_a_tool_without_an_answer_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = once(Silent(), 24.0, 5.0, seed=1, folder=tmp_path / "run")
    assert found.answer is None
    assert found.cells[-1] == "nan ms"
    assert capsys.readouterr().out == (
        "silent: no answer ('no such key'), exit status 0:\nno such option\n\n"
    )


def test_outcomes_come_by_limit(tmp_path: Path) -> None:
    found = [(each.tool, each.limit_ms) for each in every([Scripted(), Silent()], 10.0, tmp_path)]
    assert found == [(name, 10 * limit) for limit in LIMITS for name in ("scripted", "silent")]


def test_a_peer_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", "--peer", "aiperf=/nowhere/aiperf"])
    with pytest.raises(SystemExit):
        main()
    assert (
        "--peer aiperf=/nowhere/aiperf: expected one of aiperf, guidellm, =, and an installed program"
        in capsys.readouterr().err
    )
