"""What a page says of a case, in the order it is read; the template only lays it out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pytest_dsr1.case.answers import Fault, faults, is_it_real, what_to_do, where_is_it
from pytest_dsr1.case.case import Case
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.references import References
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.metrics.in_flight import FULL
from pytest_dsr1.reporting.charts.history import Surroundings, in_context
from pytest_dsr1.reporting.charts.run import Picture, of_measurement
from pytest_dsr1.reporting.terminal.overview import engine_bound
from pytest_dsr1.roofline.bounds import Bound, why_none
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number, plain
from pytest_dsr1.verdict.verdict import Status, Verdict

_STEADY_WINDOW = (
    f"The steady window is the longest time in which at least {FULL:.0%} of load.concurrency requests were "
    "in flight. What it says is not the steady figure, which a gate judges: that leaves the warm-up out as "
    "well, and is over whole waves of requests."
)
_SCRIPT_LIMIT = 40_000
"""Characters of a script that are shown."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A row of the table of what was judged; every cell as text."""

    word: str
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
    """A row of the table of bounds; every cell as text."""

    metric: str
    measured: str
    bound: str
    share: str
    limit: str
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the fingerprint, and what it is in the references; empty where they do not tell."""

    key: str
    value: str
    reference: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Artefact:
    """A saved file: its name in the results folder, its link from the page, its size in bytes."""

    name: str
    link: str
    size: int


@dataclass(frozen=True, slots=True)
class Section:
    """A case as the page shows it.

    Attributes:
        id: of the section, for links.
        case: all of it.
        word: its word as text; empty where nothing was judged.
        judged: the rows of its table.
        bounds: the rows of the table of bounds; ``no_bounds`` says why there are none.
        engine_bound: what the engine itself says of its decode step; empty where it says nothing.
        answers: questions of whoever sees the verdict, and their answers; none where all passed.
        messages: the full messages of what did not pass.
        pictures: of the measurement, then in context.
        metrics: label, value with unit, origin.
        steady_window: what their steady window is; empty where they have none.
        facts: the fingerprint by role, the roles in order.
        script: how to repeat the run.
        artefacts: the files of the results folder.
    """

    id: str
    case: Case
    word: str
    judged: tuple[Judged, ...]
    bounds: tuple[Bounded, ...]
    no_bounds: str
    engine_bound: str
    answers: tuple[tuple[str, str], ...]
    messages: tuple[str, ...]
    pictures: tuple[Picture, ...]
    metrics: tuple[tuple[str, str, str], ...]
    steady_window: str
    facts: tuple[tuple[str, tuple[Fact, ...]], ...]
    script: str
    artefacts: tuple[Artefact, ...]


def section(case: Case, index: int, beside: Surroundings, page: Path) -> Section:
    """The section of a case.

    Args:
        case: what it tells.
        index: its place on the page.
        beside: what it is set beside.
        page: the file that links to artefacts.
    """
    measurement = case.findings.measurement
    found = faults(case)
    return Section(
        id=f"scenario-{index}",
        case=case,
        word=case.judgement.word.value if case.judgement.word else "",
        judged=tuple(_judged(case, verdict) for verdict in case.judgement.judged),
        bounds=tuple(map(_bounded, case.findings.bounds)),
        no_bounds=(why_none(measurement) or "") if measurement else "",
        engine_bound=engine_bound(measurement) or "" if measurement else "",
        answers=tuple(_answers(case, found)),
        messages=tuple(dict.fromkeys(fault.message for fault in found)),
        pictures=(*of_measurement(measurement), *in_context(case, beside)) if measurement else (),
        metrics=tuple(_metrics(measurement)) if measurement else (),
        steady_window=_STEADY_WINDOW if measurement and "steady_window" in measurement.metrics else "",
        facts=tuple(_facts(case, measurement)) if measurement else (),
        script=_script(case, case.findings.folder) if case.findings.folder else "",
        artefacts=tuple(_artefacts(case.findings.folder, page.parent)) if case.findings.folder else (),
    )


def _answers(case: Case, found: Sequence[Fault]) -> Iterator[tuple[str, str]]:
    if case.judgement.word is None or case.judgement.word is Status.PASS:
        return
    yield "Is it real?", is_it_real(case, case.judgement.word)
    yield "Where is it?", where_is_it(case.findings.locations, (fault.where for fault in found))
    yield "What do I do?", what_to_do(case, case.judgement.word)


def _judged(case: Case, verdict: Verdict) -> Judged:
    metric = METRICS[verdict.metric]
    gate, noise = case.judgement.gate_of(verdict), case.noise_of(verdict)
    sign = ">=" if metric.better == "higher" else "<="
    references = (
        case.background.comparable
        if case.background.comparable and case.background.comparable.metric == metric.name
        else None
    )
    return Judged(
        word=verdict.word.value,
        subject=f"{metric.label}{' (gate, steady figure)' if gate else ''}",
        measured="not measured" if verdict.measured is None else f"{number(verdict.measured)} {metric.unit}",
        uncertainty=f"\N{PLUS-MINUS SIGN}{2 * noise.percent:.2g}%" if noise else "",
        noise_source=f"{metric.label} {noise.source}" if noise else "",
        margin="" if verdict.margin_percent is None else f"{verdict.margin_percent:+.1f}%",
        target=f"{'references ' if gate else ''}{number(verdict.target)}",
        bound=f"({f'{gate.delta_percent:g}% worse:' if gate else f'bound {sign}'} {number(verdict.bound)})",
        reference=_beside(references, case.background.figure) if references else "",
        published=_published(case.scenario, metric.name),
    )


def _beside(references: References, here: float | None) -> str:
    """The steady figures of the references and of this run: the whole run has warm-up and drain in it."""
    return number(references.mean) + ("" if here is None else f" (here {number(here)})")


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


def _published(scenario: Scenario, metric: str) -> str:
    for each in scenario.published:
        if metric in each.values:
            return f"{number(each.values[metric])} ({each.version})"
    return ""


def _metrics(measurement: Measurement) -> Iterator[tuple[str, str, str]]:
    for name, metric in measurement.metrics.items():
        yield METRICS[name].label, f"{number(metric.value)} {METRICS[name].unit}", metric.origin


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
    for role, what in (
        ("under test", "Under test: what a gate judges"),
        ("fixed", "Fixed: what must be equal for a gate"),
        ("shown", "Shown only"),
    ):
        values = comparability.with_role(role, facts, under_test)  # type: ignore[arg-type]
        equal = "" if before is None or role == "shown" else "same"  # references keep what is compared
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
    """How to run it again, and what the engine was started with."""
    facts = case.findings.measurement.fingerprint.facts if case.findings.measurement else {}
    command = f"pytest {shlex.quote(str(folder / 'scenario.yaml'))}"
    if facts.get("setup.mode") == "apply":
        command += " --dsr1-gpu-setup=apply"
    if case.judgement.gate is not None:
        command += " --dsr1-gate" + ("" if case.judgement.verdicts else " -k regression")
    image = facts.get("container.image")
    inside = [f"# in the container {plain(str(image))}"] if image else []
    lines = ["# Run the scenario again as it ran", *inside, command]
    for path in sorted((folder / "engine").glob("*.sh")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        lines += ["", f"# {path.name}: by hand, what the engine was started with", text.strip()]
    return "\n".join(lines)[:_SCRIPT_LIMIT]


def _artefacts(folder: Path, page: Path) -> Iterator[Artefact]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield Artefact(
                name, quote(os.path.relpath(path, page), errors="surrogateescape"), path.stat().st_size
            )
