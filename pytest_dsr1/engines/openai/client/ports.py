"""The local ports that connections to one server need."""

from __future__ import annotations

from pathlib import Path

from pytest_dsr1.errors import EngineError

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The range of local ports, for IPv6 too (Linux, Documentation/networking/ip-sysctl.rst)."""


def check(authority: str, connections: int) -> None:
    """Check that there are enough local ports for the connections to one server.

    Each connection to the same address and port needs a local port of its own.

    Raises:
        EngineError: there are too few.
    """
    try:
        low, high = map(int, RANGE.read_text().split())
    except (OSError, ValueError):  # not Linux
        return
    ports = high - low + 1
    if connections > ports:
        raise EngineError(
            f"load.concurrency: {connections:,} connections to {authority} need as many local ports, but "
            f"net.ipv4.ip_local_port_range has {ports:,} ({low} to {high}); widen it (sysctl -w "
            "net.ipv4.ip_local_port_range='1024 65535'), list more servers in engine.url, or lower "
            "load.concurrency"
        )
