"""The options in effect of a vLLM server: from its log, its metrics and its version page.

The lines were seen in logs of vLLM 0.26.0 on H200s, and read in the code of 0.10.2 to 0.33.0 (``v1/engine``,
``platforms/cuda.py``, ``model_executor/layers/fused_moe``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.log_options import Shown, inverted, shown_in, sizes, switch, whole, word

CONFIG_INFO = "vllm:cache_config_info"
"""The metric whose labels are the configuration of the KV cache."""

_CONFIG = re.compile(r"Initializing a V1 LLM engine \(v([^)\s]{1,60})\) with config: (.*)")
_SWITCH = "(True|False)"
_IN_CONFIG = (
    Shown("quantization", re.compile(r"\bquantization=([^\s,]+)"), word),
    Shown("kv_cache_dtype", re.compile(r"\bkv_cache_dtype=([^\s,]+)"), word),
    Shown("tp", re.compile(r"\btensor_parallel_size=(\d+)"), whole),
    Shown("pp", re.compile(r"\bpipeline_parallel_size=(\d+)"), whole),
    Shown("dp", re.compile(r"\bdata_parallel_size=(\d+)"), whole),
    Shown("max_seq_len", re.compile(r"\bmax_seq_len=(\d+)"), whole),
    Shown("cuda_graphs", re.compile(r"'cudagraph_mode': <CUDAGraphMode\.(NONE)\b"), lambda _: False),
    Shown("cuda_graphs", re.compile(rf"\benforce_eager={_SWITCH}"), inverted),
    Shown("cuda_graph_max_batch_size", re.compile(r"'max_cudagraph_capture_size': (\d+)"), whole),
    Shown("cuda_graph_batch_sizes", re.compile(r"'cudagraph_capture_sizes': \[([\d, ]*)\]"), sizes),
    Shown("draft_tokens", re.compile(r"\bspeculative_config=(None)"), lambda _: 0),
    Shown(
        "draft_tokens",
        re.compile(r"\bspeculative_config=\w{1,60}\([^)\n]{0,2000}\bnum_spec_tokens=(\d+)"),
        whole,
    ),
    Shown(
        "chunked_prefill",
        re.compile(rf"\b(?:enable_chunked_prefill|chunked_prefill_enabled)={_SWITCH}"),
        switch,
    ),
    Shown("block_reuse", re.compile(rf"\benable_prefix_caching={_SWITCH}"), switch),
)
"""What the line with the whole configuration shows."""
_IN_LINES = (
    Shown("attention_backend", re.compile(r"Using (\w+) attention backend out of potential backends"), word),
    Shown("attention_backend", re.compile(r"Using AttentionBackendEnum\.(\w+) backend"), word),
    Shown(
        "moe_backend",
        re.compile(r"Using '?(\w{1,40}(?: \w{1,40})??)'? (?:\w{1,40} )?MoE backend out of potential"),
        word,
    ),
    Shown("ep", re.compile(r"\[EP Rank \d+/(\d+)\] Expert parallelism is enabled"), whole),
    Shown(
        "max_num_tokens", re.compile(r"Chunked prefill is enabled with max_num_batched_tokens=(\d+)"), whole
    ),
    Shown("kv_cache_tokens", re.compile(r" KV cache size: ([\d,]+) tokens"), whole),
    Shown("kv_cache_gib", re.compile(r"Available KV cache memory: ([\d.]+) GiB"), float),
)
"""What other lines show."""


def options_in_log(text: str, read_from: str) -> Iterator[Option]:
    """Yield the options that the start of a log shows.

    Args:
        text: of the log.
        read_from: what to call the log.
    """
    if (config := _CONFIG.search(text)) is not None:
        yield Option("version", config[1], read_from)
        yield from shown_in(config[2], _IN_CONFIG, read_from)
    yield from shown_in(text, _IN_LINES, read_from)


def options_in_labels(labels: Mapping[str, str], read_from: str) -> Iterator[Option]:
    """Yield the options that the labels of :data:`CONFIG_INFO` show; ``None`` stands for what is not set."""
    if dtype := word(labels.get("cache_dtype", "None")):
        yield Option("kv_cache_dtype", dtype, read_from)
    if (reuse := labels.get("enable_prefix_caching")) in {"True", "False"}:
        yield Option("block_reuse", switch(reuse), read_from)
    for name, label in (("kv_cache_blocks", "num_gpu_blocks"), ("kv_cache_tokens", "kv_cache_size_tokens")):
        if re.fullmatch("[0-9]{1,18}", labels.get(label, "")):
            yield Option(name, whole(labels[label]), read_from)
