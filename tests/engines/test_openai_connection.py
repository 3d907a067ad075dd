"""One connection, fed by hand with a clock that stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_dsr1.engines import openai_connection
from pytest_dsr1.engines.openai_connection import RACE_S, Connection
from pytest_dsr1.engines.openai_exchange import Exchange
from tests.standins.openai_server import GOOD


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
        self.told: list[str] = []

    def ended(self, connection: Connection, exchange: Exchange) -> None:
        self.told.append(exchange.fault or "ended")

    def stale(self, exchange: Exchange) -> None:
        self.told.append("stale")

    def unasked(self) -> None:
        self.told.append("unasked")

    def lost(self, connection: Connection) -> None:
        self.told.append("lost")


class Bench:
    """A connection, its owner, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(openai_connection, "_monotonic", lambda: self.now_s)
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
        self.owner.told.clear()
        return self


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


LOST = "the server closed the connection before it answered"


@pytest.mark.parametrize(
    ("after_s", "told"), [(0.0, "stale"), (RACE_S * 0.99, "stale"), (RACE_S * 1.01, LOST), (3.0, LOST)]
)
def test_only_a_close_at_once_is_the_race_of_a_kept_connection(
    after_s: float, told: str, bench: Bench
) -> None:
    exchange = bench.served().send()
    bench.now_s += after_s
    bench.connection.connection_lost(None)
    assert bench.owner.told == [told, "lost"]
    assert exchange.resent == (told == "stale")


def test_a_new_connection_has_no_such_race(bench: Bench) -> None:
    bench.send()
    bench.connection.connection_lost(None)
    assert bench.owner.told == [LOST, "lost"]


def test_what_was_sent_again_is_not_sent_a_third_time(bench: Bench) -> None:
    bench.served().send(resent=True)
    bench.connection.connection_lost(None)
    assert bench.owner.told == [LOST, "lost"]


@pytest.mark.parametrize("heard", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 2"])
def test_a_server_that_said_anything_had_read_the_request(heard: bytes, bench: Bench) -> None:
    bench.served().send()
    bench.connection.data_received(heard)
    bench.connection.connection_lost(ConnectionResetError("reset"))
    assert bench.owner.told[0].startswith("the connection broke (reset) ")
    assert bench.owner.told[1:] == ["lost"]
