"""The metrics that vLLM, SGLang and trtllm-serve report, in one form.

Verified against the sources of vLLM 0.26.0 and 0.33.0 (``v1/metrics/loggers.py``,
``v1/spec_decode/metrics.py``), SGLang 0.5.23 (``srt/observability/metrics_collector.py``) and TensorRT-LLM's
main branch of autumn 2026, commit 050f80de (``metrics/collector.py``, ``serve/openai_server.py``).
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from pytest_dsr1.engines.openai.server.prometheus import samples


@dataclass(frozen=True, slots=True)
class ServerSample:
    """A server's metrics at one time; None for a metric that it does not report.

    Counters start at 0 when the server starts.

    Attributes:
        time_s: when the server's answer arrived, monotonic.
        running_requests: requests in the batch.
        waiting_requests: requests in the queue.
        kv_cache_used_share: the share of the KV cache in use; the mean over several engines.
        acceptance_length: the recent acceptance length, as the server averages it.
        prompt_tokens: counter of input tokens.
        generated_tokens: counter of output tokens.
        finished_requests: counter of requests.
        preemptions: counter of requests that were removed from the batch and are computed again.
        prefix_cache_queried: counter of prompt tokens (trtllm-serve: blocks) looked up in the cache.
        prefix_cache_hit: counter of prompt tokens (trtllm-serve: blocks) found in the cache.
        drafts: counter of steps with draft tokens, per request.
        accepted_draft_tokens: counter of draft tokens.
    """

    time_s: float
    running_requests: float | None = None
    waiting_requests: float | None = None
    kv_cache_used_share: float | None = None
    acceptance_length: float | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    finished_requests: float | None = None
    preemptions: float | None = None
    prefix_cache_queried: float | None = None
    prefix_cache_hit: float | None = None
    drafts: float | None = None
    accepted_draft_tokens: float | None = None


_DRAFT_TOKENS = "draft_tokens"
"""trtllm-serve counts draft tokens, not drafts; its configuration has the number of tokens per draft."""
_DRAFT_LENGTH = ("trtllm_speculative_config_info", "spec_num_tokens")
# A server with several engines reports a value for each of them.
_SUMS: dict[str, tuple[str, ...]] = {
    "vllm:num_requests_running": ("running_requests",),
    "vllm:num_requests_waiting": ("waiting_requests",),
    "vllm:prompt_tokens_total": ("prompt_tokens",),
    "vllm:generation_tokens_total": ("generated_tokens",),
    "vllm:num_preemptions_total": ("preemptions",),
    "vllm:prefix_cache_queries_total": ("prefix_cache_queried",),
    "vllm:prefix_cache_hits_total": ("prefix_cache_hit",),
    "vllm:spec_decode_num_drafts_total": ("drafts",),
    "vllm:spec_decode_num_accepted_tokens_total": ("accepted_draft_tokens",),
    "sglang:num_running_reqs": ("running_requests",),
    "sglang:num_queue_reqs": ("waiting_requests",),
    "sglang:generation_tokens_total": ("generated_tokens",),
    "sglang:num_requests_total": ("finished_requests",),
    "sglang:num_retracted_requests_total": ("preemptions",),
    "sglang:prompt_tokens_total": ("prefix_cache_queried", "prompt_tokens"),
    "sglang:cached_tokens_total": ("prefix_cache_hit",),
    "sglang:spec_verify_calls_total": ("drafts",),
    "trtllm_num_requests_running": ("running_requests",),
    "trtllm_num_requests_waiting": ("waiting_requests",),
    "trtllm_prompt_tokens_total": ("prompt_tokens",),
    "trtllm_generation_tokens_total": ("generated_tokens",),
    "trtllm_kv_cache_reused_blocks_total": ("prefix_cache_hit", "prefix_cache_queried"),
    "trtllm_kv_cache_missed_blocks_total": ("prefix_cache_queried",),
    "trtllm_spec_decode_num_draft_tokens_total": (_DRAFT_TOKENS,),
    "trtllm_spec_decode_num_accepted_tokens_total": ("accepted_draft_tokens",),
}
_MEANS = {
    "vllm:kv_cache_usage_perc": "kv_cache_used_share",  # from 0 to 1, in spite of its name
    "sglang:token_usage": "kv_cache_used_share",
    "sglang:spec_accept_length": "acceptance_length",
    "trtllm_kv_cache_utilization": "kv_cache_used_share",
    "trtllm_spec_decode_acceptance_length": "acceptance_length",
}
_NAMES = (*_SUMS, *_MEANS, _DRAFT_LENGTH[0])


def read_text(page: bytes, time_s: float) -> ServerSample | None:
    """Read a page in Prometheus' text format; return None if it has none of the known metrics.

    Raises:
        ValueError: a line of a known metric does not have this format.
    """
    values: dict[str, list[float]] = {}
    draft_length = 0
    for sample in samples(page, _NAMES):
        if not math.isfinite(sample.value) or sample.labels.get("priority"):
            continue  # SGLang repeats some metrics by priority
        if sample.name == _DRAFT_LENGTH[0]:
            length = sample.labels.get(_DRAFT_LENGTH[1], "")
            draft_length = int(length) if length.isdecimal() else 0
            continue
        for name in _SUMS.get(sample.name) or (_MEANS[sample.name],):
            values.setdefault(name, []).append(sample.value)
    if not values:
        return None
    fields = {name: fmean(v) if name in _MEANS.values() else sum(v) for name, v in values.items()}
    draft_tokens = fields.pop(_DRAFT_TOKENS, None)
    if draft_tokens is not None and draft_length:
        fields["drafts"] = draft_tokens / draft_length
    return ServerSample(time_s, **fields)


class IterationStats:
    """A reader of trtllm-serve's ``/metrics``: JSON with the statistics of iterations since the last request.

    The first answer covers the time before the measurement and is not counted.
    """

    def __init__(self) -> None:
        self._drafts = 0.0
        self._accepted = 0.0
        self._began = False

    def read(self, body: bytes, time_s: float) -> ServerSample | None:
        """Return the sample of these iterations; None if there were none.

        Raises:
            ValueError: the body does not have the format of these statistics.
        """
        last: dict[str, Any] | None = None
        for item in _items(body.decode()):
            last = _object(item)
            spec = _object(last.get("specDecodingStats") or {})
            if self._began:
                self._drafts += _number(spec, "numRequestsWithDraftTokens") or 0
                self._accepted += _number(spec, "numAcceptedTokens") or 0
        self._began = True
        if last is None:
            return None
        cache = _object(last.get("kvCacheStats") or {})
        used, blocks = _number(cache, "usedNumBlocks"), _number(cache, "maxNumBlocks")
        reused, missed = _number(cache, "reusedBlocks"), _number(cache, "missedBlocks")
        return ServerSample(
            time_s,
            running_requests=_number(last, "numActiveRequests"),
            waiting_requests=_number(last, "numQueuedRequests"),
            kv_cache_used_share=used / blocks if used is not None and blocks else None,
            prefix_cache_queried=None if reused is None or missed is None else reused + missed,
            prefix_cache_hit=reused,
            drafts=self._drafts,
            accepted_draft_tokens=self._accepted,
        )


_GAP = re.compile(r"[\s,]*")
_YIELD_S = 5e-5
"""The pause after each iteration, for the streams: reading the hundreds per second takes milliseconds."""


def _items(text: str) -> Iterator[Any]:
    """Yield the items of a JSON list, one by one."""
    decode = json.JSONDecoder().raw_decode
    at = text.index("[") + 1
    while (found := _GAP.match(text, at)) and (at := found.end()) < len(text) and text[at] != "]":
        item, at = decode(text, at)
        yield item
        time.sleep(_YIELD_S)


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"expected the statistics of an iteration, found {str(value)[:80]!r}")


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    return float(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of a measurement, in order, at least one.

    Attributes:
        samples: from the last sample before the measurement to the last one after it.
        whole: whether the samples begin before the measurement and end after it.
    """

    samples: Sequence[ServerSample]
    whole: bool

    @classmethod
    def of(cls, samples: Sequence[ServerSample], from_s: float, to_s: float) -> Window:
        """Return the window of a measurement from ``from_s`` to ``to_s``."""
        before = sum(1 for sample in samples if sample.time_s <= from_s)
        return cls(samples[max(0, before - 1) :], before > 0 and samples[-1].time_s >= to_s)

    @classmethod
    def together(cls, windows: Sequence[Window]) -> Window:
        """Return the samples of several servers, taken at about the same times, as those of one.

        Requests and counters are sums, the KV cache is the fullest one, the acceptance length is a mean. A
        metric that one server does not report is unknown.
        """
        if len(windows) == 1:
            return windows[0]
        count = min(len(each.samples) for each in windows)
        columns = [[each.samples[n] for each in windows] for n in range(count - 1)]
        columns.append([each.samples[-1] for each in windows])
        return cls([_together(column) for column in columns], all(each.whole for each in windows))

    def grown(self, counter: str) -> float | None:
        """Return the growth of a counter; None if it is not reported. If missing at first, it began at 0."""
        last = getattr(self.samples[-1], counter)
        if last is None:
            return None
        grown: float = last - (getattr(self.samples[0], counter) or 0.0)
        return grown if grown >= 0 else None  # the server was started again

    def values(self, gauge: str) -> list[float]:
        """Return a gauge's values during the measurement; the first of several samples is older."""
        inside = self.samples[1:] or self.samples
        return [value for sample in inside if (value := getattr(sample, gauge)) is not None]

    def per_second(self, counter: str) -> float | None:
        """Return the growth of a counter per second; None if it is unknown."""
        grown, seconds = self.grown(counter), self.samples[-1].time_s - self.samples[0].time_s
        return None if grown is None or seconds <= 0 else grown / seconds

    def prefix_cache_hit_share(self) -> float | None:
        """Return the share of looked-up tokens (or blocks) found in the cache; None without a lookup."""
        queried = self.grown("prefix_cache_queried")
        return (self.grown("prefix_cache_hit") or 0.0) / queried if queried else None

    def acceptance_length(self) -> float | None:
        """Return the tokens per request in a step with drafts; None without drafts.

        The definition of vLLM and TensorRT-LLM is 1 + accepted / drafts. SGLang does not count accepted
        tokens, but all tokens after a request's first one come from such steps. Without these counters,
        return the mean of the acceptance length that the server reports.
        """
        drafts, accepted = self.grown("drafts"), self.grown("accepted_draft_tokens")
        if drafts and accepted is not None:
            return 1 + accepted / drafts
        tokens, requests = self.grown("generated_tokens"), self.grown("finished_requests")
        if drafts and tokens is not None and requests is not None:
            return (tokens - requests) / drafts
        reported = [value for value in self.values("acceptance_length") if value > 0]
        return fmean(reported) if reported else None

    def figures(self) -> dict[str, Any]:
        """Return the known figures by the names that ``ServerStatistics`` gives them."""
        found: dict[str, float | None] = {}
        for gauge in ("running_requests", "waiting_requests", "kv_cache_used_share"):
            if values := self.values(gauge):
                found |= {f"{gauge}_mean": fmean(values), f"{gauge}_max": max(values)}
        found |= {name: self.grown(name) for name in ("generated_tokens", "preemptions")}
        found["prefix_cache_hit_share"] = self.prefix_cache_hit_share()
        found["acceptance_length"] = self.acceptance_length()
        return {name: round(value, 4) for name, value in found.items() if value is not None}


_HOW: Mapping[str, Callable[[Sequence[float]], float]] = {
    "time_s": max,
    "kv_cache_used_share": max,
    "acceptance_length": fmean,
}


def _together(samples: Sequence[ServerSample]) -> ServerSample:
    """Return one sample of each of several servers as one."""
    found: dict[str, float | None] = {}
    for name in (each.name for each in fields(ServerSample)):
        values = [getattr(sample, name) for sample in samples]
        found[name] = None if None in values else _HOW.get(name, sum)(values)
    return ServerSample(**found)  # type: ignore[arg-type]  # every sample has a time
