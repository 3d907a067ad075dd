"""One request to an OpenAI-compatible server and all that came back.

While an answer arrives only times are noted, and whether an event says something; reading JSON would cost
more than everything else together. Usage, finish reason and errors are read afterwards, by
:meth:`Exchange.answer`.
"""

from __future__ import annotations

import json
import re
from array import array
from dataclasses import dataclass, field
from typing import Any

LARGEST_EVENT = 1 << 20
"""Bytes of one event of a stream; a token takes about 300."""
LARGEST_BODY = 1 << 28
"""Bytes of an answer that is not streamed."""
LARGEST_ERROR = 1 << 16
"""Bytes of an error's body that are read."""
_SHOWN = 200

# Text in one of the fields that carry tokens, or token ids. Within JSON strings quotes are escaped, so a
# model that writes this very pattern does not match; `"prompt_token_ids"` does not, nor do null, "" and [].
SPEAKS = re.compile(rb'"(?:content|reasoning(?:_content)?|text)":\s*"[^"]|"token_ids":\s*\[\s*\d').search
# A list, whatever is in it: vLLM and TensorRT-LLM write null where no token ids were asked for.
_OFFERS_IDS = re.compile(rb'"token_ids":\s*\[').search
_TOKEN_IDS = re.compile(rb'"token_ids":\s*\[([\d,\s]+)\]').findall
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_NAMED_ERROR = re.compile(rb"^event:[ \t]*error\b", re.MULTILINE).search
_ERROR = re.compile(
    rb'^event:[ \t]*error\b|"error"\s*:(?!\s*null\b)|"object"\s*:\s*"error"', re.MULTILINE
).search
"""Whether an event may report an error; the JSON decides."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an exchange came to.

    Attributes:
        input_tokens: as the server counted them, else as sent; 0 where nobody knows.
        output_tokens: as the server counted them.
        error: why the request failed; None if it did not.
        finish_reason: as the server gave it.
    """

    input_tokens: int
    output_tokens: int
    error: str | None
    finish_reason: str | None = None


@dataclass(slots=True)
class Exchange:
    """One request. Times are of ``time.monotonic``, in s.

    Attributes:
        id: the request's place in the dataset, from 0.
        payload: the whole HTTP request.
        wanted: output tokens asked for.
        exact: whether fewer or more are an error.
        input_tokens: how many tokens are sent; None for text.
        scheduled_s: when it is due; None in a closed loop.
        sent_s: when it was written to the connection; 0 before.
        spoke_s: when each event that says something arrived.
        ended_s: when the answer was complete, or failed.
        fault: why it failed, as far as the connection can tell.
        head: how an event looked before its text; the next mostly looks alike.
        tail: how it looked after it.
        begins: the length of ``head``, and
        ends: of ``tail``, negative: between them is the text.
        resent: whether it was sent a second time, as the server closed the kept connection at the first.
    """

    id: int
    payload: bytes
    wanted: int
    exact: bool
    streaming: bool
    input_tokens: int | None
    scheduled_s: float | None = None
    sent_s: float = 0.0
    spoke_s: array[float] = field(default_factory=lambda: array("d"))
    ended_s: float = 0.0
    fault: str | None = None
    resent: bool = False
    last: bytes = b""
    head: bytes = b"\0"
    tail: bytes = b""
    begins: int = 0
    ends: int = 0
    quiet: list[bytes] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    offers_ids: bool = False
    ids: int = 0

    def event(self, event: bytes, now_s: float) -> None:
        """Take one whole event of the stream."""
        speaks = SPEAKS(event)
        if not speaks:
            self.quiet.append(event)
            return
        if not self.spoke_s:
            self.offers_ids = _OFFERS_IDS(event) is not None
        self.spoke_s.append(now_s)
        self.last = event
        if b"error" in event and _ERROR(event):
            self.quiet.append(event)  # `last` will be the next that speaks
        if self.offers_ids:
            self.ids += sum(ids.count(b",") + 1 for ids in _TOKEN_IDS(event))
        elif not event.startswith(self.head):
            self._learn(event, speaks.end() - 1)

    def _learn(self, event: bytes, begins: int) -> None:
        """How events look whose text begins there.

        One that is equal to it but for a text without quotes says something too, and nothing that this one
        did not say; to see that is cheaper than to search.
        """
        end = event.find(b'"', begins)
        is_text = event[begins - 1 : begins] == b'"' and event[end - 1 : end] != b"\\"
        if is_text and event.endswith(b"\n\n"):
            self.head, self.tail = event[:begins], event[end:]
            self.begins, self.ends = begins, -len(self.tail)

    def piece(self, piece: bytes, now_s: float) -> None:
        """Take a piece of the stream that begins or ends within an event, or holds several."""
        pending = self.body
        pending += piece
        *events, rest = _BOUNDARY.split(pending)
        if events:
            for event in events:
                self.event(bytes(event), now_s)
            pending[:] = rest
        if len(pending) > LARGEST_EVENT:
            self.fault = (
                f"an event of the stream is larger than {LARGEST_EVENT >> 20} MiB; no token is: is this an "
                "OpenAI-compatible server?"
            )

    def answer(self) -> Answer:
        """Read what was kept. The exchange must have ended."""
        if self.streaming and self.body:  # a last event without an empty line behind it, or half of one
            self.quiet.append(bytes(self.body))
        reading = _Reading(self)
        if self.fault is None:
            reading.read()
        return reading.answer()


