"""The rules about the cause of a bad result: what convicts, what is a suspicion, and what acquits.

What was measured, read from the engine, or seen in a cited log convicts or acquits. What rests on
documentation alone is a suspicion. What was not read does not count. What explains less than half of what is
missing is a suspicion too, and what explains a quarter or less is ignored. Software, and options that
changed, are named by elimination, where it is known how much is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.case.cause import machine, options, software
from pytest_dsr1.case.cause.evidence import Evidence

Suspect = Literal["machine", "options", "software"]
Effect = Literal["convicts", "suspects", "doubts", "acquits", "unclear", "unlike"]
"""``doubts``: a suspicion that what acquits refutes. ``unclear``: what is lacking to acquit. ``unlike``: the
run is not like others, so elimination names none of them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        suspect: whom it is about.
        effect: what it says about the suspect.
        source: where the rule is from.
        find: returns what was seen, one sentence for each; nothing if the rule does not apply.
    """

    suspect: Suspect
    effect: Effect
    source: str
    find: Callable[[Evidence], Iterator[str]]


_CATALOG = "NVIDIA's Xid catalog"
_SEEN = "measured on an H200 (`pytest-dsr1 docs measurements`)"
_TELEMETRY = "NVML's clock-event reasons, read during the run"
_ARITHMETIC = "a part cannot cost more than its share"

RULES: tuple[Rule, ...] = (
    Rule("machine", "convicts", _CATALOG, machine.xid),
    Rule("machine", "convicts", "NVML's error counters", machine.memory_errors),
    Rule("machine", "convicts", "NVML's error code", machine.lost),
    Rule("machine", "convicts", _SEEN, machine.shared),
    Rule("machine", "convicts", "the limits of the scenario", machine.not_allowed),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: machine.throttled(evidence, enough=True)),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: machine.capped(evidence, enough=True)),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: machine.behind(evidence, enough=True)),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: machine.locked(evidence, enough=True)),
    Rule("machine", "convicts", _SEEN, lambda evidence: machine.slow_probes(evidence, enough=True)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: machine.throttled(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: machine.capped(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: machine.behind(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: machine.locked(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: machine.slow_probes(evidence, enough=False)),
    Rule("machine", "suspects", "another process may have slowed them down", machine.spoiled_probes),
    Rule("machine", "suspects", _SEEN, machine.slow_after),
    Rule("machine", "suspects", "the run's own warnings", lambda evidence: iter(evidence.seen)),
    Rule("machine", "doubts", "the fingerprint", machine.changed_machine),
    Rule(
        "machine",
        "doubts",
        "documentation alone, or the published settings",
        lambda evidence: iter(evidence.doubts),
    ),
    Rule("machine", "acquits", _SEEN, machine.same_probes),
    Rule("machine", "unclear", _SEEN, machine.unclear_probes),
    Rule("machine", "unclear", "the telemetry", machine.unwatched),
    Rule(
        "options",
        "convicts",
        "the engine's report or log",
        lambda evidence: options.different_options(evidence, enough=True),
    ),
    Rule(
        "options",
        "convicts",
        "`pytest-dsr1 docs why-low`",
        lambda evidence: options.clues_of_options(evidence, convict=True),
    ),
    Rule(
        "options",
        "suspects",
        "the scenario, which may be that of a good run",
        lambda evidence: options.clues_of_options(evidence, convict=False),
    ),
    Rule(
        "options", "suspects", _ARITHMETIC, lambda evidence: options.different_options(evidence, enough=False)
    ),
    Rule("options", "suspects", "the fingerprint", options.changed_options),
    Rule("options", "acquits", "the engine's report, or the fingerprint", options.same_options),
    Rule("options", "unclear", "the engine's report or log", options.unread_options),
    Rule("software", "convicts", _CATALOG, software.faulty_kernel),
    Rule("software", "suspects", "the fingerprint", software.changed_software),
    Rule("software", "unlike", "a run that does not count has no figure", software.not_counted),
    Rule("software", "unlike", "`pytest-dsr1 docs gate`, starts that compiled", software.compiled),
    Rule("software", "acquits", "the fingerprint", software.same_software),
    Rule("software", "unclear", "the fingerprint", software.unknown_software),
)
"""In the order in which they are shown."""
