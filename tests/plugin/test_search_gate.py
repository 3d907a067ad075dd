"""The gate of a search: one search is one run."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.cli.main import main
from pytest_dsr1.gate.recordings import checksum
from tests.helpers.searched import ENGINE, said, write
from tests.helpers.suites import Suites

GATED = "load.concurrency: [1, 64], goal: 0.9, width_percent: 10"
PROFILE = "--dsr1-profile=peak"
ATTACHED = (
    "--dsr1-set=model={name: deepseek-ai/DeepSeek-R1}",
    "--dsr1-set=engine={type: openai, url: 'http://127.0.0.1:9'}",
)


@pytest.fixture
def peak(suites: Suites) -> Suites:
    suites.pytester.makeconftest(ENGINE)
    path = write(suites, GATED)
    path.write_text(path.read_text(encoding="utf-8") + "gate: {delta_percent: 12}\n", encoding="utf-8")
    return suites


def recorded(suites: Suites) -> list[Path]:
    return sorted((suites.pytester.path / "dsr1-references" / "candidates" / "peak").glob("*.json"))


def accept(suites: Suites, percents: list[float], metric: str = "highest_concurrency") -> int:
    """Record one search, write others that differ by so much from it, and accept all."""
    assert suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference").ret == 0
    (path,) = recorded(suites)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    value, error = document["trace"]["found"][metric]
    began = datetime.fromisoformat(document["at"].replace("Z", "+00:00"))
    for number, percent in enumerate(percents, 1):
        found = {metric: [value * (1 + percent / 100), error]}
        at = (began - timedelta(hours=number)).isoformat()
        other = {**document, "at": at, "trace": {**document["trace"], "found": found}}
        name = path.with_name(f"20260101T0000{number:02}Z-{number:08x}.json")
        name.write_text(json.dumps({**other, "sha256": checksum(other)}), encoding="utf-8")
    return main(["references", "accept", "peak", "--reason", "tests", "--by", "me", "--suites", "own"])


NOISE = [1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 0.2, -0.2, 0.8, -0.8, 1.2, -1.2, 0.4, -0.4]


def test_one_search_is_one_recorded_run(peak: Suites) -> None:
    """Its first probe is a start of its own; the first start of the software is a warm-up."""
    result = peak.run(PROFILE, "--dsr1-reference=record", "-v")
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=3)
    assert peak.engine_runs[:3] == ["peak.search-8", "peak.search-8", "peak.search-64"]
    runs = len(peak.engine_runs)
    text = said(result)
    assert "peak.yaml::reference[highest_concurrency] PASSED" in text
    assert "the probe at 8 does not count: warm-up: the first start of this software on this node" in text
    (path,) = recorded(peak)
    document = json.loads(path.read_text(encoding="utf-8"))
    value, error = document["trace"]["found"]["highest_concurrency"]
    assert 17 < value < 22
    assert 0 < error < 5
    assert f"recorded {value:.4g} requests in flight in" in text
    facts = document["facts"]
    assert facts["option.load.search.range"] == ["1", "64"]
    assert facts["option.load.search.slo.request_latency_ms"] == 1000
    assert "option.load.concurrency" not in facts
    assert "dataset.content" not in facts
    assert peak.run(PROFILE, "--dsr1-reference=record", "-k", "reference").ret == 0
    assert len(recorded(peak)) == 2
    assert peak.engine_runs[runs : runs + 2] == ["peak.search-8", "peak.search-64"]


@pytest.mark.parametrize(("knee", "status", "word"), [("20", 0, "PASS"), ("15", 1, "FAIL")])
def test_a_search_is_gated(
    peak: Suites, monkeypatch: pytest.MonkeyPatch, knee: str, status: int, word: str
) -> None:
    monkeypatch.chdir(peak.pytester.path)
    assert accept(peak, NOISE) == 0
    runs = len(peak.engine_runs)
    monkeypatch.setenv("KNEE", knee)
    result = peak.run(PROFILE, "--dsr1-gate", "--dsr1-report=r.html", "--dsr1-report=r.md")
    assert result.ret == status, result.stdout.str()
    text = said(result)
    assert "peak: gate on highest concurrency by one search per run, against 15 references on node" in text
    assert f"{word} regression: highest concurrency" in text
    assert ("a loss of 12% is ruled out" if word == "PASS" else "a loss is shown") in text
    searches = peak.engine_runs[runs:].count("peak.search-8")
    assert searches == (1 if word == "PASS" else 2), "the first is that of search[...]"
    (saved,) = (peak.pytester.path / ".dsr1" / "peak.search-8").glob("*/gate.json")
    gate = json.loads(saved.read_text(encoding="utf-8"))
    assert (gate["metric"], gate["word"], len(gate["runs"])) == ("highest_concurrency", word, searches)
    assert "highest concurrency" in (peak.pytester.path / "r.html").read_text(encoding="utf-8")
    planned = peak.run(PROFILE, "--dsr1-plan", "--dsr1-gate").stdout.str()
    assert "# gate: gate on highest concurrency by one search per run" in planned
    alone = peak.run(PROFILE, "--dsr1-gate", "-k", "regression")
    assert alone.ret == status


@pytest.mark.parametrize(("knee", "word"), [("20", "PASS"), ("15", "FAIL")])
def test_a_replay_of_a_gated_search_tells_what_the_gate_said(
    peak: Suites, monkeypatch: pytest.MonkeyPatch, knee: str, word: str
) -> None:
    """Next to the search, as for a run; a FAIL takes two searches, and is saved with the first."""
    monkeypatch.chdir(peak.pytester.path)
    assert accept(peak, NOISE) == 0
    assert "when it ran" not in said(peak.run("--dsr1-replay=peak")), "recorded, not gated"
    monkeypatch.setenv("KNEE", knee)
    before = set((peak.pytester.path / ".dsr1" / "peak").glob("search-*.json"))
    ran = peak.run(PROFILE, "--dsr1-gate")
    after = said(ran).partition("regression: highest concurrency")[2]
    verdict = re.split(r" (?:warning|note) ", after)[
        0
    ]  # references of one day, which midnight ends, are a warning
    told = f"gate {word} when it ran, not judged again: highest concurrency{verdict}"
    assert "when it ran" not in said(ran), "the verdict is that of the search, and not of its probe"
    records = sorted({*(peak.pytester.path / ".dsr1" / "peak").glob("search-*.json")} - before)
    assert len(records) == (1 if word == "PASS" else 2)
    (peak.pytester.path / ".dsr1").rename(peak.pytester.path / "moved")
    for name in ("moved/peak", *(f"moved/peak/{record.name}" for record in records)):
        again = peak.run(f"--dsr1-replay={name}", "--dsr1-report=r.html")
        assert again.ret == 0
        assert said(again).count("when it ran") == 1
        assert told in said(again)
        assert "The gate's runs" in (peak.pytester.path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("pace", "status", "word"), [("0.01", 0, "PASS"), ("0.0125", 1, "FAIL")])
def test_the_throughput_of_a_search_is_gated(
    peak: Suites, monkeypatch: pytest.MonkeyPatch, pace: str, status: int, word: str
) -> None:
    monkeypatch.chdir(peak.pytester.path)
    path = peak.folder / "peak.yaml"
    text = path.read_text(encoding="utf-8").replace("gate: {", "gate: {metric: throughput_at_slo, ")
    path.write_text(text, encoding="utf-8")
    assert accept(peak, NOISE, "throughput_at_slo") == 0
    monkeypatch.setenv("PACE", pace)
    result = peak.run(PROFILE, "--dsr1-gate", "-v")
    assert result.ret == status, result.stdout.str()
    text = said(result)
    assert f"peak.yaml::regression[throughput_at_slo] {word}ED" in text
    assert "peak: gate on throughput at SLO by one search per run, against 15 references on node" in text
    assert f"{word} regression: throughput at SLO" in text


def test_references_that_agree_better_than_they_know(peak: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise of equal references is the error of a search, so the next step of the load is no loss."""
    monkeypatch.chdir(peak.pytester.path)
    assert accept(peak, [0.0] * 14) == 0
    planned = " ".join(peak.run(PROFILE, "--dsr1-plan", "--dsr1-gate").stdout.str().split())
    assert "(noise 0.01% between starts)" not in planned
    monkeypatch.setenv("KNEE", "19")
    assert peak.run(PROFILE, "--dsr1-gate", "-k", "regression").ret == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ("--dsr1-set=gate.delta_percent=10",),
            10,
            "a gate of searches needs gate.delta_percent above search.width_percent, found 10 and 10: set a "
            "larger delta, or a narrower search",
        ),
        (
            ("--dsr1-set=gate.metric=highest_rate",),
            4,
            "gate.metric: highest_rate needs a `search` of it, found a search of highest_concurrency",
        ),
        (
            ("--dsr1-set=gate.metric=highest_concurrency", "--dsr1-set=search=null"),
            4,
            "gate.metric: highest_concurrency needs a `search` of it, found no `search`",
        ),
        (
            ATTACHED,
            10,
            "own/peak.yaml:1: gates compare engine starts, and pytest-dsr1 does not start the server at "
            "http://127.0.0.1:9; set engine.command or engine.server instead of engine.url",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["--dsr1-gate", "--dsr1-reference=record"])
