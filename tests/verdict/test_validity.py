"""What makes a measurement prove nothing."""

from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.roofline.bounds import bounds
from pytest_dsr1.verdict.validity import invalid_reasons
from tests.helpers.published import measured, shipped
from tests.helpers.values import measurement, records, scenario


def test_a_good_run_has_no_reason() -> None:
    assert invalid_reasons(measurement()) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"findings": (Finding("mismatch", "GPU 5", "thermally throttled from 03:12 to 04:40"),)},
            "GPU 5: thermally throttled from 03:12 to 04:40",
        ),
        (
            {"records": (replace(records()[0], error="server said 500"), *records()[1:])},
            "1 of 4 requests failed, the first: server said 500",
        ),
        (
            {"records": (*records()[:2], *(replace(one, error=f"lost {one.id}") for one in records()[2:]))},
            "2 of 4 requests failed, the first: lost 2",
        ),
        ({"records": records(3)}, "3 requests ended; expected 4"),
        (
            {"metrics": {"average_ttft": MetricValue(float("nan"), "report")}},
            "not finite positive numbers: average_ttft",
        ),
        (
            {"metrics": {"average_tpot": MetricValue(0.0, "report")}},
            "not finite positive numbers: average_tpot",
        ),
        ({"metrics": {}}, "the engine reported no metric"),
    ],
)
def test_each_reason_is_said(changes: dict[str, Any], reason: str) -> None:
    assert invalid_reasons(measurement(**changes)) == (reason,)


def test_a_run_that_was_stopped_on_purpose_is_valid() -> None:
    run = measurement(records=records(3))
    assert invalid_reasons(replace(run, result=replace(run.result, stopped=True))) == ()


def test_a_run_that_was_stopped_still_fails_by_its_requests() -> None:
    run = measurement(records=(replace(records()[0], error="server said 500"), records()[1]))
    stopped = replace(run, result=replace(run.result, stopped=True))
    assert invalid_reasons(stopped) == ("1 of 2 requests failed, the first: server said 500",)


def test_a_workload_that_was_cut_is_asked_for_no_more() -> None:
    run = measurement(records=records(2))
    cut = replace(run, workload=replace(run.workload, requests=2))
    assert invalid_reasons(cut) == ()
    lost = replace(cut, result=replace(run.result, records=records(1)))
    assert invalid_reasons(lost) == ("1 requests ended; expected 2",)


def test_warnings_do_not_condemn_but_are_kept() -> None:
    run = measurement(findings=(Finding("warning", "GPU 0 persistence mode", "is off"),))
    assert invalid_reasons(run) == ()
    assert run.warnings == ("GPU 0 persistence mode: is off",)


def test_a_figure_that_no_such_gpu_can_show_condemns_the_run() -> None:
    values = {"total_output_throughput": 200_000.0, "per_gpu_output_throughput": 25_001.0}
    assert invalid_reasons(measured(shipped("h200/max-throughput"), values)) == (
        "per-GPU output throughput 25,001 tok/s/GPU exceeds the limit of 13,656 tok/s/GPU, which follows "
        "from the peak of the tensor cores of 8 x NVIDIA H200 (a step of 1,024 requests computes at least "
        "72.89 TFLOP at 8 x 1,979 TFLOPS (FP8) and 37.73 TFLOP at 8 x 989 TFLOPS (BF16), in 9.373 ms: 1,024 "
        "tokens / 9.373 ms / 8 GPUs = 13,656.3 tok/s/GPU): either a clock or the token count is wrong, "
        "or the model or quantization that ran is not the one in the scenario",
    )


@pytest.mark.parametrize(("above_percent", "invalid"), [(-1, False), (2.9, False), (3.1, True)])
def test_what_the_table_of_peaks_does_not_know_condemns_nothing(above_percent: float, invalid: bool) -> None:
    one = shipped("h200/max-throughput")
    (most,) = bounds(measured(one, {"total_output_throughput": 1.0}))
    values = {"total_output_throughput": most.value * (1 + above_percent / 100)}
    assert bool(invalid_reasons(measured(one, values))) == invalid


FORCED = {"acceptance_length": 2.4}


def forced(seen: float | None, *, count: int = 400, concurrency: int = 2) -> Measurement:
    """Return a run of requests of 1,000 tokens with a forced acceptance length of 2.4."""
    load = {"concurrency": concurrency, "num_requests": count}
    rows = tuple(replace(one, output_tokens=1000) for one in records(count))
    run = measurement(scenario=scenario(speculation=FORCED, load=load), records=rows)
    metrics = {name: value for name, value in run.metrics.items() if name != "acceptance_length"}
    if seen is not None:
        metrics["acceptance_length"] = MetricValue(seen, "report")
    return replace(run, metrics=metrics, workload=replace(run.workload, requests=count))


@pytest.mark.parametrize("seen", [2.39, 2.4, 2.405, None])
def test_a_forced_acceptance_length_that_was_seen_counts(seen: float | None) -> None:
    assert invalid_reasons(forced(seen)) == ()


