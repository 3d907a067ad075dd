"""The verdict on the cause: one of machine, options and software, or why none of them is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.case.cause.evidence import Evidence
from pytest_dsr1.case.cause.machine import OTHER_WORK
from pytest_dsr1.case.cause.options import asked_otherwise, changed_options
from pytest_dsr1.case.cause.rules import RULES, Effect, Suspect
from pytest_dsr1.case.cause.watched import SHARING
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu.inventory import sentences

CauseKind = Literal["machine", "options", "software", "contradiction", "unknown"]

_NEXT = {
    "machine": "mend the machine, or run on another one, before you look at anything else",
    "options": "do what the clues say, or set back what differs, and run again",
    "software": "compare versions one by one (`pytest-dsr1 docs why-low#software`)",
    "contradiction": "mend what is certain first, then run again",
    "unknown": "go through `pytest-dsr1 docs why-low`",
}
_END_OTHERS = "end the other work, and run again"
_SET_BACK = "set back what changed in the options, and run again"
_UNEXPLAINED = "nothing that is recorded explains it"
_NOT_RECORDED = "run again; if it stays low, look at what is not recorded, such as edited code"
_PROBE_FIRST = "see what the GPUs can do: run again with --dsr1-probe"
_PROBE = "compare the machine with a good run: run again with --dsr1-probe"
_PROBE_BOTH = (
    "compare the machine with a good run: add --dsr1-probe to this one, and to one that meets its targets"
)
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
                return f"not known: {seen}"
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
        return Cause("machine", (OTHER_WORK,), _END_OTHERS)
    if machine:
        return _cause("machine", machine)
    if options:
        return _cause("options", options)
    of_machine = [*found("machine", "suspects"), *([] if machine_fine else found("machine", "doubts"))]
    of_options = found("options", "suspects")
    suspected = [*of_machine, *of_options]
    unclear, unlike = found("machine", "unclear"), found("software", "unlike")
    if machine_fine and options_fine and not (suspected or unclear or unlike):
        excluded = [*machine_fine, *options_fine]
        if software and software_fine:
            return _cause("contradiction", [*software, *software_fine])
        if software_fine:
            return Cause("unknown", (_UNEXPLAINED, *excluded, *software_fine), _NOT_RECORDED)
        of_software = [*found("software", "convicts"), *software]
        return Cause("software", tuple(excluded), _NEXT["software"], tuple(of_software))
    only_options = bool(of_options) and of_options == asked_otherwise(evidence)
    if machine_fine and software_fine and only_options and not (of_machine or unclear or unlike):
        return Cause("options", (*of_options, *machine_fine, *software_fine), _SET_BACK)
    seen = (*unlike, *suspected, *software)
    if not (unlike and evidence.result == "INVALID"):  # nothing would acquit or convict anybody then
        acquitted = (*options_fine, *found("options", "unclear"), *software_fine)
        seen += (*machine_fine, *unclear, *acquitted, *found("software", "unclear"))
    return Cause("unknown", seen, _next_step(evidence))


def unfit(mismatches: Sequence[Finding]) -> Cause:
    """Return the cause if the preflight refused the machine.

    Args:
        mismatches: what was found, at least one.
    """
    first, *others = sentences(mismatches)
    more = f", and {len(others)} more" if others else ""
    only_shared = all(finding.subject.endswith(SHARING) for finding in mismatches)
    step = _END_OTHERS if only_shared else _NEXT["machine"]
    return Cause("machine", (f"it does not fit the scenario: {first}{more}",), step)


def _next_step(evidence: Evidence) -> str:
    """Return what to do about an unknown cause."""
    if evidence.result == "INVALID":
        return "do what the message says, and run again"
    if "compile-cache" in evidence.clues:
        return "run again"
    if evidence.probed is not None and evidence.probed.other_work:
        return _END_OTHERS
    if any(changed_options(evidence)):
        return _SET_BACK
    if evidence.watched is not None and evidence.probed is None:
        if evidence.green == "never":
            return _PROBE_FIRST
        return _PROBE if evidence.good_was_probed else _PROBE_BOTH
    if evidence.green != "never" and evidence.probed is not None and not evidence.probed.as_when_good:
        return _PROBE_A_GOOD_RUN
    return _NEXT["unknown"]


def _cause(kind: CauseKind, evidence: Sequence[str]) -> Cause:
    return Cause(kind, tuple(evidence), _NEXT[kind])
