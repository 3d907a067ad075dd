"""Failures of a server, in words."""

from __future__ import annotations

import http.client
import socket

import pytest

from pytest_dsr1.engines.openai.client.failures import unreachable


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
