"""The part of the scenario schema about right answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from pytest_dsr1.scenario.schema.base import ExpandedStr, Part, PositiveInt

SAME_ANSWERS = "same_answers"
"""The name of the test that compares answers with those of references."""
OWN_QUESTIONS = "questions"
"""The name of a task without a file."""

PresetName = Literal[
    "trtllm-gsm8k-fp8",
    "trtllm-gsm8k-fp4",
    "trtllm-gsm8k-fp8-kv-cache",
    "trtllm-gpqa",
    "inferencex-gsm8k",
    "inferencex-gpqa",
    "mlperf",
]


@dataclass(frozen=True, slots=True)
class Preset:
    """A published share of right answers.

    Attributes:
        share: from 0 to 1.
        source: where it is published.
    """

    share: float
    source: str


_GUIDE = "TensorRT-LLM, deployment-guide-for-deepseek-r1-on-trtllm.md: GSM8K"
_BLOG = "TensorRT-LLM, blog3_Optimizing_DeepSeek_R1_Throughput"
PRESETS: Mapping[PresetName, Preset] = {
    "trtllm-gsm8k-fp8": Preset(0.9538, f"{_GUIDE}, FP8"),
    "trtllm-gsm8k-fp4": Preset(0.9462, f"{_GUIDE}, FP4"),
    "trtllm-gsm8k-fp8-kv-cache": Preset(0.9606, f"{_BLOG}: GSM8K with an FP8 KV cache"),
    "trtllm-gpqa": Preset(0.697, f"{_BLOG}: GPQA, the lower of 0.697 and 0.705"),
    "inferencex-gsm8k": Preset(0.91, "InferenceX, thresholds.yaml: GSM8K, DeepSeek-R1"),
    "inferencex-gpqa": Preset(0.30, "InferenceX, thresholds.yaml: GPQA"),
    "mlperf": Preset(
        0.99 * 0.819132,
        "MLPerf Inference, DeepSeek-R1: 99% of 81.9132% exact match, of its own 4,388 samples",
    ),
}


class SameAnswers(Part):
    """Greedy answers to prompts of the dataset."""

    prompts: Annotated[int, Field(ge=2)] = 32
    """The number of prompts: the first requests of the dataset. They are asked one at a time, because batches change answers."""  # noqa: E501
    output_tokens: PositiveInt = 64
    """The length of each answer; the end token does not end it."""


def _kind_of_share(value: object) -> str:
    """Return the form of a share that was meant."""
    return "string" if isinstance(value, str) else "number"


Share = Annotated[
    Annotated[Annotated[float, Field(gt=0, le=1)], Tag("number")] | Annotated[PresetName, Tag("string")],
    Discriminator(_kind_of_share),
]
TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Task(Part):
    """Questions with known answers."""

    name: TaskName | None = None
    """The name of its test; by default the file's name without its end, or `questions`."""
    path: ExpandedStr | None = None
    """A JSONL file with one question per line: `prompt` and `answer`, or GSM8K's own `question` and `answer`; without it, our own 200 questions."""  # noqa: E501
    at_least: Share | None = None
    """The least share of right answers, such as `0.95`, or the name of a published one; by default that of accepted references, and without these the share is only measured."""  # noqa: E501
    limit: PositiveInt | None = None
    """Ask only the first questions."""
    max_output_tokens: PositiveInt = 16_384
    """The most tokens of an answer, including its thoughts. One that is cut off is wrong; MLPerf allows 20,000."""  # noqa: E501

    @property
    def test_name(self) -> str:
        """The name in `accuracy[NAME]`."""
        if self.name is not None or self.path is None:
            return self.name or OWN_QUESTIONS
        return re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(self.path).stem).strip("-._") or OWN_QUESTIONS

    @property
    def least_share(self) -> float | None:
        """The least share of right answers, from 0 to 1; None if references decide."""
        return PRESETS[self.at_least].share if isinstance(self.at_least, str) else self.at_least


class Accuracy(Part):
    """Questions that show whether the answers are right."""

    same_answers: SameAnswers | None = None
    """Compare greedy answers to prompts of the dataset with those of accepted references: the test `accuracy[same_answers]`. Works with random weights."""  # noqa: E501
    tasks: list[Task] = Field(default_factory=list)
    """Ask questions with known answers: a test `accuracy[NAME]` for each task."""

    @property
    def test_names(self) -> Iterator[str]:
        """The names in `accuracy[NAME]`, in the order of the scenario."""
        if self.same_answers is not None:
            yield SAME_ANSWERS
        for task in self.tasks:
            yield task.test_name
