"""The job of the LLM API's worker: a file for the model, an order per measurement, and checks of options.

Only the standard library is used, because the worker reads these without our pydantic. The options of the
installed LLM API are checked with its own pydantic classes before any weight is loaded.
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
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import did_you_mean

_CHOOSES_A_CLASS = {"decoding_type"}
"""Keys that older versions read before pydantic sees them."""
_TOO_FEW_GPUS = re.compile(r"Only (\d+) GPUs? (?:is|are) available, but (\d+) (?:is|are) required")


@dataclass(frozen=True, slots=True)
class TrtllmJob:
    """The model to load and the requests to read.

    Attributes:
        arguments: the arguments of ``tensorrt_llm.LLM``, in the installed version's names.
        options: more arguments, in the form of trtllm-bench's options file; they take precedence.
        dialect: the dialect of these names, in words.
        dataset: a JSONL file of at least ``num_requests`` lines with `input_ids` or `prompt`, and
            `output_tokens`.
        tokenizer: the folder of the tokenizer for `prompt`; None without one.
        end_id: the token that ends an answer; -1 for answers with exactly the requested length.
        draft_tokens: per step, as the scenario asks; None if it is not known.
        request_timings: whether to ask for each request's times inside the engine.
        iteration_stats: whether to read the statistics of iterations.
        questions: a file of :mod:`pytest_dsr1.process.questions`; None without questions.
    """

    arguments: dict[str, Any]
    options: dict[str, Any]
    dialect: str
    dataset: str
    num_requests: int
    tokenizer: str | None = None
    end_id: int = -1
    draft_tokens: int | None = None
    streaming: bool = False
    request_timings: bool = False
    iteration_stats: bool = False
    questions: str | None = None

    @classmethod
    def load(cls, path: Path) -> TrtllmJob:
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write a job file; only its owner may read it, because options may have secrets."""
        write_atomically(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n", private=True)


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement: a closed loop over all requests, after ``warmup_requests`` that do not count."""

    concurrency: int
    warmup_requests: int = 0

    def line(self) -> str:
        """Return the order as a line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def read(cls, line: bytes) -> Order:
        """Return the order in a line."""
        return cls(**json.loads(line))


def nothing_unknown(arguments: Mapping[str, Any], known: Any, version: str, dialect: str) -> None:
    """Refuse arguments that this version does not have.

    Args:
        arguments: the arguments of ``tensorrt_llm.LLM``; its mappings stand for TensorRT-LLM's own classes.
        known: the pydantic class of the arguments, ``TorchLlmArgs``.
        version: TensorRT-LLM's version.
        dialect: the dialect of the arguments.

    Raises:
        WorkerError: arguments are unknown; the message has the nearest known name of each.
    """
    if unknown := list(_unknown(arguments, [known])):
        raise WorkerError(
            f"TensorRT-LLM {version} has no option {', '.join(unknown)} of dialect {dialect}; "
            "remove it from the scenario, or set engine.dialect to the right version"
        )


def draft_length_kept(asked: int | None, arguments: Mapping[str, Any], version: str, dialect: str) -> None:
    """Refuse a draft length that this version accepts and loses, as builds of 1.3 before #12341 do.

    Args:
        asked: the draft tokens per step that the scenario asks for.
        arguments: the arguments of ``tensorrt_llm.LLM``, with ``speculative_config`` as the library's class.
        version: TensorRT-LLM's version.
        dialect: the dialect of the arguments.

    Raises:
        WorkerError: another number would run.
    """
    kept = getattr(arguments.get("speculative_config"), "max_draft_len", None)
    if asked and isinstance(kept, int) and kept != asked:
        raise WorkerError(
            f"TensorRT-LLM {version} accepts the options of dialect {dialect}, but would run {kept} draft "
            f'tokens per step instead of {asked}; set engine.dialect: "1.3", which writes both names of this '
            "option"
        )


def _unknown(values: Mapping[str, Any], classes: Sequence[Any], prefix: str = "") -> Iterator[str]:
    fields = [(name, field) for kind in classes for name, field in kind.model_fields.items()]
    names: dict[str, list[Any]] = {name: [] for name in _CHOOSES_A_CLASS}
    for name, field in fields:
        for spelling in (name, *_aliases(field)):
            names.setdefault(spelling, []).extend(_classes(field.annotation))
    for key, value in values.items():
        if key not in names:
            yield f"{prefix}{key}{did_you_mean(key, names)}"
        elif isinstance(value, Mapping) and names[key]:
            yield from _unknown(value, names[key], f"{prefix}{key}.")


def _aliases(field: Any) -> list[str]:
    """Return the other names of a pydantic field."""
    alias = field.validation_alias or field.alias
    choices = getattr(alias, "choices", [alias])
    return [choice for choice in choices if isinstance(choice, str)]


def _classes(annotation: Any) -> list[Any]:
    """Return the pydantic classes in an annotation, also inside unions and optionals."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [kind for inner in get_args(annotation) for kind in _classes(inner)]


def refusal(error: Exception) -> str:
    """Return one sentence for an error that TensorRT-LLM raised."""
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
