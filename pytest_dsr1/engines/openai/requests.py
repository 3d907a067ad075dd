"""The bytes of the requests, with each server's own fields for an exact output length."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import EngineError
from pytest_dsr1.workload.dataset import iter_requests
from pytest_dsr1.workload.workload import Request, Workload

PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


def exact_length(server: str, tokens: int) -> dict[str, Any]:
    """Return the fields that make a server generate exactly this number of tokens, greedily.

    TensorRT-LLM, vLLM and SGLang have vLLM's extension ``ignore_eos`` at both endpoints, and accept
    ``max_tokens`` for chats too. ``min_tokens`` would have the same effect, but costs a check of each token.
    transformers accepts a whole generation configuration as JSON. Other servers are unknown.

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


def prompt_start(request: Request) -> int:
    """Return a hash of the start of the prompt, to find prompts that share an entry of a prefix cache.

    It covers the first 16 tokens, which is one block of vLLM's cache, or about the same amount of text. It is
    the same in every process.
    """
    if request.input_ids is not None:
        return hash(tuple(request.input_ids[:16]))
    start = (request.prompt or "")[:64].encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(start, digest_size=8).digest(), "big")


def for_warm_up(request: Request) -> Request:
    """Return the request in its form for a warm-up.

    Token ids are reversed. So the length and the ids stay the same, but no measured prompt begins like it and
    is found in a prefix cache. Text is not changed.
    """
    return request if request.input_ids is None else replace(request, input_ids=request.input_ids[::-1])


@dataclass(frozen=True, slots=True)
class Requests:
    """A factory of exchanges from the requests of a dataset.

    Attributes:
        engine: the scenario's engine settings.
        model: the model's name in requests.
        host: the value of the header ``Host``.
        prefix: the path before ``/v1``.
        secret: the API key for the header ``Authorization``, or None. Never shown.
        server: the server's position in `engine.url` if that is a list; it becomes part of the records.
        prompt_starts: :func:`prompt_start` of all exchanges made, except those of a warm-up.
    """

    engine: OpenAi
    model: str
    host: str
    prefix: str = ""
    secret: str | None = None
    server: int | None = None
    prompt_starts: set[int] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"Requests({self.engine.server}, {self.model}, {self.host})"

    def exchanges(
        self,
        workload: Workload,
        count: int,
        chosen: Callable[[int], bool] = lambda _: True,
        *,
        warm_up: bool = False,
    ) -> Iterator[Exchange]:
        """Yield exchanges for the chosen ones of the first ``count`` requests of the workload.

        A workload with fewer requests is repeated, which happens in a warm-up.
        """
        for begin in range(0, count, workload.requests):
            numbers = range(begin, min(begin + workload.requests, count))
            mine = [chosen(number) for number in numbers]
            requests = iter_requests(workload.path, len(numbers), mine.__getitem__)
            for number, request in zip(itertools.compress(numbers, mine), requests, strict=True):
                if not warm_up:
                    self.prompt_starts.add(prompt_start(request))
                yield self._exchange(number, for_warm_up(request) if warm_up else request)

    def _exchange(self, number: int, request: Request) -> Exchange:
        body = json.dumps(self.body(request), separators=(",", ":"), ensure_ascii=False).encode()
        return Exchange(
            id=number,
            payload=self.head(len(body)) + body,
            wanted=request.output_tokens,
            exact=self.engine.exact_output,
            streaming=self.engine.streaming,
            input_tokens=None if request.input_ids is None else len(request.input_ids),
            secret=self.secret or "",
            server=self.server,
        )

    def head(self, length: int | None) -> bytes:
        """Return the head of a POST with a body of ``length`` bytes; None is a GET of the models."""
        path = PATHS[self.engine.endpoint] if length is not None else "/v1/models"
        method = "GET" if length is None else "POST"
        lines = [
            f"{method} {self.prefix}{path} HTTP/1.1",
            f"Host: {self.host}",
            "User-Agent: pytest-dsr1",
            f"Accept: {'text/event-stream, ' if self.engine.streaming else ''}application/json",
            "Accept-Encoding: identity",  # some proxies compress unless told otherwise
        ]
        if length is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {length}"]
        if self.secret:
            lines.append(f"Authorization: Bearer {self.secret}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def body(self, request: Request) -> Mapping[str, Any]:
        """Return the fields of one request.

        Raises:
            EngineError: the request has token ids, but the chat endpoint and transformers accept only text.
        """
        engine = self.engine
        text_only = engine.endpoint == "chat" or engine.server == "transformers"
        if request.prompt is None and text_only:
            who = "the chat endpoint" if engine.endpoint == "chat" else "transformers serve"
            raise EngineError(
                f"the dataset contains token ids, but {who} accepts only text; use a dataset of prompts"
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
        if engine.streaming and engine.server != "transformers":  # transformers always reports usage
            fields["stream_options"] = {"include_usage": True}
        fields |= engine.body
        return {key: value for key, value in fields.items() if value is not None}
