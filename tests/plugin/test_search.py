# ruff: noqa: E501  (messages stand whole)
"""A search in pytest: from the scenario to its test, on servers whose answer is known."""

from __future__ import annotations

import json
import shlex
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from pytest_dsr1.text import number
from tests.helpers.searched import ENGINE, said, write
from tests.helpers.suites import Suites, articles, overview, without_places

UNCLEAR = """
import importlib
from dataclasses import replace
from pytest_dsr1.search.decision import Found
from pytest_dsr1.search.placing import Plan


@pytest.fixture(autouse=True)
def unclear(monkeypatch):
    def decide(asked, probes):
        if len(probes) < 2:
            return Plan((20.0, 40.0)[len(probes)], 1e9, 500, sides=False)
        low, high = replace(probes[0], kept=0), replace(probes[1], kept=probes[1].requests)
        return Found("unclear", 8.0, 8.0, 64.0, narrow=False, contradiction=(low, high))

    # The package may still have the module of a run before, which ended with its own modules.
    monkeypatch.setattr(importlib.import_module("pytest_dsr1.search.progress"), "decide", decide)
"""
OPEN = (
    "--dsr1-set=load.arrival={type: poisson, rate_req_s: 1}",
    "--dsr1-set=model={name: deepseek-ai/DeepSeek-R1}",
    "--dsr1-set=engine={type: openai, url: 'http://127.0.0.1:9'}",
)
"""The scenario with an open loop."""
ID = "own/peak.yaml::search[highest_concurrency]"


@pytest.fixture
def peak(suites: Suites) -> Suites:
    suites.pytester.makeconftest(ENGINE)
    write(suites)
    return suites


def read(suites: Suites, name: str) -> str:
    return (suites.pytester.path / name).read_text(encoding="utf-8")


def record_name(suites: Suites) -> str:
    (path,) = suites.pytester.path.glob("*/peak/search-*.json")
    return path.name


