"""The options in effect that a report of trtllm-bench shows, next to those that were asked for."""

from __future__ import annotations

import pytest

from pytest_dsr1.engines.in_effect import NOT_READ, Option, of_saved
from pytest_dsr1.engines.tensorrt_llm.bench.in_effect import options_in_effect
from pytest_dsr1.engines.tensorrt_llm.bench.report import Report
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from tests.helpers.trtllm_bench import Bench

MTP = {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}}


@pytest.mark.parametrize("version", ["0.21.0", "1.2.1", "1.3.0rc27"])
def test_a_run_says_which_options_it_ran_with(bench: Bench, version: str) -> None:
    result = bench.installed(version).run(max_batch_size=128, max_num_tokens=1151, ep=8, llm_api=MTP)
    options = {option.name: option for option in of_saved(result.facts.options_in_effect)}
    assert options["version"] == Option("version", version, "tensorrt_llm")
    assert options["tp"] == Option("tp", 8, "report", 8)
    assert options["ep"] == Option("ep", 8, "report", 8)
    assert options["max_batch_size"] == Option("max_batch_size", 128, "report", 128)
    assert options["max_num_tokens"] == Option("max_num_tokens", 1151, "report", 1151)
    assert options["draft_tokens"] == Option("draft_tokens", 3, "report", 3)
    assert not [option for option in options.values() if option.differs]


def test_what_was_not_asked_for_is_shown_without_a_comparison() -> None:
    report = Report({}, world={"tp": 8, "max_batch_size": 161}, facts={"engine.quantization": "NVFP4"})
    engine = TrtllmBench(type="trtllm-bench", tp=8)
    assert list(options_in_effect(report, "", engine, {}, None)) == [
        Option("quantization", "NVFP4", "report"),
        Option("tp", 8, "report", 8),
        Option("max_batch_size", 161, "report"),
        Option("pp", NOT_READ, "", 1),
    ]


def test_the_format_of_the_kv_cache_is_held_against_the_options_file() -> None:
    report = Report({}, facts={"engine.kv_cache_dtype": "FP8"}, draft_tokens=2.99)
    engine = TrtllmBench(type="trtllm-bench", tp=8)
    options = {"kv_cache_config": {"dtype": "nvfp4"}, **MTP}
    cache, drafts, *unread = options_in_effect(report, "", engine, options, None)
    assert cache.sentence == "kv_cache_dtype was FP8 instead of nvfp4 (report)"
    assert drafts == Option("draft_tokens", 3, "report", 3)
    assert unread == [
        Option("speculative_config.decoding_type", NOT_READ, "", "MTP"),
        Option("tp", NOT_READ, "", 8),
        Option("pp", NOT_READ, "", 1),
    ]


def test_the_log_shows_what_the_report_does_not() -> None:
    """The report's own value of an option comes first."""
    log = (
        "[TRT-LLM] [I] PyTorchConfig(use_cuda_graph=False, attn_backend='TRTLLM', moe_backend='CUTLASS')\n"
        "[TRT-LLM] [I] max_seq_len=8224, max_num_requests=64, max_num_tokens=8192, max_batch_size=64\n"
    )
    engine = TrtllmBench(type="trtllm-bench", tp=8)
    options = {"cuda_graph_config": {"enable_padding": True}}
    found = list(options_in_effect(Report({}, world={"max_batch_size": 128}), log, engine, options, None))
    assert found == [
        Option("max_batch_size", 128, "report"),
        Option("attention_backend", "TRTLLM", "log"),
        Option("moe_backend", "CUTLASS", "log"),
        Option("cuda_graphs", False, "log", True),
        Option("max_num_tokens", 8192, "log"),
        Option("cuda_graph_padding", NOT_READ, "", True),
        Option("tp", NOT_READ, "", 8),
        Option("pp", NOT_READ, "", 1),
    ]
