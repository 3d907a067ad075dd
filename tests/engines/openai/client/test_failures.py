"""Failures of a server, in words."""

from __future__ import annotations

import http.client
import socket

import pytest

from pytest_dsr1.engines.openai.client.failures import error_message, unreachable


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeoutError(), "no answer within 7 s; check host and port in engine.url"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "unknown host (Name or service not known); correct engine.url",
        ),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "connection refused: no server listens there; start it, or correct engine.url",
        ),
        (
            http.client.BadStatusLine("SSH-2.0"),
            "the answer is not HTTP (SSH-2.0); check whether engine.url must begin with http or https",
        ),
        (OSError(101, "Network is unreachable"), "no connection: [Errno 101] Network is unreachable"),
    ],
)
def test_unreachable(error: Exception, message: str) -> None:
    assert unreachable(error, 7.0) == message


BODIES: dict[str, tuple[bytes, str]] = {
    "OpenAI": (b'{"error": {"message": "no key", "type": "auth", "code": 401}}', "no key"),
    "vLLM before 0.10": (b'{"object": "error", "message": "too long", "code": 400}', "too long"),
    "an error that is a string": (b'{"error": "slow down"}', "slow down"),
    "FastAPI's detail": (b'{"detail": "Not Found"}', "Not Found"),
    "FastAPI's validation": (
        b'{"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": 1},'
        b' {"type": "int", "loc": ["body", "max_tokens", 0], "msg": "not an integer"}]}',
        "body.messages: Field required; body.max_tokens.0: not an integer",
    ),
    "detail without a place": (
        b'{"detail": [{"msg": "Field required"}, "and more"]}',
        "Field required; and more",
    ),
    "detail that is an object": (b'{"detail": {"error": {"message": "no such model"}}}', "no such model"),
    "RFC 9457": (b'{"type": "about:blank", "title": "Too Large", "status": 413}', "Too Large"),
    "RFC 9457 with detail": (
        b'{"title": "Too Large", "detail": "at most 1 MiB", "status": 413}',
        "at most 1 MiB",
    ),
    "a list of errors": (b'{"errors": [{"message": "first"}, {"message": "second"}]}', "first; second"),
    "AWS": (b'{"Message": "not allowed"}', "not allowed"),
    "msg": (b'{"code": 7, "msg": "busy"}', "busy"),
    "error_description": (b'{"error": {"error_description": "token expired"}}', "token expired"),
    "a JSON string": (b'"the engine is dead"', "the engine is dead"),
    "a JSON list": (b'["one", {"message": "two"}]', "one; two"),
    "several lines": (b'{"error": "first\\n  second\\u001b[31m"}', "first second [31m"),
    "an empty message": (
        b'{"error": {"message": "", "type": "server_error"}}',
        """'{"error": {"message": "", "type": "server_error"}}'""",
    ),
    "no message": (b'{"error": {"code": 7}}', """'{"error": {"code": 7}}'"""),
    "plain text": (b"upstream connect error", "'upstream connect error'"),
    "no body": (b"", "the answer is empty"),
    "spaces": (b" \r\n", "the answer is empty"),
    "nginx": (
        b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>"
        b"</center>\r\n<hr><center>nginx/1.27.0</center>\r\n</body></html>",
        "an HTML page: 502 Bad Gateway nginx/1.27.0",
    ),
    "a page with scripts": (
        b"<!DOCTYPE html><html lang='en'><head><title>Sign &amp; in</title><style>a {}</style>"
        b"<script>if (a < b) {}</script></head><body><p>Use your <b>account</b></p></body></html>",
        "an HTML page: Sign & in Use your account",
    ),
    "a page that is cut": (
        b"<html><body><h1>Gateway Time-out</h1><p>The ser",
        "an HTML page: Gateway Time-out The ser",
    ),
    "a page without words": (b"<html><body></body></html>", "an HTML page: '<html><body></body></html>'"),
    "nested without end": (b'{"error":' * 50 + b'"x"' + b"}" * 50, repr('{"error":' * 22 + '{"') + "..."),
}


@pytest.mark.parametrize(("body", "message"), BODIES.values(), ids=list(BODIES))
def test_message_in_the_body_of_an_error(body: bytes, message: str) -> None:
    assert error_message(body) == message


def test_a_long_message_is_cut() -> None:
    assert error_message(b'{"detail": "' + b"x" * 500 + b'"}') == "x" * 200 + "..."
