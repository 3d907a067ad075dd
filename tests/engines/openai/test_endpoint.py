"""Addresses, keys, certificates, and what stands in a message when a server cannot be asked."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.endpoint import site
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
    with pytest.raises(
        EngineError, match=r"engine.api_key_env: the value of KEY is not a valid API key: it contains"
    ):
        site(engine(api_key_env="KEY"), "http://host", {"KEY": "sk-\u00e9"})
    with pytest.raises(EngineError, match=r"engine.api_key_env: the variable KEY is not set; export it"):
        site(engine(api_key_env="KEY"), "http://host", {"KEY": " "})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            plain("200 OK", b'{"data": []}'),
            r"/v1/models: HTTP 200: expected a list of models, found .*served_model$",
        ),
        (
            plain("200 OK", b"<html>"),
            "expected a list of models, found an HTML page: '<html>'; "
            "give the model's name in engine.served_model",
        ),
        (plain("200 OK", b"[" * 200_000), "HTTP 200: expected a list of models, found "),
        (
            plain("404 Not Found", b'{"detail": "Not Found"}'),
            "HTTP 404: expected a list of models, found Not Found; g",
        ),
        (
            plain("401 Unauthorized", b'{"error": "no key"}'),
            "HTTP 401: no key; set engine.api_key_env to the variable with the API key",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", r"the answer is not HTTP \(SSH-2.0-OpenSSH_9.6"),
    ],
)
def test_server_that_lists_no_model(answer: bytes, message: str) -> None:
    with serving(lambda _: GOOD, greeting=answer) as port, pytest.raises(EngineError) as caught:
        site(engine(), f"http://127.0.0.1:{port}").served_model()
    assert str(caught.value).startswith(f"http://127.0.0.1:{port}")
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize("key", ["deepseek", "data", "1"])
def test_an_answer_stays_as_it_is_where_it_has_the_text_of_the_key(key: str) -> None:
    answer = plain("200 OK", b'{"data": [{"id": "deepseek-ai/DeepSeek-R1"}]}')
    with serving(lambda _: GOOD, greeting=answer) as port:
        where = site(engine(api_key_env="KEY"), f"http://127.0.0.1:{port}", {"KEY": key})
        assert where.served_model() == "deepseek-ai/DeepSeek-R1"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1."""

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
def test_self_signed_certificate_is_refused(
    certificate: Certificate, named: dict[str, str], tmp_path: Path
) -> None:
    with serving(lambda _: GOOD, tls=certificate.server) as port, pytest.raises(EngineError) as caught:
        measured(tmp_path, port, "https", **named)
    assert re.search(
        rf"127.0.0.1:{port}: the server's certificate is not trusted \(self.signed certificate\); set "
        r"engine.ca_file to its authority's certificate, or set engine.verify_tls: false$",
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
        pytest.raises(EngineError, match=r"is not trusted \(Hostname mismatch, .*; set engine.ca_file"),
    ):
        site(trusting, f"https://localhost:{port}").served_model()


@NAMED
def test_https_to_a_server_without_tls(named: dict[str, str], tmp_path: Path) -> None:
    # A server's answer to bytes that are not HTTP; this server sends it at once.
    refusal = plain("400 Bad Request", b"Invalid HTTP request received.")
    with serving(lambda _: GOOD, greeting=refusal) as port, pytest.raises(EngineError) as caught:
        measured(tmp_path, port, "https", **named)
    assert re.search(
        r"no TLS connection \(\w+\); check whether engine.url must begin with http or https",
        str(caught.value),
    )


def test_http_to_a_server_with_tls(certificate: Certificate, tmp_path: Path) -> None:
    with serving(lambda _: GOOD, tls=certificate.server) as port, pytest.raises(EngineError) as caught:
        measured(tmp_path, port, "http")
    assert re.search(
        r"the answer is not HTTP \(.*\); check whether engine.url must begin with http or https",
        str(caught.value),
    )


def test_file_of_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    os.mkfifo(tmp_path / "pipe.pem")
    for name in ("empty.pem", "none.pem", "pipe.pem"):
        with pytest.raises(EngineError, match=rf"engine.ca_file: .*/{name}: no certificates in PEM format: "):
            site(engine(ca_file=str(tmp_path / name)), "https://host")


@pytest.mark.parametrize(
    "answer",
    [
        plain("401 Unauthorized", b'{"error": "Incorrect API key provided: key-planted/1"}'),
        plain("403 Forbidden", b"key-planted/1"),
        b"key-planted/1 is not the key\r\n",
    ],
)
def test_a_server_that_repeats_the_key_does_not_make_it_known(answer: bytes) -> None:
    environ = {"MY_KEY": "key-planted/1"}
    with serving(lambda _: GOOD, greeting=answer) as port, pytest.raises(EngineError) as caught:
        site(engine(api_key_env="MY_KEY"), f"http://127.0.0.1:{port}", environ).served_model()
    assert "planted" not in str(caught.value)
    assert "(not shown)" in str(caught.value)
