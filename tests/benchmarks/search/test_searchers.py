"""How each tool is asked, and how its answer is read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.search.searchers import PEERS, Aiperf, Answer, Guidellm, Ours, Plain, in_flight
from pytest_dsr1.scenario.loading import load

URL = "http://127.0.0.1:9"


TIMES = [(float(i // 2), i // 2 + 0.75) for i in range(80)]
"""Two requests at a time, with a pause of a quarter after each."""


def write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_in_flight() -> None:
    assert in_flight(TIMES) == 1.5
    assert in_flight(reversed(TIMES)) == 1.5


def test_our_scenario_asks_the_question(tmp_path: Path) -> None:
    argv = Ours().command(120.0, URL, tmp_path)
    scenario = load(Path(argv[-1])).scenario
    assert scenario.search is not None
    assert scenario.search.load.concurrency == [1, 128]
    assert (scenario.search.goal, scenario.search.width_percent) == (0.95, 10)
    assert scenario.slo is not None
    assert scenario.slo.request_latency_ms == 120
    assert Ours().environment["PYTHONPATH"].startswith(str(Path(__file__).parents[3]))


def test_our_record(tmp_path: Path) -> None:
    results = tmp_path / ".dsr1"
    runs = [
        {"point": point, "folder": f"peak.{point}/now"} for point in ("search-11", "search-15", "search-38")
    ]
    write(
        results / "peak" / "search-1.json",
        {"runs": runs, "found": {"highest_concurrency": [16.0, 15.0, 17.0]}},
    )
    requests = [{"submitted_s": begin_s, "last_token_s": end_s} for begin_s, end_s in TIMES]
    write_lines(results / "peak.search-15" / "now" / "requests.jsonl", requests)
    assert Ours().read(tmp_path) == Answer(16, 15, 17, 3, 1.5, nominal=15)


def test_plain_bisection(tmp_path: Path) -> None:
    words = " ".join(Plain().command(120.0, URL, tmp_path))
    assert words.endswith(f" -m benchmarks.search.plain {URL} 120")
    assert Plain().environment == Ours().environment
    answer = Answer(15, 15, 16, 7, 14.9, 15)
    write(tmp_path / "plain.json", asdict(answer))
    assert Plain().read(tmp_path) == answer


def aiperf_history(keeps: int | None, misses: int | None) -> dict[str, Any]:
    summary = {
        "feasible_max": None if keeps is None else {"value": keeps, "iteration_idx": 4},
        "infeasible_min": None if misses is None else {"value": misses},
    }
    return {"boundary_summary": summary, "iterations": [{}] * 9}


def guidellm_result(keeps: int | None, misses: int | None) -> dict[str, Any]:
    requests = [{"request_start_time": begin_s, "request_end_time": end_s} for begin_s, end_s in TIMES]
    benchmarks = [
        {"config": {"strategy": {"streams": streams}}, "requests": {"successful": successful}}
        for streams, successful in ((4, []), (18, requests))
    ]
    found: dict[str, Any] = {
        "best_passing_streams": keeps,
        "lowest_failing_streams": misses,
        "probes": [{}] * 8,
    }
    return {"conclusions": [found], "benchmarks": benchmarks}


def test_aiperf(tmp_path: Path) -> None:
    peer = PEERS["aiperf"]("prog")
    assert isinstance(peer, Aiperf)
    words = " ".join(peer.command(120.0, URL, tmp_path))
    assert words.startswith(f"prog profile --model queue --url {URL} ")
    assert "--search-space phases.profiling.concurrency:1,128:int" in words
    assert "--search-sla request_latency:p95:le:120.0" in words
    assert "--request-count 1000" in words
    write(tmp_path / "result" / "search_history.json", aiperf_history(15, 18))
    times = [(0.0, 99.0, "warmup"), *((*each, "profiling") for each in TIMES)]
    requests = [
        {"metadata": {"request_start_ns": begin, "request_end_ns": end, "benchmark_phase": phase}}
        for begin, end, phase in times
    ]
    run = tmp_path / "result" / "search_iter_0004" / "profile_runs" / "run_0001"
    write_lines(run / "profile_export.jsonl", requests)
    assert peer.read(tmp_path) == Answer(15, 15, 17, 9, 1.5, nominal=15)
    assert set(peer.environment.values()) == {"2"}


def test_guidellm(tmp_path: Path) -> None:
    peer = PEERS["guidellm"]("prog")
    assert isinstance(peer, Guidellm)
    words = " ".join(peer.command(120.0, URL, tmp_path))
    assert words.startswith("prog run ")
    assert '"slo": {"e2el_ms": 120.0}' in words
    assert "kind=goodput,target_attainment=0.95,max_streams=128" in words
    assert "kind=max_requests,count=1000" in words
    assert len((tmp_path / "prompts.jsonl").read_text().splitlines()) == 1000
    write(tmp_path / "result.json", guidellm_result(18, 20))
    assert peer.read(tmp_path) == Answer(18, 18, 19, 8, 1.5, nominal=18)
    assert peer.environment == {}


@pytest.mark.parametrize(("keeps", "misses"), [(None, 20), (18, None)])
@pytest.mark.parametrize("name", ["aiperf", "guidellm"])
def test_a_side_that_was_not_found_is_no_answer(
    name: str, keeps: int | None, misses: int | None, tmp_path: Path
) -> None:
    write(tmp_path / "result.json", guidellm_result(keeps, misses))
    write(tmp_path / "result" / "search_history.json", aiperf_history(keeps, misses))
    with pytest.raises(ValueError, match=r"^it found no load on one side of the goal$"):
        PEERS[name]("prog").read(tmp_path)
