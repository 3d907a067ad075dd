"""TensorRT-LLM's options in effect, by the names that all engines share.

The LLM API keeps its settings in ``LLM.args`` (``tensorrt_llm/llmapi/llm_args.py``, 1.0 to 1.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from pytest_dsr1.engines.in_effect import NOT_ASKED, NOT_READ, Option

SHARED: Mapping[str, tuple[str, ...]] = {
    "quantization": ("quant_config.quant_algo",),
    "kv_cache_dtype": ("kv_cache_config.dtype", "kv_cache_dtype"),
    "attention_backend": ("attn_backend",),
    "moe_backend": ("moe_config.backend",),
    "tp": ("tensor_parallel_size",),
    "pp": ("pipeline_parallel_size",),
    "ep": ("moe_expert_parallel_size",),
    "attention_dp": ("enable_attention_dp",),
    "max_batch_size": ("max_batch_size",),
    "max_num_tokens": ("max_num_tokens",),
    "max_seq_len": ("max_seq_len",),
    "cuda_graphs": ("cuda_graph_config",),
    "cuda_graph_padding": ("cuda_graph_config.enable_padding",),
    "cuda_graph_max_batch_size": ("cuda_graph_config.max_batch_size",),
    "cuda_graph_batch_sizes": ("cuda_graph_config.batch_sizes",),
    "overlap_scheduler": ("disable_overlap_scheduler",),
    "draft_tokens": ("speculative_config.max_draft_len", "speculative_config.num_nextn_predict_layers"),
    "chunked_prefill": ("enable_chunked_prefill",),
    "block_reuse": ("kv_cache_config.enable_block_reuse",),
    "gpu_memory_fraction": ("kv_cache_config.free_gpu_memory_fraction",),
}
"""The LLM API's names of a shared option; of several, the first with a value counts. Classes since #12341
copy ``num_nextn_predict_layers`` to ``max_draft_len``; older ones do the reverse."""

_PATHS = {path for paths in SHARED.values() for path in paths}
_MISSING = object()


def by_shared_names(options: Mapping[str, object]) -> dict[str, object]:
    """Return options of the LLM API, as JSON values, by the names that engines share or by their own."""
    found = {name: value for name in SHARED if (value := _shared(options, name)) is not _MISSING}
    return found | {name: _plain(value) for name, value in _leaves(options) if name not in _PATHS}


def options_in_effect(asked: Mapping[str, object], effective: object, read_from: str) -> Iterator[Option]:
    """Yield each option of the LLM API that its own settings object has, and those that were asked for.

    Args:
        asked: option to value; nested options are mappings.
        effective: the engine's settings, such as ``LLM.args``; None if it has none that can be read.
        read_from: what to call these settings.
    """
    given = by_shared_names(asked)
    for name in (*SHARED, *(name for name in given if name not in SHARED)):
        value = _shared(effective, name) if name in SHARED else _at(effective, name)
        if value is not _MISSING and effective is not None:
            yield Option(name, _plain(value), read_from, given.get(name, NOT_ASKED))
        elif name in given:
            yield Option(name, NOT_READ, "", given[name])


def _shared(settings: object, name: str) -> object:
    """Return the value of a shared option in settings; missing if they do not have it."""
    values = [value for path in SHARED[name] if (value := _at(settings, path)) is not _MISSING]
    value = next((each for each in values if each is not None), None if values else _MISSING)
    if name == "draft_tokens" and _at(settings, "speculative_config") is None:
        return 0
    if value is _MISSING:
        return value
    if name == "cuda_graphs":
        return value is not None
    if name == "overlap_scheduler":
        return not value
    return _plain(value)


def _leaves(options: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each option that is not a group, with dots in its name."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _at(group: object, path: str) -> object:
    """Return the value at a path with dots; missing if there is none."""
    value = group
    for name in path.split("."):
        value = value.get(name, _MISSING) if isinstance(value, Mapping) else getattr(value, name, _MISSING)
        if value is _MISSING:
            return _MISSING
    return value


def _plain(value: object) -> object:
    """Return a value as JSON has it; an object of the engine as its text."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)
