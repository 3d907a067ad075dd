"""The workload: the requests of one measurement, as a JSONL file on disk and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests of one measurement. Lengths are in tokens, over the first ``requests`` lines.

    Attributes:
        path: a JSONL file in trtllm-bench's format; request order is file order.
        requests: how many of its lines are measured.
        sha256: content hash of those lines.
        synthetic: whether the tokens are random.
        mean_output: and the others are None where the file holds text whose length only a tokenizer knows.
    """

    path: Path
    requests: int
    sha256: str
    synthetic: bool
    mean_input: float | None
    max_input: int | None
    mean_output: float
    max_output: int

    @property
    def total_output(self) -> int:
        """Output tokens of all requests together."""
        return round(self.mean_output * self.requests)
