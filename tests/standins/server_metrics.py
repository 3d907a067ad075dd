"""Metrics of a stand-in server in the formats of vLLM, SGLang and trtllm-serve, with true counts.

The names, labels and order are those of vLLM 0.33.0, SGLang 0.5.23 with --enable-metrics, and TensorRT-LLM of
autumn 2026 with `return_perf_metrics` and `enable_iter_perf_stats`.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.standins.openai_server import FINISH, Answer, plain, stream, text, usage

DRAFT_LENGTH = 3
"""Draft tokens of one draft."""


def page(*families: tuple[str, str, dict[str, str], float]) -> bytes:
    """Return a page in Prometheus' text format from tuples of name, type, labels and value."""
    lines, described = [], ""
    for name, kind, labels, value in families:
        if name != described:
            lines += [f"# HELP {name} Something, as {name} says.", f"# TYPE {name} {kind}"]
            described = name
        shown = ",".join(f'{key}="{text}"' for key, text in sorted(labels.items()))
        lines.append(f"{name}{{{shown}}} {float(value)}")
    return "\n".join([*lines, ""]).encode()


def served(body: bytes) -> bytes:
    """Return a page as an HTTP answer."""
    return plain("200 OK", body, kind="text/plain; version=0.0.4; charset=utf-8")


