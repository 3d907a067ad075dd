"""The PERFORMANCE OVERVIEW at the end of a run: what was measured, against what, and the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_dsr1.case.case import machine
from pytest_dsr1.diagnosis.diagnosis import diagnose
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate.saved import read_gate
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.steady_window import FULL, why_none
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.roofline import bounds
from pytest_dsr1.session.state import Outcome
from pytest_dsr1.text import harmless, number
from pytest_dsr1.verdict.verdict import Verdict, Word

Line = tuple[str, Mapping[str, bool]]
"""Text and pytest's markup for it."""

_SHOWN = (
    "total_output_throughput",
    "per_user_output_throughput",
    "per_gpu_output_throughput",
    "request_throughput",
    "average_request_latency",
    "average_ttft",
    "average_tpot",
    "acceptance_length",
    "average_concurrency",
)
COLOURS: Mapping[Word, Mapping[str, bool]] = {
    Word.PASS: {"green": True, "bold": True},
    Word.FAIL: {"red": True, "bold": True},
    Word.INVALID: {"yellow": True, "bold": True},
}


def overview(outcomes: Sequence[Outcome], width: int) -> Iterable[Line]:
    """The lines to print, for a terminal of that many columns."""
    for index, outcome in enumerate(outcomes):
        if index:
            yield "", {}
        yield from _scenario(outcome, width)


def _scenario(outcome: Outcome, width: int) -> Iterable[Line]:
    scenario = outcome.loaded.scenario
    measurement = outcome.measurement
    yield harmless(f"{scenario.name}  ({machine(scenario)})"), {"bold": True}
    if outcome.problem is not None:
        yield from _wrapped("INVALID", outcome.problem, width, COLOURS[Word.INVALID])
    if measurement is None:
        yield from _gate(outcome, width)
        yield from _clues(outcome, width)
        folder = outcome.folder or (outcome.gate and outcome.gate.folder)
        if folder:
            yield from _wrapped("results", _shown(Path(folder)), width)
        return
    if outcome.verdicts:
        yield from _targets(outcome.verdicts, width)
        yield from _doubts(outcome.verdicts, width)
    yield from _gate(outcome, width)
    yield from _clues(outcome, width)
    judged = {v.metric for v in outcome.verdicts}
    rest = [
        f"{METRICS[name].label} {number(measurement.metrics[name].value)} {METRICS[name].unit}"
        for name in _SHOWN
        if name in measurement.metrics
        and name not in judged
        and (name, measurement.metrics[name].value) != ("acceptance_length", 1.0)  # no speculation
    ]
    yield from _wrapped("also", "; ".join(rest), width)
    yield from _wrapped("steady", _steady(measurement), width)
    for label, text in _health(measurement):
        yield from _wrapped(label, text, width)
    for warning in (*outcome.loaded.warnings, *measurement.warnings):
        yield from _wrapped("warning", warning, width, {"yellow": True})
    yield from _wrapped("results", _shown(measurement.folder), width)


def _targets(verdicts: Sequence[Verdict], width: int) -> Iterable[Line]:
    """A row a target; where the rows are too long for the terminal, each bound has a line of its own."""
    labels = max(len(METRICS[v.metric].label) for v in verdicts)
    rows = [(_row(verdict, labels), _bound(verdict), COLOURS.get(verdict.word, {})) for verdict in verdicts]
    fit = max(len(row) + 2 + len(bound) for row, bound, _ in rows) <= width
    for row, bound, markup in rows:
        if fit:
            yield f"{row}  {bound}", markup
        else:
            yield row, markup
            yield f"          {bound}", {}


def _doubts(verdicts: Sequence[Verdict], width: int) -> Iterable[Line]:
    for verdict in verdicts:
        if verdict.doubt:
            yield from _wrapped("noise", f"{METRICS[verdict.metric].label}: {verdict.doubt}", width)


def _gate(outcome: Outcome, width: int) -> Iterable[Line]:
    """The gate's verdict with its evidence, each run of it, and what changed since the references."""
    gate = outcome.gate
    if gate is None and outcome.measurement is not None:
        yield from _saved_gate(outcome.measurement.folder, width)
    if outcome.refused is not None:
        refusal, why = outcome.refused
        if why != outcome.problem:
            yield from _wrapped(refusal.value, why, width, COLOURS[Word.INVALID])
    elif gate is not None and gate.verdict is not None:
        word = gate.verdict.word
        sentence, *changed = gate.verdict.message.splitlines()
        yield from _wrapped(word.value, f"regression: {sentence}", width, COLOURS[word])
        for line in changed:
            yield from _wrapped("", line.strip(), width)
    elif gate is not None and gate.look is not None:
        yield from _wrapped("gate", gate.sentence(), width, COLOURS[Word.INVALID])
    if gate is not None:
        for run in gate.runs:
            if run.why:
                yield from _wrapped("", f"not counted: {run.why.splitlines()[0]}", width)
        for warning in gate.plan.warnings:
            yield from _wrapped("warning", warning, width, {"yellow": True})
    for note in outcome.notes:
        yield from _wrapped("note", note, width)


