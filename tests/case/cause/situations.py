"""Situations with their causes, from ``situations.yaml``.

Probes tell as much as those of the product, unless a situation says what they tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pytest_dsr1.case.cause.evidence import Evidence, OptionDifference, Probed, Watched
from pytest_dsr1.case.cause.probes import WHAT
from pytest_dsr1.machine.probe.values import KINDS

TELLS = {**{WHAT[name]: KINDS[name].smallest_percent for name in WHAT}, "host_link": 5.0}
FILE = Path(__file__).with_name("situations.yaml")


@dataclass(frozen=True)
class Situation:
    """A situation, and whom it is right to name."""

    name: str
    evidence: Evidence
    answer: str
    why: str
    trap: bool


def situations() -> list[Situation]:
    """Return all situations."""
    return [
        Situation(each["id"], evidence(each), each["answer"], each["why"], each.get("trap", False))
        for each in yaml.safe_load(FILE.read_text(encoding="utf-8"))
    ]


def evidence(of: Mapping[str, Any]) -> Evidence:
    """Return the evidence of a situation."""
    changed = of.get("changed", ())
    software = of.get("software", {})
    versions = tuple(software.get("changed", ()))
    findings = of.get("findings", ())
    return Evidence(
        result=of["status"],
        gpus=of.get("gpus", 8),
        one_at_a_time=of.get("one_at_a_time", False),
        why_invalid=tuple(of.get("reasons", ())),
        above_peak=of.get("above_peak", False),
        share_of_target=of.get("share_of_target"),
        probed=_probed(of.get("probes")),
        watched=_watched(
            of.get("telemetry"),
            locked_on_purpose=any("lock_sm_clock" in each["what"] for each in of.get("options", ())),
        ),
        doubts=tuple(each["what"] for each in findings if not each.get("in_the_run")),
        seen=tuple(each["what"] for each in findings if each.get("in_the_run")),
        options=tuple(
            OptionDifference(
                each["what"],
                str(each["asked"]),
                str(each["effective"]),
                each["matters"] == "yes" and each["sure"],
                each.get("cost_percent"),
            )
            for each in of.get("options", ())
            if each["matters"] != "no"  # gather.py leaves out such options
        ),
        options_read=of.get("options_read", False),
        options_not_read=tuple(of.get("options_not_read", ())),
        options_as_published=of.get("options_as_published"),
        green=of.get("green", "never"),
        changed={each["key"]: each["role"] for each in changed},
        software_same=software.get("same_as_green"),
        software_changed=versions,
        clues={key: key for key in of.get("clues", ())},
    )


def _probed(of: Mapping[str, Any] | None) -> Probed | None:
    if of is None:
        return None
    if of.get("against") not in {"references", "peers"}:  # nothing is compared with a data sheet
        return Probed("peers")
    return Probed(
        of["against"],
        of.get("all", {}),
        of.get("gpus", {}),
        {**TELLS, **of.get("smallest", {})},
        of.get("other_work", False),
        of.get("slower_after", {}),
    )


def _watched(of: Mapping[str, Any] | None, *, locked_on_purpose: bool) -> Watched | None:
    if of is None:
        return None
    return Watched(
        throttled_share=of.get("throttled_share"),
        power_capped=of.get("power_capped"),
        locked_clock=of.get("locked_clock") and not locked_on_purpose,
        xid=of.get("xid"),
        ecc_grew=of.get("ecc_grew", False),
        shared=of.get("shared"),
        not_allowed=tuple(of.get("not_allowed", ())),
        unseen=("nothing is known of 1 of its GPUs",) if of.get("unseen_gpus") else (),
    )
