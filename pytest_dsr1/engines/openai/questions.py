"""Questions to a server after the measured part: greedy answers that are not streamed and not timed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_dsr1.engines.openai.client import loop
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.endpoint import Site
from pytest_dsr1.engines.openai.requests import Requests, exact_length
from pytest_dsr1.errors import EngineError
from pytest_dsr1.records import Answer, Observer, Question, QuestionSet
from pytest_dsr1.workload.workload import Request

if TYPE_CHECKING:
    from pytest_dsr1.engines.openai.client.pool import ConnectionPool
    from pytest_dsr1.engines.openai.server.process import Server

_LOOK_S = 0.5
_DYING_S = 1.0
"""The longest time that a server which left a question unanswered may take to end."""
_ENDING_S = 10.0
"""The same for one that is given up: a server may close its connections long before its process ends."""
_HOPELESS = 3
"""After this many failures in a row a set is given up: each may wait for the limit of silence."""
_SLOWEST_TOK_S = 5.0
"""Fewer tokens per second of one answer are taken for a server that hangs."""
_SAMPLING = {"best_of", "ignore_eos", "min_p", "min_tokens", "n", "stream_options", "top_k", "top_p"}
"""Fields of the scenario's `body` that would change how many tokens are sampled, or how."""
_SALT = {"cache_salt": "pytest-dsr1"}
"""vLLM's field that keeps a prompt from an entry of the prefix cache, which the measured batches computed."""


def ask(
    sets: tuple[QuestionSet, ...], where: Site, requests: Requests, server: Server | None, observer: Observer
) -> tuple[tuple[Answer, ...], bool]:
    """Return an answer to every question, and whether Ctrl-C ended the asking.

    The failure of a question, or of the server, is an answer's error.

    Args:
        sets: the questions.
        where: the server.
        requests: those of the measured part.
        server: the server's process, if we started it.
        observer: gets the progress.
    """
    if not sets:
        return (), False
    asking = _Asking(sets, where, requests, server, observer)
    try:
        loop.run(asking.run())
    except EngineError as error:
        asking.why_not = _first_line(error, server)
    except KeyboardInterrupt:
        asking.why_not = "interrupted"
        return asking.answers(), True
    return asking.answers(), False


def _first_line(error: EngineError, server: Server | None) -> str:
    name = "" if server is None else f"{server.name}: "
    return str(error).removeprefix(name).partition("\n")[0]


class _Asking:
    def __init__(
        self,
        sets: tuple[QuestionSet, ...],
        where: Site,
        requests: Requests,
        server: Server | None,
        observer: Observer,
    ) -> None:
        self.why_not = ""
        self._sets, self._where, self._server, self._observer = sets, where, server, observer
        self._requests = replace(
            requests, engine=requests.engine.model_copy(update={"streaming": False, "exact_output": False})
        )
        self._answers: dict[str, Answer] = {}
        self._pending: dict[int, Question] = {}
        self._given_up: dict[str, str] = {}
        self._sent = self._failed_in_a_row = 0
        self._failed = False
        self._unexplained: list[str] = []
        self._last_failure = ""
        self._news = asyncio.Event()

    def answers(self) -> tuple[Answer, ...]:
        """Return an answer to every question, in order."""
        questions = (question for each in self._sets for question in each.questions)
        return tuple(self._answers.get(each.id) or self._missing(each.id) for each in questions)

    def _missing(self, question: str) -> Answer:
        return Answer(question, error=f"not answered: {self._given_up.get(question, self.why_not)}")

    async def run(self) -> None:
        """Ask, until all are answered; a set without hope is given up.

        Raises:
            EngineError: the server has ended, or cannot be asked.
        """
        from pytest_dsr1.engines.openai.client.pool import Address, ConnectionPool

        address = Address(self._where.host, self._where.port, self._where.tls)
        # An answer comes whole, so the server is silent until then.
        longest = max(
            (question.max_output_tokens for each in self._sets for question in each.questions), default=0
        )
        silence_s = max(self._requests.engine.silence_timeout_s, longest / _SLOWEST_TOK_S)
        self._progress()
        for each in self._sets:
            client = ConnectionPool(address, silence_s=silence_s, ended=self._ended)
            try:
                await self._ask(client, each)
            finally:
                await client.close()  # of a set that was given up, questions may still be in flight
                self._pending.clear()

    async def _ask(self, client: ConnectionPool, asked: QuestionSet) -> None:
        waiting = deque(asked.questions)
        self._failed_in_a_row = 0
        while waiting or self._pending:
            while waiting and len(self._pending) < asked.at_once:
                exchange = self._exchange(waiting.popleft())
                client.send(exchange)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK_S)
            self._news.clear()
            self._progress()
            hopeless = self._failed_in_a_row >= _HOPELESS
            shown = self._look(hopeless=hopeless)
            if hopeless:
                why = f"{self._failed_in_a_row} questions in a row failed, the last: {self._last_failure}"
                self._given_up |= {question.id: f"{why}{shown}" for question in asked.questions}
                return

    def _look(self, *, hopeless: bool) -> str:
        """Return what the log of our server shows, if its questions are to be given up.

        Raises:
            EngineError: it has ended; that is why the last questions failed, whatever their errors say.
        """
        if self._server is None:
            return ""
        try:
            self._server.check(_ENDING_S if hopeless else _DYING_S if self._failed else 0.0)
        except EngineError:
            for question in self._unexplained:
                del self._answers[question]
            raise
        self._failed = False
        if not self._failed_in_a_row:
            self._unexplained.clear()
        return self._server.tail().partition("\n")[0] if hopeless else ""

    def _exchange(self, question: Question) -> Exchange:
        self._sent += 1
        self._pending[self._sent] = question
        body = json.dumps(
            fields(self._requests, question), separators=(",", ":"), ensure_ascii=False
        ).encode()
        return Exchange(
            id=self._sent,
            payload=self._requests.head(len(body)) + body,
            wanted=question.max_output_tokens,
            exact=False,
            streaming=False,
            input_tokens=None,
            secret=self._requests.secret or "",
        )

    def _ended(self, exchange: Exchange) -> None:
        question = self._pending.pop(exchange.id)
        answer = answer_of(question, exchange)
        self._answers[question.id] = answer
        if answer.error is None:
            self._failed_in_a_row = 0
        else:
            self._failed = True
            self._failed_in_a_row += 1
            self._unexplained.append(question.id)
            self._last_failure = answer.error
        self._news.set()

    def _progress(self) -> None:
        total = sum(len(each.questions) for each in self._sets)
        self._observer.phase("finishing", f"accuracy: {len(self._answers)} of {total} answers")


