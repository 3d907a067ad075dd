"""Metrics against hand-made requests, NVIDIA's published rows, and the fields of real request files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.metrics.catalogue import METRICS, combine
from pytest_dsr1.metrics.inputs import GpuTotals, SloLimits
from pytest_dsr1.metrics.registry import Need, percentile
from pytest_dsr1.records import RequestRecord
from tests.helpers.metrics import from_records, of_run
from tests.helpers.paths import DATA
from tests.helpers.values import records, scenario

LOAD = {"concurrency": 2, "num_requests": 4}
PUBLISHED = {
    # requests, OSL, total latency ms, average latency ms -> req/s, output tok/s, per GPU
    "V1 B200 min-lat": (10, 81839.9807, 45318.9080, 0.1222, 250.0612, 31.2576),
    "V2 B200 min-lat": (10, 80368.1616, 8036.7546, 0.1244, 254.5535, 31.8192),
    "V5 B200 min-lat": (10, 74561.7520, 7456.1219, 0.1341, 274.4168, 34.3021),
    "V2 B200 max-thr": (49152, 2795511.9559, 174119.3317, 17.5825, 36008.8948, 4501.1119),
    "V3 B200 max-thr": (49152, 2826700.0758, 176064.1921, 17.3885, 35611.5942, 4451.4493),
    "V5 B200 max-thr": (49152, 2766684.9197, 172321.7206, 17.7657, 36384.0838, 4548.0105),
    "V5 B200 0528": (114688, 5443839.8140, 332826.9898, 21.0675, 43146.2042, 5393.2755),
    "V5 H200 min-lat": (10, 129498.2168, 12945.9379, 0.0772, 158.0669, 19.7584),
    "V2 H200 max-thr": (5120, 985713.3137, 195228.9468, 5.1942, 10637.7380, 1329.7173),
    "V3 H200 max-thr": (5120, 993548.8470, 197768.0434, 5.1532, 10553.8445, 1319.2306),
    "V5 H200 max-thr": (5120, 912656.9938, 181540.5739, 5.6100, 11489.2671, 1436.1584),
}


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_rows_agree_with_our_formulas(row: str) -> None:
    """Requests of the published number, mean latency and total time give the published rates."""
    count, total_ms, mean_ms, request_rate, output_rate, per_gpu = PUBLISHED[row]
    tokens = round(output_rate * total_ms / 1e3)  # of all requests together
    total_s, mean_s = total_ms / 1e3, mean_ms / 1e3
    starts = [(total_s - mean_s) * i / (count - 1) for i in range(count)]
    share, rest = divmod(tokens, count)
    rows = [
        RequestRecord(i, start, None, start + mean_s, 1024, share + (i < rest))
        for i, start in enumerate(starts)
    ]
    metrics = from_records(rows, gpus=8)
    assert metrics["request_throughput"] == pytest.approx(request_rate, abs=6e-5)
    assert metrics["total_output_throughput"] == pytest.approx(output_rate, rel=3e-5)
    assert metrics["per_gpu_output_throughput"] == pytest.approx(per_gpu, rel=3e-5)
    assert metrics["total_latency"] == pytest.approx(total_ms)
    assert metrics["average_request_latency"] == pytest.approx(mean_ms)
    assert metrics["average_concurrency"] == pytest.approx(mean_ms * count / total_ms)


def test_a_run_of_four_requests_by_hand() -> None:
    """Two at a time for 1 s each: every number can be worked out in the head."""
    expected = {
        "request_throughput": 2.0,
        "total_output_throughput": 8.0,
        "total_token_throughput": 24.0,
        "per_user_output_throughput": 4.0,
        "per_gpu_output_throughput": 4.0,
        "total_latency": 2000.0,
        "average_request_latency": 1000.0,
        **{f"request_latency_{p}": 1000.0 for p in ("minimum", "p50", "p90", "p95", "p99", "maximum")},
        "average_ttft": 250.0,
        **{f"ttft_{p}": 250.0 for p in ("minimum", "p50", "p90", "p95", "p99", "maximum")},
        "average_tpot": 250.0,
        **{f"tpot_{p}": 250.0 for p in ("minimum", "p50", "p90", "p95", "p99", "maximum")},
        "per_user_output_speed": 4.0,
        "acceptance_length": 1.0,
        "average_concurrency": 2.0,
        "average_input_length": 8.0,
        "average_output_length": 4.0,
    }
    found = from_records(records(), gpus=2)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


FULL: dict[str, Any] = {
    "gpus": 1,
    "concurrency": 2,
    "slo": SloLimits(ttft_ms=300.0),
    "measured_s": 2.0,
    "gpu": GpuTotals(power_w=700.0, energy_j=1400.0),
    "gpu_hour_price": 3.6,
}


def test_every_metric_can_be_computed_but_those_that_an_engine_states() -> None:
    stated = {name for name in METRICS if "inter_event_gap" in name}
    assert list(from_records(records(), **FULL)) == [name for name in METRICS if name not in stated]


@pytest.mark.parametrize(
    ("need", "rows", "changes"),
    [
        ("streaming", records(streaming=False), {}),
        ("mtp", [replace(r, decoding_iterations=None) for r in records()], {}),
        ("gpu", records(), {"gpus": 0, "gpu": None}),
        ("slo", records(), {"slo": None}),
        ("energy", records(), {"gpu": GpuTotals(power_w=700.0, energy_j=None)}),
        ("price", records(), {"gpu_hour_price": None}),
    ],
)
def test_what_is_missing_is_what_needs_it(
    need: Need, rows: Sequence[RequestRecord], changes: dict[str, Any]
) -> None:
    missing = {*from_records(records(), **FULL)} - {*from_records(rows, **{**FULL, **changes})}
    assert missing == {
        name for name, metric in METRICS.items() if need in metric.needs and "inter_event_gap" not in name
    }


def test_the_overview_shows_these_without_a_target() -> None:
    assert [name for name, metric in METRICS.items() if metric.headline] == [
        "total_output_throughput",
        "per_user_output_throughput",
        "per_gpu_output_throughput",
        "request_throughput",
        "average_request_latency",
        "average_ttft",
        "average_tpot",
        "acceptance_length",
        "energy_per_output_token",
        "energy_per_request",
        "output_throughput_per_watt",
        "mean_power",
        "cost_per_million_output_tokens",
        "average_concurrency",
    ]


def test_gaps_have_no_smallest_one_and_need_streaming_too() -> None:
    gaps = {name: metric for name, metric in METRICS.items() if "_gap" in name}
    spread = [f"inter_event_gap_{share}" for share in ("p50", "p90", "p95", "p99", "maximum")]
    assert list(gaps) == ["average_inter_event_gap", *spread]
    assert all(metric.needs == {"streaming"} for metric in gaps.values())


def test_service_levels_come_from_the_records_of_any_engine() -> None:
    names = ("goodput", "slo_attainment")
    assert [METRICS[name].source for name in names] == ["none in trtllm-bench; request records"] * 2


def test_what_cannot_be_gated_is_not_a_sample_of_the_run() -> None:
    """A gate judges rates over time and means over requests."""
    assert all(metric.kind in {"rate", "mean"} for metric in METRICS.values() if metric.gateable)
    assert not any(metric.gateable for metric in METRICS.values() if not metric.targetable)


def test_only_a_service_level_may_be_kept_by_no_request() -> None:
    assert {name for name, metric in METRICS.items() if metric.may_be_zero} >= {"goodput", "slo_attainment"}
    assert not METRICS["average_tpot"].may_be_zero


def test_a_run_without_slo_and_closed_loop_has_neither_goodput_nor_steady_window() -> None:
    found = from_records(records())
    assert not [name for name in found if "slo" in METRICS[name].needs or name.startswith("steady_")]


def test_goodput_and_steady_window() -> None:
    found = of_run(records(), scenario(load=LOAD, slo={"ttft_ms": 300}))
    expected = {
        "goodput": 2.0,
        "slo_attainment": 100.0,
        "steady_window": 2000.0,
        "steady_output_throughput": 8.0,
        "steady_average_ttft": 250.0,
        "steady_average_tpot": 250.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    broken = [replace(records()[0], error="lost"), *records()[1:]]
    preset = scenario(load=LOAD, slo={"preset": "mlperf-server", "tpot_ms": 250})
    assert of_run(broken, preset)["slo_attainment"] == pytest.approx(75.0)
    lost = [replace(r, error="lost") for r in records()]
    assert of_run(lost, scenario(load=LOAD)) == {}
    interactive = of_run(records(), scenario(load=LOAD, slo={"preset": "mlperf-interactive"}))
    # 250 ms a token keep no limit of 15
    assert (interactive["goodput"], interactive["slo_attainment"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("first_s", "last_s", "tokens", "good"),
    [
        (0.1, 0.1, 1, True),  # one token
        (0.1, 0.3, 1, False),  # one token, and the end long after it
        (0.1, 0.2, 1, True),  # one token, and the end 100 ms after it
        (0.1, 0.2001, 1, False),
        (0.1, 0.1, 4, True),  # all tokens at one moment
        (0.1, 0.4, 4, True),  # 100 ms per token
        (0.1, 0.5, 4, False),
        (None, 0.4, 4, False),  # the first token is unknown
    ],
)
def test_a_limit_of_tpot_for_each_kind_of_request(
    first_s: float | None, last_s: float, tokens: int, good: bool
) -> None:
    one = RequestRecord(0, 0.0, first_s, last_s, 8, tokens)
    other = RequestRecord(1, 0.0, 0.0, 1.0, 8, 20)
    found = from_records([one, other], slo=SloLimits(tpot_ms=100.05))
    assert found["slo_attainment"] == (100.0 if good else 50.0)


SLO_REQUEST = RequestRecord(0, 0.0, 0.5, 2.5, 8, 5)
"""TTFT 500 ms, TPOT (2500 - 500) / 4 = 500 ms, latency 2500 ms."""


@pytest.mark.parametrize(
    ("name", "exact_ms"), [("ttft_ms", 500.0), ("tpot_ms", 500.0), ("request_latency_ms", 2500.0)]
)
def test_each_limit_of_a_service_level_refuses_what_is_just_above_it(name: str, exact_ms: float) -> None:
    wide = {"ttft_ms": 600.0, "tpot_ms": 600.0, "request_latency_ms": 3000.0}
    for limit_ms, share in ((exact_ms, 100.0), (exact_ms * 0.999, 0.0)):
        for limits in ({name: limit_ms}, {**wide, name: limit_ms}):
            found = from_records([SLO_REQUEST], slo=SloLimits(**limits))
            assert (found["slo_attainment"], found["goodput"]) == (share, share / 100 / 2.5)


@pytest.mark.parametrize(
    ("preset", "ttft_ms", "tpot_ms"), [("mlperf-server", 2000, 80), ("mlperf-interactive", 1500, 15)]
)
def test_a_preset_has_the_limits_of_mlperf(preset: str, ttft_ms: int, tpot_ms: int) -> None:
    """MLPerf Inference's rules for DeepSeek-R1: Server 2000 and 80 ms, Interactive 1500 and 15 ms."""

    def attained(ttft: float, tpot: float) -> float:
        one = RequestRecord(0, 0.0, ttft / 1e3, (ttft + 100 * tpot) / 1e3, 8, 101)
        return of_run([one], scenario(load=LOAD, slo={"preset": preset}))["slo_attainment"]

    assert attained(ttft_ms - 0.1, tpot_ms - 0.01) == 100.0
    assert attained(ttft_ms + 0.1, tpot_ms - 0.01) == 0.0
    assert attained(ttft_ms - 0.1, tpot_ms + 0.01) == 0.0


