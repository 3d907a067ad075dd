"""The benchmark of the load generator: its server, and our own client in it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loadgen.__main__ import once, table
from benchmarks.loadgen.clients import Load, Ours
from benchmarks.loadgen.truth import TruthServer, compile_server
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.protocol import EngineResult
from tests.helpers.openai_jobs import make_job, served
from tests.helpers.watcher import Watcher

pytestmark = pytest.mark.usefixtures("client_unjudged")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics before and after a measurement are all there, also on a busy machine."""
    for limit in ("_PATIENCE_S", "_SETTLE_S"):
        monkeypatch.setattr(f"pytest_dsr1.engines.openai.server.sampler.{limit}", 60.0)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_server(tmp_path_factory.mktemp("truth"))


def measured(folder: Path, server: TruthServer, **engine: Any) -> EngineResult:
    load = {"num_requests": 8, "warmup_requests": 3, "tolerated_failures": 0}
    of = served(int(server.url.rpartition(":")[2]), load, **engine)
    return OpenAiEngine().run(make_job(folder, of, prompts=engine.get("endpoint") == "chat"), Watcher())


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_server_forgets_the_warm_up_and_tells_as_vllm_does(
    endpoint: str, program: Path, tmp_path: Path
) -> None:
    with TruthServer(program, 1000, 500, 1) as server:
        server.forget(skip=3)
        result = measured(tmp_path, server, endpoint=endpoint)
        truth, arrivals_s = server.truth(), server.arrivals_s()
    assert [(r.error, r.output_tokens, r.events) for r in result.records] == [(None, 4, 4)] * 8
    assert (truth.requests, truth.completed, truth.aborted, truth.tokens) == (8, 8, 0, 32)
    sent_s = sorted(r.submitted_s for r in result.records)
    assert all(sent <= read for sent, read in zip(sent_s, arrivals_s, strict=True))
    told = result.facts.server_metrics
    assert (told.generated_tokens, told.prefix_cache_hit_share) == (32, 0.0)
    assert told.complete


def test_metrics_are_of_prometheus_format(program: Path) -> None:
    with TruthServer(program, 0, 0, 1) as server, urllib.request.urlopen(f"{server.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    assert len(lines) > 300
    samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    assert all(name.startswith("vllm:") and float(value) >= 0 for name, value in samples)


def test_our_client_runs_with_everything_on(program: Path, tmp_path: Path) -> None:
    load = Load("small", 4, 16, 8, 2000, 1000)
    run = once(load, Ours(), program, tmp_path / "run")
    assert run.reported is not None, (tmp_path / "run" / "output.txt").read_text()
    assert (run.truth.requests, run.truth.completed, run.truth.tokens) == (16, 16, 128)
    assert run.reported.readings is not None
    assert run.reported.readings >= 1
    assert run.reported.slo_percent == 100.0
    assert len(run.reported.sent_s) == 16
    shown = table(load, [run])
    assert "readings of /metrics, SLO kept by 100.0%" in shown
    assert "broken" not in shown


def test_several_servers_and_events_of_several_tokens(program: Path, tmp_path: Path) -> None:
    load = Load("rack", 4, 16, 9, 2000, 1000, servers=2, tokens_per_event=2, input_tokens=8, ramp_s=0.01)
    run = once(load, Ours(), program, tmp_path / "run")
    assert run.reported is not None, (tmp_path / "run" / "output.txt").read_text()
    assert (run.truth.requests, run.truth.completed, run.truth.tokens) == (16, 16, 144)
    assert run.truth.most_in_flight == 4
    (saved,) = (tmp_path / "run" / ".dsr1" / "loadgen").iterdir()
    lines = [json.loads(line) for line in (saved / "requests.jsonl").read_text().splitlines()]
    assert {line["events"] for line in lines} == {5}
    assert sorted(line["server"] for line in lines) == [0] * 8 + [1] * 8
    assert load.ideal_tok_s == pytest.approx(16 * 9 / (0.01 + 4 * 0.0055))  # a ramp, and four waves
