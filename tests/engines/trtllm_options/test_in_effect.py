"""TensorRT-LLM's options in effect: read under the names that all engines share."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.in_effect import NOT_ASKED, NOT_READ, Option
from pytest_dsr1.engines.trtllm_options.in_effect import SHARED, by_shared_names, options_in_effect


class Backend(str, Enum):
    CUTLASS = "CUTLASS"


def settings(**fields: object) -> SimpleNamespace:
    return SimpleNamespace(**fields)


def read(asked: dict[str, object], effective: object) -> list[Option]:
    return list(options_in_effect(asked, effective, "LLM.args"))


def test_each_option_is_read_under_its_shared_name_or_its_own() -> None:
    asked: dict[str, object] = {
        "max_batch_size": 128,
        "moe_config": {"backend": "CUTLASS", "max_num_tokens": 512},
        "not_there": 1,
        "kv_cache_config": {"not_there": True},
    }
    effective = settings(
        max_batch_size=64,
        max_num_tokens=8192,
        moe_config=settings(backend=Backend.CUTLASS, max_num_tokens=256),
        cuda_graph_config={"batch_sizes": (1, 2)},
        kv_cache_config=settings(),
    )
    assert read(asked, effective) == [
        Option("moe_backend", "CUTLASS", "LLM.args", "CUTLASS"),
        Option("max_batch_size", 64, "LLM.args", 128),
        Option("max_num_tokens", 8192, "LLM.args"),
        Option("cuda_graphs", True, "LLM.args"),
        Option("cuda_graph_batch_sizes", [1, 2], "LLM.args"),
        Option("moe_config.max_num_tokens", 256, "LLM.args", 512),
        Option("not_there", NOT_READ, "", 1),
        Option("kv_cache_config.not_there", NOT_READ, "", True),
    ]
    unread = read({"tensor_parallel_size": 8, "max_batch_size": 128}, None)
    assert unread == [Option("tp", NOT_READ, "", 8), Option("max_batch_size", NOT_READ, "", 128)]


@pytest.mark.parametrize(
    ("asked", "effective", "option"),
    [
        (
            {"cuda_graph_config": {"enable_padding": True}},
            settings(cuda_graph_config=None),
            Option("cuda_graphs", False, "LLM.args", True),
        ),
        (
            {"cuda_graph_config": None},
            settings(cuda_graph_config=settings(enable_padding=True)),
            Option("cuda_graphs", True, "LLM.args", False),
        ),
        (
            {"speculative_config": {"max_draft_len": 3}},
            settings(speculative_config=None),
            Option("draft_tokens", 0, "LLM.args", 3),
        ),
        ({}, settings(speculative_config=None), Option("draft_tokens", 0, "LLM.args")),
        (
            {"disable_overlap_scheduler": True},
            settings(disable_overlap_scheduler=False),
            Option("overlap_scheduler", True, "LLM.args", False),
        ),
        (
            {"kv_cache_dtype": "fp8"},
            settings(kv_cache_config=settings(dtype="auto")),
            Option("kv_cache_dtype", "auto", "LLM.args", "fp8"),
        ),
    ],
)
def test_what_is_switched_off_has_a_value(
    asked: dict[str, object], effective: object, option: Option
) -> None:
    assert option in read(asked, effective)


@pytest.mark.parametrize(
    ("effective", "tokens"),
    [
        (settings(max_draft_len=3, num_nextn_predict_layers=None), 3),
        (settings(max_draft_len=1, num_nextn_predict_layers=1), 1),
        (settings(num_nextn_predict_layers=3), 3),
        (settings(max_draft_len=None, num_nextn_predict_layers=3), 3),
    ],
)
def test_the_draft_length_has_two_names(effective: object, tokens: int) -> None:
    """A class before #12341 that takes ``max_draft_len: 3`` and runs 1 shows 1 in both."""
    asked: dict[str, object] = {"speculative_config": {"max_draft_len": 3, "num_nextn_predict_layers": 3}}
    found = [
        each for each in read(asked, settings(speculative_config=effective)) if each.name == "draft_tokens"
    ]
    assert found == [Option("draft_tokens", tokens, "LLM.args", 3)]


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.booleans(), st.none())))
def test_equal_settings_do_not_differ(asked: dict[str, object]) -> None:
    assert not any(option.differs for option in read(asked, asked))


def test_names_are_shared_once() -> None:
    paths = [path for paths in SHARED.values() for path in paths]
    assert len(paths) == len(set(paths))
    assert by_shared_names({"attn_backend": "TRTLLM", "stream_interval": 10}) == {
        "attention_backend": "TRTLLM",
        "stream_interval": 10,
    }
    assert by_shared_names({}).get("cuda_graphs", NOT_ASKED) is NOT_ASKED