def fields(requests: Requests, question: Question) -> Mapping[str, Any]:
    """Return the fields of the request for a question.

    The scenario's `body` applies, except what would bring sampling back or choose another length. vLLM is
    also asked for token ids (``return_token_ids``); other servers may refuse a field that they do not know.
    """
    engine, tokens = requests.engine, question.max_output_tokens
    text = question.prompt if isinstance(question.prompt, str) else None
    ids = None if text is not None else [token for token in question.prompt if isinstance(token, int)]
    made = dict(requests.body(Request(ids, text, tokens)))
    kept = {name: value for name, value in made.items() if name not in _SAMPLING}
    ours: dict[str, Any]
    if engine.server == "transformers":
        kept.pop("temperature", None)
        config = {"max_new_tokens": tokens, "do_sample": False}
        ours = (
            {"generation_config": json.dumps(config)}
            if question.ends
            else exact_length("transformers", tokens)
        )
    else:
        ours = {**({} if question.ends else exact_length(engine.server, tokens)), "temperature": 0}
    ours["max_completion_tokens" if "max_completion_tokens" in made else "max_tokens"] = tokens
    if engine.server == "vllm":
        ours |= {"return_token_ids": True, **({} if question.ends else _SALT)}
    removed = {name for name, value in engine.body.items() if value is None} - {"temperature"}
    return {**kept, **{name: value for name, value in ours.items() if name not in removed}, "stream": False}


def answer_of(question: Question, exchange: Exchange) -> Answer:
    """Return the answer in an exchange that has ended.

    The thoughts that a server separates from a chat's answer stand in front of it again. Without a finish
    reason, an answer with all tokens that it may have is taken for one that was cut off.
    """
    found = exchange.answer()
    if found.error is not None:
        return Answer(question.id, error=found.error)
    choices = json.loads(exchange.body).get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Answer(question.id, error="the server's answer has no choices")
    message = choice.get("message")
    said = message.get("content") if isinstance(message, dict) else choice.get("text")
    text = said if isinstance(said, str) else ""
    if isinstance(message, dict):
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        text = f"<think>{thoughts}</think>{text}" if isinstance(thoughts, str) else text
    ids = choice.get("token_ids")
    tokens = tuple(ids) if isinstance(ids, list) and ids and all(type(each) is int for each in ids) else None
    if not text and tokens is None and not question.ends:
        why = f"the server counts {found.output_tokens} tokens, but sent no text and no token ids"
        return Answer(question.id, error=why)
    reason, full = found.finish_reason, found.output_tokens >= question.max_output_tokens
    cut = question.ends and (reason == "length" or (reason is None and full))
    return Answer(question.id, tokens, text, cut=cut)
