"""Doubts that stand beside a verdict."""

import pytest

from pytest_dsr1.measurement.consistency import suspicions, without_zeros
from pytest_dsr1.metrics.catalogue import combine
from tests.helpers.values import scenario

MTP3 = scenario(
    hardware={"gpu": "NVIDIA H200", "count": 8},
    model={"name": "deepseek-ai/DeepSeek-R1", "path": "/models/DeepSeek-R1"},
    dataset={"path": "/data/real.jsonl", "input_tokens": 1024, "output_tokens": 2048},
    engine={
        "type": "trtllm-bench",
        "tp": 8,
        "llm_api": {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}},
    },
)


def test_a_report_that_disagrees_with_its_own_requests_is_named() -> None:
    report, recomputed = {"total_output_throughput": 9.0}, {"total_output_throughput": 8.0}
    assert suspicions(scenario(), report, recomputed, {}) == (
        "total output throughput: the report says 9.0000 tok/s, but its request records give 8.0000",
    )
    assert suspicions(scenario(), {"total_output_throughput": 8.007}, recomputed, {}) == ()


@pytest.mark.parametrize(("length", "doubted"), [(1.0, False), (2.82, False), (3.19, False), (3.3, True)])
def test_text_that_is_easy_to_guess_flatters(length: float, doubted: bool) -> None:
    doubts = suspicions(MTP3, {}, {}, combine({"acceptance_length": length}, {}))
    assert bool(doubts) == doubted
    if doubted:
        assert doubts[0] == (
            f"acceptance length {length:.2f} is above 3.2, the most that MTP with 3 draft tokens gives on "
            "real text: the text is easier to predict than real text, so the measured speed is too high "
            "(`pytest-dsr1 docs datasets`)"
        )


def test_without_mtp_nothing_is_said_of_acceptance() -> None:
    assert suspicions(scenario(), {}, {}, combine({"acceptance_length": 1.0}, {})) == ()


def test_a_zero_that_nobody_judges_is_not_measured() -> None:
    values = {
        "total_output_throughput": 0.0,
        "average_tpot": 0.0,
        "tpot_p99": 0.0,
        "goodput": 0.0,
        "ttft_p50": 2.0,
    }
    kept, warnings = without_zeros(combine(values, {}))
    assert set(kept) == {"total_output_throughput", "goodput", "ttft_p50"}
    assert warnings == (
        "average time per output token (TPOT) is 0, so it was not measured",
        "TPOT P99 is 0, so it was not measured",
    )
    wrong = combine({"average_tpot": float("nan"), "tpot_p99": -1.0}, {})
    assert set(without_zeros(wrong)[0]) == {"average_tpot", "tpot_p99"}, "the run is INVALID"
