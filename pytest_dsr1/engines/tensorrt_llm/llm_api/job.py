"""The job of the LLM API's worker: a file for the model, an order for each measurement, and what it refuses.

Only the standard library is used: the parent writes, the worker reads without pydantic of ours. What the
installed LLM API takes is read from its own pydantic classes before a weight is loaded.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pytest_dsr1.process.worker import WorkerError, first_line
from pytest_dsr1.text import nearest

_CHOOSES_A_CLASS = {"decoding_type"}
"""Keys that older versions read before pydantic does."""
_TOO_FEW_GPUS = re.compile(r"Only (\d+) GPUs? (?:is|are) available, but (\d+) (?:is|are) required")


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


def nothing_unknown(arguments: Mapping[str, Any], known: Any, version: str, dialect: str) -> None:
    """Refuse arguments that this version does not have.

    Args:
        arguments: of ``tensorrt_llm.LLM``; mappings in it stand for classes of its own.
        known: the pydantic class of the arguments, ``TorchLlmArgs``.
        version: TensorRT-LLM's.
        dialect: the version whose names the arguments are written in.

    Raises:
        WorkerError: all that are unknown, each with the nearest known one.
    """
    if unknown := list(_unknown(arguments, [known])):
        raise WorkerError(
            f"TensorRT-LLM {version} has no option {', '.join(unknown)}, written in dialect {dialect}; "
            "remove it from the scenario, or name the version to use in engine.dialect"
        )


def _unknown(values: Mapping[str, Any], classes: Sequence[Any], prefix: str = "") -> Iterator[str]:
    fields = [(name, field) for kind in classes for name, field in kind.model_fields.items()]
    names: dict[str, list[Any]] = {name: [] for name in _CHOOSES_A_CLASS}
    for name, field in fields:
        for spelling in (name, *_aliases(field)):
            names.setdefault(spelling, []).extend(_classes(field.annotation))
    for key, value in values.items():
        if key not in names:
            near = nearest(key, names)
            yield prefix + key + (f" (did you mean {near}?)" if near else "")
        elif isinstance(value, Mapping) and names[key]:
            yield from _unknown(value, names[key], f"{prefix}{key}.")


def _aliases(field: Any) -> list[str]:
    """Other names of a pydantic field."""
    alias = field.validation_alias or field.alias
    choices = getattr(alias, "choices", [alias])
    return [choice for choice in choices if isinstance(choice, str)]


def _classes(annotation: Any) -> list[Any]:
    """The pydantic classes an annotation names, through unions and optionals."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [kind for inner in get_args(annotation) for kind in _classes(inner)]


def refusal(error: Exception) -> str:
    """One sentence for an error of TensorRT-LLM's own."""
    text = str(error)
    if few := _TOO_FEW_GPUS.search(text):
        return (
            f"TensorRT-LLM needs {few[2]} GPUs (engine.tp x engine.pp) and finds {few[1]}: look at "
            "`nvidia-smi` and CUDA_VISIBLE_DEVICES, and in Docker at --gpus"
        )
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        return f"TensorRT-LLM refuses its options: {'; '.join(problems)}"
    return f"TensorRT-LLM failed: {type(error).__name__}: {first_line(error)}"