class _Reading:
    """Reads the JSON of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.error = exchange.fault
        self.usage: dict[str, Any] = {}
        self.finish_reason: str | None = None
        self.ended = not exchange.streaming

    def read(self) -> None:
        exchange = self.exchange
        if not exchange.streaming:
            self._document(bytes(exchange.body))
        for event in (*exchange.quiet, exchange.last):
            text = _data(event)
            if _NAMED_ERROR(event):
                self._fail(f"the server reports: {error_message(text)}")
            elif text.strip() not in (b"", b"[DONE]"):
                self._document(text)
        self._judge()

    def _document(self, text: bytes) -> None:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            what = "an event of the stream" if self.exchange.streaming else "the answer"
            self._fail(f"{what} is not JSON, or only part of it: {_shown(text)}")
            return
        if not isinstance(data, dict):
            self._fail(f"the server sent {_shown(text)}, expected a JSON object")
            return
        if data.get("error") is not None or data.get("object") == "error":
            self._fail(f"the server reports: {error_message(text)}")
        choices, usage = data.get("choices"), data.get("usage")
        if isinstance(usage, dict) and _tokens(usage) is not None:
            # Where every event has it (`continuous_usage_stats`) it grows, and events are read out of order.
            self.usage = max(usage, self.usage, key=lambda each: _tokens(each) or 0)
            self.ended |= not choices
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                self.finish_reason = choice["finish_reason"]
                self.ended = True

    def _judge(self) -> None:
        exchange, tokens = self.exchange, self._output_tokens()
        if tokens is None:
            self._fail(
                "the server did not say how many tokens it made (no `usage`, no token ids)"
                if self.finish_reason or not exchange.streaming
                else "the stream ended without a last event: no finish reason and no usage"
            )
        elif exchange.streaming and tokens and not exchange.spoke_s:
            self._fail(f"the server counts {tokens} tokens, and no event of its stream carried any")
        elif not tokens:
            self._fail("the server answered no token")
        elif exchange.exact and tokens != exchange.wanted:
            ended = f", finish reason {self.finish_reason}" if self.finish_reason else ""
            self._fail(f"the server made {tokens} tokens, exactly {exchange.wanted} were asked for{ended}")
        elif not exchange.exact and not self.ended:
            self._fail("the stream ended without a last event: no finish reason, and no usage of the whole")

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
    """The output tokens that it counts, if it does."""
    tokens = usage.get("completion_tokens")
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None


def _data(event: bytes) -> bytes:
    """The data of an event of a stream, without comments and other fields."""
    lines = event.splitlines()
    return b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:")) or (
        b"" if all(not line or line[:1] == b":" or b":" in line[:8] for line in lines) else event
    )


def error_message(body: bytes) -> str:
    """What the body of an error says, shortened: OpenAI's, FastAPI's and vLLM's forms, else its beginning."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return _shown(body)
    if isinstance(data, dict):
        error = data.get("error", data)
        for value in (error, *(error.get(k) for k in ("message", "detail") if isinstance(error, dict))):
            if isinstance(value, str) and value:
                return value[:_SHOWN]
    return _shown(body)


def _shown(text: bytes) -> str:
    shown = " ".join(text[: 2 * _SHOWN].decode("utf-8", "replace").split())
    return f"{shown[:_SHOWN]!r}{'...' if len(shown) > _SHOWN or len(text) > 2 * _SHOWN else ''}"
