"""One connection to an OpenAI-compatible server: HTTP/1.1, one request at a time, kept alive.

httptools parses HTTP (llhttp, the parser of Node.js). It takes 1.1 us per event. A Python parser that only
understood whole chunks took 1.2 us, and httptools understands all of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Protocol, cast

import httptools

from pytest_dsr1.engines.openai.client.exchange import LARGEST_BODY, LARGEST_ERROR, Exchange
from pytest_dsr1.engines.openai.client.failures import error_message, hidden
from pytest_dsr1.masking import without_secrets

_monotonic = time.monotonic
_EVENT_STREAM = "text/event-stream"
RACE_S = 0.005
"""A server closes a connection after some idle time. If it does so while a request is on its way, the client
sees the end of the connection within a round trip. If the end comes later, the server had the request."""


class Owner(Protocol):
    """The owner of connections, which gives them exchanges."""

    def ended(self, connection: Connection, exchange: Exchange) -> None:
        """Handle an exchange that has ended, with or without an error; the connection may be ``usable``."""

    def done(self, connection: Connection, exchange: Exchange) -> None:
        """Handle a stream that said ``[DONE]``; if HTTP's end does not follow, ``finish`` it."""

    def stale(self, exchange: Exchange) -> None:
        """Handle a request that the server cannot have seen: it closed the connection at the same time."""

    def unexpected(self) -> None:
        """Handle an answer without a request."""

    def lost(self, connection: Connection) -> None:
        """Handle the end of a connection."""


