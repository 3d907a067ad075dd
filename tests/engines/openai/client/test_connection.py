"""One connection, fed by hand with a clock that stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.client import connection
from pytest_dsr1.engines.openai.client.connection import RACE_S, Connection
from pytest_dsr1.engines.openai.client.exchange import Exchange
from tests.standins.openai_server import DONE, FINISH, GOOD, STREAM_HEAD, chunk, event, usage


class Transport(asyncio.Transport):
    """Takes everything."""

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return object()  # as under TLS, where nothing is written past the transport


class Owner:
    """Notes what becomes of exchanges."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def ended(self, connection: Connection, exchange: Exchange) -> None:
        self.calls.append(exchange.fault or "ended")

    def done(self, connection: Connection, exchange: Exchange) -> None:
        self.calls.append("done")

    def stale(self, exchange: Exchange) -> None:
        self.calls.append("stale")

    def unexpected(self) -> None:
        self.calls.append("unexpected")

    def lost(self, connection: Connection) -> None:
        self.calls.append("lost")


class Bench:
    """A connection, its owner, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(connection, "_monotonic", lambda: self.now_s)
        self.owner = Owner()
        self.connection = Connection(self.owner)
        self.connection.connection_made(Transport())

    def send(self, **changes: Any) -> Exchange:
        exchange = Exchange(
            id=0, payload=b"x", wanted=4, exact=True, streaming=True, input_tokens=8, **changes
        )
        self.connection.send(exchange)
        return exchange

    def served(self) -> Bench:
        """After one good answer."""
        self.send()
        self.connection.data_received(GOOD)
        self.owner.calls.clear()
        return self


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


LOST = "the server closed the connection before it answered"


@pytest.mark.parametrize(
    ("after_s", "call"), [(0.0, "stale"), (RACE_S * 0.99, "stale"), (RACE_S * 1.01, LOST), (3.0, LOST)]
)
def test_only_a_close_at_once_is_the_race_of_a_kept_connection(
    after_s: float, call: str, bench: Bench
) -> None:
    exchange = bench.served().send()
    bench.now_s += after_s
    bench.connection.connection_lost(None)
    assert bench.owner.calls == [call, "lost"]
    assert exchange.resent == (call == "stale")


def test_a_new_connection_has_no_such_race(bench: Bench) -> None:
    bench.send()
    bench.connection.connection_lost(None)
    assert bench.owner.calls == [LOST, "lost"]


def test_what_was_sent_again_is_not_sent_a_third_time(bench: Bench) -> None:
    bench.served().send(resent=True)
    bench.connection.connection_lost(None)
    assert bench.owner.calls == [LOST, "lost"]


@pytest.mark.parametrize("heard", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 2"])
def test_a_server_that_said_anything_had_read_the_request(heard: bytes, bench: Bench) -> None:
    bench.served().send()
    bench.connection.data_received(heard)
    bench.connection.connection_lost(ConnectionResetError("reset"))
    assert bench.owner.calls[0].startswith("the connection broke (reset) ")
    assert bench.owner.calls[1:] == ["lost"]


def said(words: str, key: str, shape: int) -> bytes:
    """An event of a stream, in one of several shapes."""
    fields: dict[str, Any] = {"index": 0, key: words, "token_ids": None}
    if shape == 1:
        fields = {"finish_reason": None, **fields, "created": len(words)}
    if shape == 2:
        fields |= {"token_ids": [7] * len(words)}
    return event({"error": None, "choices": [fields]} if shape == 3 else {"choices": [fields]})


EVENTS = st.one_of(
    st.builds(said, st.text(max_size=3), st.sampled_from(["text", "content"]), st.integers(0, 3)),
    st.builds(said, st.text('a"\\\n\u20ac', max_size=4), st.just("text"), st.just(0)),
    st.sampled_from(
        [
            FINISH,
            usage(4),
            b": ping\n\n",
            event({"error": "no", "choices": [{"text": " a"}]}),
            event({"choices": [{"index": 0, "text": " a", "token_ids": None, "error": "x"}]}),
        ]
    ),
)


@given(st.lists(EVENTS, max_size=12))
def test_to_see_that_events_are_alike_changes_nothing(events: list[bytes]) -> None:
    """What the connection takes for one more of the same is what reading each by itself gives."""
    slow = Exchange(id=0, payload=b"", wanted=4, exact=True, streaming=True, input_tokens=8)
    for one in events:
        slow.event(one, 1.0)
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = Bench(monkeypatch)
        fast = bench.send()
        bench.connection.data_received(STREAM_HEAD)
        for one in events:
            bench.connection.data_received(chunk(one))
    assert len(fast.event_times_s) == len(slow.event_times_s)
    assert (fast.last, fast.ids) == (slow.last, slow.ids)
    assert set(fast.other_events) == set(slow.other_events), "an error that comes twice is kept once"
    assert fast.answer() == slow.answer()


def test_like_events_are_taken_without_a_search(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As vLLM writes them, null fields and all; a text with a quote is searched."""
    searched: list[bytes] = []
    method = Exchange.event

    def counting(self: Exchange, piece: bytes, now_s: float) -> None:
        searched.append(piece)
        method(self, piece, now_s)

    monkeypatch.setattr(Exchange, "event", counting)
    exchange = bench.send()
    bench.connection.data_received(STREAM_HEAD)
    words = [" a", " b", '"', "\n", " c", ""]
    for word in words:
        bench.connection.data_received(chunk(said(word, "text", 0)))
    assert searched == [said(word, "text", 0) for word in (" a", '"', "")]
    assert len(exchange.event_times_s) == 5


