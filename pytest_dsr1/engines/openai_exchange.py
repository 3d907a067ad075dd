"""One request to an OpenAI-compatible server and all that came back.

While an answer arrives only times are noted, and whether an event says something; reading JSON would cost
more than everything else together. Usage, finish reason and errors are read afterwards, by
:meth:`Exchange.outcome`.
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
_TOKEN_IDS = re.compile(rb'"token_ids":\s*\[([\d,\s]+)\]').findall
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True, slots=True)
class Outcome:
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
    quiet: list[bytes] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    offers_ids: bool = False
    ids: int = 0

    def event(self, event: bytes, now_s: float) -> None:
        """Take one whole event of the stream."""
        if SPEAKS(event):
            if not self.spoke_s:
                self.offers_ids = b'"token_ids"' in event
            self.spoke_s.append(now_s)
            self.last = event
            if self.offers_ids:
                self.ids += sum(ids.count(b",") + 1 for ids in _TOKEN_IDS(event))
        else:
            self.quiet.append(event)

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

    def outcome(self) -> Outcome:
        """Read what was kept. The exchange must have ended."""
        if self.streaming and self.body:  # a last event without an empty line behind it, or half of one
            self.quiet.append(bytes(self.body))
        reading = _Reading(self)
        if self.fault is None:
            reading.read()
        return reading.outcome()


class _Reading:
    """Reads the JSON of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.error = exchange.fault
        self.usage: dict[str, Any] = {}
        self.finish_reason: str | None = None

    def read(self) -> None:
        exchange = self.exchange
        documents = [*exchange.quiet, exchange.last] if exchange.streaming else [bytes(exchange.body)]
        if exchange.streaming and exchange.last and not exchange.quiet:
            documents = [exchange.last]
        for document in documents:
            text = _data(document) if exchange.streaming else document
            if text.strip() not in (b"", b"[DONE]"):
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
        usage = data.get("usage")
        if isinstance(usage, dict) and usage.get("completion_tokens") is not None:
            self.usage = usage
        choices = data.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                self.finish_reason = choice["finish_reason"]

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

    def _output_tokens(self) -> int | None:
        tokens = self.usage.get("completion_tokens")
        if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0:
            return tokens
        return self.exchange.ids or None

    def _fail(self, why: str) -> None:
        self.error = self.error or why

    def outcome(self) -> Outcome:
        counted = self.usage.get("prompt_tokens")
        return Outcome(
            input_tokens=counted if isinstance(counted, int) else self.exchange.input_tokens or 0,
            output_tokens=self._output_tokens() or 0,
            error=self.error,
            finish_reason=self.finish_reason,
        )


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
