"""What speaks for and against the options, the load and the data."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.case.cause.evidence import Evidence

_MEASURED_CLUES = (
    "number-format",
    "kv-cache",
    "engine-queue",
    "low-concurrency",
    "ramp-and-drain",
    "acceptance-length",
)
"""Clues that show what the engine did with its options, load and data."""
_PLANNED_CLUES = ("attention-dp", "chunked-context", "cuda-graphs")
"""Clues that show what the scenario asks for. They convict only if the options in effect were read."""

_OPTIONS = ("option.", "in_effect.", "environment.")
"""Facts about options, by how they begin: asked for, in effect, and set by inherited variables."""
_CLUES = (*_MEASURED_CLUES, *_PLANNED_CLUES)
_SAME_WHEN_GOOD = (*_PLANNED_CLUES, "ramp-and-drain")
"""Clues that follow from the scenario alone: a good run with the same options, model and data had them."""


def different_options(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    """Find options that were not in effect as asked for or published."""
    for each in evidence.options:
        # A sure difference spoils a run by itself, whatever it costs.
        percent = each.cost_percent
        explains = percent is None or evidence.result == "INVALID" or evidence.explains(percent)
        if (each.matters and explains) == enough:
            cost = f", known to cost {percent:g}%" if percent is not None else ""
            yield f"{each.what} was {each.effective} instead of {each.asked}{cost}"


def clues_of_options(evidence: Evidence, *, convict: bool) -> Iterator[str]:
    """Find clues about options, load and data."""
    for key in _clues(evidence):
        if _convicts(key, evidence) == convict:
            same = _as_when_good(evidence) and not any(changed_options(evidence))
            also = ", with the options of when it was good" if same and not convict else ""
            yield f"{_without_remedy(evidence.clues[key])}{also}"


def _clues(evidence: Evidence) -> list[str]:
    """Return the clues about options, load and data, without those that a good run surely had as well."""
    had = _SAME_WHEN_GOOD if _as_when_good(evidence) else ()
    return [key for key in _CLUES if key in evidence.clues and key not in had]


def _convicts(key: str, evidence: Evidence) -> bool:
    """Return whether a clue convicts the options, and is not only a suspicion.

    Only another number format than expected can be why a run does not count: if it is too fast to be true.
    """
    if evidence.result == "INVALID":
        return key == "number-format" and evidence.above_peak
    if key in _PLANNED_CLUES and not evidence.options_read:
        return False
    return not _too_cheap(key, evidence) and not _as_when_good(evidence)


def _as_when_good(evidence: Evidence) -> bool:
    """Return whether a good run was asked for the same options, model and data, and so had these clues."""
    asked = ("option.", "model.", "dataset.")
    changed = any(key.startswith(asked) and role != "shown" for key, role in evidence.changed.items())
    return evidence.green != "never" and not evidence.options and not changed


def _without_remedy(sentence: str) -> str:
    """Return what a clue saw; the remedy, after a colon, is with the clue itself."""
    return sentence.partition(": ")[0]


def _too_cheap(clue: str, evidence: Evidence) -> bool:
    """Return whether what a clue shows can have cost too little to explain what is missing."""
    costs = [
        each.cost_percent
        for each in evidence.options
        if each.cost_percent is not None
        and (each.what.replace("_", "-") in clue or clue in each.what.replace("_", "-"))
    ]
    costs += [evidence.clue_costs[clue]] if clue in evidence.clue_costs else []
    return any(not evidence.explains(cost) for cost in costs)


def changed_options(evidence: Evidence) -> Iterator[str]:
    """Find options that differ from when it was good."""
    for fact, role in evidence.changed.items():
        if fact.startswith(_OPTIONS) and role != "shown":
            yield f"changed since it was good: {fact}"


def asked_otherwise(evidence: Evidence) -> list[str]:
    """Return the changed options if all of them were asked for; empty if the engine itself chose some."""
    asked = ("option.", "environment.")
    if any(fact.startswith(_OPTIONS) and not fact.startswith(asked) for fact in evidence.changed):
        return []
    return list(changed_options(evidence))


def same_options(evidence: Evidence) -> Iterator[str]:
    """Acquit options that are in effect as asked for, or as when it was good."""
    if evidence.options or any(changed_options(evidence)):
        return
    if _clues(evidence):
        return
    read = evidence.options_read and not evidence.options_not_read
    if read and evidence.options_as_published:
        yield "options in effect as published"
    elif read:
        yield "options in effect as asked for"
    elif evidence.green != "never" and evidence.software_same:
        yield "options as when it was good"


def unread_options(evidence: Evidence) -> Iterator[str]:
    """Say what is lacking to acquit the options."""
    if any(same_options(evidence)):
        return
    if evidence.options_not_read:
        yield f"asked for, but not read: {', '.join(evidence.options_not_read)}"
    elif not evidence.options_read:
        yield "the options in effect were not read"
