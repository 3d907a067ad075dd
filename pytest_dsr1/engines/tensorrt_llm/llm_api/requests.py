"""The requests and the questions of the LLM API's worker, as token ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.tensorrt_llm.llm_api.job import TrtllmJob
from pytest_dsr1.process import questions
from pytest_dsr1.process.worker import Item, WorkerError, first_line, input_ids, read_requests
from pytest_dsr1.records import Question


def read_items(job: TrtllmJob) -> list[Item]:
    """Return the requests, with text converted to token ids as in trtllm-bench.

    Raises:
        WorkerError: there is text but no tokenizer.
    """
    tokenize: Callable[[str], Any] | None = None
    items: list[Item] = []
    for number, request in read_requests(Path(job.dataset), job.num_requests):
        ids = input_ids(request)
        if not ids:
            tokenize = tokenize or _tokenizer(job, number)
            ids = list(tokenize(request["prompt"])["input_ids"])
        items.append(Item(len(items), ids, request["output_tokens"]))
    return items


def _tokenizer(job: TrtllmJob, line: int | None = None) -> Any:
    if job.tokenizer is None:
        where = "accuracy" if line is None else f"{job.dataset}:{line}"
        raise WorkerError(
            f"{where}: the request has no `input_ids`, and random weights have no tokenizer for "
            "`prompt`; write the dataset with token ids"
        )
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(job.tokenizer, trust_remote_code=True)
    except (OSError, ValueError) as error:
        raise WorkerError(f"{job.tokenizer}: the tokenizer cannot be loaded: {first_line(error)}") from error


class Asked:
    """The questions of a job as requests.

    Text that may end is a user's message in the model's chat template, if its tokenizer has one. Other text
    is a prompt of the dataset, and is sent as the measured requests are.

    Attributes:
        sets: the questions.
        items: the request of each question, by its id.
        end_id: the token that ends an answer; -1 if no question needs one.
    """

    def __init__(self, job: TrtllmJob) -> None:
        self.sets = questions.load(job.questions)
        every = [question for each in self.sets for question in each.questions]
        self._tokenizer = _tokenizer(job) if any(isinstance(each.prompt, str) for each in every) else None
        end = getattr(self._tokenizer, "eos_token_id", None)
        self.end_id = -1 if end is None else int(end)
        self.items = {each.id: Item(0, self._ids(each), each.max_output_tokens) for each in every}

    def _ids(self, question: Question) -> list[int]:
        prompt = question.prompt
        if not isinstance(prompt, str):
            return list(prompt)
        assert self._tokenizer is not None
        if not (question.ends and self._tokenizer.chat_template):
            return list(self._tokenizer(prompt)["input_ids"])
        message = [{"role": "user", "content": prompt}]
        whole = self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(whole, add_special_tokens=False)["input_ids"])

    def answer(self, question: Question, tokens: list[int], finish_reason: str | None) -> dict[str, Any]:
        """Return the fields of an answer; its text without the end token, for a question with text."""
        answer: dict[str, Any] = {"tokens": tokens, "cut": question.ends and finish_reason == "length"}
        if self._tokenizer is None or isinstance(question.prompt, tuple):
            return answer
        return {**answer, "text": self._tokenizer.decode(tokens, skip_special_tokens=True)}
