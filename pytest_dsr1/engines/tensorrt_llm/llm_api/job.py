"""What the LLM API's worker is asked to do: a job file for the model, an order for each measurement.

Only the standard library is used: the parent writes, the worker reads without pydantic of ours.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrtllmJob:
    """What is loaded and read.

    Attributes:
        arguments: of ``tensorrt_llm.LLM``, in the installed version's names.
        options: more of them, as the options file of trtllm-bench holds them; they count.
        dialect: the version those names are of, in words.
        dataset: JSONL with `input_ids` or `prompt`, and `output_tokens`, at least ``num_requests`` lines.
        tokenizer: the folder of the tokenizer for `prompt`; None where there is none.
        end_id: the token that ends an answer; -1 for answers of exactly the wanted length.
        request_timings: ask for each request's times inside the engine.
        iteration_stats: read the statistics of iterations.
    """

    arguments: dict[str, Any]
    options: dict[str, Any]
    dialect: str
    dataset: str
    num_requests: int
    tokenizer: str | None = None
    end_id: int = -1
    streaming: bool = False
    request_timings: bool = False
    iteration_stats: bool = False

    @classmethod
    def load(cls, path: Path) -> TrtllmJob:
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write a job file."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement: a closed loop over all requests, after ``warmup_requests`` that are not counted."""

    concurrency: int
    warmup_requests: int = 0

    def line(self) -> str:
        """As it is sent."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def read(cls, line: bytes) -> Order:
        """As it was sent."""
        return cls(**json.loads(line))
