"""The content of a page's section about a case; the template only lays it out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pytest_dsr1.case.answers import (
    Fault,
    about_answers,
    faults,
    is_it_real,
    is_it_slower,
    what_changed,
    what_is_the_cause,
    what_to_do,
    where_is_it,
)
from pytest_dsr1.case.case import Case
from pytest_dsr1.case.published import published_value, published_values
from pytest_dsr1.engines.in_effect import KNOWN, NOT_ASKED, of_saved, shown
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.telemetry.by_node import NodeStatistics, by_node
from pytest_dsr1.masking import exported, without_secrets
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.metrics.in_flight import FULL
from pytest_dsr1.reporting.charts.history import ReportContext, comparison_pictures
from pytest_dsr1.reporting.charts.run import OVER_TIME, Picture, not_drawn, of_measurement
from pytest_dsr1.reporting.html.head import Bar, Figure, bars, figures, ran
from pytest_dsr1.reporting.terminal.overview import engine_bound
from pytest_dsr1.roofline.bounds import Bound, why_no_bounds
from pytest_dsr1.storage.files import open_regular
from pytest_dsr1.text import number, plain
from pytest_dsr1.verdict.verdict import GOOD, Verdict

_STEADY_WINDOW = (
    f"The steady window is the longest time in which at least {FULL:.0%} of load.concurrency requests were "
    "in flight. Its metrics are not the steady figure, which a gate judges: the steady figure also omits the "
    "warm-up, and covers whole waves of requests."
)
_SCRIPT_LIMIT = 40_000
"""Characters of a script that are shown."""
_ROLES: tuple[tuple[comparability.Role, str], ...] = (
    ("under test", "Under test: a gate judges these facts"),
    ("fixed", "Fixed: must be equal for a gate"),
    ("shown", "Shown only"),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A row in the table of verdicts; every cell is text."""

    status: str
    subject: str
    measured: str
    uncertainty: str
    noise_source: str
    margin: str
    target: str
    bound: str
    reference: str
    published: str


