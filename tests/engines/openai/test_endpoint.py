"""Addresses, keys, certificates, and what stands in a message when a server cannot be asked."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.endpoint import site, unreachable
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.errors import EngineError
from tests.helpers.openai_jobs import make_job, served
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import GOOD, plain, serving

pytestmark = pytest.mark.usefixtures("client_unjudged")


def engine(**fields: Any) -> OpenAi:
    return OpenAi.model_validate({"type": "openai", **fields})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host", "http://host:80"),
        ("https://host", "https://host:443"),
        ("http://host:8000/", "http://host:8000"),
        ("http://host:8000/v1", "http://host:8000"),
        ("http://host:8000/proxy/v1/", "http://host:8000/proxy"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://b\u00fccher.de:80", "http://b\u00fccher.de:80"),
    ],
)
def test_address(url: str, shown: str) -> None:
    assert site(engine(), url).url == shown
    assert repr(site(engine(api_key_env="KEY"), url, {"KEY": "secret"})) == shown


@pytest.mark.parametrize(
    "url",
    [
        *("host:8000", "ftp://host", "http://", "http://:8000", "http://host:port", "http://host:99999"),
        *("http://[::1", "http://me:word@host", "http://host/v1?x=1", "http://host/v1#x", "http://ho st"),
        *(
            f"http://{'a' * 64}.de",
            "http://a..b",
            "http://host/\u00e9",
            "http://host/\x01",
            "http://host/a b",
        ),
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(EngineError, match=r"^engine.url: expected http://HOST:PORT or https://HOST without"):
        site(engine(), url)


def test_value_that_is_no_key() -> None:
    with pytest.raises(EngineError, match=r"engine.api_key_env: the value of KEY is no API key: it holds"):
        site(engine(api_key_env="KEY"), "http://host", {"KEY": "sk-\u00e9"})
    with pytest.raises(EngineError, match=r"engine.api_key_env: the variable KEY is not set; export it"):
        site(engine(api_key_env="KEY"), "http://host", {"KEY": " "})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeoutError(), "no answer within 7 s; is it the right host and port?"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the host is not known (Name or service not known); correct engine.url",
        ),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "the connection was refused: no server listens there; start it, or correct engine.url",
        ),
        (
            http.client.BadStatusLine("SSH-2.0"),
            "what listens there does not answer in HTTP (SSH-2.0); does engine.url begin with the right one "
            "of http and https?",
        ),
        (OSError(101, "Network is unreachable"), "no connection: [Errno 101] Network is unreachable"),
    ],
)
def test_unreachable(error: Exception, message: str) -> None:
    assert unreachable(error, 7.0) == message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (plain("200 OK", b'{"data": []}'), r"/v1/models: HTTP 200, and no list of models: .*served_model$"),
        (plain("200 OK", b"<html>"), "and no list of models: '<html>'; give its name in engine.served_model"),
        (plain("404 Not Found", b'{"detail": "Not Found"}'), "HTTP 404, and no list of models: Not Found; g"),
        (
            plain("401 Unauthorized", b'{"error": "no key"}'),
            "HTTP 401: no key; name the variable that holds the API key in engine.api_key_env",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", r"does not answer in HTTP \(SSH-2.0-OpenSSH_9.6"),
    ],
)
def test_server_that_lists_no_model(answer: bytes, message: str) -> None:
    with serving(lambda _: GOOD, greeting=answer) as port, pytest.raises(EngineError) as caught:
        site(engine(), f"http://127.0.0.1:{port}").served_model()
    assert str(caught.value).startswith(f"http://127.0.0.1:{port}")
    assert re.search(message, str(caught.value))


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that nobody signed but itself."""

    file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    file, key = folder / "cert.pem", folder / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=stand-in", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", *kind, *name, "-keyout", key, "-out", file], check=True, capture_output=True
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file, key)
    return Certificate(file, server)


def measured(folder: Path, port: int, scheme: str, **fields: Any) -> EngineResult:
    url = f"{scheme}://127.0.0.1:{port}"
    return OpenAiEngine().run(make_job(folder, served(port, url=url, **fields)), Watcher())


NAMED = pytest.mark.parametrize("named", [{}, {"served_model": "named"}], ids=["asked", "named"])
"""The first who notices: the question for the model, or the client."""


@NAMED
def test_certificate_of_nobody_is_refused(
    certificate: Certificate, named: dict[str, str], tmp_path: Path
) -> None:
    with serving(lambda _: GOOD, tls=certificate.server) as port, pytest.raises(EngineError) as caught:
        measured(tmp_path, port, "https", **named)
    assert re.search(
        rf"127.0.0.1:{port}: the server's certificate is not trusted \(self.signed certificate\); name its "
        r"authority in engine.ca_file, or set engine.verify_tls: false$",
        str(caught.value),
    )


@NAMED
@pytest.mark.parametrize("how", ["ca_file", "verify_tls"])
def test_certificate_that_is_accepted(
    certificate: Certificate, how: str, named: dict[str, str], tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"ca_file": str(certificate.file), "verify_tls": False}
    with serving(lambda _: GOOD, tls=certificate.server) as port:
        result = measured(tmp_path, port, "https", **{how: fields[how]}, **named)
    assert [(r.error, r.output_tokens) for r in result.records] == [(None, 4)] * 4
    assert result.facts.other["url"] == f"https://127.0.0.1:{port}"


def test_certificate_for_another_host(certificate: Certificate) -> None:
    trusting = engine(ca_file=str(certificate.file))
    with (
        serving(lambda _: GOOD, tls=certificate.server) as port,
        pytest.raises(EngineError, match=r"is not trusted \(Hostname mismatch, .*; name its authority in"),
    ):
        site(trusting, f"https://localhost:{port}").served_model()


@NAMED
def test_https_to_a_server_without_tls(named: dict[str, str], tmp_path: Path) -> None:
    # What a server says to bytes that are no HTTP, and this one says it at once.
    refusal = plain("400 Bad Request", b"Invalid HTTP request received.")
    with serving(lambda _: GOOD, greeting=refusal) as port, pytest.raises(EngineError) as caught:
        measured(tmp_path, port, "https", **named)
    assert re.search(
        r"no TLS connection \(\w+\); does engine.url begin with the right one of http and https\?",
        str(caught.value),
    )


def test_http_to_a_server_with_tls(certificate: Certificate, tmp_path: Path) -> None:
    with serving(lambda _: GOOD, tls=certificate.server) as port, pytest.raises(EngineError) as caught:
        measured(tmp_path, port, "http")
    assert re.search(
        r"what listens there does not answer in HTTP \(.*\); does engine.url begin with the right one of",
        str(caught.value),
    )


def test_file_of_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(EngineError, match=rf"engine.ca_file: .*/{name}: no certificates in PEM format: "):
            site(engine(ca_file=str(tmp_path / name)), "https://host")
