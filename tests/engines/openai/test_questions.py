"""Questions to a server: what is asked, how answers are read, and servers that do not answer."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai import questions
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.questions import answer_of, fields
from pytest_dsr1.engines.openai.requests import Requests
from pytest_dsr1.engines.openai.server.reuse import ServerPool
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import AskingInterruptedError, EngineResult
from pytest_dsr1.records import Answer, Question, QuestionSet
from tests.helpers.openai_jobs import make_job, served, started
from tests.helpers.watcher import Impatient, Watcher
from tests.standins.openai_server import GOOD, MODELS, Seen, plain, serving
from tests.standins.openai_server import Answer as Sent

pytestmark = pytest.mark.usefixtures("client_unjudged")

SAME = tuple(Question(f"same_answers/{n}", (n, 9), 4, ends=False) for n in range(3))
TASK = tuple(Question(f"questions/{n}", f"{n}+1?", 16, ends=True) for n in range(6))
SETS = (QuestionSet(SAME, 1), QuestionSet(TASK, 2))


def whole(choice: dict[str, Any], tokens: int = 4) -> bytes:
    body = {"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": tokens}}
    return plain("200 OK", json.dumps(body).encode())


def ask(
    folder: Path,
    answer: Callable[[dict[str, Any]], Sent],
    sets: tuple[QuestionSet, ...] = SETS,
    **engine: Any,
) -> tuple[EngineResult, Watcher]:
    """Measure four requests, then ask; ``answer`` is asked only for what is not streamed."""
    with serving(
        lambda body: GOOD if body.get("stream") else answer(body), seen=engine.pop("seen", None)
    ) as port:
        job = replace(make_job(folder, served(port, **engine)), questions=sets)
        watcher = Watcher()
        return OpenAiEngine().run(job, watcher), watcher


def test_every_question_is_answered_after_the_measured_part(tmp_path: Path) -> None:
    seen, lock, busy, most = Seen(), threading.Lock(), [0], {True: 0, False: 0}

    def answer(body: dict[str, Any]) -> Iterator[bytes | str]:
        same = isinstance(body["prompt"], list)
        with lock:
            busy[0] += 1
            most[same] = max(most[same], busy[0])
        threading.Event().wait(0.05)
        with lock:
            busy[0] -= 1
        yield whole({"text": f"answer to {body['prompt']}", "token_ids": [7, 8] if same else None})

    result, watcher = ask(tmp_path, answer, seen=seen)
    assert result.answers == (
        *(Answer(f"same_answers/{n}", (7, 8), f"answer to [{n}, 9]") for n in range(3)),
        *(Answer(f"questions/{n}", None, f"answer to {n}+1?") for n in range(6)),
    )
    assert most == {True: 1, False: 2}
    assert [body["stream"] for body in seen.bodies] == [True] * 4 + [False] * 9
    assert len(result.records) == 4
    assert watcher.steps[-1] == ("finishing", "accuracy: 9 of 9 answers")
    assert ("finishing", "accuracy: 0 of 9 answers") in watcher.steps


def test_without_questions_nothing_is_asked(tmp_path: Path) -> None:
    result, watcher = ask(tmp_path, lambda _: MODELS, ())
    assert result.answers == ()
    assert "finishing" not in watcher.phases


def test_a_question_that_fails_costs_no_measurement(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> bytes:
        if body["prompt"] == "3+1?":
            return plain("400 Bad Request", b'{"error": {"message": "too long"}}')
        return whole({"text": "4"})

    result, _ = ask(tmp_path, answer)
    assert [each.id for each in result.answers if each.error is not None] == ["questions/3"]
    assert result.answers[6].error == "HTTP 400: too long"
    assert [record.error for record in result.records] == [None] * 4


def test_a_server_that_answers_nothing_is_not_asked_for_ever(tmp_path: Path) -> None:
    seen = Seen()
    result, watcher = ask(tmp_path, lambda _: plain("500 Oops", b'{"error": "no"}'), SETS[:1], seen=seen)
    assert len(seen.bodies) == 4 + 3
    assert {each.error for each in result.answers} == {"HTTP 500: no"}
    assert watcher.details[-1] == "accuracy: 3 of 3 answers"


def test_a_set_that_is_given_up_costs_no_other(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> bytes:
        if isinstance(body["prompt"], list):
            return plain("500 Oops", b'{"error": "no ids"}')
        return whole({"text": "4"})

    more = tuple(Question(f"same_answers/{n}", (n, 9), 4, ends=False) for n in range(5))
    result, watcher = ask(tmp_path, answer, (QuestionSet(more, 1), SETS[1]))
    assert {each.error for each in result.answers[:3]} == {"HTTP 500: no ids"}
    assert {each.error for each in result.answers[3:5]} == {
        "not answered: 3 questions in a row failed, the last: HTTP 500: no ids"
    }
    assert {each.error for each in result.answers[5:]} == {None}
    assert watcher.details[-1] == "accuracy: 9 of 11 answers"


def test_what_is_in_flight_when_a_set_is_given_up_is_dropped(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Sent:
        if body["prompt"] == "0+1?":
            return ["hang"]
        return plain("500 Oops", b'{"error": "no"}')

    again = (replace(TASK[0], id="more/0", prompt="1+1?"),)
    result, _ = ask(tmp_path, answer, (SETS[1], QuestionSet(again, 1)))
    given_up = "not answered: 3 questions in a row failed, the last: HTTP 500: no"
    errors = {each.id: each.error for each in result.answers}
    assert errors == {
        "questions/0": given_up,
        **{f"questions/{n}": "HTTP 500: no" for n in (1, 2, 3)},
        **{f"questions/{n}": given_up for n in (4, 5)},
        "more/0": "HTTP 500: no",
    }


def test_silence_is_an_error_of_the_question(tmp_path: Path) -> None:
    """An answer comes whole, so the server may be silent as long as its tokens take at 5 tok/s."""
    short = replace(SAME[0], max_output_tokens=1)
    result, _ = ask(tmp_path, lambda _: ["hang"], (QuestionSet((short,), 1),), silence_timeout_s=0.1)
    (answer,) = result.answers
    assert answer.error == (
        "the server sent nothing for 0.2 s; if it is only slow, raise engine.silence_timeout_s"
    )


def test_ctrl_c_costs_only_answers(tmp_path: Path) -> None:
    """The measured part is complete, so its result comes with the interruption."""
    with serving(lambda body: GOOD if body.get("stream") else whole({"text": "4"})) as port:
        job = replace(make_job(tmp_path, served(port)), questions=SETS)
        with pytest.raises(AskingInterruptedError) as caught:
            OpenAiEngine().run(job, Impatient("accuracy: 0 of 9 answers"))
    result = caught.value.result
    assert [record.error for record in result.records] == [None] * 4
    assert {answer.error for answer in result.answers} == {"not answered: interrupted"}


def requests(**engine: Any) -> Requests:
    return Requests(OpenAi(type="openai", streaming=False, exact_output=False, **engine), "m", "host")


@pytest.mark.parametrize(
    ("server", "same", "task"),
    [
        ("trtllm-serve", {"ignore_eos": True, "temperature": 0}, {"temperature": 0}),
        ("sglang", {"ignore_eos": True, "temperature": 0}, {"temperature": 0}),
        (
            "vllm",
            {"ignore_eos": True, "temperature": 0, "return_token_ids": True, "cache_salt": "pytest-dsr1"},
            {"temperature": 0, "return_token_ids": True},
        ),
        ("other", {"temperature": 0}, {"temperature": 0}),
    ],
)
def test_what_is_asked_of_each_server(server: str, same: dict[str, Any], task: dict[str, Any]) -> None:
    common = {"model": "m", "stream": False}
    made = requests(server=server)
    assert fields(made, SAME[1]) == {**common, "prompt": [1, 9], "max_tokens": 4, **same}
    assert fields(made, TASK[1]) == {**common, "prompt": "1+1?", "max_tokens": 16, **task}


def test_what_is_asked_of_transformers() -> None:
    made, text = requests(server="transformers", body={"temperature": 1}), replace(SAME[0], prompt="a")
    assert fields(made, text) == {
        "model": "m",
        "prompt": "a",
        "max_tokens": 4,
        "stream": False,
        "generation_config": '{"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": false}',
    }
    assert fields(made, TASK[0])["generation_config"] == '{"max_new_tokens": 16, "do_sample": false}'


def test_the_body_of_the_scenario_brings_no_sampling_back() -> None:
    sampled = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1, "n": 2, "best_of": 3}
    lengths = {"ignore_eos": True, "min_tokens": 8, "max_tokens": 99, "stream": True}
    made = requests(body={**sampled, **lengths, "chat_template_kwargs": {"thinking": False}})
    assert fields(made, TASK[0]) == {
        "model": "m",
        "prompt": "0+1?",
        "max_tokens": 16,
        "temperature": 0,
        "stream": False,
        "chat_template_kwargs": {"thinking": False},
    }


def test_fields_that_the_scenario_removes_or_renames() -> None:
    renamed = requests(
        server="vllm", body={"max_tokens": None, "max_completion_tokens": 5, "ignore_eos": None}
    )
    found = fields(renamed, SAME[0])
    assert found["max_completion_tokens"] == 4
    assert not {"max_tokens", "ignore_eos"} & found.keys()
    assert fields(requests(body={"temperature": None}), TASK[0])["temperature"] == 0


def test_a_chat_is_asked_as_a_message() -> None:
    found = fields(requests(endpoint="chat"), TASK[0])
    assert found["messages"] == [{"role": "user", "content": "0+1?"}]
    assert "prompt" not in found


def read(choice: object, question: Question = TASK[0], tokens: int = 4) -> Answer:
    exchange = Exchange(0, b"", 4, exact=False, streaming=False, input_tokens=None)
    exchange.body += json.dumps({"choices": choice, "usage": {"completion_tokens": tokens}}).encode()
    return answer_of(question, exchange)


def test_how_answers_are_read() -> None:
    assert read([{"text": " 4"}]).text == " 4"
    assert read([{"message": {"content": "4"}}]).text == "4"
    assert read([{"message": {"content": "4", "reasoning_content": "3+1"}}]).text == "<think>3+1</think>4"
    assert read([{"message": {"content": None, "reasoning": "3+"}}]).text == "<think>3+</think>"
    assert read([{"message": {"content": None}}]).text == ""
    assert read([{"text": "a", "token_ids": [1, 2]}]).tokens == (1, 2)
    assert read([{"text": "a", "token_ids": ["1"]}]).tokens is None
    for empty in ([], None, ["text"]):
        assert read(empty).error == "the server's answer has no choices"
    assert read([{"text": "", "token_ids": [5]}], SAME[0]).tokens == (5,)
    assert read([{"text": ""}], SAME[0]).error == (
        "the server counts 4 tokens, but sent no text and no token ids"
    )


def test_an_answer_that_reached_its_limit_is_cut_off() -> None:
    assert read([{"text": "4", "finish_reason": "length"}]) == Answer(TASK[0].id, text="4", cut=True)
    assert not read([{"text": "4", "finish_reason": "stop"}], tokens=16).cut
    assert read([{"text": "4"}], tokens=16).cut
    assert not read([{"text": "4"}], tokens=15).cut
    assert not read([{"text": "4", "finish_reason": "length"}], SAME[0]).cut


def test_a_server_that_dies_costs_no_measurement_and_is_not_kept(tmp_path: Path) -> None:
    deadly = Question("questions/1", "die", 4, ends=True)
    job = replace(make_job(tmp_path, started()), questions=(QuestionSet((TASK[0], deadly, *TASK[2:]), 1),))
    pool = ServerPool()
    result = OpenAiEngine(pool).run(job, Watcher())
    assert not pool
    first, *rest = result.answers
    assert first == Answer("questions/0", None, " a b c d")
    assert {each.error for each in rest} == {
        f"not answered: the server ended with exit status 7: {sys.executable}"
    }
    assert [record.error for record in result.records] == [None] * 4


def test_a_server_that_ends_slowly_is_why_its_last_questions_failed(tmp_path: Path) -> None:
    """Its connections are refused two seconds before it ends."""
    leave = Question("questions/1", "leave", 4, ends=True)
    sets = (QuestionSet((TASK[0], leave, *TASK[2:]), 1), QuestionSet(SAME, 1))
    result = OpenAiEngine().run(replace(make_job(tmp_path, started()), questions=sets), Watcher())
    first, *rest = result.answers
    assert first.error is None
    (error,) = {each.error for each in rest}
    assert error is not None
    assert error.startswith("not answered: the server ended with exit status 7: it ran out of GPU memory")


def test_of_a_server_that_fails_and_lives_its_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_ENDING_S", 0.1)
    memory = tuple(replace(each, prompt="memory") for each in TASK)
    job = replace(make_job(tmp_path, started()), questions=(QuestionSet(memory, 1), QuestionSet(SAME, 1)))
    answers = OpenAiEngine().run(job, Watcher()).answers
    assert {each.error for each in answers[:3]} == {"HTTP 500: no"}
    (error,) = {each.error for each in answers[3:6]}
    assert error is not None
    assert error.startswith(
        "not answered: 3 questions in a row failed, the last: HTTP 500: no; the server ran out of GPU memory"
    )
    assert {each.error for each in answers[6:]} == {None}


def test_a_server_that_answers_questions_is_kept(tmp_path: Path) -> None:
    job, pool = replace(make_job(tmp_path, started()), questions=SETS), ServerPool()
    result = OpenAiEngine(pool).run(job, Watcher())
    assert {each.error for each in result.answers} == {None}
    assert pool
    pool.end()
