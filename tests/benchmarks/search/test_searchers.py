"""How each tool is asked, and how its answer is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.search.searchers import PEERS, Aiperf, Answer, Guidellm, Ours
from pytest_dsr1.scenario.loading import load

URL = "http://127.0.0.1:9"


def write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


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
    runs = [{"point": "search-11"}, {"point": "search-38"}]
    write(
        tmp_path / ".dsr1" / "peak" / "search-1.json",
        {"runs": runs, "found": {"highest_concurrency": [16.0, 15.0, 17.0]}},
    )
    assert Ours().read(tmp_path) == Answer(16, 15, 17, probes=2)


def test_aiperf(tmp_path: Path) -> None:
    peer = PEERS["aiperf"]("prog")
    assert isinstance(peer, Aiperf)
    words = " ".join(peer.command(120.0, URL, tmp_path))
    assert words.startswith(f"prog profile --model queue --url {URL} ")
    assert "--search-space phases.profiling.concurrency:1,128:int" in words
    assert "--search-sla request_latency:p95:le:120.0" in words
    assert "--request-count 1000" in words
    summary = {"feasible_max": {"value": 15}, "infeasible_min": {"value": 18}}
    write(
        tmp_path / "result" / "search_history.json",
        {"boundary_summary": summary, "iterations": [{}] * 9},
    )
    assert peer.read(tmp_path) == Answer(15, 15, 17, probes=9)
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
    found = {"best_passing_streams": 18, "lowest_failing_streams": 20, "probes": [{}] * 8}
    write(tmp_path / "result.json", {"conclusions": [found]})
    assert peer.read(tmp_path) == Answer(18, 18, 19, probes=8)
    assert peer.environment == {}


@pytest.mark.parametrize("missing", ["best_passing_streams", "lowest_failing_streams"])
def test_a_side_that_was_not_found_is_no_answer(missing: str, tmp_path: Path) -> None:
    found = {"best_passing_streams": 18, "lowest_failing_streams": 20, "probes": []} | {missing: None}
    write(tmp_path / "result.json", {"conclusions": [found]})
    with pytest.raises(ValueError, match="no load on one side of the goal"):
        PEERS["guidellm"]("prog").read(tmp_path)
