"""The options in effect of an SGLang server, from its page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.server.sglang_options import options_in_info

PAGE: dict[str, Any] = {
    "version": "0.5.23",
    "api_key": "hunter2",
    "tp_size": 8,
    "pp_size": 1,
    "ep_size": 8,
    "dp_size": 1,
    "enable_dp_attention": False,
    "quantization": "fp8",
    "kv_cache_dtype": "auto",
    "attention_backend": None,
    "moe_runner_backend": "auto",
    "context_length": 4096,
    "max_running_requests": 512,
    "chunked_prefill_size": 8192,
    "cuda_graph_max_bs": None,
    "cuda_graph_max_bs_decode": 256,
    "disable_cuda_graph": False,
    "disable_overlap_schedule": False,
    "disable_radix_cache": True,
    "speculative_algorithm": "EAGLE",
    "speculative_num_steps": 3,
    "max_total_num_tokens": 201681,
    "internal_states": [
        {
            "attention_backend": "fa3",
            "kv_cache_dtype": "fp8_e4m3",
            "effective_max_running_requests_per_dp": 256,
        }
    ],
}


def values(page: dict[str, Any]) -> dict[str, object]:
    return {option.name: option.in_effect for option in options_in_info(page, "/server_info")}


def test_what_the_page_shows() -> None:
    assert values(PAGE) == {
        "version": "0.5.23",
        "quantization": "fp8",
        "kv_cache_dtype": "fp8_e4m3",
        "attention_backend": "fa3",
        "tp": 8,
        "pp": 1,
        "ep": 8,
        "attention_dp": False,
        "max_seq_len": 4096,
        "cuda_graph_max_batch_size": 256,
        "draft_tokens": 3,
        "kv_cache_tokens": 201681,
        "cuda_graphs": True,
        "overlap_scheduler": True,
        "block_reuse": False,
        "max_batch_size": 256,
        "max_num_tokens": 8192,
        "chunked_prefill": True,
    }


def test_limits_that_the_server_divides_are_left_out() -> None:
    """With data-parallel attention it divides and rounds them, so nothing is said about them."""
    found = values({**PAGE, "enable_dp_attention": True, "dp_size": 4, "chunked_prefill_size": 2048})
    assert found["attention_dp"] is True
    assert not {"max_num_tokens", "max_batch_size"} & found.keys()
    assert found["chunked_prefill"] is True


@pytest.mark.parametrize("off", [-1, 0])
def test_a_size_of_chunks_may_stand_for_none(off: int) -> None:
    found = values({**PAGE, "chunked_prefill_size": off})
    assert found["chunked_prefill"] is False
    assert "max_num_tokens" not in found


@pytest.mark.parametrize("unknown", [None, "auto", True])
def test_a_size_of_chunks_may_be_unknown(unknown: object) -> None:
    found = values({**PAGE, "chunked_prefill_size": unknown})
    assert not {"chunked_prefill", "max_num_tokens"} & found.keys()


def test_without_an_algorithm_the_draft_length_is_0() -> None:
    """The steps may be given without it."""
    assert values({**PAGE, "speculative_algorithm": None})["draft_tokens"] == 0
    assert "draft_tokens" not in values({**PAGE, "speculative_num_steps": None})


def test_secrets_are_not_taken() -> None:
    assert "hunter2" not in str(list(options_in_info(PAGE, "/server_info")))


@pytest.mark.parametrize("other", [{"attention_backend": "triton"}, "x"])
def test_the_first_of_several_schedulers_counts(other: object) -> None:
    assert values({**PAGE, "internal_states": [*PAGE["internal_states"], other]}) == values(PAGE)


@pytest.mark.parametrize("states", [None, [], ["x"], {}])
def test_a_page_without_states(states: object) -> None:
    found = values({**PAGE, "internal_states": states})
    assert "attention_backend" not in found
    assert "max_batch_size" not in found
    assert found["tp"] == 8


@given(
    st.dictionaries(st.sampled_from(sorted(PAGE)), st.one_of(st.none(), st.text(), st.lists(st.integers())))
)
def test_a_strange_page_is_no_error(page: dict[str, Any]) -> None:
    assert all(isinstance(value, str | int | float) for value in values(page).values())