@pytest.mark.parametrize(("seconds", "goodput"), [(0.5, 2.0), (0.001, 1000.0)])
def test_goodput_of_a_short_run(seconds: float, goodput: float) -> None:
    one = RequestRecord(0, 0.0, 0.0, seconds, 8, 1)
    assert from_records([one], slo=SloLimits(ttft_ms=1.0))["goodput"] == pytest.approx(goodput)


def test_a_run_that_took_no_time_has_no_goodput() -> None:
    found = from_records([RequestRecord(0, 1.0, 1.0, 1.0, 8, 1)], slo=SloLimits(ttft_ms=1.0))
    assert not {"goodput", "slo_attainment"} & found.keys()


def test_latency_counts_from_the_schedule() -> None:
    late = [replace(r, scheduled_s=r.submitted_s - 0.5) for r in records()]
    assert from_records(late, 0)["average_ttft"] == pytest.approx(750.0)
    assert from_records(late, 0)["average_request_latency"] == pytest.approx(1500.0)


def test_without_streaming_there_is_no_time_to_first_token() -> None:
    metrics = from_records(records(streaming=False), gpus=0)
    assert not {name for name in metrics if "ttft" in name or "tpot" in name or name.endswith("speed")}
    assert "per_gpu_output_throughput" not in metrics


