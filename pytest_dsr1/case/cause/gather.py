"""The evidence about a bad result, collected from a run and from what it is compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pytest_dsr1.case.cause.evidence import ChangedRole, Evidence, OptionDifference, Result
from pytest_dsr1.case.cause.probes import accepted, probed
from pytest_dsr1.case.cause.watched import doubts, had_company, seen, watched
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.case.known_costs import known_cost
from pytest_dsr1.case.published import published_values
from pytest_dsr1.case.since import Change, Green, Since
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.engines.in_effect import KNOWN, NOT_ASKED, not_read, of_saved, shown
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.references import References
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import metric_named
from pytest_dsr1.text import head
from pytest_dsr1.verdict.validity import above_peak, invalid_reasons
from pytest_dsr1.verdict.verdict import Status, Verdict


def evidence_of(
    judgment: Judgment,
    measurement: Measurement,
    clues: Iterable[FoundClue],
    since: Since | None,
    references: References | None = None,
) -> Evidence | None:
    """Return the evidence about a result; None if nothing is wrong, or no run was measured."""
    found = _result(judgment)
    if found is None:
        return None
    found_clues = list(clues)
    keys = {clue.key: clue.sentence for clue in found_clues}
    changes = since.changes if since else ()
    green = since.green if since else "never"
    software = tuple(change.text for change in changes if change.is_software)
    # Other software chooses otherwise; without a change in it, something else made it choose so.
    chosen = [change for change in changes if software and change.is_choice]
    telemetry = watched(measurement, keys)
    company = had_company(measurement) or bool(telemetry and telemetry.shared)
    published = _from_published(measurement) if green == "never" and found != "INVALID" else ()
    return Evidence(
        result=found,
        why_invalid=tuple(_why_invalid(judgment, measurement)) if found == "INVALID" else (),
        above_peak=any(above_peak(measurement)),
        gpus=measurement.scenario.hardware.count,
        share_of_target=_share(judgment.judged),
        one_at_a_time=measurement.scenario.load.at_once == 1,
        probed=probed(
            measurement,
            references,
            since.probes if since else {},
            other_work=company,
            of_good=not (since and since.doubt),
        ),
        good_was_probed=bool(accepted(references, measurement) or (since and since.probes)),
        watched=telemetry,
        doubts=tuple(doubts(measurement)),
        seen=tuple(seen(measurement, keys)),
        options=(*_options(measurement), *published),
        options_read=_options_read(measurement),
        options_not_read=not_read(measurement.result.facts.options_in_effect),
        options_as_published=_as_published(measurement),
        green=green,
        changed={change.key: _role(change) for change in changes if change not in chosen},
        software_same=_software_same(measurement, green, software),
        software_changed=(*software, *(change.text for change in chosen)),
        clues=keys,
        clue_costs={clue.key: clue.cost_percent for clue in found_clues if clue.cost_percent is not None},
    )


def _software_same(measurement: Measurement, green: Green, changed: Collection[str]) -> bool | None:
    """Return whether the software is as it was when the run was good; a server may not say it."""
    if changed:
        return False
    said = "version" in measurement.result.facts.options_in_effect
    known = said or measurement.scenario.engine.records_its_versions
    return True if known and green != "never" else None


def _why_invalid(judgment: Judgment, measurement: Measurement) -> Iterator[str]:
    """Yield why a result does not count, in a line each: by its run, else by the verdict on it."""
    refused = judgment.refused[1] if judgment.refused else ""
    verdicts = (verdict.message for verdict in judgment.judged if verdict.status is Status.INVALID)
    said = next(filter(None, (judgment.problem, refused, *verdicts)), "")
    reasons = invalid_reasons(measurement) or ([said] if said else [])
    yield from map(head, reasons)


def _result(judgment: Judgment) -> Result | None:
    if judgment.status is Status.INVALID:
        return "INVALID"
    if judgment.status is not Status.FAIL:
        return None
    missed = any(verdict.status is Status.FAIL for verdict in judgment.verdicts)
    return "FAIL" if missed else "LOSS"


def _share(verdicts: Iterable[Verdict]) -> float | None:
    """Return measured / expected of the worst figure; a latency counts by its inverse."""
    shares = []
    for verdict in verdicts:
        if verdict.status is Status.FAIL and verdict.measured and verdict.target:
            share = verdict.measured / verdict.target
            shares.append(share if metric_named(verdict.metric).better == "higher" else 1 / share)
    return min(shares, default=None)


def _options(measurement: Measurement) -> Iterable[OptionDifference]:
    """Yield the options that are not as asked for, without those that change nothing that is measured."""
    for option in of_saved(measurement.result.facts.options_in_effect):
        if option.differs and KNOWN.get(option.name) is not False:
            cost = known_cost(option.name, option.in_effect, measurement.scenario)
            yield OptionDifference(
                option.name,
                shown(option.asked),
                shown(option.in_effect),
                option.changes_the_measurement,
                cost_percent=cost.least_percent if cost else None,
            )


def _options_read(measurement: Measurement) -> bool:
    """Return whether an option was read that was asked for and changes what is measured."""
    options = of_saved(measurement.result.facts.options_in_effect)
    return any(option.asked is not NOT_ASKED and option.changes_the_measurement for option in options)


def _from_published(measurement: Measurement) -> Iterable[OptionDifference]:
    """Yield the options that the scenario changes from the published run and whose cost is known."""
    newest = next(published_values(measurement.scenario, measurement), None)
    for key, cost in newest.costs.items() if newest else ():
        if cost.least_percent is not None:
            percent = cost.least_percent
            yield OptionDifference(key, "as published", "changed", matters=True, cost_percent=percent)


def _as_published(measurement: Measurement) -> bool | None:
    """Return whether the options that were asked for are the published ones; None without a published run."""
    newest = next(published_values(measurement.scenario, measurement), None)
    return None if newest is None else not newest.differs


def _role(change: Change) -> ChangedRole:
    if change.has_known_effect:
        return "known"
    return "shown" if comparability.role(change.key, {}) == "shown" else "under_test"