def _saved_gate(folder: Path, width: int) -> Iterable[Line]:
    """What a saved result's own gate said, where the result is judged again."""
    try:
        gate = read_gate(folder)
    except Dsr1Error as error:
        yield from _wrapped("warning", str(error), width, {"yellow": True})
        return
    if gate is not None and gate.word is not None:
        said = gate.verdict.message.splitlines()[0] if gate.verdict else gate.error or ""
        yield from _wrapped("gate", f"{gate.word.value} when it ran, not judged again: {said}", width)


def _clues(outcome: Outcome, width: int) -> Iterable[Line]:
    """Where to look when a target is missed or a loss shown."""
    gate = outcome.gate
    measurement = outcome.measurement or (gate.latest if gate is not None else None)
    words = [verdict.word for verdict in outcome.verdicts]
    if gate is not None and gate.verdict is not None:
        words.append(gate.verdict.word)
    if measurement is None or Word.FAIL not in words:
        return
    for clue in diagnose(measurement):
        page = f" ({clue.page})" if clue.page else ""
        yield from _wrapped("look at", f"{clue.sentence}{page}", width)


def _row(verdict: Verdict, labels: int) -> str:
    metric = METRICS[verdict.metric]
    measured = "not measured" if verdict.measured is None else f"{number(verdict.measured)} {metric.unit}"
    margin = "" if verdict.margin_percent is None else f"{verdict.margin_percent:+.1f}%"
    return f"  {verdict.word.value:<8}{metric.label:<{labels}}  {measured:>18}  {margin:>8}"


def _bound(verdict: Verdict) -> str:
    metric = METRICS[verdict.metric]
    sign = ">=" if metric.better == "higher" else "<="
    return f"bound {sign} {number(verdict.bound)}, target {number(verdict.target)} {metric.unit}"


def _steady(measurement: Measurement) -> str:
    """The output throughput without ramp-up and drain, or why there is none."""
    found = measurement.metrics.get("steady_output_throughput")
    window = measurement.metrics.get("steady_window")
    load = measurement.scenario.load
    if found is None or window is None:
        return f"no steady window: {why_none(measurement.result.records, load)}"
    return (
        f"{number(found.value)} tok/s over the {window.value / 1e3:.1f} s in which at least {FULL:.0%} of "
        f"load.concurrency ({load.concurrency}) requests were in flight"
    )


def _health(measurement: Measurement) -> Iterable[tuple[str, str]]:
    health = measurement.gpu_health.get("text")
    if isinstance(health, str):
        yield "GPUs", health
    if bound := _bound_reached(measurement):
        yield "bound", bound


def engine_bound(measurement: Measurement) -> str | None:
    """What an engine that knows its decode step says of it; None of the others."""
    share, arithmetic = measurement.result.facts.share_of_bound, measurement.result.facts.bandwidth_bound
    if share is not None and arithmetic is not None:
        return f"decode reaches {share:.0%} of the memory-bandwidth bound: {arithmetic}"
    return None


def _bound_reached(measurement: Measurement) -> str | None:
    """How near the run came to what the GPUs can do: its decode step, where the engine tells that."""
    if found := engine_bound(measurement):
        return found
    nearest = max(bounds.bounds(measurement), key=lambda bound: bound.share or 0.0, default=None)
    if nearest is not None and nearest.share is not None:
        label = METRICS[nearest.metric].label
        return f"{label} is {nearest.share:.1%} of what {nearest.limit} would allow: {nearest.arithmetic}"
    why = bounds.why_none(measurement)
    return f"not known: {why}" if why and measurement.result.gpus else None


def _wrapped(label: str, text: str, width: int, markup: Mapping[str, bool] | None = None) -> Iterable[Line]:
    """A labelled paragraph, indented under its label; the text's own line breaks are kept."""
    if not text:
        return
    first = f"  {label:<7} "
    for paragraph in harmless(text).splitlines():
        for line in textwrap.wrap(
            paragraph,
            max(width - len(first), 30),
            break_long_words=False,
            break_on_hyphens=False,
            subsequent_indent="  " if paragraph.startswith("  ") else "",
        ) or [""]:
            yield f"{first}{line}", markup or {}
            first = " " * len(first)


def _shown(path: Path) -> str:
    """The path relative to where pytest was started, if it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
