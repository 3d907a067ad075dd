"""Small requests beside the load: is the server ready, and which model does it serve?"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pytest_dsr1.engines.openai.client.exchange import error_message
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import EngineError

_TIMEOUT_S = 10.0
_LARGEST = 1 << 20
_SCHEME = "does engine.url begin with the right one of http and https?"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server is, and how it is spoken to; the key in ``secret`` is never shown."""

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    secret: str | None

    def __repr__(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        """The address, without anything secret."""
        return f"http{'s' if self.tls else ''}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        """The header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is opened when it is first used; silence for ``timeout_s`` is an error."""
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)

    def ask(self, connection: http.client.HTTPConnection, path: str, largest: int) -> tuple[int, bytes]:
        """Status of a GET and up to ``largest`` bytes of its body, on a connection that may be kept.

        Raises:
            OSError: the server cannot be reached.
            http.client.HTTPException: what answers does not speak HTTP.
        """
        headers = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        connection.request("GET", f"{self.prefix}{path}", headers=headers)
        response = connection.getresponse()
        body = response.read(largest)
        if len(body) < largest and response.length:
            raise http.client.IncompleteRead(body, response.length)
        return response.status, body

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET; raises as :meth:`ask`."""
        connection = self.connection(_TIMEOUT_S)
        try:
            return self.ask(connection, path, _LARGEST)
        finally:
            connection.close()

    def served_model(self) -> str:
        """The first model that the server lists.

        Raises:
            EngineError: it lists none, or cannot be reached.
        """
        hint = "give its name in engine.served_model"
        try:
            status, body = self.get("/v1/models")
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"{self.url}: {unreachable(error, _TIMEOUT_S)}") from None
        if status == 401:
            raise EngineError(
                f"{self.url}: HTTP 401: {error_message(body)}; name the variable that holds the API key in "
                "engine.api_key_env"
            )
        try:
            models = json.loads(body)["data"] if status == 200 else []
            return str(models[0]["id"])
        except (ValueError, LookupError, TypeError):
            raise EngineError(
                f"{self.url}/v1/models: HTTP {status}, and no list of models: {error_message(body)}; {hint}"
            ) from None


def unreachable(error: Exception, limit_s: float) -> str:
    """Why no server could be asked, and what to do about it; ``limit_s`` is how long it was awaited."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message}); name its authority in "
            "engine.ca_file, or set engine.verify_tls: false"
        )
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({error.reason}); {_SCHEME}"
    if isinstance(error, TimeoutError):
        return f"no answer within {limit_s:g} s; is it the right host and port?"
    if isinstance(error, socket.gaierror):
        return f"the host is not known ({error.strerror}); correct engine.url"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: no server listens there; start it, or correct engine.url"
    if isinstance(error, ConnectionResetError | http.client.HTTPException):
        return f"what listens there does not answer in HTTP ({error}); {_SCHEME}"
    return f"no connection: {error}"


def site(engine: OpenAi, url: str, environ: Mapping[str, str] = os.environ) -> Site:
    """The server at ``url``.

    Raises:
        EngineError: the address, the key's variable or the authority's file is not usable.
    """
    parts = _parts(url)
    secret = None
    if engine.api_key_env is not None:
        secret = environ.get(engine.api_key_env, "").strip()
        if not secret:
            raise EngineError(
                f"engine.api_key_env: the variable {engine.api_key_env} is not set; export it with the "
                "API key"
            )
        if not secret.isascii() or not secret.isprintable():
            raise EngineError(
                f"engine.api_key_env: the value of {engine.api_key_env} is no API key: it holds "
                "characters that no HTTP header takes"
            )
    https = parts.scheme == "https"
    return Site(
        parts.hostname or "",
        parts.port or (443 if https else 80),
        parts.path.rstrip("/").removesuffix("/v1"),
        _tls(engine) if https else None,
        secret,
    )


def _parts(url: str) -> SplitResult:
    with contextlib.suppress(ValueError):  # a port that is no number, half an IPv6 address, no possible host
        parts = urlsplit(url)
        address = parts.scheme in {"http", "https"} and (parts.hostname or "").encode("idna")
        writable = url.isprintable() and " " not in url and parts.path.isascii()
        if address and writable and not (parts.username or parts.query or parts.fragment):
            _ = parts.port
            return parts
    raise EngineError("engine.url: expected http://HOST:PORT or https://HOST without a user name")


def _tls(engine: OpenAi) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=engine.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise EngineError(
            f"engine.ca_file: {engine.ca_file}: no certificates in PEM format: {error.strerror or error}"
        ) from None
    if not engine.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
