"""The bytes of the requests, in each server's own way to ask for an exact length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import EngineError
from pytest_dsr1.workload.dataset import iter_requests
from pytest_dsr1.workload.workload import Request, Workload

PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


def exact_length(server: str, tokens: int) -> dict[str, Any]:
    """The fields that make a server answer exactly so many tokens, greedily.

    TensorRT-LLM, vLLM and SGLang share vLLM's extension ``ignore_eos`` at both endpoints, and all take
    ``max_tokens`` for chats too; its ``min_tokens`` would say the same again, and costs a look at each token.
    transformers takes a whole generation configuration as JSON; of any other server nothing is known.

    Verified in TensorRT-LLM ``serve/openai_protocol.py`` (autumn 2026, commit 0076e939; it refuses fields
    that it does not know), vLLM 0.33.0 ``entrypoints/openai/{completion,chat_completion}/protocol.py``,
    SGLang 0.5.23 ``srt/entrypoints/openai/protocol.py``, transformers 5.23.0 ``cli/serving``.
    """
    if server == "other":
        return {"max_tokens": tokens}
    if server == "transformers":
        config = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
        return {"max_tokens": tokens, "generation_config": json.dumps(config)}
    return {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}


def opening(request: Request) -> int:
    """A hash of how the prompt begins, for which a server with a prefix cache looks.

    Of its first 16 tokens, as many as a block of vLLM's cache holds, or of about as much text.
    """
    if request.input_ids is not None:
        return hash(tuple(request.input_ids[:16]))
    return hash((request.prompt or "")[:64])


def warming(request: Request) -> Request:
    """The request as it warms a server up.

    Token ids are reversed: as many and all of the vocabulary, and yet no measured prompt begins like them, so
    that no prefix cache knows it. Text stays as it is.
    """
    return request if request.input_ids is None else replace(request, input_ids=request.input_ids[::-1])


@dataclass(frozen=True, slots=True)
class Requests:
    """Makes exchanges from the requests of a dataset.

    Attributes:
        engine: the scenario's.
        model: the model's name in requests.
        host: the header ``Host``.
        prefix: the path before ``/v1``.
        secret: the header ``Authorization``; None for none. Never shown.
        openings: how the prompts of all exchanges that were made begin, but for a warm-up's.
    """

    engine: OpenAi
    model: str
    host: str
    prefix: str = ""
    secret: str | None = None
    openings: set[int] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"Requests({self.engine.server}, {self.model}, {self.host})"

    def exchanges(self, workload: Workload, count: int, *, warm_up: bool = False) -> Iterator[Exchange]:
        """The first ``count`` requests of the workload, made one by one as they are asked for.

        Where fewer are in the workload they begin again, as for a warm-up.
        """
        number = 0
        while number < count:
            for request in iter_requests(workload.path, min(workload.requests, count - number)):
                if not warm_up:
                    self.openings.add(opening(request))
                yield self._exchange(number, warming(request) if warm_up else request)
                number += 1

    def _exchange(self, number: int, request: Request) -> Exchange:
        body = json.dumps(self.body(request), separators=(",", ":"), ensure_ascii=False).encode()
        return Exchange(
            id=number,
            payload=self.head(len(body)) + body,
            wanted=request.output_tokens,
            exact=self.engine.exact_output,
            streaming=self.engine.streaming,
            input_tokens=None if request.input_ids is None else len(request.input_ids),
        )

    def head(self, length: int | None) -> bytes:
        """The head of a POST of so many bytes, or of a GET of the models."""
        path = PATHS[self.engine.endpoint] if length is not None else "/v1/models"
        lines = [
            f"{'GET' if length is None else 'POST'} {self.prefix}{path} HTTP/1.1",
            f"Host: {self.host}",
            "User-Agent: pytest-dsr1",
            f"Accept: {'text/event-stream, ' if self.engine.streaming else ''}application/json",
        ]
        if length is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {length}"]
        if self.secret:
            lines.append(f"Authorization: Bearer {self.secret}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def body(self, request: Request) -> Mapping[str, Any]:
        """The fields of one request.

        Raises:
            EngineError: token ids for the chat endpoint, or for transformers, which take text.
        """
        engine = self.engine
        text_only = engine.endpoint == "chat" or engine.server == "transformers"
        if request.prompt is None and text_only:
            who = "the chat endpoint" if engine.endpoint == "chat" else "transformers serve"
            raise EngineError(
                f"the dataset holds token ids, and {who} takes text only; use a dataset of prompts"
            )
        prompt = request.input_ids if request.prompt is None else request.prompt
        fields: dict[str, Any] = {"model": self.model}
        if engine.endpoint == "chat":
            fields["messages"] = [{"role": "user", "content": prompt}]
        else:
            fields["prompt"] = prompt
        fields |= (
            exact_length(engine.server, request.output_tokens)
            if engine.exact_output
            else {"max_tokens": request.output_tokens}
        )
        fields["stream"] = engine.streaming
        if engine.streaming and engine.server != "transformers":  # which always says
            fields["stream_options"] = {"include_usage": True}
        fields |= engine.body
        return {key: value for key, value in fields.items() if value is not None}
