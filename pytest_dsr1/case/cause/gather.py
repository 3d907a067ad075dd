"""The evidence about a bad result, collected from a run and from what it is compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pytest_dsr1.case.cause.evidence import ChangedRole, Evidence, OptionDifference, Result, Watched
from pytest_dsr1.case.cause.probes import probed
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.case.known_costs import known_cost
from pytest_dsr1.case.published import published_values
from pytest_dsr1.case.since import Change, Green, Since
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.engines.in_effect import NOT_ASKED, of_saved, shown
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.cpu_load import SHARED
from pytest_dsr1.machine.gpu.xids import XIDS
from pytest_dsr1.machine.values import UNVERIFIED, FactValue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import metric_named
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
    watched = _watched(measurement, keys)
    return Evidence(
        result=found,
        gpus=measurement.scenario.hardware.count,
        share_of_target=_share(judgment.judged),
        probed=probed(
            measurement,
            references,
            since.probes if since else {},
            other_work=bool(watched and watched.shared),
            of_good=not (since and since.doubt),
        ),
        watched=watched,
        unverified=tuple(_unverified(measurement)),
        options=(*_options(measurement), *(_from_published(measurement) if green == "never" else ())),
        options_read=_options_read(measurement),
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


def _watched(measurement: Measurement, clues: Mapping[str, str]) -> Watched | None:
    telemetry, health = measurement.telemetry, measurement.gpu_health
    if not telemetry.gpus or health is None:
        shared = any(f.severity == "mismatch" and f.subject == SHARED for f in measurement.findings)
        return Watched(shared=True) if shared else None
    begin_s, end_s = measurement.result.measured_from_s, measurement.result.measured_to_s
    inside = [event for event in telemetry.events if begin_s <= event.time_s <= end_s + 1]
    codes = [event.xid for event in inside if event.xid is not None]
    hardware = [code for code in codes if code in XIDS and XIDS[code].kind == "hardware"]
    throttled = [gpu.throttled_share for gpu in health.gpus if gpu.throttled_share is not None]
    ecc = zip(telemetry.ecc_uncorrected_before, telemetry.ecc_uncorrected_after, strict=False)
    return Watched(
        throttled_share=max(throttled, default=None),
        power_capped="power-cap" in clues and _limit_is_lowered(measurement.fingerprint.facts),
        locked_clock="sm-clock" in clues and measurement.scenario.gpu_setup.lock_sm_clock_mhz is None,
        clock_loss_percent=_clock_loss_percent(measurement),
        lost=any(event.kind == "lost" for event in telemetry.events),
        # A process is reported once: one from before the measured time may still have been there.
        shared=any(
            event.kind == "foreign process" and event.time_s <= end_s + 1 for event in telemetry.events
        ),
        xid=next(iter(hardware), None),
        ecc_grew=any(old is not None and new is not None and new > old for old, new in ecc),
        unseen=len(telemetry.gpus) < measurement.scenario.hardware.count,
    )


def _clock_loss_percent(measurement: Measurement) -> float | None:
    """Return the most that a lower SM clock can have cost; None if it is unknown."""
    telemetry, health = measurement.telemetry, measurement.gpu_health
    most_mhz = dict(zip(telemetry.gpus, telemetry.max_sm_clock_mhz, strict=False))
    losses = [
        100 * (1 - gpu.sm_clock_mhz_mean / most)
        for gpu in (health.gpus if health else ())
        if gpu.sm_clock_mhz_mean is not None and (most := most_mhz.get(gpu.gpu))
    ]
    return max(losses, default=None)


def _limit_is_lowered(facts: Mapping[str, FactValue]) -> bool:
    """Return whether a power limit is below the default: at the default, published runs are capped too."""
    limits, defaults = _watts(facts.get("gpu.power_limit_w")), _watts(facts.get("gpu.power_default_w"))
    length = max(len(limits), len(defaults))
    limits, defaults = (each * length if len(each) == 1 else each for each in (limits, defaults))
    pairs = zip(limits, defaults, strict=False)
    return any(limit is not None and default is not None and limit < default for limit, default in pairs)


def _watts(value: FactValue) -> list[float | None]:
    """Return a power of each GPU, or one for all; None for a GPU that does not report it."""
    values = value if isinstance(value, list) else [str(value)]
    return [_number(each) for each in values]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "None" of a GPU that does not report it
        return None


def _unverified(measurement: Measurement) -> Iterable[str]:
    for finding in measurement.findings:
        if finding.severity == "warning" and finding.message.endswith(UNVERIFIED):
            yield f"{finding.subject}: {finding.message.removesuffix(UNVERIFIED).strip()}"


def _options(measurement: Measurement) -> Iterable[OptionDifference]:
    for option in of_saved(measurement.result.facts.options_in_effect):
        if option.differs:
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