class Connection(asyncio.Protocol):
    """A connection that reads answers as they arrive.

    Attributes:
        usable: whether another request can be sent.
        exchange: the exchange in flight.
        last_active_s: the time of the last data, sent or received.
    """

    def __init__(self, owner: Owner) -> None:
        self.usable = False
        self.exchange: Exchange | None = None
        self.last_active_s = 0.0
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._socket: int | None = None
        self._done: Exchange | None = None
        self._silent = False
        self._answering = False
        self._headers_complete = False
        self._is_stream = False
        self._served = 0
        self._limit = LARGEST_BODY
        self._fault: str | None = None
        self._headers: dict[bytes, bytes] = {}

    def send(self, exchange: Exchange) -> None:
        """Send a request; the connection must be usable and without an exchange in flight."""
        assert self._transport is not None
        self.exchange = exchange
        self._answering = self._headers_complete = self._is_stream = False
        self._silent = True
        self.last_active_s = _monotonic()
        exchange.sent_s = exchange.sent_s or self.last_active_s
        if self._fault:
            self._fail(self._fault)
            self._hand_back()
            return
        payload = exchange.payload
        if self._socket is not None:
            # uvloop writes only after it has read all data that is ready. In a wave of requests that is
            # milliseconds after `sent_s`, and would count as the server's time.
            with contextlib.suppress(OSError):  # the transport meets the same error and reports it
                payload = payload[os.write(self._socket, payload) :]
        if payload:
            self._transport.write(payload)

    def abort(self, why: str) -> None:
        """Give up the exchange in flight, for this reason, and close the connection."""
        self._fail(why)
        self._hand_back()

    def finish(self, exchange: Exchange) -> None:
        """End this exchange at its ``[DONE]`` if it is still in flight, and close the connection."""
        if self.exchange is exchange:
            self.usable = False
            self._end_at_done(exchange)
            self._hand_back()

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to use the connection."""
        self._transport = cast("asyncio.Transport", transport)
        if transport.get_extra_info("sslcontext") is None:
            self._socket = transport.get_extra_info("socket").fileno()
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Parse data; all of it gets the same time."""
        self.last_active_s = _monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the server's answer is not HTTP/1.1: {error}")
        exchange = self.exchange
        if self._done is not None:
            self._hand_back()
        elif exchange is not None and exchange.done_s is not None and exchange.finished:
            self._owner.done(self, exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange in flight; an answer without a stated length is complete now."""
        self.usable = False
        self._socket = None
        before_s, self.last_active_s = self.last_active_s, _monotonic()
        exchange = self.exchange
        if exchange is not None:
            if self._headers_complete and exc is None and not self._sized():
                self._complete(exchange)
            elif exchange.finished:
                self._end_at_done(exchange)
            elif (
                self._silent
                and self._served
                and not exchange.resent
                and self.last_active_s - before_s <= RACE_S
            ):
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
        """Note the start of an answer."""
        self._silent = False
        self._headers.clear()
        if self.exchange is None:
            self._fault = "the server sent a response on this connection that no request asked for"
        else:
            self._answering = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Decide how to read the body."""
        exchange, status = self.exchange, self._parser.get_status_code()
        if exchange is None:
            if status == 200:
                self._owner.unexpected()
            return
        if status < 200:
            return
        self._headers_complete = True
        if compression := self._compression():
            status_text = "" if status == 200 else f"HTTP {status}: "
            self._fail(
                f"{status_text}the answer is compressed ({compression}), which was not asked for "
                "(Accept-Encoding: identity); switch compression off for these paths in the proxy or server, "
                "such as `gzip off` in nginx"
            )
            return
        kind = self._headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        self._limit = LARGEST_BODY
        if status != 200:
            self._limit = LARGEST_ERROR
        elif exchange.streaming:
            self._is_stream = kind == _EVENT_STREAM
            if not self._is_stream:
                self._limit = LARGEST_ERROR
        assert self._transport is not None
        if status == 200 and self._transport.get_write_buffer_size():
            self._fail("the server answered before the whole request was sent")

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body, mostly one event; this is the hot path."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._is_stream:
            if not exchange.body:
                # The usual case: one whole event with the same head and tail as the one before.
                if piece.startswith(exchange.head) and piece.endswith(exchange.tail):
                    text = piece[exchange.begins : exchange.ends]
                    if text and b'"' not in text:
                        exchange.event_times_s.append(self.last_active_s)
                        exchange.last = piece
                        return
                if piece[-2:] == b"\n\n" and piece.find(b"\n\n") == len(piece) - 2:
                    exchange.event(piece, self.last_active_s)
                    return
            exchange.piece(piece, self.last_active_s)
            if exchange.fault:
                self._fail(exchange.fault)
            return
        if len(exchange.body) + len(piece) > self._limit:
            if self._limit == LARGEST_BODY:
                self._fail(f"the answer is larger than {LARGEST_BODY >> 20} MiB")
            return
        exchange.body += piece

    def on_message_complete(self) -> None:
        """End an answer that is complete."""
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
        """End an exchange whose answer is complete, with the error that HTTP reports, if any."""
        status = self._parser.get_status_code()
        if status != 200:
            exchange.fault = self._refused(status, bytes(exchange.body), exchange.secret)
        elif exchange.streaming and not self._is_stream:
            kind = self._headers.get(b"content-type", b"no content type").decode("latin-1")
            exchange.fault = (
                f"expected a stream of events, but the server answered with {kind}: "
                f"{error_message(bytes(exchange.body), exchange.secret)}"
            )
        self._end(exchange)

    def _fail(self, why: str) -> None:
        self.usable = False
        exchange = self.exchange
        if exchange is not None:
            exchange.fault = why
            self._end(exchange)

    def _end(self, exchange: Exchange) -> None:
        exchange.ended_s = self.last_active_s
        if exchange.fault is not None:
            exchange.fault = hidden(exchange.fault, exchange.secret)  # whatever of the answer it quotes
        self.exchange = None
        self._done = exchange
        self._served += 1

    def _end_at_done(self, exchange: Exchange) -> None:
        self._end(exchange)
        exchange.ended_s = exchange.done_s or exchange.ended_s

    def _hand_back(self) -> None:
        exchange, self._done = self._done, None
        if not self.usable:
            self.close()
        if exchange is not None:
            self._owner.ended(self, exchange)

    def _compression(self) -> str:
        """Return the header that says how the answer is compressed; empty if it is not."""
        for name, harmless in _CODINGS.items():
            value = self._headers.get(name.lower().encode(), b"").decode("latin-1").lower()
            if any(coding.strip() not in harmless for coding in value.split(",")):
                return f"{name}: {value[:40]}"
        return ""

    def _sized(self) -> bool:
        return b"content-length" in self._headers or b"transfer-encoding" in self._headers

    def _broken(self, exchange: Exchange, error: Exception | None) -> str:
        how = f"the connection broke ({error})" if error else "the server closed the connection"
        if not self._answering:
            return f"{how} before it answered"
        if not self._is_stream:
            return f"{how} during its answer"
        return f"{how} during the stream, after {len(exchange.event_times_s)} events with text"

    def _refused(self, status: int, body: bytes, secret: str) -> str:
        reason = f"HTTP {status}"
        if 300 <= status < 400:
            target = self._headers.get(b"location", b"nowhere").decode("latin-1")
            target = without_secrets(hidden(target, secret))[:200]
            return f"{reason}: redirected to {target}; redirects are not followed: set engine.url to it"
        hint = _HINTS.get(status, "")
        after = self._headers.get(b"retry-after")
        if status == 429 and after:
            hint = f" (retry after {after.decode('latin-1')[:40]} s){hint}"
        return f"{reason}: {error_message(body, secret)}{hint}"


_CODINGS = {"Content-Encoding": {"", "identity"}, "Transfer-Encoding": {"", "identity", "chunked"}}
"""The headers with codings of the body, and the codings that leave it readable."""
_HINTS = {
    401: "; set engine.api_key_env to the variable with the API key",
    403: "; the API key in engine.api_key_env does not allow this",
    404: "; check engine.url (without /v1), and whether the server has this endpoint and model",
    429: "; the server limits the rate: lower load.concurrency or the rate of load.arrival",
}
