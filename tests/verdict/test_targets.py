"""Targets: direction, tolerance, words and sentences."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.machine.telemetry.health import GpuSummary
from pytest_dsr1.metrics.catalogue import METRICS, MetricValue, targetable
from pytest_dsr1.scenario.schema.scenario import Target
from pytest_dsr1.text import number
from pytest_dsr1.verdict.targets import Noise, bound, judge
from pytest_dsr1.verdict.validity import invalid_reasons
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.values import NOISE, measurement, records, scenario


def target(metric: str, value: float, tolerance_percent: float = 5.0) -> Target:
    return Target(metric=metric, value=value, tolerance_percent=tolerance_percent)


@pytest.mark.parametrize(
    ("metric", "value", "status", "message"),
    [
        (
            "total_output_throughput",
            8.0,
            "PASS",
            "total output throughput 8 tok/s is 0.0% above the target 8 (tolerance 5%: at least 7.6 tok/s)",
        ),
        ("total_output_throughput", 8.42, "PASS", "8 tok/s is 5.0% below the target 8.42"),
        ("total_output_throughput", 8.05, "PASS", "8 tok/s is 0.6% below the target 8.05"),
        ("total_output_throughput", 8.43, "FAIL", "8 tok/s is 5.1% below the target 8.43"),
        ("average_ttft", 240.0, "PASS", "250 ms is 4.2% above the target 240 (tolerance 5%: at most 252 ms)"),
        ("average_ttft", 235.0, "FAIL", "250 ms is 6.4% above the target 235"),
        ("average_ttft", 500.0, "PASS", "250 ms is 50.0% below the target 500"),
    ],
)
def test_the_verdict_and_its_sentence(metric: str, value: float, status: str, message: str) -> None:
    verdict = judge(target(metric, value), measurement(), NOISE)
    assert verdict.status == status
    assert message in verdict.message
    assert verdict.subject == f"target[{metric}]"


def test_the_bound_itself_passes() -> None:
    assert judge(target("total_output_throughput", 8.0, 0.0), measurement(), NOISE).status is Status.PASS
    assert judge(target("average_ttft", 250.0, 0.0), measurement(), NOISE).status is Status.PASS


def test_a_run_in_which_no_request_keeps_the_slo_misses_its_goodput() -> None:
    none = measurement(metrics={"goodput": MetricValue(0.0, "records")})
    assert invalid_reasons(none) == ()
    verdict = judge(target("goodput", 2.0), none, NOISE)
    assert verdict.status is Status.FAIL
    assert verdict.message == (
        "goodput 0 req/s is 100.0% below the target 2 (tolerance 5%: at least 1.9 req/s)"
    )


@pytest.mark.parametrize(("value", "status"), [(8.0, "PASS"), (8.45, "FAIL")])
def test_a_figure_within_the_noise_of_its_bound_says_so(value: float, status: str) -> None:
    noise = Noise(3.0, 20)
    verdict = judge(target("total_output_throughput", value), measurement(), noise)
    assert verdict.status == status
    away = {"PASS": "5.3%", "FAIL": "0.3%"}[status]
    assert verdict.message.endswith(
        f"; the measured value is {away} from the bound, which is less than twice the standard deviation "
        "between engine starts (3%, from 20 accepted references): a repeat run may get the opposite verdict"
    )
    clear = judge(target("total_output_throughput", 7.0), measurement(), noise)
    assert "deviation" not in clear.message


@pytest.mark.parametrize(("percent", "near"), [(2.0, False), (2.56, False), (2.57, True)])
def test_within_the_noise_is_within_two_standard_deviations(percent: float, near: bool) -> None:
    """8 is ln(8 / 7.6) = 5.129% from its bound, 7.6."""
    found = judge(target("total_output_throughput", 8.0), measurement(), Noise(percent, 20))
    assert bool(found.doubt) == near


WITHOUT_TOKEN_TIMES = {"records": records(streaming=False), "scenario": scenario(engine={"type": "openai"})}
AT_ONCE = {"records": tuple(replace(one, first_token_s=one.last_token_s) for one in records())}
UNKNOWN = "this engine does not report it; remove the target or use another"


@pytest.mark.parametrize(
    ("metric", "changes", "hint"),
    [
        ("average_ttft", WITHOUT_TOKEN_TIMES, "openai: set engine.streaming: true"),
        ("tpot_p99", WITHOUT_TOKEN_TIMES, "openai: set engine.streaming: true"),
        ("tpot_p99", {"records": records(streaming=False)}, f"transformers: {UNKNOWN}"),
        ("per_gpu_output_throughput", {}, f"transformers: {UNKNOWN}"),
        (
            "average_tpot",
            AT_ONCE,
            "transformers: the tokens of each answer came at one moment, or it has one token, so there is no "
            "time between tokens; ask for more output tokens, and measure without a proxy that collects "
            "events",
        ),
    ],
)
def test_what_was_not_measured_is_invalid(metric: str, changes: dict[str, Any], hint: str) -> None:
    verdict = judge(target(metric, 1.0), measurement(**changes), NOISE)
    assert verdict.status is Status.INVALID
    assert verdict.measured is None
    assert f"{METRICS[metric].label} was not measured by engine {hint}" in verdict.message


def test_what_an_engine_says_is_not_advice_about_gpus() -> None:
    """Only energy depends on the GPUs; without any, no reason is known for it either."""
    run = measurement(records=records(streaming=False))
    facts = EngineFacts(not_measured={"average_ttft": "all tokens came in clumps"})
    verdict = judge(target("average_ttft", 1.0), replace(run, result=replace(run.result, facts=facts)), NOISE)
    assert verdict.message == (
        "average time to first token (TTFT) was not measured by engine transformers: all tokens came in "
        "clumps"
    )
    verdict = judge(target("energy_per_request", 1.0), measurement(), NOISE)
    assert verdict.message.endswith(
        f"energy per request was not measured by engine transformers: {UNKNOWN} engine"
    )


@pytest.mark.parametrize(
    ("health", "why"),
    [
        (GpuSummary("", why_no_energy="GPU 1: the energy counter fell"), "GPU 1: the energy counter fell"),
        (GpuSummary("", energy_j_total=5.0), "results of earlier versions do not have it"),
    ],
)
def test_energy_that_was_not_measured_says_which_gpu_lacks_it(health: GpuSummary, why: str) -> None:
    verdict = judge(target("energy_per_request", 1.0), measurement(gpu_health=health), NOISE)
    assert verdict.status is Status.INVALID
    assert verdict.message == (
        f"energy per request was not measured: {why}; remove the target, or run on GPUs that report it"
    )
    changes: dict[str, Any] = {**WITHOUT_TOKEN_TIMES, "gpu_health": health}
    other = judge(target("average_ttft", 1.0), measurement(**changes), NOISE)
    assert other.message.endswith("was not measured by engine openai: set engine.streaming: true")


@given(st.sampled_from(targetable()), st.floats(1e-3, 1e6), st.floats(0, 99))
def test_the_margin_and_the_bound_agree(metric: str, value: float, tolerance_percent: float) -> None:
    """PASS is exactly 'not more than the tolerance on the bad side', in either direction."""
    verdict = judge(target(metric, value, tolerance_percent), measurement(scenario=scenario()), NOISE)
    if verdict.margin_percent is None:
        assert verdict.status is Status.INVALID
        return
    if abs(verdict.margin_percent + tolerance_percent) > 1e-6:
        assert (verdict.status is Status.PASS) == (verdict.margin_percent > -tolerance_percent)


def test_bounds_lie_on_the_bad_side() -> None:
    assert bound(target("total_output_throughput", 100.0)) == pytest.approx(95.0)
    assert bound(target("average_ttft", 100.0)) == pytest.approx(105.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(11489.2671, "11,489"), (158.1196, "158.1"), (0.1341, "0.1341"), (0.00012, "0.000120"), (0.0, "0")],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert number(value) == text
