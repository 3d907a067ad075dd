"""One connection to an OpenAI-compatible server: HTTP/1.1, one request at a time, kept alive between them.

HTTP is read by httptools (llhttp, the parser of Node.js): measured beside a parser of our own in Python that
knows nothing but whole chunks it is as fast (1.1 against 1.2 us an event), and it knows all of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Protocol, cast

import httptools

from pytest_dsr1.engines.openai.client.exchange import (
    LARGEST_BODY,
    LARGEST_ERROR,
    Exchange,
    error_message,
)

_monotonic = time.monotonic
_EVENT_STREAM = "text/event-stream"
RACE_S = 0.005
"""A server closes a kept connection that was idle for long enough. When it does so while a request is on its
way, the client learns of it within a round trip after the sending; later, the server had the request."""


class Owner(Protocol):
    """Who gives exchanges to connections."""

    def ended(self, connection: Connection, exchange: Exchange) -> None:
        """The exchange has ended, well or not; the connection takes another if it is ``usable``."""

    def stale(self, exchange: Exchange) -> None:
        """The server closed the kept connection as the request was sent: nobody can have worked on it."""

    def unasked(self) -> None:
        """The server sent an answer that nobody asked for."""

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """Reads answers as they come.

    Attributes:
        usable: whether another request can be sent.
        exchange: the one in flight.
        heard_s: when something last came.
    """

    def __init__(self, owner: Owner) -> None:
        self.usable = False
        self.exchange: Exchange | None = None
        self.heard_s = 0.0
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._socket: int | None = None
        self._done: Exchange | None = None
        self._silent = False
        self._answering = False
        self._headed = False
        self._events = False
        self._served = 0
        self._limit = LARGEST_BODY
        self._spoilt: str | None = None
        self._headers: dict[bytes, bytes] = {}

    def send(self, exchange: Exchange) -> None:
        """Send a request; the connection must be usable and have none in flight."""
        assert self._transport is not None
        self.exchange = exchange
        self._answering = self._headed = self._events = False
        self._silent = True
        self.heard_s = _monotonic()
        exchange.sent_s = exchange.sent_s or self.heard_s
        if self._spoilt:
            self._fail(self._spoilt)
            self._hand_back()
            return
        payload = exchange.payload
        if self._socket is not None:
            # uvloop writes only after it has read all that is ready, which in a wave of requests is
            # milliseconds after `sent_s`, and would count as the server's.
            with contextlib.suppress(OSError):  # the transport meets it again, and tells
                payload = payload[os.write(self._socket, payload) :]
        if payload:
            self._transport.write(payload)

    def abort(self, why: str) -> None:
        """Give the exchange in flight up, for this reason, and close."""
        self._fail(why)
        self._hand_back()

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)
        if transport.get_extra_info("sslcontext") is None:
            self._socket = transport.get_extra_info("socket").fileno()
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Something came: the time of all that is in it."""
        self.heard_s = _monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the server does not answer in HTTP/1.1: {error}")
        if self._done is not None:
            self._hand_back()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; an answer without a stated length is complete by that."""
        self.usable = False
        self._socket = None
        before_s, self.heard_s = self.heard_s, _monotonic()
        exchange = self.exchange
        if exchange is not None:
            if self._headed and exc is None and not self._sized():
                self._complete(exchange)
            elif self._silent and self._served and not exchange.resent and self.heard_s - before_s <= RACE_S:
                self.exchange = None
                exchange.resent = True
                self._owner.stale(exchange)
            else:
                self._fail(self._broken(exchange, exc))
            if self._done is not None:
                self._hand_back()
        del self._parser  # it refers to this object
        self._owner.lost(self)

    # httptools

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._silent = False
        self._headers.clear()
        if self.exchange is None:
            self._spoil()
        else:
            self._answering = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """What the body will be."""
        exchange, status = self.exchange, self._parser.get_status_code()
        if exchange is None:
            if status == 200:
                self._owner.unasked()
            return
        if status < 200:
            return
        self._headed = True
        kind = self._headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        self._limit = LARGEST_BODY
        if status != 200:
            self._limit = LARGEST_ERROR
        elif exchange.streaming:
            self._events = kind == _EVENT_STREAM
            if not self._events:
                self._limit = LARGEST_ERROR
        assert self._transport is not None
        if status == 200 and self._transport.get_write_buffer_size():
            self._fail("the server answered before the whole request was sent")

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, mostly one event; nothing here may cost a microsecond without need."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._events:
            if not exchange.body:
                # The usual case, one whole event that is like the one before.
                if piece.startswith(exchange.head) and piece.endswith(exchange.tail):
                    text = piece[exchange.begins : exchange.ends]
                    if text and b'"' not in text:
                        exchange.spoke_s.append(self.heard_s)
                        exchange.last = piece
                        return
                if piece[-2:] == b"\n\n" and piece.find(b"\n\n") == len(piece) - 2:
                    exchange.event(piece, self.heard_s)
                    return
            exchange.piece(piece, self.heard_s)
            if exchange.fault:
                self._fail(exchange.fault)
            return
        if len(exchange.body) + len(piece) > self._limit:
            if self._limit == LARGEST_BODY:
                self._fail(f"the answer is larger than {LARGEST_BODY >> 20} MiB")
            return
        exchange.body += piece

    def on_message_complete(self) -> None:
        """The answer is whole."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._parser.get_status_code() < 200:
            self._answering = False
            return
        if not self._parser.should_keep_alive():
            self.usable = False
        self._complete(exchange)

    # ends

    def _complete(self, exchange: Exchange) -> None:
        """The answer is whole: what HTTP says of it."""
        status = self._parser.get_status_code()
        if status != 200:
            exchange.fault = self._refused(status, bytes(exchange.body))
        elif exchange.streaming and not self._events:
            kind = self._headers.get(b"content-type", b"no content type").decode("latin-1")
            exchange.fault = (
                f"the server answered with {kind} where a stream of events was asked for: "
                f"{error_message(bytes(exchange.body))}"
            )
        self._end(exchange)

    def _fail(self, why: str) -> None:
        self.usable = False
        exchange = self.exchange
        if exchange is not None:
            exchange.fault = why
            self._end(exchange)

    def _end(self, exchange: Exchange) -> None:
        exchange.ended_s = self.heard_s
        self.exchange = None
        self._done = exchange
        self._served += 1

    def _hand_back(self) -> None:
        exchange, self._done = self._done, None
        if not self.usable:
            self.close()
        if exchange is not None:
            self._owner.ended(self, exchange)

    def _spoil(self) -> None:
        self._spoilt = "the server sent an answer before it was asked on this connection"

    def _sized(self) -> bool:
        return b"content-length" in self._headers or b"transfer-encoding" in self._headers

    def _broken(self, exchange: Exchange, error: Exception | None) -> str:
        how = f"the connection broke ({error})" if error else "the server closed the connection"
        if not self._answering:
            return f"{how} before it answered"
        if not self._events:
            return f"{how} within its answer"
        return f"{how} in mid-stream, after {len(exchange.spoke_s)} events with text"

    def _refused(self, status: int, body: bytes) -> str:
        reason = f"HTTP {status}"
        if 300 <= status < 400:
            place = self._headers.get(b"location", b"nowhere").decode("latin-1")
            return f"{reason}: redirected to {place[:200]}, which is not followed; give that in engine.url"
        hint = _HINTS.get(status, "")
        after = self._headers.get(b"retry-after")
        if status == 429 and after:
            hint = f" (retry after {after.decode('latin-1')[:40]} s){hint}"
        return f"{reason}: {error_message(body)}{hint}"


_HINTS = {
    401: "; name the variable that holds the API key in engine.api_key_env",
    403: "; the API key in engine.api_key_env does not allow this",
    404: "; is engine.url right, without /v1, and does the server have this endpoint and model?",
    429: "; the server limits the rate: lower load.concurrency or the rate of load.arrival",
}
