"""Acceptance: a person turns recorded runs into references and states the reason. A run never does."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean, median

from pytest_dsr1.errors import NoReferenceError, ReferencesError, UserError
from pytest_dsr1.gate import comparability, recordings
from pytest_dsr1.gate.accuracy import reference_answers
from pytest_dsr1.gate.accuracy.judge import about
from pytest_dsr1.gate.comparability import any_node, short
from pytest_dsr1.gate.noise import apart
from pytest_dsr1.gate.recordings import RecordedRun
from pytest_dsr1.gate.reference_file import SKEW, locked, read, write
from pytest_dsr1.gate.references import (
    LEAST,
    WANTED,
    Acceptance,
    ReferenceRun,
    References,
    by_node,
    how_to_get_more,
    too_old,
    within_node_variance,
)
from pytest_dsr1.machine.probe.values import KINDS, PREFIX
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.metrics.catalogue import METRICS, found_by_search, metric_named
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import (
    READINGS_S,
    NoSteadyFigureError,
    SteadyFigure,
    steady_figure,
    warmup_of,
)
from pytest_dsr1.steady.run_length import gated_requests
from pytest_dsr1.study.eligibility import gated_metric
from pytest_dsr1.text import number, writable


def accept(
    store: Path, scenario: Scenario, *, reason: str, by: str, now: datetime, commit: str | None
) -> tuple[References, list[str]]:
    """Make the recorded runs of the newest fingerprint the references of a scenario, with their answers.

    The recorded runs stay. The number of requests of a gated run is computed here by the method of Kalibera
    and Jones, from the median start-up time and the variances within and between these runs.

    Args:
        store: the folder of references.
        scenario: the scenario of the runs; its gate names the metric and the least warm-up.
        reason: why these runs are what the scenario delivers; reviewers read it.
        by: the person who accepts them.
        now: the current time, with its time zone.
        commit: of the repository that contains the store; None if there is none.

    Returns:
        The references, and sentences for the user: warnings, what was left out, what changed.

    Raises:
        UserError: the reason is empty.
        NoReferenceError: there are too few runs.
        ReferencesError: a file cannot be trusted, or a run has no figure of the gated metric.
        InvalidRunError: a gate or another acceptance has locked the references.
    """
    reason, by = _on_one_line(reason), _on_one_line(by)
    if not reason:
        raise UserError("--reason is empty; say why these runs represent the scenario's normal performance")
    with locked(store, scenario.name, f"pytest-dsr1 references accept {scenario.name}"):
        before = _before(store, scenario.name, now)
        reference_answers.read(store, scenario.name)  # a changed file is not overwritten either
        runs, left_out = _newest(_recorded(store, scenario.name, now))
        under_test = scenario.gate.under_test
        counts = Counter(run.node for run in runs)
        if (len(runs) if any_node(under_test) else max(counts.values())) < LEAST:
            few = (
                f"{scenario.name}: too few recorded runs to accept: {by_node(counts)}; at least {LEAST} on "
                f"one node are required, {WANTED} are recommended; {how_to_get_more(scenario.name)}"
            )
            raise NoReferenceError("\n".join([few, *left_out]))
        metric, warmup_requests = metric_named(gated_metric(scenario)), warmup_of(scenario)
        requests = _requests(store, runs, metric.name, warmup_requests)
        found = _figures(store, runs, metric.name, warmup_requests, requests)
        accepted = References(
            profile=scenario.name,
            metric=metric.name,
            unit=metric.unit,
            better=metric.better,
            requests=requests,
            warmup_requests=warmup_requests,
            accepted=Acceptance(now.replace(microsecond=0), by, reason, commit),
            under_test=under_test,
            facts=comparability.with_role("under test", runs[-1].facts, comparability.EVERYTHING),
            runs=tuple(
                sorted(
                    (reference_run(run, figure) for run, figure in zip(runs, found, strict=True)),
                    key=lambda run: (run.node, run.at),
                )
            ),
        )
        reference_answers.write(store, scenario.name, reference_answers.chosen(runs))
        write(store, accepted)
    notes = [
        *about(accepted, store),
        *_doubts(accepted),
        *comparability.unfit(under_test, runs[-1].facts),
        *left_out,
    ]
    if before:
        notes += [*_changes(before, accepted), *_steps(store, before, accepted)]
    return accepted, notes


def reference_run(run: RecordedRun, figure: SteadyFigure) -> ReferenceRun:
    """Return a recorded run with its figure, rounded to the digits that matter."""
    return ReferenceRun(
        at=run.at,
        node=run.node,
        value=float(f"{figure.value:.8g}"),
        se_percent=round(figure.se_percent, 4),
        window_s=round(figure.window_s, 3),
        startup_s=round(run.trace.startup_s, 3),
        recording=run.name,
        gpus=run.gpus,
        probes=_probes(run.facts),
    )


def _probes(facts: comparability.Facts) -> dict[str, FactValue] | None:
    """Return the probes before a run, by probe; None if there were none."""
    found = {name: facts[f"{PREFIX}{name}"] for name in KINDS if f"{PREFIX}{name}" in facts}
    return found or None


def _on_one_line(text: str) -> str:
    return " ".join(writable(text).split())


def _before(store: Path, profile: str, now: datetime) -> References | None:
    try:
        return read(store, profile, now)
    except NoReferenceError:
        return None


def _recorded(store: Path, profile: str, now: datetime) -> Sequence[RecordedRun]:
    found, problems = recordings.read(store, profile)
    if problems:
        raise ReferencesError("\n".join(problems))
    if not found:
        raise NoReferenceError(
            f"{recordings.folder_of(store, profile)}: there are no recorded runs of {profile}; "
            f"{how_to_get_more(profile)}"
        )
    late = [run for run in found if run.at > now + SKEW]
    if late:
        raise ReferencesError(
            "\n".join(
                f"{_file(store, run)}: the run began at {run.at.isoformat()}, but it is {now.isoformat()} "
                "now: a clock was wrong; set the clock, or move the file out of the folder"
                for run in late
            )
        )
    return found


def _newest(found: Sequence[RecordedRun]) -> tuple[list[RecordedRun], list[str]]:
    """Return the runs with the same facts as the newest one, and sentences about the others."""
    newest = found[-1]
    runs: list[RecordedRun] = []
    others: dict[tuple[str, ...], list[RecordedRun]] = defaultdict(list)
    for run in found:
        differing = tuple(comparability.changed(run.facts, newest.facts, comparability.EVERYTHING))
        (others[differing] if differing else runs).append(run)
    return runs, [
        f"{len(left)} recorded runs up to {left[-1].at:%Y-%m-%d} are left out; changed since then: "
        f"{comparability.in_brief(differing)}"
        for differing, left in others.items()
    ]


def _requests(store: Path, runs: Sequence[RecordedRun], metric: str, warmup_requests: int) -> int:
    """Return the number of requests of a gated run, from the variances at full length."""
    figures = _figures(store, runs, metric, warmup_requests, None)
    if metric in found_by_search():
        return 1  # search
    by_nodes: dict[str, list[float]] = defaultdict(list)
    for run, figure in zip(runs, figures, strict=True):
        by_nodes[run.node].append(math.log(figure.value))
    within = fmean((figure.se_percent / 100) ** 2 for figure in figures)
    try:
        return gated_requests(
            figures,
            startup_s=median(run.trace.startup_s for run in runs),
            between_variance=(within_node_variance(by_nodes) or 0.0) - within,
            concurrency=runs[-1].trace.wave,
            most=min(figure.requests for figure in figures),
            readings_s=READINGS_S if "energy" in METRICS[metric].needs else 0.0,
        )
    except NoSteadyFigureError as error:
        raise ReferencesError(f"{runs[-1].profile}: {error}") from None


def _figures(
    store: Path, runs: Sequence[RecordedRun], metric: str, warmup_requests: int, requests: int | None
) -> list[SteadyFigure]:
    figures, problems = [], []
    for run in runs:
        try:
            figures.append(
                steady_figure(run.trace, metric, warmup_requests=warmup_requests, requests=requests)
            )
        except NoSteadyFigureError as error:
            problems.append(f"{_file(store, run)}: {error}")
    if problems:
        raise ReferencesError(
            "\n".join([*problems, "or move these files out of the folder and accept again"])
        )
    return figures


def _doubts(accepted: References) -> Iterator[str]:
    if not any_node(accepted.under_test):
        for node, count in sorted(accepted.nodes.items()):
            if count < WANTED:
                meaning = "gates there take more runs" if count >= LEAST else "no gate can run there yet"
                yield (
                    f"warning: node {short(node)} has only {count} of the {WANTED} recommended runs, so "
                    f"{meaning}; {how_to_get_more(accepted.profile)}"
                )
            yield from _ages(accepted, accepted.on(node))
    else:
        if len(accepted.runs) < WANTED:
            few = f"there are only {len(accepted.runs)} of the {WANTED} recommended runs"
            yield f"warning: {few}; {how_to_get_more(accepted.profile)}"
        yield from _ages(accepted, accepted.runs)
    if accepted.days == 1:
        yield (
            f"warning: all runs are from one day ({accepted.runs[0].day}), so they do not show day-to-day "
            "variation; record on other days too"
        )


def _ages(accepted: References, runs: Sequence[ReferenceRun]) -> Iterator[str]:
    return (f"warning: {each}" for each in too_old(accepted, runs, accepted.accepted.at))


def _steps(store: Path, before: References, accepted: References) -> Iterator[str]:
    """Yield a warning for each node whose level changed since the last acceptance though no fact did."""
    for node in sorted(accepted.nodes):
        runs, since = [run for run in accepted.runs if run.node == node], before.accepted.at
        earlier = [math.log(run.value) for run in runs if run.at <= since]
        later = [math.log(run.value) for run in runs if run.at > since]
        if apart(earlier, later):
            old_mean, new_mean = fmean(earlier), fmean(later)
            yield (
                f"warning: the level on node {short(node)} has changed since the last acceptance "
                f"({since:%Y-%m-%d}): {len(earlier)} earlier runs averaged {number(math.exp(old_mean))} "
                f"{accepted.unit}, {len(later)} later runs average {number(math.exp(new_mean))} "
                f"({math.expm1(new_mean - old_mean) * 100:+.2g}%). This is more than chance, but all "
                "recorded facts are equal, so something outside the fingerprint changed, and these "
                "references mix both levels. If the new level is right, move the earlier runs out of "
                f"{recordings.folder_of(store, accepted.profile)} and accept again"
            )


def _changes(before: References, accepted: References) -> Iterator[str]:
    if before.metric != accepted.metric:
        yield f"the gated metric was {before.metric} before"
    else:
        percent = (accepted.mean / before.mean - 1) * 100
        yield (
            f"mean {number(before.mean)} -> {number(accepted.mean)} {accepted.unit} ({percent:+.1f}%), noise "
            f"{_percent(before.noise_percent)} -> {_percent(accepted.noise_percent)}, requests "
            f"{before.requests} -> {accepted.requests}, runs {len(before.runs)} -> {len(accepted.runs)}"
        )
    for node, count in sorted(before.nodes.items()):
        left = accepted.nodes.get(node, 0)
        if count >= LEAST > left and not any_node(accepted.under_test):
            yield (
                f"warning: node {short(node)} had {count} references and has {left} now: no gate can "
                "run there; its recorded runs are not in this folder, or were left out"
            )
    changed = comparability.changed(before.facts, accepted.facts, comparability.EVERYTHING)
    if changed:
        yield f"changed since the earlier references: {comparability.in_brief(changed)}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}%"


def _file(store: Path, run: RecordedRun) -> Path:
    return recordings.folder_of(store, run.profile) / f"{run.name}.json"
