"""The workload: the requests of one measurement, as a JSONL file on disk and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LONGEST_SEQUENCE = 1 << 24
"""Tokens; a longer request is a mistake: DeepSeek-R1 takes 163,840."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests of one measurement. Lengths are in tokens, over the first ``requests`` lines.

    Attributes:
        path: a JSONL file in trtllm-bench's format; request order is file order.
        requests: how many of its lines are measured.
        sha256: of the bytes of those lines (where the file has no more than them, what ``sha256sum`` prints);
            of synthetic ones, of everything that determines those bytes; of a workload cut by
            :func:`~pytest_dsr1.workload.prepare.first`, that of the whole one.
        synthetic: whether the tokens are random.
        mean_input: and ``max_input`` are None where the file holds text, whose length only a tokenizer knows.
        warnings: sentences a person must see beside the verdict.
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
    """One line of a dataset: either ``input_ids`` or ``prompt`` is given, the other is None."""

    input_ids: list[int] | None
    prompt: str | None
    output_tokens: int
