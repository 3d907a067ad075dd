"""The worker's job file and dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.transformers.job import (
    PREFILL_TOKENS,
    WorkerJob,
    batched,
    prefill_chunks,
    read_asked,
    read_items,
)
from pytest_dsr1.process.questions import save
from pytest_dsr1.process.worker import Item, WorkerError, warmup_items
from pytest_dsr1.records import Question, QuestionSet


def write(path: Path, *requests: object) -> Path:
    """A dataset with a blank line before each request."""
    path.write_text("".join(f"\n{json.dumps(request)}\n" for request in requests), encoding="utf-8")
    return path


def items(*lengths: int) -> list[Item]:
    return [Item(i, [0] * length, 1) for i, length in enumerate(lengths)]


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = WorkerJob("data.jsonl", 4, 8, 2, "cuda", "bfloat16", True, 3, 7, {"hidden_size": 64})
    job.save(tmp_path / "job.json")
    assert WorkerJob.load(tmp_path / "job.json") == job


def test_only_the_wanted_requests_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.jsonl",
        {"task_id": 7, "input_ids": [1, 9], "output_tokens": 3},
        {"task_id": 8, "logits": [2], "output_tokens": 4},  # an alias that trtllm-bench takes
        {"task_id": 9, "prompt": "text", "output_tokens": 5},
    )
    assert read_items(path, 2, 10) == [Item(0, [1, 9], 3), Item(1, [2], 4)]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"prompt": "text", "output_tokens": 1},
            "{path}:2: the request has no `input_ids`, and the transformers engine has no tokenizer for "
            "`prompt`; write the dataset with token ids",
        ),
        (
            {"input_ids": [1, 10], "output_tokens": 1},
            "{path}:2: token id 10 is outside the model's vocabulary of 10; lower `dataset.vocab_size` or "
            "raise `vocab_size` in `model.random_weights.config`",
        ),
        (
            {"input_ids": [1, -3], "output_tokens": 1},
            "{path}:2: token id -3 is outside the model's vocabulary of 10; lower `dataset.vocab_size` or "
            "raise `vocab_size` in `model.random_weights.config`",
        ),
    ],
)
def test_requests_the_model_cannot_read(tmp_path: Path, request_: object, message: str) -> None:
    path = write(tmp_path / "d.jsonl", request_)
    with pytest.raises(WorkerError) as caught:
        read_items(path, 1, 10)
    assert str(caught.value) == message.format(path=path)


def test_too_few_requests(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", {"input_ids": [1], "output_tokens": 1})
    with pytest.raises(WorkerError) as caught:
        read_items(path, 3, 10)
    assert str(caught.value) == f"{path}: 1 requests, expected at least 3 (`load.num_requests`)"


def test_the_last_batch_may_be_smaller() -> None:
    assert [[item.id for item in batch] for batch in batched(items(1, 1, 1, 1, 1), 2)] == [
        [0, 1],
        [2, 3],
        [4],
    ]


def test_warm_up_begins_the_dataset_again() -> None:
    assert [item.id for item in warmup_items(items(1, 1), 5)] == [0, 1, 0, 1, 0]


@given(st.lists(st.integers(1, 2 * PREFILL_TOKENS), min_size=1, max_size=9))
def test_a_prefill_is_split_by_requests(lengths: list[int]) -> None:
    chunks = list(prefill_chunks(items(*lengths)))
    assert [len(ids) for _, inputs in chunks for ids in inputs] == lengths
    assert [first for first, _ in chunks] == [
        sum(len(inputs) for _, inputs in chunks[:i]) for i in range(len(chunks))
    ]
    for _, inputs in chunks:
        assert len(inputs) == 1 or len(inputs) * max(map(len, inputs)) <= PREFILL_TOKENS


def test_questions_of_token_ids_are_read(tmp_path: Path) -> None:
    same = Question("same_answers/0", (1, 9), 3, ends=False)
    path = save(tmp_path, [QuestionSet((same,), 1)])
    assert read_asked(path, 10) == [(same, Item(0, [1, 9], 3))]
    assert read_asked(None, 10) == []


@pytest.mark.parametrize(("prompt", "ends"), [("text", False), ((1,), True), ((-1,), False), ((10,), False)])
def test_questions_that_need_a_tokenizer_are_refused(
    tmp_path: Path, prompt: str | tuple[int, ...], ends: bool
) -> None:
    path = save(tmp_path, [QuestionSet((Question("a/0", prompt, 3, ends=ends),), 1)])
    with pytest.raises(WorkerError) as caught:
        read_asked(path, 10)
    assert str(caught.value) == (
        "a/0: the transformers engine answers only token ids below 10, and its random weights "
        "know no end token"
    )
