from __future__ import annotations

import contextlib
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pytest_dsr1.engines.trtllm_options import dialect_page, dialects
from pytest_dsr1.engines.trtllm_options.dialects import (
    DIALECTS,
    NEWEST,
    choose_dialect,
    dialect_of,
    next_to_try,
    translate,
)
from pytest_dsr1.engines.trtllm_options.names import COMMAND_LINE, OPTIONS
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.errors import UserError
from tests.helpers.paths import DOCS
from tests.standins.trtllm_bench.options_file import check

MAX_THROUGHPUT: dict[str, Any] = {
    "enable_attention_dp": True,
    "cuda_graph_config": {"enable_padding": True, "batch_sizes": [1, 384]},
    "print_iter_log": True,
}
MIN_LATENCY: dict[str, Any] = {
    "moe_config": {"backend": "TRTLLM"},
    "speculative_config": {"decoding_type": "MTP", "max_draft_len": 3},
}
FP8_KV: dict[str, Any] = {
    "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.93, "enable_block_reuse": False}
}


def said(options: dict[str, Any], version: str) -> dict[str, Any]:
    return translate(LlmApiOptions.model_validate(options), dialect_of(version))


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        if name == "unchecked":  # written as it is
            continue
        parts = [kind for kind in get_args(field.annotation) if isinstance(kind, type)]
        nested = next((kind for kind in parts if issubclass(kind, BaseModel)), None)
        found |= leaves(nested, f"{prefix}{name}.") if nested else {prefix + name}
    return found


def test_every_option_of_the_schema_has_its_names() -> None:
    assert set(OPTIONS) == leaves(LlmApiOptions)


def test_names_are_in_order_of_versions() -> None:
    for names in OPTIONS.values():
        versions = [name.since for name in names]
        assert versions == sorted(versions)
        assert names[-1].name in OPTIONS or names[-1].null  # the newest name is the schema's own


def test_newest_dialect_says_what_the_schema_says() -> None:
    for options in (MAX_THROUGHPUT, MIN_LATENCY, FP8_KV):
        for version in ("1.3.0rc27", "1.3.0", "1.3.1rc1", "1.4.0rc1", "1.4"):
            assert said(options, version) == options


