"""A preflight check: the machine room is open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.preflight.check import Check, Preflight, check


@check()
def machine_room(look: Preflight) -> Iterator[Finding]:
    """`DSR1_EXAMPLE_ROOM` is not `closed`."""
    if look.environ.get("DSR1_EXAMPLE_ROOM") == "closed":
        yield Finding("mismatch", "machine room", "expected open, found closed: set DSR1_EXAMPLE_ROOM=open")


def pytest_dsr1_checks() -> Iterable[Check]:
    """List the check."""
    return [machine_room]
