"""The verdict on the cause: one of machine, options and software, or why none of them is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.case.cause.evidence import Evidence
from pytest_dsr1.case.cause.rules import OTHER_WORK, RULES, Effect, Suspect

CauseKind = Literal["machine", "options", "software", "contradiction", "unknown"]

_NEXT = {
    "machine": "mend the machine, or run on another one, before you look at anything else",
    "options": "do what the clues say, or set back what differs, and run again",
    "software": "compare versions one by one (`pytest-dsr1 docs why-low#software`)",
    "contradiction": "mend what is certain first, then run again",
    "unknown": "go through `pytest-dsr1 docs why-low`",
}
_PROBE = "compare the machine with its references: run again with --dsr1-probe"
_PROBE_A_GOOD_RUN = "probe a good run too: add --dsr1-probe to one that meets its targets, or to a recording"


@dataclass(frozen=True, slots=True)
class Cause:
    """The verdict on the cause.

    Attributes:
        kind: the cause; ``contradiction`` if the evidence names two or contradicts itself.
        evidence: what was seen, most important first.
        next_step: what to do.
        changed: for software, what changed in it.
    """

    kind: CauseKind
    evidence: tuple[str, ...]
    next_step: str
    changed: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The cause in a word or two, for a table."""
        return {"unknown": "not known", "contradiction": "not clear"}.get(self.kind, self.kind)

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        seen = "; ".join(self.evidence)
        match self.kind:
            case "contradiction":
                return f"not clear, because the evidence points to more than one cause: {seen}"
            case "unknown":
                return (
                    f"not known: {seen}"
                    if seen
                    else "not known: no evidence about machine, options or software"
                )
            case "software":
                changed = f"; {'; '.join(self.changed)}" if self.changed else ""
                return f"the software: machine and options are excluded ({seen}){changed}"
            case _:
                return f"the {self.kind}: {seen}"


def cause_of(evidence: Evidence) -> Cause:
    """Return the cause that the evidence shows."""

    def found(suspect: Suspect, effect: Effect) -> list[str]:
        return [
            sentence
            for rule in RULES
            if (rule.suspect, rule.effect) == (suspect, effect)
            for sentence in rule.find(evidence)
        ]

    machine, options = found("machine", "convicts"), found("options", "convicts")
    machine_fine, options_fine = found("machine", "acquits"), found("options", "acquits")
    software, software_fine = found("software", "suspects"), found("software", "acquits")
    if machine and options:
        both = [*(f"machine: {each}" for each in machine), *(f"options: {each}" for each in options)]
        return _cause("contradiction", both)
    if machine == [OTHER_WORK]:
        return Cause("machine", (OTHER_WORK,), "end it, and run again")
    if machine:
        return _cause("machine", machine)
    if options:
        return _cause("options", options)
    suspected = [*([] if machine_fine else found("machine", "suspects")), *found("options", "suspects")]
    if machine_fine and options_fine and not suspected:
        excluded = [*machine_fine, *options_fine]
        if compiled := found("software", "unlike"):
            return Cause("unknown", (*compiled, *excluded), "run again")
        if software and software_fine:
            return _cause("contradiction", [*software, *software_fine])
        return (
            _cause("unknown", [*excluded, *software_fine])
            if software_fine
            else Cause("software", tuple(excluded), _NEXT["software"], tuple(software))
        )
    unclear = found("machine", "unclear")
    return Cause(
        "unknown",
        (*suspected, *software, *machine_fine, *unclear, *options_fine),
        _next_step(evidence),
    )


def unfit(mismatches: Sequence[str]) -> Cause:
    """Return the cause if the preflight refused the machine.

    Args:
        mismatches: what was found.
    """
    more = f", and {len(mismatches) - 1} more" if len(mismatches) > 1 else ""
    return _cause("machine", [f"it does not fit the scenario: {mismatches[0]}{more}"])


def _next_step(evidence: Evidence) -> str:
    """Return what to do about an unknown cause."""
    if evidence.watched is not None and evidence.probed is None:
        return _PROBE
    if evidence.probed is not None and not (evidence.probed.as_when_good or evidence.probed.other_work):
        return _PROBE_A_GOOD_RUN
    return _NEXT["unknown"]


def _cause(kind: CauseKind, evidence: Sequence[str]) -> Cause:
    return Cause(kind, tuple(evidence), _NEXT[kind])
