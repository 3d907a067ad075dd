"""The local ports that connections to one server need."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from pytest_dsr1.errors import EngineError

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The range of local ports, for IPv6 too (Linux, Documentation/networking/ip-sysctl.rst)."""


def check_all(needed: Sequence[tuple[str, int, int]]) -> None:
    """Check that there are enough local ports for the connections to all servers.

    Servers behind one address, such as paths of a gateway, share its ports.

    Args:
        needed: host, port and connections of each server.

    Raises:
        EngineError: there are too few.
    """
    found: dict[object, dict[str, int]] = {}
    for host, port, connections in needed:
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        names = found.setdefault(_address(host, port), {})
        names[name] = names.get(name, 0) + connections
    for names in found.values():
        check(" and ".join(names), sum(names.values()))


def _address(host: str, port: int) -> object:
    """Return the address that a connection to this host tries first; the host if it is not known."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][:2]
    except (OSError, UnicodeError):  # connecting says why
        return host, port


def check(authority: str, connections: int) -> None:
    """Check that there are enough local ports for the connections to one address.

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
