"""Many connections to one server: opened, kept, given requests, and watched for silence."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_dsr1.engines.openai.client.connection import Connection
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.endpoint import unreachable
from pytest_dsr1.errors import EngineError

_OPENED_AT_ONCE = 256
_CONNECT_S = 30.0
_LOOK_S = 0.5
_TELLING = (ConnectionRefusedError, TimeoutError, ssl.SSLError)
"""What goes wrong where a server should be; another error mostly means that there is no way to an address."""

Place = tuple[str, socket.AddressFamily]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens; ``tls`` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ConnectionPool:
    """Sends each exchange on a free connection, or on a new one.

    Args:
        address: of the server.
        silence_s: an exchange in which nothing comes for so long is given up.
        ended: called with every exchange that has ended.

    Attributes:
        opened: connections opened so far.
        out_of_step: answers that nobody asked for.
    """

    def __init__(self, address: Address, *, silence_s: float, ended: Callable[[Exchange], None]) -> None:
        self.opened = 0
        self.out_of_step = 0
        self._address = address
        self._silence_s = silence_s
        self._ended = ended
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self._where: Place | None = None
        self._closed = False

    async def open(self, count: int) -> None:
        """Have so many free connections.

        Raises:
            EngineError: the server cannot be reached.
        """
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
        """Send now, if a connection is free, else as soon as one is opened; nothing after :meth:`close`."""
        free = self._free
        while free:
            connection = free.pop()
            if connection.usable:
                connection.send(exchange)
                return
        self._send_on_new(exchange)

    def _send_on_new(self, exchange: Exchange) -> None:
        if self._closed:  # a connection that is made while uvloop closes keeps it from ever closing
            return
        task = self._loop.create_task(self._open_and_send(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def events(self) -> int:
        """Events with text in the exchanges in flight."""
        return sum(len(c.exchange.spoke_s) for c in self._all if c.exchange is not None)

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

    def stale(self, exchange: Exchange) -> None:
        """Send it again. Its time counts from the first sending."""
        self._send_on_new(exchange)

    def unasked(self) -> None:
        """Count it: from then on it is unknown which answer belongs to which request."""
        self.out_of_step += 1

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
        if self._closed:  # cancelled when the connection was there already
            connection.close()
        else:
            connection.send(exchange)

    async def _connect(self) -> Connection:
        """To the address that answered the first connection, which tried all of the host's in their order."""
        if self._where is not None:
            return await self._connect_to(self._where)
        errors: list[OSError] = []
        for where in await places(self._address.host, self._address.port):
            try:
                connection = await self._connect_to(where)
            except OSError as error:
                errors.append(error)
            else:
                self._where = where
                return connection
        raise next((error for error in errors if isinstance(error, _TELLING)), errors[0])

    async def _connect_to(self, place: Place) -> Connection:
        host, tls = self._address.host, self._address.tls
        where, family = place
        opening = self._loop.create_connection(
            lambda: Connection(self),
            where,
            self._address.port,
            family=family,
            ssl=tls,
            server_hostname=host if tls else None,
        )
        try:
            _, connection = await asyncio.wait_for(opening, _CONNECT_S)
        except asyncio.TimeoutError:  # no OSError before Python 3.11
            raise TimeoutError from None
        self.opened += 1
        self._all.add(connection)
        return connection

    def _look(self) -> None:
        """Give up what is silent for too long."""
        limit_s = time.monotonic() - self._silence_s
        for connection in [c for c in self._all if c.exchange is not None and c.heard_s < limit_s]:
            connection.abort(
                f"nothing came from the server for {self._silence_s:g} s; if it is only slow, raise "
                "engine.silence_timeout_s"
            )
        self._timer = self._loop.call_later(_LOOK_S, self._look)


async def places(host: str, port: int) -> list[Place]:
    """The host's addresses, the preferred one first.

    Raises:
        OSError: the host is not known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(str(address[0]), family) for family, _, _, _, address in found]
