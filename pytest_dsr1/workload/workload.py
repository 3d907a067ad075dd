"""The workload: the requests of one measurement, as a JSONL file on disk and facts about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LONGEST_SEQUENCE = 1 << 24
"""Tokens; a longer request is a mistake: DeepSeek-R1 takes 163,840."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests of one measurement. Lengths are in tokens, over the first ``requests`` lines.

    Attributes:
        path: a JSONL file in trtllm-bench's format; the requests are sent in the order of its lines.
        requests: the number of its lines that are measured.
        sha256: for a file, the hash of these lines (if the file has no others, the one of ``sha256sum``); for
            a synthetic dataset, the hash of everything that determines its bytes. A workload cut by
            :func:`~pytest_dsr1.workload.prepare.first` keeps the hash of the whole one.
        synthetic: whether the tokens are random.
        mean_input: None, like ``max_input``, if the file contains text: only a tokenizer knows its length.
        warnings: sentences that a person must see next to the verdict.
    """

    path: Path
    requests: int
    sha256: str
    synthetic: bool
    mean_input: float | None
    max_input: int | None
    mean_output: float
    max_output: int
    warnings: tuple[str, ...] = ()

    @property
    def total_output(self) -> int:
        """Output tokens of all requests together."""
        return round(self.mean_output * self.requests)


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a dataset, with exactly one of ``input_ids`` and ``prompt``."""

    input_ids: list[int] | None
    prompt: str | None
    output_tokens: int