# The published options files (V2, V3, V4): what each publication printed for the same scenario.
@pytest.mark.parametrize(
    ("version", "options", "expected"),
    [
        (
            "0.18",
            MAX_THROUGHPUT,
            {
                "pytorch_backend_config": {
                    "use_cuda_graph": True,
                    "enable_overlap_scheduler": True,
                    "cuda_graph_padding_enabled": True,
                    "cuda_graph_batch_sizes": [1, 384],
                    "print_iter_log": True,
                },
                "enable_attention_dp": True,
            },
        ),
        (
            "0.20",
            MIN_LATENCY,
            {
                "pytorch_backend_config": {"use_cuda_graph": True, "moe_backend": "TRTLLM"},
                "speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 3},
            },
        ),
        (
            "0.21",
            MIN_LATENCY,
            {
                "use_cuda_graph": True,
                "moe_backend": "TRTLLM",
                "speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 3},
            },
        ),
        (
            "1.0",
            {**MAX_THROUGHPUT, **FP8_KV},
            {
                "enable_attention_dp": True,
                "cuda_graph_config": {"enable_padding": True, "batch_sizes": [1, 384]},
                "print_iter_log": True,
                **FP8_KV,
            },
        ),
        (
            "1.0.0rc4",
            FP8_KV,
            {
                "kv_cache_dtype": "fp8",
                "kv_cache_config": {"free_gpu_memory_fraction": 0.93, "enable_block_reuse": False},
            },
        ),
        (
            "1.2",
            {**MIN_LATENCY, **FP8_KV},
            {
                "moe_config": {"backend": "TRTLLM"},
                "speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 3},
                **FP8_KV,
            },
        ),
    ],
)
def test_older_dialects(version: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert said(options, version) == expected


@pytest.mark.parametrize("disable", [True, False])
def test_overlap_scheduler_is_inverted_before_0_20(disable: bool) -> None:
    options = {"disable_overlap_scheduler": disable}
    assert said(options, "0.19")["pytorch_backend_config"]["enable_overlap_scheduler"] is not disable
    assert said(options, "0.20")["pytorch_backend_config"]["disable_overlap_scheduler"] is disable
    assert said(options, "0.21")["disable_overlap_scheduler"] is disable


@pytest.mark.parametrize(
    "version",
    ["1.3.0rc1", "1.3.0rc5", "v1.3.0rc26+cu13", "1.3rc5", "1.3.0.dev20260301", "1.3.0a0", "1.3", "1.3-own"],
)
def test_draft_length_is_right_for_builds_before_and_after_the_change(version: str) -> None:
    """Before #12341 max_draft_len alone is accepted and lost; both names give 3 on both classes."""
    assert said(MIN_LATENCY, version)["speculative_config"] == {
        "decoding_type": "MTP",
        "num_nextn_predict_layers": 3,
        "max_draft_len": 3,
    }


def test_without_an_installed_version_the_file_is_right_for_every_build_of_the_newest() -> None:
    options = translate(LlmApiOptions.model_validate(MIN_LATENCY), NEWEST)
    assert options["speculative_config"] == said(MIN_LATENCY, "1.3.0rc5")["speculative_config"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.19", {"pytorch_backend_config": {"use_cuda_graph": False, "enable_overlap_scheduler": True}}),
        ("0.20", {"pytorch_backend_config": {"use_cuda_graph": False}}),
        ("0.21", {"use_cuda_graph": False}),
        ("1.0.0rc4", {"cuda_graph_config": None}),
        ("1.3", {"cuda_graph_config": None}),
    ],
)
def test_no_cuda_graphs(version: str, expected: dict[str, Any]) -> None:
    assert said({"cuda_graph_config": {"enabled": False}}, version) == expected


def test_cuda_graphs_as_by_default() -> None:
    assert said({"cuda_graph_config": {"enabled": True}}, "1.0") == {}
    assert said({"cuda_graph_config": {"enabled": True}}, "0.21") == {"use_cuda_graph": True}


def test_unchecked_options_are_written_as_they_are_beside_the_others() -> None:
    options = {
        "moe_config": {"backend": "TRTLLM"},
        "print_iter_log": True,
        "unchecked": {
            "attn_backend": "TRTLLM",
            "moe_config": {"load_balancer": {"num_slots": 288, "layer_updates_per_iter": 1}},
            "env_overrides": {"TRTLLM_ENABLE_PDL": "1"},
            "nvfp4_gemm_config": {"allowed_backends": ["cutlass"]},
            "torch_compile_config": None,
        },
    }
    assert said(options, "1.4") == {
        "moe_config": {
            "backend": "TRTLLM",
            "load_balancer": {"num_slots": 288, "layer_updates_per_iter": 1},
        },
        "print_iter_log": True,
        "attn_backend": "TRTLLM",
        "env_overrides": {"TRTLLM_ENABLE_PDL": "1"},
        "nvfp4_gemm_config": {"allowed_backends": ["cutlass"]},
        "torch_compile_config": None,
    }
    assert options["unchecked"]["moe_config"] == {  # type: ignore[index]
        "load_balancer": {"num_slots": 288, "layer_updates_per_iter": 1}
    }
    assert dialects.inexpressible(LlmApiOptions.model_validate(options), dialect_of("1.4")) == []


@pytest.mark.parametrize("value", [None, {"backend": "CUTLASS"}, "CUTLASS"])
def test_an_unchecked_value_counts_more_than_a_checked_one(value: object) -> None:
    options = {"moe_config": {"backend": "TRTLLM"}, "unchecked": {"moe_config": value}}
    assert said(options, "1.4") == {"moe_config": value}


def test_nothing_asked_is_nothing_said() -> None:
    assert said({}, "1.0") == {}


