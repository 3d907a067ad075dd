"""What an engine says of itself: typed here, one mapping in the saved result, and old results are read."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.measurement.store import ResultFolder, load
from pytest_dsr1.metrics.inputs import NO_SERVER, ServerStatistics
from tests.helpers.values import measurement, scenario

# As saved by versions whose facts were a mapping, one engine after the other.
BENCH = {
    "engine.quantization": "FP8_BLOCK_SCALES",
    "engine.kv_cache_dtype": "FP8",
    "engine.backend": "pytorch",
    "report": "json",
    "dialect": "1.2 (read)",
    "command": "trtllm-bench --model x throughput",
}
LLM_API = {
    "dialect": "1.2 (read)",
    "llm": {"model": "/models/r1"},
    "iterations": 12,
    "iterations_file": "iterations-1.jsonl",
    "scheduled_requests_mean": 63.5,
    "kv_cache_used_share_max": None,
}
TRANSFORMERS = {
    "device": "NVIDIA H200",
    "threads": None,
    "bandwidth_bound": "a step reads 63 GB",
    "bandwidth_bound_tok_s": 734.2,
    "distinct_experts_expected": 8.0,
    "decode_tok_s": 190.9,
    "share_of_bound": 0.26,
}
OPENAI = {
    "url": "http://127.0.0.1:8000",
    "model": "r1",
    "client": {"cpu_share": 0.2},
    "server_metrics": {
        "path": "/metrics",
        "file": "server_metrics.jsonl",
        "readings": 9,
        "missed": 0,
        "whole": True,
        "waiting_requests_mean": 1.5,
        "waiting_requests_max": 4,
        "of_a_later_version": [1],
    },
    "not_measured": {"acceptance_length": "the server's metrics report no drafts"},
    "server_started": False,
    "server_kept_from": "other",
    "server_log": "server.log",
}
SERVERS = {
    "servers": [
        {
            "url": "http://a",
            "requests": 9,
            "failed": 1,
            "output_tokens": 70,
            "output_tok_s": 7.5,
            "ttft_mean_ms": 20.5,
            "ttft_p99_ms": 31,
        },
        {"url": "http://b", "requests": 8, "failed": 0, "output_tokens": 64, "output_tok_s": 7},
    ]
}
ROLES = {
    "roles": [
        {
            "role": "generation",
            "number": 1,
            "nodes": ["n1", "n2"],
            "gpus": 16,
            "running_requests_mean": 30.5,
            "waiting_requests_mean": 0,
            "kv_cache_used_share_max": 0.4,
            "input_tok_s": 0.0,
            "output_tok_s": 70,
        },
        {"role": "context", "number": 1, "nodes": ["n3"], "gpus": 4},
    ]
}


@pytest.mark.parametrize("old", [BENCH, LLM_API, TRANSFORMERS, OPENAI, SERVERS, ROLES, {}])
def test_results_of_former_versions_are_read_and_saved_alike(old: dict[str, object], tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, scenario(), "s.yaml", datetime.now(timezone.utc)) as folder:
        folder.complete(measurement(folder.path))
    path = folder.path / "measurement.json"
    document = json.loads(path.read_text())
    assert document["measurement"]["result"]["facts"] == {}
    document["measurement"]["result"]["facts"] = old
    path.write_text(json.dumps(document))
    read = load(folder.path)
    assert read.result.facts.saved() == old
    with ResultFolder.create(tmp_path, scenario(), "s.yaml", datetime.now(timezone.utc)) as again:
        again.complete(read)
    assert json.loads((again.path / "measurement.json").read_text())["measurement"]["result"]["facts"] == old


def test_what_is_read_elsewhere_has_a_type() -> None:
    bench, api = EngineFacts.of(BENCH), EngineFacts.of(LLM_API)
    assert (bench.quantization, bench.kv_cache_dtype, bench.other["report"]) == (
        "FP8_BLOCK_SCALES",
        "FP8",
        "json",
    )
    assert (api.scheduled_requests_mean, api.kv_cache_used_share_max) == (63.5, None)
    ours, served = EngineFacts.of(TRANSFORMERS), EngineFacts.of(OPENAI)
    assert (ours.share_of_bound, ours.bandwidth_bound) == (0.26, "a step reads 63 GB")
    assert (served.server_started, served.server_kept_from) == (False, "other")
    assert (served.server_metrics.waiting_requests_mean, served.server_metrics.samples) == (1.5, 9)
    assert list(served.not_measured) == ["acceptance_length"]
    assert EngineFacts().server_started is None


def test_a_value_of_another_kind_is_kept_and_not_used() -> None:
    odd = {"share_of_bound": "most", "server_metrics": [1], "engine.quantization": 8}
    facts = EngineFacts.of(odd)
    assert (facts.share_of_bound, facts.server_metrics, facts.quantization) == (None, NO_SERVER, None)
    assert facts.saved() == odd
    server = {"readings": "many", "whole": 1, "preemptions": True, "queue": 3, "generated_tokens": 7}
    statistics = EngineFacts.of({"server_metrics": server}).server_metrics
    assert statistics == ServerStatistics(
        generated_tokens=7, other={"readings": "many", "whole": 1, "preemptions": True, "queue": 3}
    )
    assert statistics.saved() == server


def test_a_fact_with_a_field_is_not_among_the_others() -> None:
    """Otherwise a fresh result and the same one read from its file would differ."""
    message = "EngineFacts.other has the key `engine.quantization`; set the field `quantization` instead"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        EngineFacts(other={"command": "echo", "engine.quantization": "FP8"})
