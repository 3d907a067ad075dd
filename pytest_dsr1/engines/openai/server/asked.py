"""The options that the command of a server asks for, by the names that all engines share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence

from pytest_dsr1.engines.openai.server.command import LaunchCommand
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.trtllm_options.in_effect import by_shared_names

_WHOLE = {"tp", "pp", "ep", "draft_tokens", "max_batch_size", "max_num_tokens", "max_seq_len"}
"""Options that are whole numbers; vLLM also takes words such as ``8k``, which are not compared."""

# vllm 0.33.0, engine/arg_utils.py; SGLang 0.5.23, srt/arg_groups; trtllm-serve 1.2, commands/serve.py.
_VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "vllm": {
        "kv_cache_dtype": ("--kv-cache-dtype",),
        "attention_backend": ("--attention-backend",),
        "tp": ("--tensor-parallel-size", "-tp"),
        "pp": ("--pipeline-parallel-size", "-pp"),
        "max_num_tokens": ("--max-num-batched-tokens",),
        "max_seq_len": ("--max-model-len",),
    },
    "sglang": {
        "kv_cache_dtype": ("--kv-cache-dtype",),
        "attention_backend": ("--attention-backend",),
        "moe_backend": ("--moe-runner-backend",),
        "tp": ("--tp-size", "--tensor-parallel-size", "--tp"),
        "pp": ("--pp-size", "--pipeline-parallel-size", "--pp"),
        "ep": ("--ep-size", "--expert-parallel-size", "--ep"),
        "max_batch_size": ("--max-running-requests",),
        "max_seq_len": ("--context-length",),
        "draft_tokens": ("--speculative-num-steps",),
    },
    "trtllm-serve": {
        "tp": ("--tp_size",),
        "pp": ("--pp_size",),
        "ep": ("--ep_size",),
        "max_batch_size": ("--max_batch_size",),
        "max_num_tokens": ("--max_num_tokens",),
        "max_seq_len": ("--max_seq_len",),
    },
}
"""By server, the options that have a value, with their words. Left out is what a server rounds (the sizes of
CUDA graphs, SGLang's chunks), calls by other names (vLLM's MoE backend) or does not show."""
_SWITCHES: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "vllm": {
        "--enforce-eager": ("cuda_graphs", False),
        "--enable-prefix-caching": ("block_reuse", True),
        "--no-enable-prefix-caching": ("block_reuse", False),
        "--enable-chunked-prefill": ("chunked_prefill", True),
        "--no-enable-chunked-prefill": ("chunked_prefill", False),
    },
    "sglang": {
        "--disable-cuda-graph": ("cuda_graphs", False),
        "--disable-radix-cache": ("block_reuse", False),
        "--enable-dp-attention": ("attention_dp", True),
        "--disable-overlap-schedule": ("overlap_scheduler", False),
    },
}
"""By server, the words without a value."""
_DRAFTS = ("--speculative-config", "-sc")


def asked_of(command: LaunchCommand, engine: OpenAi) -> dict[str, object]:
    """Return the options that a command asks for; one that cannot be compared is left out.

    Args:
        command: starts the server.
        engine: the scenario's settings.
    """
    asked = {**by_shared_names(command.options), **dict(_in_words(command.argv, engine))}
    if engine.server == "vllm" and engine.ep:  # its flag has no value
        asked["ep"] = engine.ep
    return asked


def _in_words(argv: Sequence[str], engine: OpenAi) -> Iterator[tuple[str, object]]:
    names = {word: name for name, words in _VALUES.get(engine.server, {}).items() for word in words}
    switches = _SWITCHES.get(engine.server, {})
    for word, value in _pairs(argv):
        if word in switches:
            yield switches[word]
        elif word in names and value is not None:
            typed = _typed(names[word], value)
            if typed is not None:
                yield names[word], typed
        elif word in _DRAFTS and engine.server == "vllm" and value is not None:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                yield "draft_tokens", int(json.loads(value)["num_speculative_tokens"])


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each word with its value, after ``=`` or in the next word."""
    for word, after in zip(argv, [*argv[1:], None], strict=True):
        name, equals, value = word.partition("=")
        yield name, value if equals else after


def _typed(name: str, value: str) -> object:
    if name not in _WHOLE:
        return value
    return int(value) if value.isdecimal() else None