DONE_TEXT = [said(" a", "text", 0), FINISH, usage(4)]


def streamed(bench: Bench, *events: bytes) -> Exchange:
    """Send a request, and receive these events of its answer without the end of the answer."""
    exchange = bench.send()
    bench.connection.data_received(STREAM_HEAD)
    for each in events:
        bench.connection.data_received(chunk(each))
    return exchange


def test_an_answer_ends_at_done_even_if_the_connection_stays_open(bench: Bench) -> None:
    exchange = streamed(bench, *DONE_TEXT)
    ended_s = bench.now_s = 103.0
    bench.connection.data_received(chunk(DONE))
    bench.now_s += 1.0
    bench.connection.data_received(chunk(b": ping\n\n"))
    assert set(bench.owner.calls) == {"done"}, "the end of the answer may still come"
    bench.connection.finish(exchange)
    assert bench.owner.calls[-1] == "ended"
    assert (exchange.ended_s, exchange.answer().error) == (ended_s, None)
    assert not bench.connection.usable, "the rest of this answer would be taken for the next one"


def test_the_usual_end_just_after_done_keeps_the_connection(bench: Bench) -> None:
    exchange = streamed(bench, *DONE_TEXT, DONE)
    bench.connection.data_received(chunk(b""))
    assert bench.owner.calls == ["done", "ended"]
    assert exchange.answer().error is None
    assert bench.connection.usable
    following = bench.send()
    bench.connection.finish(exchange)
    assert bench.connection.exchange is following, "the next exchange is not ended"
    assert bench.owner.calls == ["done", "ended"]


def test_done_and_the_end_together_need_no_wait(bench: Bench) -> None:
    bench.send()
    bench.connection.data_received(GOOD)
    assert bench.owner.calls == ["ended"]


@pytest.mark.parametrize(
    ("events", "done"),
    [
        ([FINISH, DONE], True),
        ([usage(4), DONE], True),
        ([usage(4) + DONE], True),
        ([usage(4), b": bye\r\ndata:[DONE]\r\n\r\n"], True),
        ([DONE, usage(4)], True),
        ([DONE], False),
        ([usage(4), said("[DONE]", "text", 0)], False),
        ([usage(4)], False),
    ],
)
def test_done_ends_an_answer_that_has_its_usage_or_finish_reason(
    events: list[bytes], done: bool, bench: Bench
) -> None:
    streamed(bench, DONE_TEXT[0], *events)
    assert bench.owner.calls == ["done"] * done


def test_a_server_that_closes_after_done_has_answered(bench: Bench) -> None:
    exchange = streamed(bench, *DONE_TEXT, DONE)
    bench.connection.connection_lost(None)
    assert bench.owner.calls == ["done", "ended", "lost"]
    assert exchange.answer().error is None
    bench.connection.finish(exchange)
    assert bench.owner.calls == ["done", "ended", "lost"]


KEY = "key-planted/1"


def error(status: str, body: str, *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return (head + body).encode()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (
            error("401 No", '{"error": {"message": "Incorrect API key provided: key-planted/1."}}'),
            "HTTP 401: Incorrect API key provided: (not shown).; set engine.api_key_env to the variable "
            "with the API key",
        ),
        (
            error("500 No", f"{'x' * 190} Bearer key-planted\\/1 key-planted%2F1"),
            f"HTTP 500: '{'x' * 190} Bearer (n'...",
        ),
        (error("502 No", "<html><p>key-planted/1</p>"), "HTTP 502: an HTML page: (not shown)"),
        (
            error("307 No", "", "Location: http://u:planted@h/x?token=planted&a=1"),
            "HTTP 307: redirected to http://(not shown)@h/x?token=(not shown)&a=1; redirects are not "
            "followed: set engine.url to it",
        ),
        (
            error("307 No", "", f"Location: http://h/{KEY}"),
            "HTTP 307: redirected to http://h/(not shown); redirects are not followed: set engine.url to it",
        ),
        (
            error("200 OK", "", f"Content-Type: {KEY}"),
            "expected a stream of events, but the server answered with (not shown): the answer is empty",
        ),
        (
            error("200 OK", "", f"Content-Encoding: {KEY}"),
            "the answer is compressed (Content-Encoding: (not shown)), which was not asked for "
            "(Accept-Encoding: identity); switch compression off for these paths in the proxy or server, "
            "such as `gzip off` in nginx",
        ),
    ],
)
def test_a_server_that_repeats_the_key_does_not_make_it_known(
    answer: bytes, fault: str, bench: Bench
) -> None:
    bench.send(secret=KEY)
    bench.connection.data_received(answer)
    assert bench.owner.calls[0] == fault
