"""What speaks for and against the software, and what keeps it from being named by elimination."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.case.cause.evidence import Evidence
from pytest_dsr1.machine.gpu.xids import described

_FAULTY_KERNEL = (13, 31)
"""Xid errors of a program whose kernel failed."""


def faulty_kernel(evidence: Evidence) -> Iterator[str]:
    """Find a kernel that failed, which may be why a run does not count."""
    xid = evidence.watched.xid if evidence.watched else None
    if xid in _FAULTY_KERNEL:
        yield f"{described(xid)} during the run"


def not_counted(evidence: Evidence) -> Iterator[str]:
    """Say why elimination names none of the three: nothing says that this run was slow, or how slow."""
    if evidence.result == "INVALID":
        if not any(faulty_kernel(evidence)):
            yield from evidence.why_invalid or ("the run does not count",)
    elif evidence.share_of_target is None:
        yield "it is not known how much is missing"


def changed_software(evidence: Evidence) -> Iterator[str]:
    """Find software that differs from when it was good."""
    if evidence.software_changed:
        yield f"changed since it was good: {', '.join(evidence.software_changed)}"


def compiled(evidence: Evidence) -> Iterator[str]:
    """Find a start that compiled."""
    if "compile-cache" in evidence.clues:
        yield "this start compiled code, so it is not like later starts"


def unknown_software(evidence: Evidence) -> Iterator[str]:
    """Say what is lacking to compare the software."""
    if evidence.green != "never" and evidence.software_same is None:
        yield "it is not recorded whether the software is as when it was good"


def same_software(evidence: Evidence) -> Iterator[str]:
    """Acquit software that is as when it was good."""
    if evidence.green != "never" and evidence.software_same:
        yield "software as when it was good"
