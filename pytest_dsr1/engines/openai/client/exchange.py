"""One request to an OpenAI-compatible server and its answer.

While an answer arrives, only times are noted and whether an event has text, because parsing JSON would cost
more than everything else together. :meth:`Exchange.answer` reads usage, finish reason and errors afterwards.
"""

from __future__ import annotations

import json
import re
from array import array
from dataclasses import dataclass, field
from typing import Any

from pytest_dsr1.engines.openai.client.failures import beginning, error_message, stated_error

LARGEST_EVENT = 1 << 20
"""The most bytes of one event of a stream; an event of one token has about 300."""
LARGEST_BODY = 1 << 28
"""The most bytes of an answer that is not streamed."""
LARGEST_ERROR = 1 << 16
"""The most bytes that are read of an error's body."""

# Text in one of the fields for tokens, or token ids. Quotes inside JSON strings are escaped, so a model's
# text cannot match. `"prompt_token_ids"`, null, "" and [] do not match either.
HAS_TEXT = re.compile(rb'"(?:content|reasoning(?:_content)?|text)":\s*"[^"]|"token_ids":\s*\[\s*\d').search
# A list, even an empty one: vLLM and TensorRT-LLM write null if no token ids were asked for.
_OFFERS_IDS = re.compile(rb'"token_ids":\s*\[').search
_TOKEN_IDS = re.compile(rb'"token_ids":\s*\[([\d,\s]+)\]').findall
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_NAMED_ERROR = re.compile(rb"^event:[ \t]*error\b", re.MULTILINE).search
_ERROR = re.compile(
    rb'^event:[ \t]*error\b|"error"\s*:(?!\s*null\b)|"object"\s*:\s*"error"', re.MULTILINE
).search
"""Finds events that may report an error; their JSON decides."""
_STATES_END = re.compile(rb'"finish_reason":\s*"|"completion_tokens":\s*\d').search


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an exchange.

    Attributes:
        input_tokens: the server's count, else the number sent; 0 if it is unknown.
        output_tokens: the server's count.
        error: the reason why the request failed; None if it did not.
        finish_reason: the server's finish reason.
    """

    input_tokens: int
    output_tokens: int
    error: str | None
    finish_reason: str | None = None


@dataclass(slots=True)
class Exchange:
    """One request. Times are of ``time.monotonic``, in seconds.

    Attributes:
        id: the request's index in the dataset, from 0.
        payload: the whole HTTP request.
        wanted: output tokens asked for.
        exact: whether another number of tokens is an error.
        input_tokens: the number of tokens sent; None for text.
        secret: the API key in the payload, never to be shown; empty without one.
        server: the position of its server in `engine.url`, if that is a list.
        scheduled_s: when the request is due; None in a closed loop.
        sent_s: when it was written to the connection; 0 before.
        event_times_s: when each event with text arrived.
        done_s: when ``[DONE]`` arrived, with which OpenAI's protocol ends a stream; None before.
        ended_s: when the answer was complete, or failed.
        fault: the reason why it failed, if the connection knows it.
        head: the bytes of an event before its text; mostly the same in the next event.
        tail: the bytes of an event after its text.
        begins: the index where the text begins, the length of ``head``.
        ends: the negative index where the text ends, from the length of ``tail``.
        resent: whether it was sent a second time, because the server had closed the idle connection.
    """

    id: int
    payload: bytes
    wanted: int
    exact: bool
    streaming: bool
    input_tokens: int | None
    secret: str = field(default="", repr=False)
    server: int | None = None
    scheduled_s: float | None = None
    sent_s: float = 0.0
    event_times_s: array[float] = field(default_factory=lambda: array("d"))
    done_s: float | None = None
    ended_s: float = 0.0
    fault: str | None = None
    resent: bool = False
    last: bytes = b""
    head: bytes = b"\0"
    tail: bytes = b""
    begins: int = 0
    ends: int = 0
    other_events: list[bytes] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    offers_ids: bool = False
    ids: int = 0

    def event(self, event: bytes, now_s: float) -> None:
        """Take one whole event of the stream."""
        has_text = HAS_TEXT(event)
        if not has_text:
            self.other_events.append(event)
            if b"[DONE]" in event and _data(event) == b"[DONE]":
                self.done_s = now_s
            return
        if not self.event_times_s:
            self.offers_ids = _OFFERS_IDS(event) is not None
        self.event_times_s.append(now_s)
        self.last = event
        if b"error" in event and _ERROR(event):
            self.other_events.append(event)  # the next event with text replaces `last`
        if self.offers_ids:
            self.ids += sum(ids.count(b",") + 1 for ids in _TOKEN_IDS(event))
        elif not event.startswith(self.head):
            self._learn(event, has_text.end() - 1)

    def _learn(self, event: bytes, begins: int) -> None:
        """Keep the head and the tail of an event whose text begins at this index.

        If the next event has the same head and tail and its text has no quotes, it also has text and no other
        new information. Comparing them is cheaper than searching.
        """
        end = event.find(b'"', begins)
        is_text = event[begins - 1 : begins] == b'"' and event[end - 1 : end] != b"\\"
        if is_text and event.endswith(b"\n\n"):
            self.head, self.tail = event[:begins], event[end:]
            self.begins, self.ends = begins, -len(self.tail)

    def piece(self, piece: bytes, now_s: float) -> None:
        """Take a piece of the stream that is not exactly one event."""
        pending = self.body
        pending += piece
        *events, rest = _BOUNDARY.split(pending)
        if events:
            for event in events:
                self.event(bytes(event), now_s)
            pending[:] = rest
        if len(pending) > LARGEST_EVENT:
            self.fault = (
                f"an event of the stream is larger than {LARGEST_EVENT >> 20} MiB, which is too large for a "
                "token; check whether this is an OpenAI-compatible server"
            )

    @property
    def finished(self) -> bool:
        """True if the stream is complete by its own words: ``[DONE]``, and usage or a finish reason."""
        return self.done_s is not None and any(map(_STATES_END, (*self.other_events, self.last)))

    def answer(self) -> Answer:
        """Return the answer from the data kept. The exchange must have ended."""
        if self.streaming and self.body:  # a last event without its empty line, or half an event
            self.other_events.append(bytes(self.body))
        reader = _AnswerReader(self)
        if self.fault is None:
            reader.read()
        return reader.answer()


class _AnswerReader:
    """A reader of the JSON of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.error = exchange.fault
        self.usage: dict[str, Any] = {}
        self.finish_reason: str | None = None
        self.ended = not exchange.streaming
        self.remark = ""

    def read(self) -> None:
        exchange = self.exchange
        if not exchange.streaming:
            self._document(bytes(exchange.body))
        for event in (*exchange.other_events, exchange.last):
            text = _data(event)
            if _NAMED_ERROR(event):
                self._fail(f"the server reports: {error_message(text, self.exchange.secret)}")
            elif text.strip() not in (b"", b"[DONE]"):
                self._document(text)
        self._judge()

    def _document(self, text: bytes) -> None:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            what = "an event of the stream" if self.exchange.streaming else "the answer"
            self._fail(f"{what} is not JSON, or incomplete: {beginning(text, self.exchange.secret)}")
            return
        if not isinstance(data, dict):
            self._fail(f"the server sent {beginning(text, self.exchange.secret)}, expected a JSON object")
            return
        if data.get("error") is not None or data.get("object") == "error":
            self._fail(f"the server reports: {error_message(text, self.exchange.secret)}")
        self.remark = self.remark or stated_error(data, self.exchange.secret)
        choices, usage = data.get("choices"), data.get("usage")
        if isinstance(usage, dict) and _tokens(usage) is not None:
            # With `continuous_usage_stats` every event has a growing usage, and events are read out of order.
            self.usage = max(usage, self.usage, key=lambda each: _tokens(each) or 0)
            self.ended |= not choices
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                self.finish_reason = choice["finish_reason"]
                self.ended = True

    def _judge(self) -> None:
        exchange, tokens = self.exchange, self._output_tokens()
        if tokens is None and self.remark:
            self._fail(f"the server reports: {self.remark}")
        elif tokens is None:
            self._fail(
                "the server did not report how many tokens it generated (no `usage`, no token ids)"
                if self.finish_reason or not exchange.streaming
                else "the stream ended too early: no finish reason and no usage"
            )
        elif exchange.streaming and tokens and not exchange.event_times_s:
            self._fail(f"the server counts {tokens} tokens, but no event of its stream had text")
        elif not tokens:
            self._fail("the server's answer has no tokens")
        elif exchange.exact and tokens != exchange.wanted:
            ended = f", finish reason {self.finish_reason}" if self.finish_reason else ""
            self._fail(f"the server generated {tokens} tokens, expected exactly {exchange.wanted}{ended}")
        elif not exchange.exact and not self.ended:
            self._fail("the stream ended too early: no finish reason, and no `usage` for the whole answer")

    def _output_tokens(self) -> int | None:
        tokens = _tokens(self.usage)
        return tokens if tokens is not None else self.exchange.ids or None

    def _fail(self, why: str) -> None:
        self.error = self.error or why

    def answer(self) -> Answer:
        counted = self.usage.get("prompt_tokens")
        return Answer(
            input_tokens=counted if isinstance(counted, int) else self.exchange.input_tokens or 0,
            output_tokens=self._output_tokens() or 0,
            error=self.error,
            finish_reason=self.finish_reason,
        )


def _tokens(usage: dict[str, Any]) -> int | None:
    """Return the output tokens of a usage; None if it has no valid count."""
    tokens = usage.get("completion_tokens")
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None


def _data(event: bytes) -> bytes:
    """Return the data of an event of a stream, without comments and other fields."""
    lines = event.splitlines()
    return b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:")) or (
        b"" if all(not line or line[:1] == b":" or b":" in line[:8] for line in lines) else event
    )
