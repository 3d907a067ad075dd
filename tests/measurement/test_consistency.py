"""Doubts that stand beside a verdict."""

import pytest

from pytest_dsr1.measurement.consistency import real_text_acceptance, suspicions, without_zeros
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


@pytest.mark.parametrize(
    ("drafts", "least", "most"),
    [(1, 1.632, 2.179), (2, 2.193, 2.928), (3, 2.397, 3.201), (4, 2.5415, 3.394), (5, 2.5585, 3.416)],
)
def test_real_text_at_each_depth(drafts: int, least: float, most: float) -> None:
    """85 to 113.5% of 1.92, 2.58, 2.82, 2.99 and 3.01 tokens per step (TensorRT-LLM tech blog 1)."""
    assert real_text_acceptance(drafts) == pytest.approx((least, most), abs=1e-3)
    settings = MTP3.engine.model_dump()
    settings["llm_api"]["speculative_config"]["max_draft_len"] = drafts
    one = MTP3.model_copy(update={"engine": type(MTP3.engine).model_validate(settings)})
    for length, doubted in ((most - 0.01, False), (most + 0.01, True)):
        doubts = suspicions(one, {}, {}, combine({"acceptance_length": length}, {}))
        assert [f"the most that MTP with {drafts} draft tokens gives" in doubt for doubt in doubts] == [
            True
        ] * doubted


@pytest.mark.parametrize("drafts", [None, 0, 6])
def test_a_depth_without_published_numbers(drafts: int | None) -> None:
    assert real_text_acceptance(drafts) is None


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