def test_without_streaming_a_steady_window_has_the_tokens_of_the_requests_it_cuts() -> None:
    """The window, 0.5 to 3.0 s, has half of the first request and half of the last."""
    rows = [
        RequestRecord(number, start_s, None, start_s + 1.0, 8, 4 if number else 8)
        for number, start_s in enumerate([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    ]
    found = of_run(rows, scenario(load={"concurrency": 2, "num_requests": 6}))
    assert found["steady_window"] == pytest.approx(2500.0)
    assert found["steady_output_throughput"] == pytest.approx(22 / 2.5)


def test_a_request_whose_tokens_came_at_one_moment_has_no_time_per_token() -> None:
    burst, *others = records()
    at_once = replace(burst, first_token_s=burst.last_token_s)
    assert from_records([at_once, *others], 0)["average_tpot"] == pytest.approx(250.0)
    assert of_run([at_once, *others], scenario(load=LOAD))["steady_average_tpot"] == pytest.approx(250.0)
    assert "average_tpot" not in from_records([at_once], 0)


def test_a_request_without_latency_does_not_hide_the_steady_window() -> None:
    instant = replace(records()[0], last_token_s=records()[0].start_s, first_token_s=None)
    found = of_run([*records(), instant], scenario(load=LOAD))
    assert found["steady_window"] == pytest.approx(2000.0)
    assert found["steady_average_tpot"] == pytest.approx(250.0)
    assert "steady_output_throughput" in found
    assert "average_request_latency" not in found


def test_failed_requests_are_left_out_and_none_is_no_metric() -> None:
    good = records()
    bad = replace(good[0], error="out of memory")
    assert from_records([bad, *good[1:]], 0)["average_request_latency"] == pytest.approx(1000.0)
    assert from_records([bad], 0) == {}
    assert from_records([], 0) == {}


def test_acceptance_length_is_tokens_a_decoding_step() -> None:
    rows = [replace(r, decoding_iterations=2) for r in records()]
    assert from_records(rows, 0)["acceptance_length"] == pytest.approx(2.0)
    partly = [replace(rows[0], decoding_iterations=None), *rows[1:]]
    assert "acceptance_length" not in from_records(partly, 0)


def test_percentiles_are_not_interpolated() -> None:
    """With ten requests P90, P95 and P99 are all the maximum, as in TensorRT-LLM's reports."""
    values = [float(v) for v in range(10)]
    assert [percentile(values, p) for p in (0.5, 0.9, 0.95, 0.99)] == [5.0, 9.0, 9.0, 9.0]


@pytest.mark.parametrize("name", ["nostream_plain", "stream_mtp"])
def test_the_fields_of_real_request_files(name: str) -> None:
    """Each request's own derived fields, as the real reporting code wrote them, agree with ours."""
    path = DATA / "reports" / f"v1.2rc_{name}.request.json"
    for entry in json.loads(path.read_text(encoding="utf-8")):
        first_ns = entry["first_token_timestamp"]
        record = RequestRecord(
            entry["id"],
            entry["start_timestamp"] / 1e9,
            None if first_ns < 0 else first_ns / 1e9,
            entry["end_timestamp"] / 1e9,
            entry["num_input_tokens"],
            entry["num_total_output_tokens"],
            entry["decode_iteration"] + 1,
        )
        metrics = from_records([record], 8)
        assert metrics["average_request_latency"] * 1e6 == pytest.approx(entry["end_to_end_latency"])
        assert metrics["per_user_output_throughput"] == pytest.approx(entry["output_token_throughput"] * 1e9)
        if first_ns >= 0:
            assert metrics["average_ttft"] * 1e6 == pytest.approx(entry["time_to_first_token"])
            assert metrics["average_tpot"] * 1e6 == pytest.approx(entry["intertoken_latency"])
            assert metrics["per_user_output_speed"] == pytest.approx(
                entry["generation_token_throughput"] * 1e9
            )
            assert metrics["acceptance_length"] == pytest.approx(2.797814207650273)


_REQUEST = st.builds(
    lambda i, start, ttft, rest, tokens: RequestRecord(
        i, start, start + ttft, start + ttft + rest, 8, tokens
    ),
    st.integers(0, 99),
    st.floats(0, 1e4),
    st.floats(1e-3, 10),
    st.floats(1e-3, 100),
    st.integers(2, 4096),
)


@given(st.lists(_REQUEST, min_size=1, max_size=30))
def test_relations_that_hold_for_any_requests(rows: list[RequestRecord]) -> None:
    metrics = from_records(rows, gpus=8)
    total_s = metrics["total_latency"] / 1e3
    assert metrics["request_throughput"] * total_s == pytest.approx(len(rows))
    assert metrics["per_gpu_output_throughput"] * 8 == pytest.approx(metrics["total_output_throughput"])
    assert metrics["total_token_throughput"] > metrics["total_output_throughput"]
    assert metrics["average_concurrency"] <= len(rows) * (1 + 1e-9)
    for prefix in ("request_latency", "ttft", "tpot"):
        spread = [metrics[f"{prefix}_{p}"] for p in ("minimum", "p50", "p90", "p95", "p99", "maximum")]
        assert spread == sorted(spread)


def test_the_report_wins_and_each_metric_says_where_it_is_from() -> None:
    computed = from_records(records(), 0)
    metrics = combine({"total_output_throughput": 8.01}, computed)
    assert (metrics["total_output_throughput"].value, metrics["total_output_throughput"].origin) == (
        8.01,
        "report",
    )
    assert metrics["average_ttft"].origin == "records"
    assert list(metrics) == [name for name in METRICS if name in computed]
