"""Findings: what a check of the machine, of its software or of a run found out, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["mismatch", "warning", "ok"]
"""``mismatch`` makes the run INVALID, ``warning`` is kept with the result, ``ok`` is shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of the preflight or the telemetry.

    Attributes:
        severity: the effect on the run.
        subject: what was checked, such as ``GPU 3 persistence mode``.
        message: expected, found, and what to do next, in one sentence.
        node: the machine that it is about, if the run uses several.
    """

    severity: Severity
    subject: str
    message: str
    node: str = ""

    @property
    def where(self) -> str:
        """The subject with its node, such as ``GPU 3 persistence mode on node2``."""
        return f"{self.subject} on {self.node}" if self.node else self.subject
