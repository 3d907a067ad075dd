"""The acceptance length that vLLM and SGLang force, in their own settings.

vLLM: ``rejection_sample_method: synthetic`` with ``synthetic_acceptance_length`` in ``--speculative-config``,
from 1 to one more than the draft tokens (vllm/config/speculative.py; vllm-project/vllm#40662, merged on
2026-04-24). An older vLLM refuses the key and does not start.

SGLang: three variables (python/sglang/srt/environ.py and srt/speculative/spec_utils.py). ``multinomial``, the
default method, does not meet the length on average, so the method is ``match-expected``. The default mode
writes one and the same token, which sends all tokens to the same experts, so the draft tokens are taken; this
needs a ``topk`` of 1. Versions without the mode ignore its variable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_dsr1.engines.trtllm_options.acceptance import places_of

VLLM_OPTION = "--speculative-config"
_VLLM_NAMES = {VLLM_OPTION, "--speculative_config", "-sc"}
_SYNTHETIC = {"rejection_sample_method": "synthetic"}
_LENGTH = "synthetic_acceptance_length"

_SGLANG = "SGLANG_SIMULATE_ACC_LEN"
_SGLANG_BEFORE = "SIMULATE_ACC_LEN"
_SGLANG_FIXED = {
    "SGLANG_SIMULATE_ACC_METHOD": "match-expected",
    "SGLANG_SIMULATE_ACC_TOKEN_MODE": "real-draft-token",
}


def vllm_cannot_force(words: Sequence[str], acceptance_length: float) -> str | None:
    """Return why vLLM with these words of its command cannot force the length; None if it can."""
    _, config = _vllm_config(words)
    drafts = None if config is None else config.get("num_speculative_tokens")
    if config is None:
        return f"expected {VLLM_OPTION} with a mapping in JSON in engine.arguments; found none"
    if not isinstance(drafts, int):
        return f"expected num_speculative_tokens in {VLLM_OPTION}, a whole number; found {drafts}"
    return _too_long(acceptance_length, drafts, "num_speculative_tokens")


def with_vllm_forced(words: Sequence[str], acceptance_length: float) -> list[str]:
    """Return the words of vLLM's command with the acceptance length in its speculative configuration."""
    index, config = _vllm_config(words)
    assert config is not None  # a rule of the scenario
    text = json.dumps({**config, **_SYNTHETIC, _LENGTH: acceptance_length})
    name, equals, _ = words[index].partition("=")
    new, after = ([f"{name}={text}"], index + 1) if equals else ([name, text], index + 2)
    return [*words[:index], *new, *words[after:]]


def vllm_forced_by_hand(words: Sequence[str]) -> Iterator[tuple[str, float | None]]:
    """Yield the option of vLLM's command that forces the acceptance, and the length if it is a number.

    So does a length, or rates, without the method, although vLLM refuses these when it starts.
    """
    _, config = _vllm_config(words)
    dotted = dict(_dotted(words))
    found = {**(config or {}), **dotted}
    rates, length = found.get("synthetic_acceptance_rates"), found.get(_LENGTH)
    if found.get("rejection_sample_method") != "synthetic" and rates is None and length is None:
        return
    try:
        known = None if length is None else float(length)
        if known is None and isinstance(rates, list):
            known = 1.0 + sum(rates)
    except (TypeError, ValueError):
        known = None
    yield "engine.arguments", known


def sglang_cannot_force(words: Sequence[str], acceptance_length: float) -> str | None:
    """Return why SGLang with these words of its command cannot force the length; None if it can."""
    options = dict(_options(words))
    steps, topk = options.get("--speculative-num-steps"), options.get("--speculative-eagle-topk", "1")
    if not {"--speculative-algorithm", "--speculative-algo"} & options.keys():
        return "expected --speculative-algorithm in engine.arguments; found none"
    if topk != "1":
        return f"expected --speculative-eagle-topk 1, with which SGLang takes its draft tokens; found {topk}"
    if steps is None or not steps.isdecimal():
        return f"expected --speculative-num-steps in engine.arguments; found {steps or 'none'}"
    return _too_long(acceptance_length, int(steps), "--speculative-num-steps")


def sglang_variables(acceptance_length: float) -> dict[str, str]:
    """Return the variables that force the acceptance length in SGLang."""
    return {_SGLANG: f"{acceptance_length:.10g}", **_SGLANG_FIXED}


def sglang_forced_by_hand(
    environ: Mapping[str, str], environment: Mapping[str, str], words: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, float | None]]:
    """Yield each variable that forces the acceptance length, and the length; None if it is unknown.

    Args:
        environ: see :func:`~pytest_dsr1.engines.trtllm_options.acceptance.places_of`, also for the others.
        environment: the scenario's `engine.environment`.
        words: the words of the command.
    """
    for name in (_SGLANG, _SGLANG_BEFORE):
        for place, value in places_of(name, environ, environment, words):
            try:
                length = None if value is None else float(value)
            except ValueError:
                continue
            if length is None or length > 0:
                yield place, length and max(length, 1.0)


def _too_long(acceptance_length: float, drafts: int, setting: str) -> str | None:
    if acceptance_length <= drafts + 1:
        return None
    return f"expected at most {drafts + 1}, one more than {setting} {drafts}; found {acceptance_length:.10g}"


def _vllm_config(words: Sequence[str]) -> tuple[int, dict[str, Any] | None]:
    """Return where vLLM's speculative configuration is, and its content; None if it is not one in JSON.

    Of several, the last counts, as for any option of argparse.
    """
    for index, word in reversed(list(enumerate(words))):
        name, equals, text = word.partition("=")
        if name in _VLLM_NAMES:
            text = text if equals else "".join(words[index + 1 : index + 2])
            try:
                found = json.loads(text)
            except ValueError:
                return index, None
            return index, found if isinstance(found, dict) else None
    return 0, None


def _dotted(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys of the configuration that are options of their own, with their values."""
    for option, value in _options(words):
        name, dot, key = option.partition(".")
        if name in _VLLM_NAMES and dot:
            yield key, value


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of a command with their values; the value of a switch is the next word."""
    for index, word in enumerate(words):
        after = words[index + 1] if index + 1 < len(words) else ""
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            yield name, value if equals else after
