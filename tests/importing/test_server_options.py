from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dsr1.engines.trtllm_options.dialects import DIALECTS, translate
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.importing.server_options import server_options
from tests.helpers.imports import OPTIONS_OF_COMMAND

OF_THE_ENGINE = {
    "tensor_parallel_size": "tp",
    "pipeline_parallel_size": "pp",
    "moe_expert_parallel_size": "ep",
    "max_batch_size": "max_batch_size",
    "max_num_tokens": "max_num_tokens",
    "max_seq_len": "max_seq_len",
}
KNOWN = {
    "enable_attention_dp": st.booleans(),
    "print_iter_log": st.booleans(),
    "stream_interval": st.integers(1, 50),
    "moe_config": st.fixed_dictionaries(
        {}, optional={"backend": st.sampled_from(["CUTLASS", "NEW"]), "max_num_tokens": st.integers(-1, 2)}
    ),
    "kv_cache_config": st.fixed_dictionaries(
        {},
        optional={"dtype": st.just("fp8"), "free_gpu_memory_fraction": st.floats(0.1, 2), "own": st.just([])},
    ),
    "speculative_config": st.fixed_dictionaries(
        {}, optional={"decoding_type": st.sampled_from(["MTP", "Eagle3"]), "max_draft_len": st.integers(1, 3)}
    ),
    "cuda_graph_config": st.fixed_dictionaries(
        {}, optional={"enable_padding": st.booleans(), "batch_sizes": st.lists(st.integers(1, 9), min_size=1)}
    ),
    **{name: st.integers(1, 4096) for name in OF_THE_ENGINE},
}
ANY = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, min_size=1, max_size=3),
    max_leaves=6,
)


def written(options: dict[str, Any]) -> dict[str, Any]:
    """The options file and the command's options that the engine makes of these settings."""
    made = server_options(options)
    file = translate(LlmApiOptions.model_validate(made.llm_api), DIALECTS[-1])
    names = {ours: theirs for theirs, ours in OF_THE_ENGINE.items()}
    return {names[key]: value for key, value in made.engine.items()} | file


def test_the_engine_has_an_option_of_the_command_for_each_of_its_keys() -> None:
    assert set(OPTIONS_OF_COMMAND.values()) == set(OF_THE_ENGINE)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional=KNOWN), st.dictionaries(st.text(), ANY, max_size=3))
def test_every_option_is_written_as_it_was(known: dict[str, Any], more: dict[str, Any]) -> None:
    options = {key: value for key, value in (more | known).items() if value != {}}
    assert written(options) == options


def test_an_empty_mapping_that_says_something_is_written() -> None:
    options: dict[str, Any] = {
        "torch_compile_config": {},
        "moe_config": {"load_balancer": {}},
        "own": {},
    }
    assert written(options) == options


def test_what_has_a_key_is_checked_and_the_rest_is_not() -> None:
    made = server_options(
        {
            "tensor_parallel_size": 8,
            "moe_config": {"backend": "CUTLASS", "own_key": 1},
            "kv_cache_config": {"dtype": "fp8"},
            "own_options": {"a": [1]},
        }
    )
    assert made.engine == {"tp": 8}
    assert made.llm_api == {
        "moe_config": {"backend": "CUTLASS"},
        "kv_cache_config": {"dtype": "fp8"},
        "unchecked": {"moe_config": {"own_key": 1}, "own_options": {"a": [1]}},
    }
    assert made.notes == []


@pytest.mark.parametrize(
    ("options", "llm_api", "notes"),
    [
        (
            {"speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 3}},
            {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}},
            [
                "speculative_config.num_nextn_predict_layers has the name max_draft_len since TensorRT-LLM "
                "1.3."
            ],
        ),
        ({"cuda_graph_config": None}, {"cuda_graph_config": {"enabled": False}}, []),
        (
            {"speculative_config": None, "moe_config": {}, "kv_cache_config": {"dtype": None, "own": None}},
            {"unchecked": {"kv_cache_config": {"own": None}}},
            [
                "speculative_config: the file gives it no value, which is the default.",
                "moe_config: the file gives it no value, which is the default.",
                "kv_cache_config.dtype: the file gives it no value, which is the default.",
            ],
        ),
        (
            {"max_batch_size": None, "stream_interval": 5},
            {"stream_interval": 5},
            ["max_batch_size: the file gives it no value, which is the default."],
        ),
        ({"unchecked": 1}, {"unchecked": {"unchecked": 1}}, []),
        (
            {"torch_compile_config": {}, "sparse_attention_config": {}, "cuda_graph_config": {}},
            {"torch_compile_config": {}, "sparse_attention_config": {}},
            ["cuda_graph_config: the file gives it no value, which is the default."],
        ),
    ],
    ids=["draft-length", "no-graphs", "nothing", "no-size", "unchecked", "empty"],
)
def test_what_is_said_in_other_words(
    options: dict[str, Any], llm_api: dict[str, Any], notes: list[str]
) -> None:
    made = server_options(options)
    assert (made.llm_api, made.notes) == (llm_api, notes)
