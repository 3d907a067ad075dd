"""How long a run should take, and the most that it may take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.measurement.expected import (
    SLOWEST_TOK_S_USER,
    Asking,
    asking,
    expected_s,
    job_timeout_s,
    run_timeout_s,
)
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.dataset import mean_tokens
from tests.helpers.published import SHIPPED
from tests.helpers.values import scenario


def test_how_long_a_run_should_take() -> None:
    assert expected_s(scenario()) == 2.0, "4 requests of 4 tokens at 8 tok/s"
    engine = {"type": "openai"}
    timed = scenario(engine=engine, load={"concurrency": 2, "num_requests": 4, "duration_s": 1.5})
    assert expected_s(timed) == 1.5
    assert expected_s(scenario(targets=[{"metric": "average_ttft", "value": 9.0}])) is None
    due = {"concurrency": "all", "num_requests": 4, "arrival": {"type": "poisson", "rate_req_s": 0.5}}
    assert expected_s(scenario(engine=engine, load=due, targets=[])) == 8.0
    assert expected_s(scenario(engine=engine, load=due | {"duration_s": 3.0}, targets=[])) == 3.0
    assert expected_s(scenario(engine=engine, load=due)) == 8.0, "its target would take 2 s"
    assert expected_s(scenario(engine=engine, load=due | {"duration_s": 3.0})) == 3.0
    fast = due | {"arrival": {"type": "poisson", "rate_req_s": 50.0}}
    assert expected_s(scenario(engine=engine, load=fast)) == 2.0
    trace = due | {"arrival": {"type": "trace", "path": "t.jsonl"}}
    assert expected_s(scenario(engine=engine, load=trace, targets=[])) is None


def test_a_run_without_an_expected_time_may_be_slow() -> None:
    """At 5 tok/s/user: 4 requests of 4 tokens of 2 users take 1.6 s, and of 1 user 3.2 s."""
    assert run_timeout_s(scenario()) == pytest.approx(3 * 2.0 + 600)
    free = scenario(targets=[])
    assert expected_s(free) is None
    assert run_timeout_s(free) == pytest.approx(3 * 1.6 + 600)
    ttft = scenario(targets=[{"metric": "average_ttft", "value": 9.0}])
    assert run_timeout_s(ttft) == pytest.approx(3 * 1.6 + 600)


def test_who_waits_in_the_engine_is_no_user() -> None:
    """At 5 tok/s: 4 requests of 4 tokens take 3.2 s with 1 user, and 1.6 s with 2."""

    def limit_s(concurrency: int | str, **changes: Any) -> float:
        load = {"concurrency": concurrency, "num_requests": 4}
        return run_timeout_s(scenario(targets=[], load=load, **changes))

    assert limit_s("all") == pytest.approx(3 * 3.2 + 600), "nothing limits them: one user per GPU"
    gpus = {"gpu": "NVIDIA H200", "count": 2}
    assert limit_s("all", hardware=gpus) == pytest.approx(3 * 1.6 + 600)
    slots = {"type": "openai", "server": "trtllm-serve", "max_batch_size": 2}
    assert limit_s("all", engine=slots) == pytest.approx(3 * 1.6 + 600)
    assert limit_s(4, engine=slots) == pytest.approx(3 * 1.6 + 600)


def test_a_users_rate_includes_the_time_that_requests_wait_for_a_slot() -> None:
    """4 requests of 4 tokens, all at once: at 2 tok/s/user on average a step of all of them takes 2 s.

    With 2 slots the first 2 take 1.5 s, and the others twice as long: 4/1.5 and 4/3 tok/s are 2 on average.
    """
    targets = [{"metric": "per_user_output_throughput", "value": 2.0}]
    flood = {"concurrency": "all", "num_requests": 4}

    def found_s(**changes: Any) -> float | None:
        return expected_s(scenario(targets=targets, **{"load": flood, **changes}))

    engine = {"type": "openai", "server": "trtllm-serve", "max_batch_size": 4}
    assert found_s(engine=engine) == pytest.approx(2.0)
    assert found_s(engine={**engine, "max_batch_size": 2}) == pytest.approx(3.0)
    assert found_s() == pytest.approx(2 * (1 + 1 / 2 + 1 / 3 + 1 / 4)), "nothing limits them: one per GPU"
    assert found_s(load={**flood, "concurrency": 2}) == pytest.approx(4.0), "no request waits"
    due = {**flood, "arrival": {"type": "poisson", "rate_req_s": 50.0}}
    assert found_s(load=due, engine={**engine, "max_batch_size": 2}) == pytest.approx(2.0), "not at once"
    limit_s = run_timeout_s(scenario(targets=targets, load=flood, engine={**engine, "max_batch_size": 2}))
    assert limit_s == pytest.approx(3 * 3 + 600)


def test_a_published_run_without_a_target_is_not_cut_off() -> None:
    """16 tokens at 0.1 tok/s take 160 s."""
    published = [{"version": str(rate), "values": {"total_output_throughput": rate}} for rate in (8.0, 0.1)]
    at_once = {"concurrency": "all", "num_requests": 4}
    for sent in (at_once, {**at_once, "concurrency": 2}):
        assert run_timeout_s(scenario(targets=[], published=published, load=sent)) == 3 * 160 + 600
    assert run_timeout_s(scenario(published=published)) == 3 * 2 + 600, "a target gives the time"


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda scenario: scenario.name)
def test_each_shipped_limit_is_twice_what_a_published_run_took(shipped: Scenario) -> None:
    tokens = shipped.load.num_requests * mean_tokens(shipped.dataset.output_tokens)
    for each in shipped.published:
        rates = each.values.get("total_output_throughput"), each.values.get("per_gpu_output_throughput")
        for rate, gpus in zip(rates, (1, shipped.hardware.count), strict=True):
            assert rate is None or run_timeout_s(shipped) > 2 * tokens / (rate * gpus), each.version


def test_the_longest_time_of_questions(tmp_path: Path) -> None:
    """Two at a time: 2 prompts of 10 tokens one at a time, then 2 x 50 and 1 x 8 tokens."""
    path = tmp_path / "sums.jsonl"
    path.write_text('{"prompt": "1 + 1?", "answer": "2"}\n' * 2, encoding="utf-8")
    tasks = [
        {"limit": 3, "max_output_tokens": 50},
        {"path": str(path), "max_output_tokens": 8},
    ]
    asked = {"same_answers": {"prompts": 2, "output_tokens": 10}, "tasks": tasks}
    engine = {"type": "openai"}
    of_user = [{"metric": "per_user_output_throughput", "value": 64.0}]
    assert asking(scenario(engine=engine)) is None
    assert asking(scenario(engine=engine, accuracy=asked, targets=[])) == Asking(
        (3, 2), SLOWEST_TOK_S_USER, "slowest", 128 / 5
    )
    assert asking(scenario(engine=engine, accuracy=asked, targets=of_user)) == Asking(
        (3, 2), 64.0, "targets", 2.0
    )
    asked["tasks"] = [{"path": "${DSR1_SOMEWHERE}/sums.jsonl"}]
    assert asking(scenario(engine=engine, accuracy=asked, targets=[])) == Asking(
        (None,), 5.0, "slowest", None
    )


@pytest.mark.parametrize(
    ("metric", "value", "tok_s_user"),
    [
        ("total_output_throughput", 32.0, 16.0),
        ("request_throughput", 4.0, 8.0),
        ("per_gpu_output_throughput", 32.0, 32.0),
        ("average_ttft", 9.0, 5.0),
    ],
)
def test_the_speed_of_a_user_follows_from_the_targets(metric: str, value: float, tok_s_user: float) -> None:
    """4 requests of 4 tokens, two at a time; on two GPUs."""
    found = asking(
        scenario(
            engine={"type": "openai"},
            hardware={"gpu": "NVIDIA H200", "count": 2},
            accuracy={"tasks": [{"limit": 2, "max_output_tokens": 64}]},
            targets=[{"metric": metric, "value": value}],
        )
    )
    assert found is not None
    assert (found.tok_s_user, found.seconds) == (tok_s_user, 64 / tok_s_user)
    assert found.by == ("slowest" if metric == "average_ttft" else "targets")


@pytest.mark.parametrize(
    ("metric", "value", "seconds"),
    [
        ("request_throughput", 2.0, 2.0),
        ("total_output_throughput", 8.0, 2.0),
        ("total_token_throughput", 24.0, 2.0),
        ("per_user_output_throughput", 4.0, 2.0),
        ("per_gpu_output_throughput", 1.0, 8.0),
        ("per_user_output_speed", 4.0, None),
        ("steady_output_throughput", 8.0, None),
    ],
)
def test_a_metric_says_how_long_a_run_takes(metric: str, value: float, seconds: float | None) -> None:
    """4 requests of 8 tokens in and 4 out, two at a time."""
    targets = [{"metric": "ttft_p99", "value": 9.0}, {"metric": metric, "value": value}]
    gpus = {"gpu": "NVIDIA H200", "count": 2}
    assert expected_s(scenario(targets=targets, hardware=gpus)) == seconds


def test_a_job_lasts_as_long_as_pytest_lets_a_run_last() -> None:
    """A file of questions says only in the run how many it has."""
    engine = {"type": "openai"}
    assert job_timeout_s(scenario(engine=engine)) == pytest.approx(3600 + 3 * 2.0 + 600)
    assert job_timeout_s(scenario(engine=engine, targets=[])) is None
    known = scenario(engine=engine, accuracy={"tasks": [{"limit": 3, "max_output_tokens": 50}]})
    asked = asking(known)
    assert asked is not None
    assert asked.seconds
    assert job_timeout_s(known) == pytest.approx(3600 + 3 * 2.0 + 600 + asked.seconds)
    unknown = scenario(engine=engine, accuracy={"tasks": [{"path": "${DSR1_SOMEWHERE}/sums.jsonl"}]})
    assert job_timeout_s(unknown) is None