@pytest.mark.parametrize("selected", [(), ("-k", "regression or reference")])
def test_searches_that_cannot_be_gated(
    peak: Suites, arguments: tuple[str, ...], status: int, message: str, mode: str, selected: tuple[str, ...]
) -> None:
    """No probe runs, also not for the test of the search itself."""
    result = peak.run(PROFILE, mode, *selected, *arguments)
    assert result.ret == status
    assert message in " ".join(f"{result.stdout.str()} {result.stderr.str()}".split())
    assert said(result).partition("PERFORMANCE OVERVIEW")[2].count(message) == (status == 10)
    assert peak.engine_runs == []


def test_a_search_without_references(peak: Suites) -> None:
    """There is no gate, but the answer of the search."""
    why = "peak.yaml: there is no such file, because no references of peak have been accepted"
    alone = peak.run(PROFILE, "--dsr1-gate", "-k", "regression")
    assert alone.ret == 11
    assert why in said(alone)
    assert peak.engine_runs == []
    both = peak.run(PROFILE, "--dsr1-gate")
    assert both.ret == 11
    both.assert_outcomes(passed=2, errors=1)
    assert "there will be no gate: " in said(both)


def test_another_question_is_not_comparable(peak: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(peak.pytester.path)
    assert accept(peak, NOISE) == 0
    result = peak.run(PROFILE, "--dsr1-gate", "-k", "regression", "--dsr1-set=search.goal=0.95")
    assert result.ret == 11
    assert "option.load.search.goal" in said(result)


def test_an_answer_beyond_the_range_is_not_recorded(peak: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNEE", "1000")
    result = peak.run(PROFILE, "--dsr1-reference=record", "-k", "reference")
    assert result.ret == 10
    assert "a gate needs an answer inside the range: search a wider one" in said(result)
    assert recorded(peak) == []


def test_pairs_do_not_compare_searches(peak: Suites) -> None:
    result = peak.run(PROFILE, "--dsr1-against=engine.threads=2", "-k", "pair")
    assert result.ret == 10
    refused = (
        "gate.metric: pairs compare runs, not searches, and highest_concurrency is a result of `search`; set "
        "gate.metric to a metric of a run, such as total_output_throughput"
    )
    assert refused in said(result)
    assert peak.engine_runs == []