@dataclass(frozen=True, slots=True)
class Bounded:
    """A row in the table of bounds; every cell is text."""

    metric: str
    measured: str
    bound: str
    share: str
    limit: str
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the fingerprint, and its value in the references; empty if they do not have it."""

    key: str
    value: str
    reference: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Artifact:
    """A saved file: its name in the results folder, its link from the page, its size in bytes."""

    name: str
    link: str
    size: int


@dataclass(frozen=True, slots=True)
class Section:
    """A case as the page shows it.

    Attributes:
        id: of the section, for links.
        case: the case.
        status: its verdict as text; empty if nothing was judged.
        figures: the main figures.
        ran: what ran, in a line.
        bars: a bar for each verdict on a metric that was measured.
        judged: the rows of the table of verdicts.
        bounds: the rows of the table of bounds.
        no_bounds: why there are no bounds; empty otherwise.
        engine_bound: the engine's own figure about its decode step; empty without one.
        answers: questions about the verdict, with answers; none if all passed.
        messages: the full messages of what did not pass.
        pictures: of comparisons, and of the throughput over time.
        more_pictures: of the measurement.
        not_drawn: why pictures of the measurement are missing.
        published: metric, published value, this run's share of it, publication, note.
        differences: of the newest publication, each key with another value here and its known cost.
        options: of the engine: name, value in effect, value asked for, where it was read, and whether the two
            values differ.
        metrics: label, value with unit, origin.
        servers: of each of several, its address, requests, failed ones, output tok/s, mean and P99 of TTFT.
        roles: of each of disaggregated servers, its name, nodes, GPUs, requests in its batch and its queue,
            largest share of the KV cache in use, tokens per second that it read and wrote.
        nodes: of each of several, its name, GPUs, SM clock, power per GPU, highest temperature, throttling.
        no_energy: why the energy was not measured; empty if it was, and on the CPU.
        steady_window: an explanation of the steady window; empty without one.
        facts: the fingerprint by role.
        script: how to repeat the run.
        artifacts: the files of the results folder.
    """

    id: str
    case: Case
    status: str
    figures: tuple[Figure, ...]
    ran: str
    bars: tuple[Bar, ...]
    judged: tuple[Judged, ...]
    bounds: tuple[Bounded, ...]
    no_bounds: str
    engine_bound: str
    answers: tuple[tuple[str, str], ...]
    messages: tuple[str, ...]
    pictures: tuple[Picture, ...]
    more_pictures: tuple[Picture, ...]
    not_drawn: tuple[str, ...]
    published: tuple[tuple[str, str, str, str, str], ...]
    differences: tuple[str, ...]
    options: tuple[tuple[str, str, str, str, bool], ...]
    metrics: tuple[tuple[str, str, str], ...]
    servers: tuple[tuple[str, ...], ...]
    roles: tuple[tuple[str, ...], ...]
    nodes: tuple[tuple[str, ...], ...]
    no_energy: str
    steady_window: str
    facts: tuple[tuple[str, tuple[Fact, ...]], ...]
    script: str
    artifacts: tuple[Artifact, ...]


def section(case: Case, index: int, context: ReportContext, page: Path) -> Section:
    """Return the section of a case.

    Args:
        case: the case.
        index: the section's number on the page.
        context: what the case is compared with.
        page: the file of the page, which links to artifacts.
    """
    measurement = case.run.measurement
    health = measurement.gpu_health if measurement else None
    found = faults(case)
    own = tuple(of_measurement(measurement)) if measurement else ()
    compared = tuple(comparison_pictures(case, context)) if measurement else ()
    over_time = 1 if own and own[0].title == OVER_TIME else 0
    published = tuple(published_values(case.scenario, measurement)) if measurement else ()
    return Section(
        id=f"scenario-{index}",
        case=case,
        status=case.judgment.status.value if case.judgment.status else "",
        figures=tuple(figures(case)),
        ran=ran(case.scenario, measurement),
        bars=tuple(bars(case)),
        judged=tuple(_judged(case, verdict) for verdict in case.judgment.judged),
        bounds=tuple(map(_bounded, case.run.bounds)),
        no_bounds=(why_no_bounds(measurement) or "") if measurement else "",
        engine_bound=engine_bound(measurement) or "" if measurement else "",
        answers=tuple(_answers(case, found)),
        messages=tuple(dict.fromkeys(fault.message for fault in found)),
        pictures=(*compared, *own[:over_time]),
        more_pictures=own[over_time:],
        not_drawn=tuple(not_drawn(measurement)) if measurement else (),
        published=tuple(each.cells for each in published),
        differences=published[0].differences if published else (),
        options=tuple(_options(measurement)) if measurement else (),
        metrics=tuple(_metrics(measurement)) if measurement else (),
        servers=tuple(_servers(measurement)) if measurement else (),
        roles=tuple(_roles(measurement)) if measurement else (),
        nodes=tuple(map(_node, by_node(health.gpus))) if health else (),
        no_energy=(health.why_no_energy or "") if health else "",
        steady_window=_STEADY_WINDOW if measurement and "steady_window" in measurement.metrics else "",
        facts=tuple(_facts(case, measurement)) if measurement else (),
        script=_script(case, case.run.folder) if case.run.folder else "",
        artifacts=tuple(_artifacts(case.run.folder, page.parent)) if case.run.folder else (),
    )


def _node(each: NodeStatistics) -> tuple[str, ...]:
    return (
        each.node,
        str(each.gpus),
        "" if each.sm_clock_mhz is None else f"{each.sm_clock_mhz:,.0f} MHz",
        "" if each.power_w is None else f"{each.power_w:,.0f} W",
        "" if each.temperature_c is None else f"{each.temperature_c:.0f} C",
        "unknown" if each.throttled_share is None else f"{each.throttled_share:.1%}",
    )


def _answers(case: Case, found: Sequence[Fault]) -> Iterator[tuple[str, str]]:
    if case.judgment.status is None or case.judgment.status in GOOD:
        return
    status = case.judgment.performance
    bad = status is not None and status not in GOOD
    if status is not None and bad:
        yield "Is it real?", is_it_real(case, status)
    if slower := is_it_slower(found):
        yield "Is the new side slower?", slower
    for verdict in case.judgment.bad_answers:
        yield "Are the answers right?", about_answers(verdict)
    yield "Where is it?", where_is_it(case.run.locations, (fault.where for fault in found))
    if cause := what_is_the_cause(case):
        yield "What is the cause?", cause
    if changed := what_changed(case):
        yield "What changed?", changed
    if status is not None and bad:
        yield "What do I do?", what_to_do(case, status)


def _judged(case: Case, verdict: Verdict) -> Judged:
    metric = metric_named(verdict.metric)
    gate, noise, forced = case.judgment.gate_of(verdict), case.noise_of(verdict), case.scenario.forced
    pair = verdict is case.judgment.pair
    sign = ">=" if metric.better == "higher" else "<="
    what = " (gate, steady figure)" if gate else " (pairs, steady figure)" if pair else ""
    references = (
        case.background.comparable
        if case.background.comparable and case.background.comparable.metric == metric.name
        else None
    )
    return Judged(
        status=verdict.status.value,
        subject=f"{metric.label}{what}{f', {forced}' if forced else ''}",
        measured="not measured" if verdict.measured is None else f"{number(verdict.measured)} {metric.unit}",
        uncertainty=f"\N{PLUS-MINUS SIGN}{2 * noise.percent:.2g}%" if noise else "",
        noise_source=f"{metric.label} {noise.source}" if noise else "",
        margin="" if verdict.margin_percent is None else f"{verdict.margin_percent:+.1f}%",
        target=f"{'references ' if gate else 'old side ' if pair else ''}{number(verdict.target)}",
        bound=f"({f'{gate.delta_percent:g}% worse:' if gate else f'bound {sign}'} {number(verdict.bound)})",
        reference=_reference(references, case.background.figure) if references else "",
        published=_published(case, metric.name),
    )


def _reference(references: References, here: float | None) -> str:
    """Return the steady figures of the references and of this run, both without warm-up and drain."""
    return number(references.mean) + ("" if here is None else f" (this run {number(here)})")


def _bounded(bound: Bound) -> Bounded:
    metric = METRICS[bound.metric]
    return Bounded(
        metric=metric.label,
        measured="not measured" if bound.measured is None else f"{number(bound.measured)} {metric.unit}",
        bound=f"{number(bound.value)} {metric.unit}",
        share="" if bound.share is None else f"{bound.share:.1%}",
        limit=bound.limit,
        arithmetic=bound.arithmetic,
    )


def _published(case: Case, metric: str) -> str:
    known = published_value(case.scenario, case.run.measurement, metric)
    if known is None:
        return ""
    changed = "; changed here" if known.differs else ""  # what, is in the table of published values
    return f"{number(known.value)} ({known.version}{changed})"


def _options(measurement: Measurement) -> Iterator[tuple[str, str, str, str, bool]]:
    """Yield the options, first those that all engines share, in their order."""
    order = {name: index for index, name in enumerate(KNOWN)}
    options = of_saved(measurement.result.facts.options_in_effect)
    for option in sorted(options, key=lambda option: order.get(option.name, len(order))):
        asked = "" if option.asked is NOT_ASKED else shown(option.asked)
        yield option.name, shown(option.in_effect), asked, option.read_from, option.differs


def _metrics(measurement: Measurement) -> Iterator[tuple[str, str, str]]:
    for name, metric in measurement.metrics.items():
        yield METRICS[name].label, f"{number(metric.value)} {METRICS[name].unit}", metric.origin


def _servers(measurement: Measurement) -> Iterator[tuple[str, ...]]:
    for each in measurement.result.facts.servers:
        first = ("" if ms is None else f"{number(ms)} ms" for ms in (each.ttft_mean_ms, each.ttft_p99_ms))
        yield each.url, f"{each.requests:,}", f"{each.failed:,}", f"{number(each.output_tok_s)} tok/s", *first


def _roles(measurement: Measurement) -> Iterator[tuple[str, ...]]:
    for each in measurement.result.facts.roles:
        rates = (each.input_tok_s, each.output_tok_s)
        full = each.kv_cache_used_share_max
        yield (
            *(f"{each.role} server {each.number}", ", ".join(each.nodes), str(each.gpus)),
            *(
                "" if value is None else number(value)
                for value in (each.running_requests_mean, each.waiting_requests_mean)
            ),
            "" if full is None else f"{full:.0%}",
            *("" if rate is None else f"{number(rate)} tok/s" for rate in rates),
        )


def _facts(case: Case, measurement: Measurement) -> Iterator[tuple[str, tuple[Fact, ...]]]:
    under_test, facts = case.scenario.gate.under_test, measurement.fingerprint.facts
    before = case.background.references.facts if case.background.references else None
    unequal = (
        {
            key: old
            for role in ("fixed", "under test")
            for key, old, _ in comparability.unequal(role, before, facts, under_test)
        }
        if before is not None
        else {}
    )
    for role, what in _ROLES:
        values = comparability.with_role(role, facts, under_test)
        equal = "" if before is None or role == "shown" else "same"  # references keep few of them
        keys = sorted({*values, *(key for key in unequal if comparability.role(key, under_test) == role)})
        rows = tuple(
            Fact(key, comparability.shown(values.get(key)), comparability.shown(unequal[key]), differs=True)
            if key in unequal
            else Fact(key, comparability.shown(values.get(key)), equal, differs=False)
            for key in keys
        )
        if rows:
            yield what, rows


def _script(case: Case, folder: Path) -> str:
    """Return how to run it again, and the commands that started the engine."""
    facts = case.run.measurement.fingerprint.facts if case.run.measurement else {}
    command = f"pytest {shlex.quote(str(folder / 'scenario.yaml'))}"
    if facts.get("setup.mode") == "apply":
        command += " --dsr1-gpu-setup=apply"
    if case.judgment.gate is not None:
        whole = case.judgment.verdicts or case.judgment.accuracy
        command += " --dsr1-gate" + ("" if whole else " -k regression")
    image = facts.get("container.image")
    inside = [f"# in the container {plain(str(image))}"] if image else []
    lines = ["# Run the scenario again, as it ran", *inside, command]
    for path in sorted((folder / "engine").glob("*.sh")):
        try:
            with open_regular(path) as file:
                text = file.read(_SCRIPT_LIMIT).decode("utf-8", "replace")
        except OSError:
            continue
        shown = without_secrets(text.strip(), exported)  # earlier versions wrote secrets into it
        lines += ["", f"# {path.name}: to start the engine by hand, as in the run", shown]
    return "\n".join(lines)[:_SCRIPT_LIMIT]


def _artifacts(folder: Path, page: Path) -> Iterator[Artifact]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield Artifact(
                name, quote(os.path.relpath(path, page), errors="surrogateescape"), path.stat().st_size
            )
