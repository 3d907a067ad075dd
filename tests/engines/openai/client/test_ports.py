"""Whether there are enough local ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.client import ports
from pytest_dsr1.errors import EngineError


def test_one_port_for_each_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "range"
    file.write_text("32768\t60999\n")
    monkeypatch.setattr(ports, "RANGE", file)
    ports.check("host:8000", 28_232)
    with pytest.raises(EngineError) as error:
        ports.check("host:8000", 28_233)
    assert str(error.value) == (
        "load.concurrency: 28,233 connections to host:8000 need as many local ports, but "
        "net.ipv4.ip_local_port_range has 28,232 (32768 to 60999); widen it (sysctl -w "
        "net.ipv4.ip_local_port_range='1024 65535'), list more servers in engine.url, or lower "
        "load.concurrency"
    )


def test_servers_behind_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two paths or two names of one address share its ports; another port has ports of its own."""
    file = tmp_path / "range"
    file.write_text("100 199\n")
    monkeypatch.setattr(ports, "RANGE", file)
    ports.check_all([("127.0.0.1", 1, 50), ("127.0.0.1", 1, 50), ("127.0.0.1", 2, 100), ("::1", 1, 100)])
    with pytest.raises(EngineError, match=r" 101 connections to 127\.0\.0\.1:1 need"):
        ports.check_all([("127.0.0.1", 1, 50), ("127.0.0.1", 1, 51)])
    with pytest.raises(EngineError, match=r" 101 connections to \[::1\]:1 and \[0::1\]:1 need"):
        ports.check_all([("::1", 1, 50), ("0::1", 1, 51)])
    with pytest.raises(EngineError, match=r" 101 connections to not known:1 need"):
        ports.check_all([("not known", 1, 50), ("not known", 1, 51)])


@pytest.mark.parametrize("text", [None, "", "words\n", "1 2 3\n"])
def test_an_unknown_range_refuses_nothing(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "range"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(ports, "RANGE", file)
    ports.check("host:8000", 1_000_000)