@pytest.mark.parametrize("seen", [1.0, 2.37, 2.43, 2.82])
def test_a_forced_acceptance_length_that_was_not_kept_does_not(seen: float) -> None:
    assert invalid_reasons(forced(seen)) == (
        f"acceptance length 2.4 forced, but {seen:.3f} seen (expected 2.379 to 2.414): the engine did not "
        "force it; look for its own message in the log, and at its version (`pytest-dsr1 docs datasets`)",
    )


def test_a_run_is_judged_by_the_acceptance_that_it_was_measured_with() -> None:
    run = forced(2.4)
    natural = replace(run, scenario=run.scenario.model_copy(update={"speculation": None}))
    assert invalid_reasons(natural) == (
        "the acceptance length was forced to 2.4 in this run, but the scenario says natural: judge it as it "
        "was measured, without a change of `speculation`",
    )
    before = replace(run, fingerprint=Fingerprint())
    (reason,) = invalid_reasons(before)
    assert "was natural in this run, but the scenario says forced to 2.4: judge it" in reason


def test_a_short_run_shows_less() -> None:
    assert invalid_reasons(forced(2.33, count=4)) == ()
    assert len(invalid_reasons(forced(1.8, count=4))) == 1


@pytest.mark.parametrize("lost", [{"error": "lost", "output_tokens": 1}, {"output_tokens": 0}])
def test_requests_that_gave_nothing_do_not_count_for_the_length(lost: dict[str, Any]) -> None:
    run = forced(2.82)
    whole, rest = run.result.records[:200], run.result.records[200:]
    both = replace(run, result=replace(run.result, records=(*whole, *(replace(one, **lost) for one in rest))))
    alone = replace(run, result=replace(run.result, records=whole))
    assert "2.820 seen (expected " in invalid_reasons(alone)[-1]
    assert invalid_reasons(both)[-1] == invalid_reasons(alone)[-1]


def test_without_records_the_workload_says_the_lengths() -> None:
    run = forced(2.82)
    bare = replace(run, result=replace(run.result, records=()))
    bare = replace(bare, workload=replace(bare.workload, mean_output=1000.0))
    assert "but 2.820 seen (expected 2.379 to 2.414)" in invalid_reasons(bare)[0]


def test_options_that_were_not_in_effect_make_a_run_invalid() -> None:
    """Those that change what is measured; the engine itself reported the values."""
    run = measurement()
    options = saved(
        [
            Option("max_batch_size", 64, "LLM.args", 128),
            Option("tp", 8, "LLM.args", 8),
            Option("print_iter_log", False, "LLM.args", True),
            Option("moe_backend", "TRTLLM", "server.log", "CUTLASS"),
        ]
    )
    facts = replace(run.result.facts, options_in_effect=options)
    assert invalid_reasons(replace(run, result=replace(run.result, facts=facts))) == (
        "the engine did not use the options that it was given: max_batch_size was 64 instead of 128 "
        "(LLM.args); moe_backend was TRTLLM instead of CUTLASS (server.log)",
    )


def cached(share: float | None, label: str = "concurrency-2", **changes: Any) -> Measurement:
    """Return the run of a point of a sweep that found this share of its prompts in the server's cache."""
    point = {"sweep": "small", "label": label, "values": {"load.concurrency": 2}}
    run = measurement(scenario=scenario(point=point, **changes))
    seen = replace(run.result.facts.server_metrics, prefix_cache_hit_share=share)
    return replace(run, result=replace(run.result, facts=replace(run.result.facts, server_metrics=seen)))


def test_a_point_of_a_sweep_does_not_measure_the_cache() -> None:
    """A kept server has seen the prompts of other points."""
    assert invalid_reasons(cached(0.051)) == (
        "5% of the prompts came from the server's prefix cache and were not computed, but a point of a sweep "
        "may have 5%: give each point prompts of its own, with dataset.seed or dataset.path in the sweep, or "
        "switch the cache off",
    )
    assert invalid_reasons(cached(0.05)) == ()
    assert invalid_reasons(cached(None)) == ()
    assert invalid_reasons(replace(cached(0.9), scenario=scenario())) == (), "it is not a point"


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        (None, "set another dataset.seed, whose prompts the server has not seen"),
        (
            "prompts.jsonl",
            "all probes send the prompts of dataset.path, so remove it: then each probe makes its own",
        ),
    ],
)
def test_a_probe_of_a_search_does_not_measure_the_cache(path: str | None, remedy: str) -> None:
    dataset = {"path": path, "input_tokens": 8, "output_tokens": 4}
    assert invalid_reasons(cached(0.5, "search-2", dataset=dataset)) == (
        "50% of the prompts came from the server's prefix cache and were not computed, but a probe of a "
        f"search may have 5%: {remedy}, or switch the cache off",
    )