@dataclass
class Truth:
    """A server that answers four tokens to prompts of eight tokens, and counts.

    A request's first token comes from its prompt. The others come from two steps with drafts, and one draft
    is accepted: the acceptance length is 1.5.

    Attributes:
        cached: tokens of each prompt from the prefix cache.
        miscounted: tokens per request that it counts in excess.
    """

    cached: int = 0
    miscounted: int = 0
    requests: int = 0
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    iterations: list[dict[str, Any]] = field(default_factory=list)

    ACCEPTANCE_LENGTH = 1.5
    RUNNING = 2
    WAITING = 5
    USED = 0.25

    def answer(self, _: dict[str, Any]) -> Answer:
        """Return the answer to a request."""
        with self.lock:
            self.requests += 1
            self.iterations += [self._iteration(0, 0), self._iteration(1, 1), self._iteration(1, 0)]
        return stream(text(" a"), text(" b c"), text(" d"), FINISH, usage(4))

    @property
    def generated(self) -> int:
        return self.requests * (4 + self.miscounted)

    def _iteration(self, drafts: int, accepted: int) -> dict[str, Any]:
        return {
            "iter": len(self.iterations),
            "numActiveRequests": self.RUNNING,
            "numQueuedRequests": self.WAITING,
            "kvCacheStats": {
                "usedNumBlocks": 25,
                "maxNumBlocks": 100,
                "reusedBlocks": self.requests * self.cached,
                "missedBlocks": self.requests * (8 - self.cached),
            },
            "specDecodingStats": {
                "numDraftTokens": drafts * DRAFT_LENGTH,
                "numAcceptedTokens": accepted,
                "numRequestsWithDraftTokens": drafts,
                "acceptanceLength": 1.0 + accepted,
            },
        }

    def vllm(self) -> Answer:
        """Return the metrics of vLLM with two engines; the first does the work."""
        with self.lock:
            self.asked += 1
            one = {"model_name": "served", "engine": "0"}
            two = {**one, "engine": "1"}
            gauges: list[tuple[str, str, dict[str, str], float]] = []
            for labels, share in ((one, self.USED + 0.1), (two, self.USED - 0.1)):
                running = self.RUNNING if labels is one else 0
                waiting = self.WAITING if labels is one else 0
                capacity = {**labels, "reason": "capacity"}
                gauges += [
                    ("vllm:num_requests_running", "gauge", labels, running),
                    ("vllm:num_requests_waiting", "gauge", labels, waiting),
                    ("vllm:num_requests_waiting_by_reason", "gauge", capacity, waiting),
                    ("vllm:kv_cache_usage_perc", "gauge", labels, share),
                    ("vllm:iteration_tokens_total_bucket", "histogram", {**labels, "le": "1.0"}, 7),
                ]
            hits, drafts = self.requests * self.cached, self.requests * 2
            position = {**one, "position": "0"}
            counters: list[tuple[str, str, dict[str, str], float]] = [
                ("vllm:prefix_cache_queries_total", "counter", one, self.requests * 8),
                ("vllm:prefix_cache_queries_created", "gauge", one, 1.7e9),
                ("vllm:prefix_cache_hits_total", "counter", one, hits),
                ("vllm:external_prefix_cache_hits_total", "counter", one, 10**6),
                ("vllm:num_preemptions_total", "counter", one, self.requests),
                ("vllm:generation_tokens_total", "counter", one, self.generated),
                ("vllm:spec_decode_num_drafts_total", "counter", one, drafts),
                ("vllm:spec_decode_num_draft_tokens_total", "counter", one, drafts * DRAFT_LENGTH),
                ("vllm:spec_decode_num_accepted_tokens_total", "counter", one, self.requests),
                ("vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter", position, self.requests),
            ]
            return served(page(*gauges, *counters))

    def sglang(self) -> Answer:
        """Return the metrics of SGLang, without counters that are 0, and with gauges repeated by priority."""
        with self.lock:
            self.asked += 1
            rank = {"model_name": "served", "engine_type": "unified", "tp_rank": "0", "priority": ""}
            seven = {**rank, "priority": "7"}
            streaming = {"model_name": "served", "is_streaming": "true"}
            found: list[tuple[str, str, dict[str, str], float]] = [
                ("sglang:num_running_reqs", "gauge", rank, self.RUNNING),
                ("sglang:num_running_reqs", "gauge", seven, self.RUNNING),
                ("sglang:num_queue_reqs", "gauge", rank, self.WAITING),
                ("sglang:token_usage", "gauge", rank, self.USED),
                ("sglang:spec_accept_length", "gauge", rank, 1.4),
            ]
            if self.requests:
                model = {"model_name": "served"}
                device = {**model, "cache_source": "device"}
                found += [
                    ("sglang:prompt_tokens_total", "counter", streaming, self.requests * 8),
                    ("sglang:generation_tokens_total", "counter", streaming, self.generated),
                    (
                        "sglang:spec_verify_calls_total",
                        "counter",
                        {"model_name": "served"},
                        self.requests * 2,
                    ),
                    ("sglang:num_requests_total", "counter", streaming, self.requests),
                ]
                if self.cached:
                    hits = self.requests * self.cached
                    found.append(("sglang:cached_tokens_total", "counter", device, hits))
            return served(page(*found))

    def trtllm(self) -> Answer:
        """Return the metrics of trtllm-serve at /prometheus/metrics."""
        with self.lock:
            self.asked += 1
            labels = {"model_name": "served", "engine_type": "pytorch"}
            config = {**labels, "spec_enabled": "true", "spec_num_tokens": str(DRAFT_LENGTH)}
            accepted, drafted = self.requests, self.requests * 2 * DRAFT_LENGTH
            hits, misses = self.requests * self.cached, self.requests * (8 - self.cached)
            return served(
                page(
                    ("trtllm_num_requests_running", "gauge", labels, self.RUNNING),
                    ("trtllm_num_requests_waiting", "gauge", labels, self.WAITING),
                    ("trtllm_kv_cache_utilization", "gauge", labels, self.USED),
                    ("trtllm_generation_tokens_total", "counter", labels, self.generated),
                    ("trtllm_kv_cache_reused_blocks_total", "counter", labels, hits),
                    ("trtllm_kv_cache_missed_blocks_total", "counter", labels, misses),
                    ("trtllm_spec_decode_num_draft_tokens_total", "counter", labels, drafted),
                    ("trtllm_spec_decode_num_accepted_tokens_total", "counter", labels, accepted),
                    ("trtllm_spec_decode_acceptance_length", "gauge", labels, 1.0),
                    ("trtllm_speculative_config_info", "gauge", config, 1),
                )
            )

    def trtllm_iterations(self) -> Answer:
        """Return the metrics of trtllm-serve at /metrics: the iterations since the last call."""
        with self.lock:
            self.asked += 1
            body = json.dumps(self.iterations, separators=(",", ":")).encode()
            self.iterations.clear()
            return plain("200 OK", body)
