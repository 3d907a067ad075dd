"""The job file of the transformers engine's worker, and the requests that the worker reads from a dataset.

Only the standard library is used, because the worker reads job files without pydantic.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_dsr1.process import questions
from pytest_dsr1.process.worker import Item, WorkerError, input_ids, read_requests
from pytest_dsr1.records import Question

PREFILL_TOKENS = 16384
"""The most tokens of one prefill; larger ones are split by request to keep the experts' activations small."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """The job of a worker: fields of a scenario's `load`, `engine` and `model.random_weights`.

    Attributes:
        dataset: a JSONL file with `input_ids` and `output_tokens`, at least ``num_requests`` lines.
        questions: a file of :mod:`pytest_dsr1.process.questions`; None without questions.
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
    questions: str | None = None

    @classmethod
    def load(cls, path: Path) -> WorkerJob:
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write a job file."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


def read_items(path: Path, count: int, vocab_size: int) -> list[Item]:
    """Return the first ``count`` requests of a dataset; the workload room has checked its format already.

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


def read_asked(path: str | None, vocab_size: int) -> list[tuple[Question, Item]]:
    """Return the questions in a file, each with its request.

    Raises:
        WorkerError: a question has text, ends at an end token, or has an id the model does not have.
    """
    found: list[tuple[Question, Item]] = []
    for question in (question for each in questions.load(path) for question in each.questions):
        prompt = question.prompt
        if isinstance(prompt, str) or question.ends or not 0 <= min(prompt) <= max(prompt) < vocab_size:
            raise WorkerError(
                f"{question.id}: the transformers engine answers only token ids below {vocab_size}, and its "
                "random weights know no end token"
            )
        found.append((question, Item(len(found), list(prompt), question.max_output_tokens)))
    return found


def batched(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return consecutive batches of ``size``; the last may be smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def prefill_chunks(batch: Sequence[Item]) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield (first row, inputs) of each prefill: at most ``PREFILL_TOKENS`` padded tokens, or one request."""
    longest = max(len(item.input_ids) for item in batch)
    rows = max(1, PREFILL_TOKENS // longest)
    for first in range(0, len(batch), rows):
        yield first, [item.input_ids for item in batch[first : first + rows]]