def record_of(suites: Suites) -> dict[str, Any]:
    (path,) = (suites.pytester.path / ".dsr1" / "peak").glob("search-*.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def scenario_of(suites: Suites, probe: str) -> dict[str, Any]:
    (path,) = (suites.pytester.path / ".dsr1" / f"peak.{probe}").glob("*/measurement.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["measurement"]["scenario"]
    return found


def test_a_search_is_one_test(peak: Suites) -> None:
    write(peak, "load.rate: [1, 64]", "open")
    found = peak.run("--dsr1-profile=peak", "--collect-only", "-q")
    assert [line for line in found.outlines if "::" in line] == ["own/peak.yaml::environment", ID]
    opened = peak.run("--dsr1-profile=open", *OPEN, "--collect-only", "-q")
    assert "own/open.yaml::search[highest_rate]" in opened.outlines
    assert peak.engine_runs == []


def test_the_answer_without_a_target(peak: Suites) -> None:
    """The true answer is 20; the probes of this seed say 19."""
    result = peak.run("--dsr1-profile=peak", "--junitxml=junit.xml")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    probes = ["search-8", "search-64", "search-23", "search-14", "search-18"]
    assert peak.engine_runs == [f"peak.{probe}" for probe in probes]
    assert (
        "MEASURED peak: highest concurrency with 90% of requests within the SLO: 19 requests in flight "
        "(interval 18 to 20), after 5 probes of 4,102 requests note output throughput at that load:"
    ) in said(result)
    assert "stopped early" not in said(result)
    assert [line.split()[0] for line in result.outlines if line.startswith("  search-")] == probes
    scenarios = [scenario_of(peak, probe) for probe in probes]
    assert [each["dataset"]["seed"] for each in scenarios] == [421, 422, 423, 424, 425]
    assert [each["load"]["concurrency"] for each in scenarios] == [8, 64, 23, 14, 18]
    assert scenarios[0]["point"] == {"sweep": "peak", "label": "search-8", "values": {"load.concurrency": 8}}
    assert [(run["point"], run["why"]) for run in record_of(peak)["runs"]] == [(each, "") for each in probes]
    cases = {
        str(case.get("name")): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in ET.parse(peak.pytester.path / "junit.xml").getroot().iter("testcase")
    }
    found = cases["search[highest_concurrency]"]
    assert (found["dsr1_profile"], found["dsr1_verdict"]) == ("peak", "MEASURED")
    answer, throughput = record_of(peak)["found"].values()
    assert answer == [19, 18, 20]
    assert throughput[0] == throughput[2] > throughput[1], "this server is slower in longer probes"
    assert found["dsr1_highest_concurrency [requests in flight]"] == "19.0"
    assert found["dsr1_highest_concurrency_interval"] == "18.0 to 20.0"
    assert found["dsr1_throughput_at_slo [tok/s]"] == repr(throughput[0])
    assert f"throughput at SLO: {number(throughput[0])} tok/s, at the lower end of the interval" in said(
        result
    )
    assert str(found["dsr1_message"]).endswith("(interval 18 to 20), after 5 probes of 4,102 requests")
    assert str(found["dsr1_where"]).startswith("own/peak.yaml:")


@pytest.mark.parametrize(("target", "status", "words"), [(10, 0, "PASS"), (40, 1, "FAIL")])
def test_a_target(peak: Suites, target: int, status: int, words: str) -> None:
    result = peak.run(
        "--dsr1-profile=peak",
        f"--dsr1-set=search.at_least={target}",
        "--junitxml=junit.xml",
        "--dsr1-report=r.html",
    )
    assert result.ret == status
    result.assert_outcomes(passed=2 - status, failed=status)
    text = said(result)
    row = f"{words} highest concurrency 19 requests in flight {100 * (19 / target - 1):+.1f}%"
    assert row in text
    assert "note peak: highest concurrency with 90% of requests within the SLO: 19 requests in flight" in text
    if status:
        result.stdout.fnmatch_lines(
            [
                "peak: highest concurrency with 90% of requests within the SLO: 19 requests in flight (interval 18 to 20), after 5 probes of 4,102 requests: misses the target of at least 40",
                "own/peak.yaml:*; results: *peak.search-[*]",
            ]
        )
    (case,) = [
        {p.get("name"): p.get("value") for p in each.iter("property")}
        for each in ET.parse(peak.pytester.path / "junit.xml").getroot().iter("testcase")
        if each.get("name") == "search[highest_concurrency]"
    ]
    assert (case["dsr1_verdict"], case["dsr1_measured"], case["dsr1_unit"]) == (
        words,
        "19.0",
        "requests in flight",
    )
    page = (peak.pytester.path / "r.html").read_text(encoding="utf-8")
    assert "highest concurrency" in page


@pytest.mark.parametrize(("target", "status", "words"), [(10, 0, "PASS"), (9999, 1, "FAIL")])
def test_a_target_of_the_throughput(peak: Suites, target: int, status: int, words: str) -> None:
    """A test of its own, next to that of the load, which needs no target."""
    again = f"--dsr1-set=search.throughput_at_least={target}"
    result = peak.run("--dsr1-profile=peak", again, "--junitxml=junit.xml", "-v")
    assert result.ret == status
    result.assert_outcomes(passed=3 - status, failed=status)
    done, text = len(peak.engine_runs), said(result)
    assert f"own/peak.yaml::search[throughput_at_slo] {words}ED" in text
    value = record_of(peak)["found"]["throughput_at_slo"][0]
    row = f"{words} throughput at SLO {number(value)} tok/s {100 * (value / target - 1):+,.1f}%"
    assert row.replace(",", "") in text.replace(",", "")
    assert f"bound >= {number(target)}, target {number(target)} tok/s" in text
    _, _, ended = text.partition("PERFORMANCE OVERVIEW")
    assert ended.count("MEASURED peak: highest concurrency") == 1
    assert "note peak: highest concurrency" not in ended
    if status:
        assert "misses the target of at least 9,999 own/peak.yaml:" in text
    (case,) = [
        {p.get("name"): p.get("value") for p in each.iter("property")}
        for each in ET.parse(peak.pytester.path / "junit.xml").getroot().iter("testcase")
        if each.get("name") == "search[throughput_at_slo]"
    ]
    assert (case["dsr1_verdict"], case["dsr1_measured"], case["dsr1_unit"]) == (words, repr(value), "tok/s")
    assert str(case["dsr1_where"]).startswith("own/peak.yaml:")
    assert peak.run("--dsr1-replay=peak", again).ret == status
    alone = said(peak.run("--dsr1-replay=peak", again, "-k", "throughput_at_slo"))
    assert "note peak: highest concurrency" in alone, "no other test says it"
    assert len(peak.engine_runs) == done
    assert "target throughput at SLO at least" in peak.run("--dsr1-list", again).stdout.str()


@pytest.mark.parametrize(
    ("knee", "arguments", "status", "sentence"),
    [
        ("1000", (), 0, "at least 64 requests in flight, the end of the range"),
        ("1000", ("--dsr1-set=search.at_least=64",), 0, "meets the target of at least 64"),
        ("0.1", (), 0, "less than 1 requests in flight, the start of the range"),
        ("0.1", ("--dsr1-set=search.at_least=1",), 1, "misses the target of at least 1"),
    ],
)
def test_an_slo_that_everything_or_nothing_keeps(
    peak: Suites,
    monkeypatch: pytest.MonkeyPatch,
    knee: str,
    arguments: tuple[str, ...],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("KNEE", knee)
    result = peak.run("--dsr1-profile=peak", *arguments, "-rA")
    assert result.ret == status
    assert ("every" if knee == "1000" else "no") + " load of the range keeps the SLO" in said(result)
    assert status == 0 or sentence in said(result)
    assert len(peak.engine_runs) <= 3


@pytest.mark.parametrize("arguments", [(), ("--dsr1-set=search.at_least=30",)])
def test_probes_that_contradict_each_other_are_inconclusive(peak: Suites, arguments: tuple[str, ...]) -> None:
    peak.pytester.makeconftest(ENGINE + UNCLEAR)
    result = peak.run("--dsr1-profile=peak", *arguments)
    assert result.ret == 12
    assert peak.engine_runs == ["peak.search-20", "peak.search-40"]
    assert "UNCLEAR, somewhere in 8 to 64 requests in flight" in said(result)
    assert "two probes contradict each other beyond their errors" in said(result)


def test_an_unclear_search_says_its_sentence_once(peak: Suites) -> None:
    """The test of the load, which has no target, says it; alone, that of the throughput does."""
    peak.pytester.makeconftest(ENGINE + UNCLEAR)
    target = "--dsr1-set=search.throughput_at_least=5"
    for selected in ((), ("-k", "throughput_at_slo")):
        result = peak.run("--dsr1-profile=peak", target, *selected)
        assert result.ret == 12
        _, _, ended = said(result).partition("PERFORMANCE OVERVIEW")
        assert "INCONCLUSIVE throughput at SLO not measured" in ended
        assert ended.count("UNCLEAR, somewhere in 8 to 64 requests in flight") == 1
        assert ended.count("two probes contradict each other beyond their errors") == 1


def test_a_probe_that_does_not_count_is_repeated(peak: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "2")
    result = peak.run("--dsr1-profile=peak")
    assert result.ret == 0
    assert peak.engine_runs[:3] == ["peak.search-8", "peak.search-64", "peak.search-64"]
    assert "note a probe did not count: 1 of" in said(result)
    assert "INVALID" not in said(result)
    runs = record_of(peak)["runs"]
    assert [bool(run["why"]) for run in runs[:3]] == [False, True, False]


def test_three_probes_in_a_row_that_do_not_count_end_a_search(
    peak: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "all")
    changed = ("--dsr1-suites=own", "--dsr1-set=slo={request_latency_ms: 1000}")
    result = peak.run("--dsr1-profile=peak", *changed)
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=1)
    assert peak.engine_runs == ["peak.search-8"] * 3
    assert "3 engine starts in a row do not count" in said(result)
    again = said(result).partition("remove the cause, then run `")[2].partition("`")[0]
    assert shlex.split(again) == [
        "pytest",
        "--dsr1-profile=peak",
        "-k",
        "search",
        "--dsr1-suites=own",
        "--dsr1-set=slo={request_latency_ms: 1000}",
    ]


def test_a_search_that_was_ended_goes_on(peak: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPS", "4")
    assert peak.run_apart("--dsr1-profile=peak").ret == pytest.ExitCode.INTERRUPTED
    assert len(peak.engine_runs) == 4
    monkeypatch.delenv("STOPS")
    result = peak.run("--dsr1-profile=peak", "--dsr1-resume")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*dsr1: peak.search-8: finished in *peak.search-8/*"])
    assert peak.engine_runs[4:6] == ["peak.search-14", "peak.search-18"]
    done = len(peak.engine_runs)
    assert peak.run("--dsr1-profile=peak", "--dsr1-resume").ret == 0
    assert len(peak.engine_runs) == done


def test_a_probe_that_was_saved_and_not_noted_is_found(peak: Suites) -> None:
    """The session was killed between the two."""
    peak.run("--dsr1-profile=peak")
    (path,) = (peak.pytester.path / ".dsr1" / "peak").glob("search-*.json")
    whole = record_of(peak)
    path.write_text(json.dumps({**whole, "runs": whole["runs"][:-1], "answer": ""}), encoding="utf-8")
    done = len(peak.engine_runs)
    result = peak.run("--dsr1-profile=peak", "--dsr1-resume")
    assert result.ret == 0
    assert len(peak.engine_runs) == done
    assert record_of(peak) == whole


def test_there_must_be_a_search_to_go_on_with(peak: Suites) -> None:
    result = peak.run("--dsr1-profile=peak", "--dsr1-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --dsr1-resume: no search of peak was started in *.dsr1; run it without this option"]
    )
    assert peak.engine_runs == []


def test_a_rate(peak: Suites) -> None:
    write(peak, "load.rate: [1, 64], goal: 0.9, width_percent: 20")
    result = peak.run("--dsr1-profile=peak", *OPEN)
    assert "highest rate with 90% of requests within the SLO:" in said(result)
    assert peak.engine_runs[0] == "peak.search-8"
    assert scenario_of(peak, "search-8")["load"]["arrival"]["rate_req_s"] == 8


def test_a_replay_shows_the_probes(peak: Suites) -> None:
    peak.run("--dsr1-profile=peak")
    done = len(peak.engine_runs)
    again = peak.run("--dsr1-replay=peak.search-*")
    assert again.ret == 0
    again.assert_outcomes(passed=2 * done)
    assert len(peak.engine_runs) == done


@pytest.mark.parametrize("target", [None, 10, 40])
def test_a_replay_judges_the_search_again(peak: Suites, target: int | None) -> None:
    """Named by its profile, by a folder that was moved, and by its record."""
    judged = () if target is None else (f"--dsr1-set=search.at_least={target}",)
    reports = ("--dsr1-report=r.html", "--dsr1-report=r.md", "--junitxml=junit.xml")
    ran = peak.run("--dsr1-profile=peak", *judged, *reports)
    done, first = len(peak.engine_runs), read(peak, "r.md")
    page = read(peak, "r.html")
    again = peak.run("--dsr1-replay=peak", *reports)
    assert again.ret == ran.ret
    assert again.parseoutcomes() | {"warnings": 0} == ran.parseoutcomes() | {"warnings": 0}
    shown = without_places(overview(again))
    assert shown == without_places(overview(ran))
    assert without_places(read(peak, "r.md").splitlines()) == without_places(first.splitlines())
    assert articles(read(peak, "r.html")) == articles(page)
    assert len(peak.engine_runs) == done
    (peak.pytester.path / ".dsr1").rename(peak.pytester.path / "moved")
    for name in ("moved/peak", f"moved/peak/{record_name(peak)}"):
        found = peak.run(f"--dsr1-replay={name}")
        assert found.ret == ran.ret
        assert without_places(overview(found)) == shown
    assert len(peak.engine_runs) == done


def test_a_replay_of_a_search_with_another_question(peak: Suites) -> None:
    peak.run("--dsr1-profile=peak")
    stricter = peak.run("--dsr1-replay=peak", "--dsr1-set=search.at_least=40")
    assert stricter.ret == 1
    assert "misses the target of at least 40" in said(stricter)
    narrower = peak.run(
        "--dsr1-replay=peak", "--dsr1-set=search.width_percent=1", "--dsr1-set=search.goal=0.98"
    )
    assert narrower.ret == 12
    assert (
        "INCONCLUSIVE peak: its 5 saved probes do not answer what is asked now; search again: `pytest "
        "--dsr1-profile=peak -k search --dsr1-set=search.width_percent=1 --dsr1-set=search.goal=0.98`"
    ) in said(narrower)


def test_a_replay_of_a_search_that_was_stopped(peak: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPS", "3")
    peak.run_apart("--dsr1-profile=peak")
    again = peak.run("--dsr1-replay=peak")
    assert again.ret == 12
    assert (
        "INCONCLUSIVE peak: the search was stopped after 2 probes, before it had an answer: `pytest "
        "--dsr1-profile=peak --dsr1-resume` goes on"
    ) in said(again)


def test_a_replay_of_a_search_whose_scenario_is_gone(peak: Suites) -> None:
    peak.run("--dsr1-profile=peak")
    (kept,) = (peak.pytester.path / ".dsr1" / "peak").glob("search-*.yaml")
    kept.unlink()
    refused = peak.run("--dsr1-replay=peak")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        [
            f"ERROR: *search-*.json: the scenario is not next to it in {kept.name}; name it with --dsr1-profile=peak"
        ]
    )
    assert peak.run("--dsr1-replay=peak", "--dsr1-profile=peak").ret == 0


def test_a_probe_for_an_earlier_question_is_not_replayed(peak: Suites) -> None:
    """The model's answers depend on the dataset, so its earlier probes do not count for another one."""
    peak.run("--dsr1-profile=peak")
    ran = peak.run("--dsr1-profile=peak", "--dsr1-resume", "--dsr1-set=dataset.input_tokens=9")
    assert ran.ret == 0
    why = "search-8 was made for a question that the answer is not about"
    assert [run["why"] for run in record_of(peak)["runs"]][:1] == [why]
    again = peak.run("--dsr1-replay=peak")
    found = "highest concurrency with 90% of requests within the SLO: "
    assert (
        said(again).partition(found)[2].partition(", after")[0]
        == said(ran).partition(found)[2].partition(", after")[0]
    )


def test_a_target_next_to_a_search_needs_its_own_run_in_a_replay(peak: Suites) -> None:
    path = write(peak)
    path.write_text(path.read_text(encoding="utf-8") + "targets: [{metric: average_ttft, value: 200}]\n")
    assert peak.run("--dsr1-profile=peak", "-k", "search").ret == 0
    again = peak.run("--dsr1-replay=peak")
    assert again.ret == 10
    assert (
        "--dsr1-replay: expected a result of peak, found a search of it without that; `-k search` judges the "
        "search alone"
    ) in said(again)
    assert peak.run("--dsr1-replay=peak", "-k", "search").ret == 0
    assert peak.run("--dsr1-profile=peak").ret == 0
    both = peak.run("--dsr1-replay=peak")
    both.assert_outcomes(passed=3)


def test_a_search_that_does_not_run_is_not_judged(peak: Suites) -> None:
    result = peak.run("--dsr1-profile=peak", "--benchmark-skip")
    assert result.ret == 12
    assert "not judged: peak::search[highest_concurrency]: skipped:" in said(result)


def test_list_and_plan(peak: Suites) -> None:
    listed = peak.run("--dsr1-list", "--dsr1-profile=peak", "--dsr1-set=search.at_least=8")
    least = "highest concurrency at least 8 requests in flight"
    assert f"    search: load.concurrency 1 to 64, target {least}" in listed.outlines
    planned = peak.run("--dsr1-plan", "--dsr1-profile=peak")
    lines = [
        line for line in planned.outlines if line.startswith(("# search", "# load", "# expected", "pytest"))
    ]
    assert lines == [
        "# load: of a probe at the lowest load: 1,113 requests of random tokens, 8 tokens in and 4 out, 1 in flight, streamed",
        "# search: load.concurrency 1 to 64, for the highest at which 90% of requests keep the SLO (request latency at most 1,000 ms)",
        "# search: at most 12 probes of at most 100,000 requests each, and at most 12 engine starts; a probe that keeps 90% within the SLO needs 1,113 requests or more",
        "# search: if each request just keeps the SLO, 12 probes at 8, where it begins, take 0.46 h with 1,113 requests each, or 42 h with 100,000 requests each; without the time to start the engine",
        "pytest --dsr1-profile=peak",
    ]
    assert peak.engine_runs == []
