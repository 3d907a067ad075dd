"""Failures of a server in words: why it could not be reached, and what its error says."""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import ssl
from html.parser import HTMLParser
from urllib.parse import quote

from pytest_dsr1.masking import NOT_SHOWN, without_secrets

_SCHEME = "check whether engine.url must begin with http or https"
_SHOWN = 200
"""Characters of an answer that a message repeats."""
_SAID_IN = ("error", "errors", "message", "detail", "Message", "msg", "error_description", "title")
"""The keys under which servers and proxies state an error, the most telling first."""
_DEEPEST = 6
_LISTED = 5
"""The most messages of a list that are shown."""
_IS_PAGE = re.compile(
    rb"(?:<\?xml[^>]*>|<!--.*?-->|\s)*<(?:!doctype html|html|head|body)\b", re.I | re.S
).match
_PAGE_BYTES = 1 << 13
"""The bytes of a page that are read; its words come early."""
_HIDDEN = {"script", "style"}


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
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return (
            "no local port is left for another connection to this server; wait for those of earlier runs to "
            "end, list more servers in engine.url, or lower load.concurrency"
        )
    return f"no connection: {error}"


def hidden(text: str, secret: str) -> str:
    """Return what a server sent without the API key, which some servers repeat; it may be quoted in it.

    Args:
        text: what the server sent.
        secret: the API key; empty without one.
    """
    for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]} if secret else ():
        text = text.replace(form, NOT_SHOWN)
    return text


def error_message(body: bytes, secret: str = "") -> str:
    """Return the message in the body of an error, on one line, shortened and without secrets.

    Knows the forms of OpenAI, FastAPI and vLLM, problem details (RFC 9457), and pages in HTML; otherwise
    returns the start of the body.

    Args:
        body: what the server sent.
        secret: see :func:`hidden`.
    """
    if not body.strip():
        return "the answer is empty"
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        page = body[:_PAGE_BYTES]
        return _of_page(page, secret) if _IS_PAGE(page) else beginning(body, secret)
    return _cut(_stated(data), secret) or beginning(body, secret)


def stated_error(data: object, secret: str = "") -> str:
    """Return the message of an error that is not marked as one; empty if this JSON is not such an error.

    Args:
        data: the JSON.
        secret: see :func:`hidden`.
    """
    if not isinstance(data, dict) or not data.keys().isdisjoint({"choices", "usage"}):
        return ""
    return _cut(_stated(data), secret)


def _stated(data: object, depth: int = 0) -> str:
    """Return the message in an error's JSON; empty if there is none."""
    if isinstance(data, str):
        return data
    if depth == _DEEPEST:
        return ""
    if isinstance(data, list):
        return "; ".join(filter(None, (_stated(each, depth + 1) for each in data[:_LISTED])))
    if not isinstance(data, dict):
        return ""
    said = next(filter(None, (_stated(data.get(key), depth + 1) for key in _SAID_IN)), "")
    place = data.get("loc")  # FastAPI: where the request is wrong
    return f"{'.'.join(map(str, place))}: {said}" if said and isinstance(place, list) else said


class _Page(HTMLParser):
    """The words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self._hidden += tag in _HIDDEN

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN

    def handle_data(self, data: str) -> None:
        if (
            not self._hidden and data.strip() and data.strip() not in self.words
        ):  # title and heading are alike
            self.words.append(data.strip())


def _of_page(body: bytes, secret: str) -> str:
    page = _Page()
    page.feed(body.decode("utf-8", "replace"))
    page.close()
    return f"an HTML page: {_cut(' '.join(page.words), secret) or beginning(body, secret)}"


def _cut(text: str, secret: str) -> str:
    """Return the text on one line, without secrets and control characters, and shortened."""
    whole = without_secrets(hidden(text, secret)[: 4 * _SHOWN])  # before a part of a secret is cut off
    shown = " ".join("".join(c if c.isprintable() else " " for c in whole).split())
    return f"{shown[:_SHOWN]}{'...' if len(shown) > _SHOWN else ''}"


def beginning(text: bytes, secret: str = "") -> str:
    """Return the start of what a server sent, quoted, on one line and without secrets.

    Args:
        text: what the server sent.
        secret: see :func:`hidden`.
    """
    whole = hidden(text.decode("utf-8", "replace"), secret)[: 2 * _SHOWN]
    shown = " ".join(without_secrets(whole).split())
    return f"{shown[:_SHOWN]!r}{'...' if len(shown) > _SHOWN or len(text) > 2 * _SHOWN else ''}"
