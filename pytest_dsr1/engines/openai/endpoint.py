"""Single requests to a server, apart from the load: whether it is ready, and which model it serves."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pytest_dsr1.engines.openai.client.failures import error_message, hidden, unreachable
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import EngineError
from pytest_dsr1.masking import without_secrets
from pytest_dsr1.storage.files import open_regular

_TIMEOUT_S = 10.0
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Site:
    """The address and the credentials of a server; the key in ``secret`` is never shown."""

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    secret: str | None

    def __repr__(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        """The address, without secrets: a gateway's path may have one."""
        return without_secrets(f"http{'s' if self.tls else ''}://{self.authority}{self.prefix}")

    @property
    def authority(self) -> str:
        """The value of the header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a connection that opens on first use; silence for ``timeout_s`` is an error."""
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)

    def ask(self, connection: http.client.HTTPConnection, path: str, largest: int) -> tuple[int, bytes]:
        """Return the status of a GET and up to ``largest`` bytes of its body, which may repeat the key.

        The caller may use the connection again.

        Raises:
            OSError: the server cannot be reached.
            http.client.HTTPException: the answer is not HTTP.
        """
        headers = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        connection.request("GET", f"{self.prefix}{path}", headers=headers)
        response = connection.getresponse()
        body = response.read(largest)
        if len(body) < largest and response.length:
            raise http.client.IncompleteRead(body, response.length)
        return response.status, body

    def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and body of a GET; raises like :meth:`ask`."""
        connection = self.connection(_TIMEOUT_S)
        try:
            return self.ask(connection, path, _LARGEST)
        finally:
            connection.close()

    def served_model(self) -> str:
        """Return the first model that the server lists.

        Raises:
            EngineError: the server lists no model, or cannot be reached.
        """
        hint = "give the model's name in engine.served_model"
        try:
            status, body = self.get("/v1/models")
        except (OSError, http.client.HTTPException) as error:
            why = hidden(unreachable(error, _TIMEOUT_S), self.secret or "")
            raise EngineError(f"{self.url}: {why}") from None
        said = error_message(body, self.secret or "")
        if status == 401:
            raise EngineError(
                f"{self.url}: HTTP 401: {said}; set engine.api_key_env to the variable with the API key"
            )
        try:
            models = json.loads(body)["data"] if status == 200 else []
            return str(models[0]["id"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise EngineError(
                f"{self.url}/v1/models: HTTP {status}: expected a list of models, found {said}; {hint}"
            ) from None


def site(engine: OpenAi, url: str, environ: Mapping[str, str] = os.environ) -> Site:
    """Return the server at ``url``.

    Raises:
        EngineError: the address, the API key or the authority's file is not usable.
    """
    parts = _parts(url, engine)
    secret = None
    if engine.api_key_env is not None:
        secret = environ.get(engine.api_key_env, "").strip()
        if not secret:
            raise EngineError(
                f"engine.api_key_env: the variable {engine.api_key_env} is not set; export it with the "
                "API key as its value"
            )
        if not secret.isascii() or not secret.isprintable():
            raise EngineError(
                f"engine.api_key_env: the value of {engine.api_key_env} is not a valid API key: it contains "
                "characters that are not allowed in an HTTP header"
            )
    https = parts.scheme == "https"
    return Site(
        parts.hostname or "",
        parts.port or (443 if https else 80),
        parts.path.rstrip("/").removesuffix("/v1"),
        _tls(engine) if https else None,
        secret,
    )


def _parts(url: str, engine: OpenAi) -> SplitResult:
    with contextlib.suppress(ValueError):  # the port is not a number, or the host is invalid
        parts = urlsplit(url)
        address = parts.scheme in {"http", "https"} and (parts.hostname or "").encode("idna")
        writable = url.isprintable() and " " not in url and parts.path.isascii()
        if address and writable and not (parts.username or parts.query or parts.fragment):
            _ = parts.port
            return parts
    key = f"engine.url.{engine.urls.index(url)}" if isinstance(engine.url, list) else "engine.url"
    raise EngineError(f"{key}: expected http://HOST:PORT or https://HOST without a user name")


def _tls(engine: OpenAi) -> ssl.SSLContext:
    try:
        if engine.ca_file is not None:
            open_regular(Path(engine.ca_file)).close()  # reading a pipe would wait for ever
        context = ssl.create_default_context(cafile=engine.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise EngineError(
            f"engine.ca_file: {engine.ca_file}: no certificates in PEM format: {error.strerror or error}"
        ) from None
    if not engine.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
