"""The memory-bandwidth bound of a decode step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.transformers.decode_bound import decode_bound, expected_experts, mean_decode_step_s
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.workload.deepseek import resolve_config


def test_one_token_uses_exactly_its_experts() -> None:
    assert expected_experts(256, 8, 1) == 8


def test_four_tokens_of_a_speculative_step_use_about_thirty() -> None:
    assert expected_experts(256, 8, 4) == pytest.approx(30.5, abs=0.05)


@given(per_token=st.integers(1, 64), spare=st.integers(0, 192), tokens=st.integers(1, 4096))
def test_more_tokens_use_more_experts_but_never_more_than_there_are(
    per_token: int, spare: int, tokens: int
) -> None:
    experts = per_token + spare
    few, many = (expected_experts(experts, per_token, n) for n in (tokens, tokens + 1))
    assert per_token * (1 - 1e-9) <= few <= many <= experts


def test_deepseek_r1_in_fp8_on_eight_h200() -> None:
    # One request, no context: 36.6 GB over 8 x 4.8 TB/s.
    bound = decode_bound(resolve_config({}), batch=1, context=0, value_bytes=1, bandwidth_tb_s=8 * 4.8)
    assert bound.step_s * 38.4e12 == pytest.approx(36_625_618_432, rel=1e-14)
    assert bound.output_tok_s == pytest.approx(1 / (36_625_618_432 / 38.4e12))
    assert bound.experts == 8


def test_the_kv_cache_counts_with_its_latent() -> None:
    r1 = resolve_config({})
    empty, full = (
        decode_bound(r1, batch=2, context=context, value_bytes=2, bandwidth_tb_s=4.8) for context in (0, 3072)
    )
    read = (full.step_s - empty.step_s) * 4.8e12
    assert read == pytest.approx(2 * 3072 * 70_272, rel=1e-9)  # bytes a token, BF16


def test_the_formula_shows_the_arithmetic() -> None:
    config = resolve_config({"num_hidden_layers": 4, "first_k_dense_replace": 1})
    bound = decode_bound(config, batch=64, context=1536, value_bytes=2, bandwidth_tb_s=4.8)
    assert bound.formula == (
        "a step of 64 reads 63.20 GB of weights (222.4 of 256 routed experts per layer expected under "
        "uniform routing) and 0.45 GB of KV cache, which takes 13.260 ms at 4.8 TB/s: "
        "64 / 13.260 ms = 4826.4 tok/s"
    )
    assert bound.step_s == pytest.approx(13.260e-3, abs=0.5e-6)


def record(submitted_s: float, first_s: float, last_s: float, output_tokens: int = 5) -> RequestRecord:
    return RequestRecord(0, submitted_s, first_s, last_s, 8, output_tokens)


def test_the_mean_step_is_taken_over_full_batches() -> None:
    records = [
        # Decode begins when the last of the batch has its first token: 4 steps in 2 s.
        *(record(0.0, 0.5, 2.0, 3), record(0.0, 1.0, 3.0, 5)),
        # 1 step in 1 s.
        *(record(3.0, 4.0, 5.0, 2), record(3.0, 4.0, 4.0, 1)),
        # A last batch that is not full.
        record(5.0, 6.0, 60.0),
    ]
    assert mean_decode_step_s(records, 2) == pytest.approx(3 / 5)


@pytest.mark.parametrize("records", [[], [record(0.0, 1.0, 1.0, 1)], [record(0.0, 1.0, 2.0)] * 2])
def test_no_step_to_measure(records: list[RequestRecord]) -> None:
    assert mean_decode_step_s(records, 1) is None
