"""Questions as token ids: the chat template, the end token, and the text of an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.server.random_model import write_model
from pytest_dsr1.engines.tensorrt_llm.llm_api.job import TrtllmJob
from pytest_dsr1.engines.tensorrt_llm.llm_api.requests import Asked
from pytest_dsr1.process.questions import save
from pytest_dsr1.process.worker import WorkerError
from pytest_dsr1.records import Question, QuestionSet
from tests.helpers.tiny_model import TINY
from tests.helpers.values import scenario

pytestmark = pytest.mark.needs("transformers", "jinja2")

IDS = Question("same_answers/0", (5, 6), 4, ends=False)
PROMPT = Question("same_answers/1", "a b", 4, ends=False)
TASK = Question("questions/0", "a b", 9, ends=True)


def asked(folder: Path, *questions: Question, template: str | None = None) -> Asked:
    """The questions with the tokenizer of a model with random weights."""
    model = {"name": "r1", "random_weights": {"config": {**TINY, "vocab_size": 300}}}
    write_model(scenario(model=model), folder)
    if template is not None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    file = save(folder, [QuestionSet(questions, 1)])
    return Asked(TrtllmJob({}, {}, "", "d.jsonl", 1, tokenizer=str(folder), questions=file))


def test_token_ids_need_no_tokenizer(tmp_path: Path) -> None:
    file = save(tmp_path, [QuestionSet((IDS,), 1)])
    made = Asked(TrtllmJob({}, {}, "", "d.jsonl", 1, questions=file))
    assert made.items["same_answers/0"].input_ids == [5, 6]
    assert (made.items["same_answers/0"].output_tokens, made.end_id) == (4, -1)
    assert made.answer(IDS, [7], "length") == {"tokens": [7], "cut": False}


def test_without_questions_nothing_is_loaded() -> None:
    made = Asked(TrtllmJob({}, {}, "", "d.jsonl", 1))
    assert (made.sets, made.items, made.end_id) == ((), {}, -1)


def test_text_needs_a_tokenizer(tmp_path: Path) -> None:
    file = save(tmp_path, [QuestionSet((TASK,), 1)])
    with pytest.raises(WorkerError) as caught:
        Asked(TrtllmJob({}, {}, "", "d.jsonl", 1, questions=file))
    assert str(caught.value) == (
        "accuracy: the request has no `input_ids`, and random weights have no tokenizer for `prompt`; "
        "write the dataset with token ids"
    )


def test_a_task_is_a_message_in_the_chat_template(tmp_path: Path) -> None:
    template = "U{{ messages[0].content }}{% if add_generation_prompt %}A{% endif %}"
    made = asked(tmp_path, PROMPT, TASK, template=template)
    plain = made.items["same_answers/1"].input_ids
    whole = made.items["questions/0"].input_ids
    assert (whole[1:-1], len(whole)) == (plain, len(plain) + 2)
    assert made.end_id == 1
    assert made.answer(TASK, [*whole, 1], "stop") == {
        "tokens": [*whole, 1],
        "text": "Ua bA",
        "cut": False,
    }
    assert made.answer(TASK, whole, "length")["cut"] is True


def test_without_a_template_a_task_is_sent_as_it_is(tmp_path: Path) -> None:
    made = asked(tmp_path, PROMPT, TASK)
    assert made.items["questions/0"].input_ids == made.items["same_answers/1"].input_ids
