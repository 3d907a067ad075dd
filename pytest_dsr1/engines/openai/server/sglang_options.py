"""The options in effect of an SGLang server, from ``/server_info``.

Read in the code of 0.4.6 to 0.5.23 (``srt/entrypoints/http_server.py``, ``srt/server_args.py``): the top
level is what the server made of its arguments, ``internal_states`` is what its scheduler processes run with.
The page also has API keys, so only the keys below are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_dsr1.engines.in_effect import Option

PATHS = ("/server_info", "/get_server_info")
"""The second is the only one before 0.5.6."""

_VALUES = {
    "version": ("version",),
    "quantization": ("quantization",),
    "kv_cache_dtype": ("kv_cache_dtype",),
    "attention_backend": ("attention_backend",),
    "moe_backend": ("moe_runner_backend",),
    "tp": ("tp_size",),
    "pp": ("pp_size",),
    "ep": ("ep_size",),
    "attention_dp": ("enable_dp_attention",),
    "max_seq_len": ("context_length",),
    "cuda_graph_max_batch_size": ("cuda_graph_max_bs", "cuda_graph_max_bs_decode"),
    "kv_cache_tokens": ("max_total_num_tokens",),
}
"""The keys of each option; of several, the first with a value counts."""
_SWITCHED_OFF = {
    "cuda_graphs": "disable_cuda_graph",
    "overlap_scheduler": "disable_overlap_schedule",
    "block_reuse": "disable_radix_cache",
}
_BY_THE_SCHEDULER = {"attention_backend", "kv_cache_dtype"}
"""Options that older versions decide in the scheduler process alone."""


def options_in_info(info: Mapping[str, Any], read_from: str) -> Iterator[Option]:
    """Yield the options that the page shows; null and ``auto`` stand for what it does not know.

    Args:
        info: the page, a JSON object.
        read_from: its path.
    """
    states = info.get("internal_states")
    state = states[0] if isinstance(states, list) and states and isinstance(states[0], Mapping) else {}
    for name, keys in _VALUES.items():
        places = (state, info) if name in _BY_THE_SCHEDULER else (info,)
        values = (place.get(key) for place in places for key in keys)
        value = next((value for value in values if value not in (None, "auto", "")), None)
        if isinstance(value, str | int | float):
            yield Option(name, value, read_from)
    for name, key in _SWITCHED_OFF.items():
        if isinstance(off := info.get(key), bool):
            yield Option(name, not off, read_from)
    if "speculative_algorithm" in info:
        steps = info.get("speculative_num_steps") if info["speculative_algorithm"] else 0
        if isinstance(steps, int):
            yield Option("draft_tokens", steps, read_from)
    chunk = info.get("chunked_prefill_size")
    if type(chunk) is int:  # srt/managers/scheduler.py: 0 and less stand for no chunks
        yield Option("chunked_prefill", chunk > 0, read_from)
    if not info.get("enable_dp_attention"):  # which divides and rounds the limits of a step
        requests = state.get("effective_max_running_requests_per_dp")
        for name, limit in (("max_batch_size", requests), ("max_num_tokens", chunk)):
            if type(limit) is int and limit > 0:
                yield Option(name, limit, read_from)
