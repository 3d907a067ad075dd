"""Which runs count, and their figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.telemetry.health import GpuSummary
from pytest_dsr1.machine.warm_start import Starts
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.scenario import GateSettings
from pytest_dsr1.steady.figure import steady_figure
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.study.eligibility import figure, gated_metric, own_start, save_figure, warm_up, why_not
from tests.helpers.gate_runs import started


def test_another_software_is_a_first_start_again(starts: Starts, tmp_path: Path) -> None:
    assert warm_up(started(tmp_path), starts)
    assert not warm_up(started(tmp_path), starts)
    assert warm_up(started(tmp_path, 1.0, **{"library.torch": "2.11.0"}), starts)


def test_a_server_must_be_started_for_the_run(tmp_path: Path) -> None:
    run = started(tmp_path)
    assert own_start(run) == ""
    own = replace(run, result=replace(run.result, facts=EngineFacts(server_started=True)))
    assert own_start(own) == ""
    kept = replace(
        own, result=replace(run.result, facts=EngineFacts(server_started=False, server_kept_from="other"))
    )
    assert own_start(kept) == "its server was started for other"
    unnamed = replace(own, result=replace(run.result, facts=EngineFacts(server_started=False)))
    assert own_start(unnamed) == "it used a running server"


def test_a_start_that_filled_a_cache_is_a_warm_up_each_time(starts: Starts, tmp_path: Path) -> None:
    filled = replace(started(tmp_path), caches_filled=("/a", "/b"))
    for _ in range(2):
        assert warm_up(filled, starts) == "warm-up: this start filled /a, /b"
    assert warm_up(started(tmp_path), starts) == ""


def test_the_figure_of_a_run_is_that_of_its_first_requests(tmp_path: Path) -> None:
    """The references' number of requests and warm-up count, not those of the run and the scenario."""
    run = started(tmp_path)
    rows = tuple(replace(r, last_token_s=r.last_token_s + r.id / 1000) for r in run.result.records)
    run = replace(run, result=replace(run.result, records=rows))
    found = figure(run, requests=16, warmup_requests=4)
    same = steady_figure(
        replace(trace(run), requests=trace(run).requests[:16]), "total_output_throughput", warmup_requests=4
    )
    assert found == same
    assert found.requests == 16
    assert figure(run) == steady_figure(trace(run), "total_output_throughput", warmup_requests=2)
    with pytest.raises(InvalidRunError, match=r"^small: 5 requests are too few for a steady figure: with 2 "):
        figure(run, requests=5)


def test_the_figure_is_saved_next_to_the_measurement(tmp_path: Path) -> None:
    run = started(tmp_path)
    found = figure(run)
    save_figure(run, found)
    saved = json.loads((tmp_path / "evidence.json").read_text(encoding="utf-8"))
    assert (saved.pop("metric"), saved.pop("batches")) == ("total_output_throughput", list(found.batches))
    assert saved == {name: getattr(found, name) for name in saved}
    assert {*saved} == {"value", "se_percent", "cut_s", "window_s", "latency_s", "requests"}


def test_all_reasons_of_an_invalid_run_are_said_and_it_is_not_a_known_start(
    starts: Starts, tmp_path: Path
) -> None:
    hot = (Finding("mismatch", "GPU 0 throttled", "hot"), Finding("mismatch", "GPU 1 throttled", "hot too"))
    run = replace(started(tmp_path), findings=hot)
    assert why_not(run, starts) == "GPU 0 throttled: hot; GPU 1 throttled: hot too"
    good = started(tmp_path)
    assert why_not(good, starts).startswith("warm-up: the first start of this software")
    assert why_not(good, starts) == ""


def test_a_metric_that_the_engine_says_it_did_not_measure_has_no_figure(tmp_path: Path) -> None:
    run = started(tmp_path)
    metric = gated_metric(run.scenario)
    doubtful = replace(
        run, result=replace(run.result, facts=EngineFacts(not_measured={metric: "all at once"}))
    )
    assert figure(run).value == pytest.approx(8.0)
    with pytest.raises(InvalidRunError) as error:
        figure(doubtful)
    assert str(error.value) == (
        f"{run.scenario.name}: {METRICS[metric].label} has no steady figure: all at once"
    )


def test_a_gate_on_energy_says_which_gpu_lacks_it(tmp_path: Path) -> None:
    run = started(tmp_path)
    gated = run.scenario.model_copy(update={"gate": GateSettings(metric="mean_power")})
    health = GpuSummary("", why_no_energy="GPU 1: the energy counter fell")
    with pytest.raises(InvalidRunError) as error:
        figure(replace(run, scenario=gated, gpu_health=health))
    assert str(error.value) == (
        f"{run.scenario.name}: mean power of all GPUs has no steady figure: GPU 1: the energy counter fell"
    )
