"""What the transformers engine's worker is asked to do, and the requests it reads: a job file and a dataset.

Only the standard library is used: the parent writes job files, the worker reads them without pydantic.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_dsr1.process.worker import Item, WorkerError, input_ids, read_requests

PREFILL_TOKENS = 16384
"""A larger prefill is split by requests, so that the experts' activations stay small beside the weights."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What to run; the fields of a scenario's `load`, `engine` and `model.random_weights`.

    Attributes:
        dataset: JSONL with `input_ids` and `output_tokens`, at least ``num_requests`` lines.
    """

    dataset: str
    concurrency: int
    num_requests: int
    warmup_requests: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    threads: int | None = None
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> WorkerJob:
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write a job file."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def read_items(path: Path, count: int, vocab_size: int) -> list[Item]:
    """The first ``count`` requests of a dataset that the workload room has already checked for form.

    Raises:
        WorkerError: a request has text instead of token ids, or an id the model does not have.
    """
    items: list[Item] = []
    for number, request in read_requests(path, count):
        ids = input_ids(request)
        if not ids:
            raise WorkerError(
                f"{path}:{number}: the request has no `input_ids`, and the transformers engine has no "
                "tokenizer for `prompt`; write the dataset with token ids"
            )
        if not 0 <= min(ids) <= max(ids) < vocab_size:
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise WorkerError(
                f"{path}:{number}: token id {wrong} is outside the model's vocabulary of {vocab_size}; "
                "lower `dataset.vocab_size` or raise `vocab_size` in `model.random_weights.config`"
            )
        items.append(Item(len(items), ids, request["output_tokens"]))
    return items


def batched(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Consecutive batches of ``size``; the last may be smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def prefill_chunks(batch: Sequence[Item]) -> Iterator[tuple[int, list[list[int]]]]:
    """(first row, inputs) with at most ``PREFILL_TOKENS`` padded tokens, or one request."""
    longest = max(len(item.input_ids) for item in batch)
    rows = max(1, PREFILL_TOKENS // longest)
    for first in range(0, len(batch), rows):
        yield first, [item.input_ids for item in batch[first : first + rows]]
