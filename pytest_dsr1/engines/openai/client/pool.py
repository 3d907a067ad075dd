"""A pool of connections to one server: opens them, gives them requests, and checks them for silence."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_dsr1.engines.openai.client.connection import Connection
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.client.failures import unreachable
from pytest_dsr1.errors import EngineError

_OPENED_AT_ONCE = 256
_CONNECT_S = 30.0
_LOOK_S = 0.5
_TAIL_S = 0.02
"""The time after ``[DONE]`` in which servers end the answer: usually within 1 ms, in the next packet."""
_SERVER_ERRORS = (ConnectionRefusedError, TimeoutError, ssl.SSLError)
"""Errors at the right address; other errors mostly mean that the address cannot be reached."""

Resolved = tuple[str, socket.AddressFamily]


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the server; without ``tls`` it uses plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ConnectionPool:
    """A pool that sends each exchange on a free connection, or on a new one.

    Args:
        address: the server's address.
        silence_s: the time without data after which an exchange is given up, in seconds.
        ended: called with every exchange that has ended.

    Attributes:
        opened: connections opened so far.
        unexpected_answers: answers without a request.
    """

    def __init__(self, address: Address, *, silence_s: float, ended: Callable[[Exchange], None]) -> None:
        self.opened = 0
        self.unexpected_answers = 0
        self._address = address
        self._silence_s = silence_s
        self._ended = ended
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self._where: Resolved | None = None
        self._closed = False

    @property
    def free(self) -> int:
        """The number of connections on which a request can be sent now."""
        return sum(connection.usable for connection in self._free)

    async def open(self, count: int) -> None:
        """Open connections until ``count`` are free.

        Raises:
            EngineError: the server cannot be reached.
        """
        self._free = [connection for connection in self._free if connection.usable]
        missing = count - len(self._free)
        while missing > 0:
            some = min(missing, _OPENED_AT_ONCE) if self._where else 1
            results = await asyncio.gather(*(self._connect() for _ in range(some)), return_exceptions=True)
            for result in results:
                if isinstance(result, OSError):
                    raise EngineError(f"{self._address}: {unreachable(result, _CONNECT_S)}")
                if isinstance(result, BaseException):
                    raise result
                self._free.append(result)
            missing -= some

    def send(self, exchange: Exchange) -> None:
        """Send on a free connection, or open one first. After :meth:`close` nothing is sent."""
        free = self._free
        while free:
            connection = free.pop()
            if connection.usable:
                connection.send(exchange)
                return
        self._send_on_new(exchange)

    def _send_on_new(self, exchange: Exchange) -> None:
        if self._closed:  # a connection opened while uvloop closes keeps it from closing
            return
        task = self._loop.create_task(self._open_and_send(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def events(self) -> int:
        """Return the number of events with text in the exchanges in flight."""
        return sum(len(c.exchange.event_times_s) for c in self._all if c.exchange is not None)

    async def close(self) -> None:
        """Close all connections; exchanges in flight are dropped."""
        self._closed = True
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        while self._tasks or self._all:
            for connection in list(self._all):
                connection.exchange = None
                connection.close()
            await asyncio.sleep(0)

    # Owner of the connections

    def ended(self, connection: Connection, exchange: Exchange) -> None:
        """Keep the connection, and pass the exchange on."""
        if connection.usable:
            self._free.append(connection)
        self._ended(exchange)

    def done(self, connection: Connection, exchange: Exchange) -> None:
        """Wait a moment for HTTP's end, with which the connection can be kept."""
        self._loop.call_later(_TAIL_S, connection.finish, exchange)

    def stale(self, exchange: Exchange) -> None:
        """Send the request again. Its time starts at the first attempt."""
        self._send_on_new(exchange)

    def unexpected(self) -> None:
        """Count the answer: from now on it is unknown which answer belongs to which request."""
        self.unexpected_answers += 1

    def lost(self, connection: Connection) -> None:
        """Forget the connection."""
        self._all.discard(connection)

    async def _open_and_send(self, exchange: Exchange) -> None:
        try:
            connection = await self._connect()
        except OSError as error:
            exchange.ended_s = time.monotonic()
            exchange.sent_s = exchange.sent_s or exchange.ended_s
            exchange.fault = unreachable(error, _CONNECT_S)
            self._ended(exchange)
            return
        if self._closed:  # cancelled after the connection was opened
            connection.close()
        else:
            connection.send(exchange)

    async def _connect(self) -> Connection:
        """Open a connection; the first one tries all addresses of the host, later ones use the same."""
        if self._where is not None:
            return await self._connect_to(self._where)
        errors: list[OSError] = []
        for where in await resolve(self._address.host, self._address.port):
            try:
                connection = await self._connect_to(where)
            except OSError as error:
                errors.append(error)
            else:
                self._where = where
                return connection
        raise next((error for error in errors if isinstance(error, _SERVER_ERRORS)), errors[0])

    async def _connect_to(self, resolved: Resolved) -> Connection:
        host, tls = self._address.host, self._address.tls
        ip, family = resolved
        connecting = self._loop.create_connection(
            lambda: Connection(self),
            ip,
            self._address.port,
            family=family,
            ssl=tls,
            server_hostname=host if tls else None,
        )
        try:
            _, connection = await asyncio.wait_for(connecting, _CONNECT_S)
        except asyncio.TimeoutError:  # not an OSError before Python 3.11
            raise TimeoutError from None
        self.opened += 1
        self._all.add(connection)
        return connection

    def _look(self) -> None:
        """Give up exchanges without data for too long."""
        limit_s = time.monotonic() - self._silence_s
        for connection in [c for c in self._all if c.exchange is not None and c.last_active_s < limit_s]:
            connection.abort(
                f"the server sent nothing for {self._silence_s:g} s; if it is only slow, raise "
                "engine.silence_timeout_s"
            )
        self._timer = self._loop.call_later(_LOOK_S, self._look)


async def resolve(host: str, port: int) -> list[Resolved]:
    """Return the host's addresses, the preferred one first.

    Raises:
        OSError: the host is not known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(str(address[0]), family) for family, _, _, _, address in found]
