"""One rule between the values of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Answer = Literal["attached_url", "draft_tokens", "slots", "streams"]
"""What a rule or a refusal asks of an engine's settings: the name of the attribute."""

Findings = Iterator[tuple[str, str]]
"""Pairs of a dotted key and a sentence about the fault of its value."""


Purpose = Literal[
    "attention_dp",
    "kv_cache_in_fp8",
    "kv_cache_memory",
    "output_over_time",
    "own_start",
    "request_records",
    "slots",
    "speculation",
    "streaming",
]
"""What a person may want of an engine, by the advice in a message."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One rule.

    Attributes:
        keys: the dotted keys it reads; the rule is skipped if one of them is a mistake itself.
        answers: what it asks the engine's settings; the rule is also skipped if a key that decides one of
            these answers is a mistake.
        impossible: whether breaking it is a mistake; otherwise it is a warning.
        rule: the rule as a sentence.
        check: yields the key and a sentence for each breach in a scenario.
    """

    keys: tuple[str, ...]
    impossible: bool
    rule: str
    check: Callable[[Any], Findings]
    answers: tuple[Answer, ...] = ()