def test_all_that_a_version_cannot_express_is_named() -> None:
    options = LlmApiOptions.model_validate(
        {
            "attention_dp_config": {"timeout_iters": 60},
            "speculative_config": {"decoding_type": "MTP", "max_draft_len": 3, "relaxed_topk": 10},
            "stream_interval": 10,
            "print_iter_log": True,
        }
    )
    assert dialects.inexpressible(options, dialect_of("0.19")) == [
        "engine.llm_api.attention_dp_config.timeout_iters (available since 1.1)",
        "engine.llm_api.speculative_config.relaxed_topk (available since 0.20)",
        "engine.llm_api.stream_interval (available since 1.0)",
    ]
    assert dialects.inexpressible(options, dialect_of("1.1")) == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.18.2", "0.18"),
        ("0.19.0", "0.19"),
        ("0.21.0rc3", "0.21"),
        ("1.0.0rc1", "1.0.0rc4"),
        ("1.0.0rc4", "1.0.0rc4"),
        ("1.0.0rc4.post1", "1.0.0rc4"),
        ("1.0.0rc5", "1.0"),
        ("1.0.0", "1.0"),
        ("1.0.1rc1", "1.0"),
        ("1.0", "1.0"),
        ("1.0.0.dev2025", "1.0"),
        ("1.2.1", "1.2"),
        ("v1.3.0rc26+cu13", "1.3"),
        ("1.3", "1.3"),
        ("1.3.0rc27", "1.3.0rc27"),
        ("1.3.0-rc.27", "1.3.0rc27"),
        ("1.3.0RC100", "1.3.0rc27"),
        ("1.3.0", "1.3.0rc27"),
        ("1.3.0.post1", "1.3.0rc27"),
        ("1.3.0+cu13", "1.3.0rc27"),
        ("1.3.2rc1", "1.3.0rc27"),
        ("1.4", "1.4"),
        ("1.12.0", "1.4"),
        ("2.0", "1.4"),
        ("v1.2", "1.2"),
        (" 1.2 ", "1.2"),
        ("1.2-custom", "1.2"),
        ("1.2.x", "1.2"),
        ("1.2 (container)", "1.2"),
        ("1.1.0rc2-abc", "1.1"),
    ],
)
def test_dialect_of_a_version(version: str, expected: str) -> None:
    assert str(dialect_of(version)) == expected


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_the_name_of_a_dialect_selects_it(dialect: dialects.Dialect) -> None:
    assert dialect_of(str(dialect)) is dialect


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("1.3.0", False),
        ("1.4", False),
        ("1.4.0rc1", False),
        ("1.4.0", False),
        ("1.4.9", False),
        ("1.5.0rc1", True),
    ],
)
def test_what_is_newer_than_known(version: str, newer: bool) -> None:
    warning = dialects.newer_than_known(version)
    assert warning == (
        f"TensorRT-LLM {version} is newer than the newest version that this plugin knows (1.4); the option "
        "names of 1.4 were used"
        if newer
        else None
    )


