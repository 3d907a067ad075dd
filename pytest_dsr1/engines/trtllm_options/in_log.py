"""The options in effect that TensorRT-LLM logs while it starts, as trtllm-serve and trtllm-bench do.

``PyTorchConfig``, the line of limits and the size of the KV cache: seen in public logs of 1.1.0rc3 to 1.3
(NVIDIA/TensorRT-LLM issues 8961 and 15022). ``LLM Args`` of 1.2 and newer: read in the code
(``_torch/pyexecutor/py_executor_creator.py``), which writes it after its own adjustments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.log_options import Shown, inverted, shown_in, switch, whole, word

_CONFIG = re.compile(r"\bPyTorchConfig\((.*)")
_ARGS = re.compile(r"\bLLM Args: *\n?(.*)")
_SWITCH = "(True|False)"

_IN_CONFIG = (
    Shown("kv_cache_dtype", re.compile(r"\bkv_cache_dtype='(\w+)'"), word),
    Shown("attention_backend", re.compile(r"\battn_backend='(\w+)'"), word),
    Shown("moe_backend", re.compile(r"\bmoe_backend='(\w+)'"), word),
    Shown("cuda_graphs", re.compile(rf"\buse_cuda_graph={_SWITCH}"), switch),
    Shown("cuda_graph_padding", re.compile(rf"\bcuda_graph_padding_enabled={_SWITCH}"), switch),
    Shown("overlap_scheduler", re.compile(rf"\bdisable_overlap_scheduler={_SWITCH}"), inverted),
)
_IN_ARGS = (
    Shown(
        "kv_cache_dtype", re.compile(r"\bkv_cache_config=KvCacheConfig\([^()\n]{0,2000}\bdtype='(\w+)'"), word
    ),
    Shown("attention_backend", re.compile(r"\battn_backend='(\w+)'"), word),
    Shown("moe_backend", re.compile(r"\bmoe_config=MoeConfig\([^()\n]{0,2000}\bbackend='(\w+)'"), word),
    Shown("tp", re.compile(r"\btensor_parallel_size=(\d+)"), whole),
    Shown("pp", re.compile(r"\bpipeline_parallel_size=(\d+)"), whole),
    Shown("ep", re.compile(r"\bmoe_expert_parallel_size=(\d+)"), whole),
    Shown("attention_dp", re.compile(rf"\benable_attention_dp={_SWITCH}"), switch),
    Shown(
        "cuda_graphs", re.compile(r"\bcuda_graph_config=(None|CudaGraphConfig)"), lambda text: text != "None"
    ),
    Shown(
        "cuda_graph_padding",
        re.compile(rf"\bcuda_graph_config=CudaGraphConfig\([^()\n]{{0,2000}}\benable_padding={_SWITCH}"),
        switch,
    ),
    Shown("overlap_scheduler", re.compile(rf"\bdisable_overlap_scheduler={_SWITCH}"), inverted),
    Shown("draft_tokens", re.compile(r"\bspeculative_config=(None)"), lambda _: 0),
    Shown(
        "draft_tokens",
        re.compile(r"\bspeculative_config=\w{1,60}\([^()\n]{0,2000}\bmax_draft_len=(\d+)"),
        whole,
    ),
    Shown("chunked_prefill", re.compile(rf"\benable_chunked_prefill={_SWITCH}"), switch),
    Shown(
        "block_reuse",
        re.compile(rf"\bkv_cache_config=KvCacheConfig\([^()\n]{{0,2000}}\benable_block_reuse={_SWITCH}"),
        switch,
    ),
)
_VERSION = re.compile(r"\[TensorRT-LLM\] TensorRT[- ]LLM version: (\S+)")
_IN_LINES = (
    Shown("version", _VERSION, word),
    Shown(
        "max_batch_size", re.compile(r"max_num_requests=\d+, max_num_tokens=\d+, max_batch_size=(\d+)"), whole
    ),
    Shown("max_num_tokens", re.compile(r"max_num_requests=\d+, max_num_tokens=(\d+)"), whole),
    Shown("chunked_prefill", re.compile(rf"AttentionRuntimeFeatures\(chunked_prefill={_SWITCH}"), switch),
    Shown(
        "block_reuse",
        re.compile(rf"AttentionRuntimeFeatures\([^)\n]{{0,2000}}\bcache_reuse={_SWITCH}"),
        switch,
    ),
    Shown("kv_cache_tokens", re.compile(r"for max tokens in paged KV cache \((\d+)\)"), whole),
    Shown("kv_cache_gib", re.compile(r"Allocated ([\d.]+) GiB for max tokens in paged KV cache"), float),
)


def options_in_log(text: str, read_from: str) -> Iterator[Option]:
    """Yield the options that the start of a log shows; of one option the surest line comes first.

    Args:
        text: of the log.
        read_from: what to call the log.
    """
    for line, options in ((_ARGS, _IN_ARGS), (_CONFIG, _IN_CONFIG)):
        if found := line.search(text):
            yield from shown_in(found[1], options, read_from)
    yield from shown_in(text, _IN_LINES, read_from)


def version_in_log(text: str) -> str | None:
    """Return the version that TensorRT-LLM says when it is imported; None if a text does not show it."""
    found = _VERSION.search(text)
    return None if found is None else found[1]
