"""Doubts that stand beside a verdict."""

import random

import pytest

from pytest_dsr1.measurement.consistency import (
    expected_acceptance,
    real_text_acceptance,
    suspicions,
    without_zeros,
)
from pytest_dsr1.metrics.catalogue import combine
from pytest_dsr1.scenario.schema.scenario import Speculation
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


def test_only_what_both_have_is_compared() -> None:
    """In the order of the metrics; one that only the report or only the records have says nothing."""
    report = {"total_output_throughput": 8.0, "average_tpot": 2.0, "ttft_p99": 0.0, "tpot_p99": 5.0}
    recomputed = {"request_throughput": 9.0, "average_tpot": 1.0, "ttft_p99": 0.0, "tpot_p99": 4.0}
    assert suspicions(scenario(), report, recomputed, {}) == (
        "average time per output token (TPOT): the report says 2.0000 ms, but its request records give "
        "1.0000",
        "TPOT P99: the report says 5.0000 ms, but its request records give 4.0000",
    )


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


def test_the_most_of_real_text_is_real_text() -> None:
    expected = real_text_acceptance(3)
    assert expected is not None
    assert suspicions(MTP3, {}, {}, combine({"acceptance_length": expected[1]}, {})) == ()
    assert suspicions(MTP3, {}, {}, {}) == ()


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


FORCED = MTP3.model_copy(update={"speculation": Speculation(acceptance_length=3.5)})


def test_a_forced_acceptance_length_is_no_doubt_if_it_was_seen() -> None:
    assert suspicions(FORCED, {}, {}, combine({"acceptance_length": 3.5}, {})) == ()


def test_a_forced_acceptance_length_that_no_engine_reports_was_not_seen() -> None:
    assert suspicions(FORCED, {}, {}, {}) == (
        "acceptance length 3.5 forced, but not seen: the engine did not report the acceptance length, so it "
        "is unknown whether it was forced",
    )


def test_a_whole_length_has_no_chance_and_a_request_has_ends() -> None:
    """1,000 tokens at 3 per step are 333 steps after the first token."""
    least, most = expected_acceptance(3.0, [1000.0], 1)
    assert least == pytest.approx(1000 / 335 - 0.005)
    assert most == pytest.approx(1000 / 333 + 0.005)
    assert expected_acceptance(3.0, [1.0], 1) == pytest.approx((0.495, 1.005))


@pytest.mark.parametrize("tokens", [2.0, 3.0, 4.0, 5.0])
def test_an_engine_may_count_what_it_accepted_beyond_the_end(tokens: float) -> None:
    """A short answer ends within a step, which accepted 3.6 tokens all the same."""
    least, most = expected_acceptance(3.6, [tokens] * 1000, 1)
    assert least < tokens / 2 < 3.6 < most


def test_a_few_steps_have_the_chance_of_one() -> None:
    """2 tokens at 2.5 per step are 0.8 steps, which count as one: 4 standard deviations of 0.5."""
    assert expected_acceptance(2.5, [2.0], 1)[1] == pytest.approx(3.5 + 2.0 + 0.005)
    assert expected_acceptance(4.0, [5.0], 1)[1] == pytest.approx(5.0 + 0.005), "5 tokens of one step"
    assert expected_acceptance(4.0, [9.0], 1)[1] == pytest.approx(4.5 + 0.005), "1 token, and 2 steps"


@pytest.mark.parametrize(("requests", "at_once", "chance"), [(100, 1, 1), (100, 100, 10), (100, 1000, 10)])
def test_the_chance_of_a_fraction_shrinks_with_the_steps(requests: int, at_once: int, chance: float) -> None:
    """4 standard deviations of a draw between 2 and 3, over 40,000 steps of 1 or 400 of 100 requests."""
    least, most = expected_acceptance(2.5, [1000.0] * requests, at_once)
    assert most - 2.5 * 1000 / 999 - 0.005 == pytest.approx(chance * 4 * 0.5 / 200)
    assert 1000 / (2 + 999 / 2.5) - 0.005 - least == pytest.approx(chance * 4 * 0.5 / 200)


def test_a_run_that_forces_its_length_is_within_what_is_expected() -> None:
    """Simulated: each step of a request draws 2 or 3 tokens, after one from the prompt."""
    draw = random.Random(7)
    lengths = []
    for _ in range(200):
        tokens, steps = 1, 1
        while tokens < 300:
            tokens, steps = tokens + (3 if draw.random() < 0.4 else 2), steps + 1
        lengths.append(300 / steps)
    least, most = expected_acceptance(2.4, [300.0] * 200, 8)
    assert least < sum(lengths) / 200 < most
    assert most - least < 0.12
