"""Failures of a server in words: why it could not be reached, and what its error says."""

from __future__ import annotations

import http.client
import json
import socket
import ssl

_SCHEME = "check whether engine.url must begin with http or https"
_SHOWN = 200
"""Characters of an answer that a message repeats."""


def unreachable(error: Exception, limit_s: float) -> str:
    """Return why a server did not answer within ``limit_s`` seconds, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message}); set engine.ca_file to its "
            "authority's certificate, or set engine.verify_tls: false"
        )
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({error.reason}); {_SCHEME}"
    if isinstance(error, TimeoutError):
        return f"no answer within {limit_s:g} s; check host and port in engine.url"
    if isinstance(error, socket.gaierror):
        return f"unknown host ({error.strerror}); correct engine.url"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: no server listens there; start it, or correct engine.url"
    if isinstance(error, ConnectionResetError | http.client.HTTPException):
        return f"the answer is not HTTP ({error}); {_SCHEME}"
    return f"no connection: {error}"


def error_message(body: bytes) -> str:
    """Return the message in the body of an error, shortened.

    Knows the forms of OpenAI, FastAPI and vLLM; otherwise returns the start of the body.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return beginning(body)
    if isinstance(data, dict):
        error = data.get("error", data)
        for value in (error, *(error.get(k) for k in ("message", "detail") if isinstance(error, dict))):
            if isinstance(value, str) and value:
                return value[:_SHOWN]
    return beginning(body)


def beginning(text: bytes) -> str:
    """Return the start of what a server sent, quoted and on one line."""
    shown = " ".join(text[: 2 * _SHOWN].decode("utf-8", "replace").split())
    return f"{shown[:_SHOWN]!r}{'...' if len(shown) > _SHOWN or len(text) > 2 * _SHOWN else ''}"