@pytest.mark.parametrize("text", ["newest", "1", "1.x", "1.20250401123"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(UserError) as caught:
        dialect_of(text)
    assert str(caught.value) == f"{text!r} is not a version of TensorRT-LLM; expected one such as 1.2"


def test_too_old_a_version() -> None:
    with pytest.raises(UserError) as caught:
        dialect_of("0.17.0")
    assert str(caught.value) == (
        "TensorRT-LLM 0.17.0 is older than the oldest version this plugin knows, 0.18; use a newer "
        "TensorRT-LLM"
    )


def test_the_newest_rests_on_declarations_that_were_read() -> None:
    assert str(NEWEST) == "1.3"
    assert NEWEST.evidence == "read"


@pytest.mark.parametrize(
    ("key", "version", "expected"),
    [
        ("max_draft_len", "1.3.0rc27", "1.3"),  # both names
        ("max_draft_len", "1.4", "1.3"),
        ("max_draft_len", "1.3", "1.2"),
        ("num_nextn_predict_layers", "1.3", "1.3.0rc27"),
        ("num_nextn_predict_layers", "1.2", "1.3.0rc27"),
        ("kv_cache_dtype", "1.0.0rc4", "1.0"),
        ("kv_cache_dtype", "0.21", "1.0"),
        ("dtype", "1.1", "1.0.0rc4"),
        ("dtype", "1.0", "1.0.0rc4"),
        ("pytorch_backend_config", "0.20", "0.21"),
        ("pytorch_backend_config", "0.18", "0.21"),
        ("enable_overlap_scheduler", "0.19", "0.20"),
        ("disable_overlap_scheduler", "0.20", "0.19"),
        ("disable_overlap_scheduler", "0.21", "0.20"),
        ("use_cuda_graph", "0.21", "1.0.0rc4"),
        ("moe_backend", "0.21", "1.0.0rc4"),
        ("backend", "1.2", "0.21"),
        ("cuda_graph_config", "1.0", "0.21"),
        ("cuda_graph_config", "1.0.0rc4", "0.21"),
        ("stream_interval", "1.2", "1.3"),
        ("unheard_of", "0.18", "0.19"),
        ("unheard_of", "1.2", "1.3"),
        ("unheard_of", "1.3", "1.3.0rc27"),
        ("unheard_of", "1.4", "1.3.0rc27"),
    ],
)
def test_next_dialect_to_try(key: str, version: str, expected: str) -> None:
    assert str(next_to_try(key, dialect_of(version))) == expected


@pytest.mark.parametrize(
    ("version", "offered", "missing"),
    [
        ("0.18.2", {"--report_json", "--tp"}, {"--ep", "--eos_id"}),
        ("0.19", {"--report_json", "--backend", "--ep"}, {"--eos_id", "--request_json"}),
        ("0.21", {"--eos_id"}, {"--request_json", "--scheduler_policy"}),
        ("1.0", {"--enable_chunked_context", "--request_json"}, {"--disable_chunked_context"}),
        ("1.1", {"--disable_chunked_context"}, set()),
    ],
)
def test_command_line_options_by_version(version: str, offered: set[str], missing: set[str]) -> None:
    options = dialects.command_line_options(dialect_of(version))
    assert offered <= options
    assert not missing & options


@given(st.text(max_size=20))
def test_any_version_text_is_a_dialect_or_a_message(text: str) -> None:
    with contextlib.suppress(UserError):
        assert dialect_of(text) in DIALECTS


def test_the_documented_tables_are_these() -> None:
    text = (DOCS / "reference" / "engines" / "dialects.md").read_text(encoding="utf-8")
    assert text == dialect_page.page(), "run `python -m pytest_dsr1.engines.trtllm_options.dialect_page`"
    rows = [f"| {dialect} | {dialect.evidence} | {dialect.source} |" for dialect in DIALECTS]
    for option, names in OPTIONS.items():
        rows += [
            f"| `{option}` | {name.since[0]}.{name.since[1]} | `{'not ' * name.inverted}{name.name}` "
            f"| {name.evidence} | {name.source} |"
            for name in names
            if not (name.also or name.null or name.since[2:])
        ]
    rows += [
        f"| `{option}` | {name.since[0]}.{name.since[1]} | {name.evidence} | {name.source} |"
        for option, name in COMMAND_LINE.items()
    ]
    rows += [
        "| `kv_cache_config.dtype` | 1.0.0rc5 | `kv_cache_config.dtype` | inferred | "
        "argument classes of August 2025; #5752 |",
        "| `speculative_config.max_draft_len` | 1.3 | `speculative_config.num_nextn_predict_layers` and "
        "`speculative_config.max_draft_len` | read | #12341; argument classes before and after it |",
        "| `cuda_graph_config.enabled` | 1.0 | `cuda_graph_config: null` instead of `false` | read | "
        "LLM API reference of 1.0.0rc4 |",
    ]
    assert [row for row in rows if row not in text] == []


@pytest.mark.parametrize(
    ("asked", "version", "first"),
    [
        (None, "1.2.1", "# TensorRT-LLM 1.2.1 (installed), dialect 1.2 (read)"),
        (None, None, "# newest known dialect 1.3: tensorrt_llm is not installed"),
        ("1.0", "1.2.1", "# dialect 1.0, from engine.dialect; TensorRT-LLM 1.2.1 is installed"),
        ("1.0", None, "# dialect 1.0, from engine.dialect; tensorrt_llm is not installed"),
    ],
)
def test_the_script_says_which_dialect_and_why(asked: str | None, version: str | None, first: str) -> None:
    assert choose_dialect(asked, version)[1] == first


EVERYTHING: dict[str, Any] = {
    "enable_attention_dp": True,
    "attention_dp_config": {"enable_balance": True, "batching_wait_iters": 0, "timeout_iters": 60},
    "cuda_graph_config": {"enable_padding": True, "batch_sizes": [1, 8], "max_batch_size": 8},
    "moe_config": {
        "backend": "CUTLASS",
        "max_num_tokens": 1024,
        "load_balancer": {"num_slots": 288, "layer_updates_per_iter": 1},
        "use_low_precision_moe_combine": True,
        "disable_finalize_fusion": True,
    },
    "kv_cache_config": {
        "dtype": "fp8",
        "free_gpu_memory_fraction": 0.8,
        "enable_block_reuse": False,
        "max_tokens": 5000,
        "tokens_per_block": 64,
        "host_cache_size": 1000,
        "use_kv_cache_manager_v2": "auto",
    },
    "speculative_config": {
        "decoding_type": "MTP",
        "max_draft_len": 3,
        "use_relaxed_acceptance_for_thinking": True,
        "relaxed_topk": 10,
        "relaxed_delta": 0.6,
        "use_mtp_vanilla": True,
        "mtp_eagle_one_model": True,
    },
    "print_iter_log": True,
    "stream_interval": 10,
    "disable_overlap_scheduler": True,
    "enable_iter_perf_stats": True,
    "allreduce_strategy": "MNNVL",
    "enable_autotuner": True,
    "enable_min_latency": False,
    "attn_backend": "TRTLLM",
    "enable_chunked_prefill": True,
    "enable_lm_head_tp_in_adp": True,
    "context_parallel_size": 1,
    "batch_wait_timeout_ms": 1.5,
    "batch_wait_timeout_iters": 50,
    "batch_wait_max_tokens_ratio": 0.75,
    "num_postprocess_workers": 4,
    "num_serve_frontends": 1,
    "torch_compile_config": {
        "enable_fullgraph": True,
        "enable_inductor": False,
        "enable_piecewise_cuda_graph": True,
        "capture_num_tokens": [64],
        "enable_userbuffers": True,
        "max_num_streams": 3,
    },
    "nvfp4_gemm_config": {"allowed_backends": ["cutlass"]},
    "sparse_attention_config": {"algorithm": "dsa", "index_topk": 2048},
    "cache_transceiver_config": {"backend": "NIXL", "max_tokens_in_buffer": 16384},
    "load_format": "dummy",
    "trust_remote_code": True,
    "env_overrides": {"TRTLLM_ENABLE_PDL": "1"},
}


@pytest.mark.parametrize("version", ["1.0.0rc4", "1.0.0", "1.1.0", "1.2.1", "1.3.0rc5", "1.3.0rc27", "1.4.0"])
def test_each_version_takes_every_option_that_it_is_said_to_have(version: str) -> None:
    """The stand-in's keys were written from the argument classes, not from the tables."""
    options, dialect = LlmApiOptions.model_validate(EVERYTHING), dialect_of(version)
    assert {name for name, _ in dialects.leaves_of(options)} == set(OPTIONS) - {"cuda_graph_config.enabled"}
    check(translate(options, dialect), version)
    if version == "1.4.0":
        assert dialects.inexpressible(options, dialect) == []
        assert translate(options, dialect) == EVERYTHING
