"""The PERFORMANCE OVERVIEW at the end of a run: measured values, targets, and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_dsr1.case.case import Case
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.case.published import PublishedValue, published_values
from pytest_dsr1.engines.facts import RoleServer, ServerFigures
from pytest_dsr1.machine.telemetry.by_node import NodeStatistics, by_node
from pytest_dsr1.machine.telemetry.health import from_to
from pytest_dsr1.measurement.measurement import STOPPED_EARLY, Measurement
from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.reporting.charts.request_data import RATE, steady
from pytest_dsr1.reporting.terminal.sweep_table import sweep_table
from pytest_dsr1.roofline.bounds import Bound, why_no_bounds
from pytest_dsr1.text import brief, columns, harmless, head, number, shown_path, wrapped
from pytest_dsr1.verdict.verdict import GOOD, Status, Verdict

Line = tuple[str, Mapping[str, bool]]
"""Text and pytest's markup for it."""

_ALIGNMENT = ({2, 3}, (8, 0, 18, 8))
"""Which columns of the targets are aligned to the right, and the least widths, for all scenarios alike."""

_MOST_NODES = 4
_MOST_SERVERS = 4
"""Of more than that, only the lowest and the highest are shown."""

_OF_ROLES = (
    ("running_requests_mean", "requests running"),
    ("waiting_requests_mean", "waiting"),
    ("input_tok_s", "tok/s read"),
    ("output_tok_s", "tok/s written"),
)
"""The figures of servers that are added up for each role, with their words."""

COLORS: Mapping[Status, Mapping[str, bool]] = {
    Status.PASS: {"green": True, "bold": True},
    Status.MEASURED: {"bold": True},
    Status.FAIL: {"red": True, "bold": True},
    Status.INVALID: {"yellow": True, "bold": True},
}


def overview(cases: Sequence[Case], width: int, above: Mapping[str, str]) -> Iterable[Line]:
    """Yield the lines to print.

    Args:
        cases: the scenarios.
        width: the columns of the terminal.
        above: the messages that are already on the terminal, each with the test where it is.
    """
    shown = set()
    for index, case in enumerate(cases):
        sweep = case.scenario.point.sweep if case.scenario.point else None
        if sweep is not None and sweep in shown:
            continue
        if index:
            yield "", {}
        if sweep is None:
            yield from _scenario(case, width, above)
            continue
        shown.add(sweep)
        points = [each for each in cases if each.scenario.point and each.scenario.point.sweep == sweep]
        yield from _sweep(sweep, points, width, above)


def _sweep(name: str, points: Sequence[Case], width: int, above: Mapping[str, str]) -> Iterable[Line]:
    """Yield a line for each point of a sweep, what is wrong with those that are not good, and warnings."""
    machines = ", ".join(dict.fromkeys(case.machine for case in points))
    yield (
        harmless(f"{name}, {len(points)} point{'' if len(points) == 1 else 's'}  ({machines})"),
        {"bold": True},
    )
    for line, case in sweep_table(points, width):
        status = case.judgment.status if case else None
        yield line, COLORS.get(status, {}) if status else {}
    good = [case for case in points if case.judgment.status in GOOD]
    for case in good:
        label = case.scenario.point.label if case.scenario.point else ""
        for warning in (*case.scenario_warnings, *_warnings(case)):
            yield from _labeled("warning", f"{label}: {warning}", width, {"yellow": True})
    folders = ", ".join(dict.fromkeys(shown_path(each) for each in map(_parent, points) if each))
    yield from _labeled("results", folders, width)
    for case in points:
        if case not in good:
            yield "", {}
            yield from _scenario(case, width, above)


def _warnings(case: Case) -> Sequence[str]:
    point = case.scenario.point
    found = case.run.measurement.warnings if case.run.measurement else ()
    # Every probe of a search ends as soon as it has shown enough.
    return [each for each in found if not (point and point.is_probe and each.startswith(STOPPED_EARLY))]


def _parent(case: Case) -> Path | None:
    """Return the folder of all results of a sweep, as a pattern of the folders of its points."""
    folder, point = case.run.run_folder, case.scenario.point
    return folder.parent.parent / f"{point.sweep}.*" if folder and point else None


def _scenario(case: Case, width: int, above: Mapping[str, str]) -> Iterable[Line]:
    judgment, run = case.judgment, case.run
    measurement = None if run.of_gate else run.measurement
    yield harmless(f"{case.scenario.name}  ({case.machine})"), {"bold": True}
    if judgment.problem:
        problem = harmless(judgment.problem)
        if problem in above and "\n" in problem:
            problem = f"{brief(problem)} (in full above, at {above[problem]})"
        yield from _labeled("INVALID", problem, width, COLORS[Status.INVALID])
    if judgment.verdicts and not run.of_gate:
        yield from _targets(judgment.verdicts, width)
        yield from _doubts(judgment.verdicts, width)
    yield from _accuracy(judgment, width)
    if judgment.measured:
        yield from _labeled(
            Status.MEASURED.value, judgment.answer or "nothing to judge", width, COLORS[Status.MEASURED]
        )
    yield from _unjudged(judgment, width)
    yield from _gate(case, width)
    yield from _clues(case, width)
    yield from _cause(case, width)
    if measurement is not None:
        yield from _measured(case, measurement, width)
    folder = run.run_folder or _gate_folder(judgment)
    if folder:
        yield from _labeled("results", shown_path(folder), width)


def _measured(case: Case, measurement: Measurement, width: int) -> Iterable[Line]:
    """Yield what the run shows in addition to its targets."""
    judged = {v.metric for v in case.judgment.verdicts}
    rest = [
        f"{metric.label} {number(measurement.metrics[name].value)} {metric.unit}"
        for name, metric in METRICS.items()
        if metric.headline
        and name in measurement.metrics
        and name not in judged
        and measurement.metrics[name].value != metric.neutral
    ]
    yield from _labeled("also", "; ".join(rest), width)
    for text in _published(case, measurement):
        yield from _labeled("published", text, width)
    yield from _labeled("steady", _steady(measurement), width)
    yield from _labeled("servers", "\n".join(_servers(measurement.result.facts.servers)), width)
    yield from _labeled("servers", "\n".join(_roles(measurement.result.facts.roles)), width)
    for label, text in _health(case, measurement):
        yield from _labeled(label, text, width)
    for warning in (*case.scenario_warnings, *measurement.warnings):
        yield from _labeled("warning", warning, width, {"yellow": True})


def _published(case: Case, measurement: Measurement) -> Iterable[str]:
    """Yield the published values of each publication none of whose metrics is a target."""
    targets = {target.metric for target in case.scenario.targets}
    by_version: dict[tuple[str, str], list[PublishedValue]] = {}
    for each in published_values(case.scenario, measurement):
        by_version.setdefault((each.version, each.note), []).append(each)
    for (version, note), values in by_version.items():
        if targets.isdisjoint(each.metric for each in values):
            figures = "; ".join(map(_share, values))
            yield f"{figures} ({version}{f': {note}' if note else ''})"


def _share(of: PublishedValue) -> str:
    metric = METRICS[of.metric]
    share = "" if of.ratio is None else f", this run {of.ratio:.1%} of it"
    return f"{metric.label} {number(of.value)} {metric.unit}{share}"


def _gate_folder(judgment: Judgment) -> Path | None:
    """Return where the gate or the pairs of this session are saved: with their first run."""
    if judgment.pairs_folder:
        return Path(judgment.pairs_folder)
    gate = None if judgment.gate_is_saved else judgment.gate
    return next((Path(run.folder) for run in (gate.runs if gate else ()) if run.folder), None)


def _targets(verdicts: Sequence[Verdict], width: int) -> Iterable[Line]:
    """Yield a row per target; if the rows are too long for the terminal, each bound gets its own line."""
    rows = [_row(verdict) for verdict in verdicts]
    bounds = [_bound(verdict) for verdict in verdicts]
    lines = list(columns([(*row, bound) for row, bound in zip(rows, bounds, strict=True)], *_ALIGNMENT))
    fit = max(map(len, lines)) <= width
    if not fit:
        lines = list(columns(rows, *_ALIGNMENT))
    for line, bound, verdict in zip(lines, bounds, verdicts, strict=True):
        yield line, COLORS.get(verdict.status, {})
        if not fit:
            yield f"          {bound}", {}


def _doubts(verdicts: Sequence[Verdict], width: int) -> Iterable[Line]:
    for verdict in verdicts:
        if verdict.doubt:
            yield from _labeled("noise", f"{verdict.label}: {verdict.doubt}", width)


def _accuracy(judgment: Judgment, width: int) -> Iterable[Line]:
    """Yield a paragraph for each verdict on answers."""
    for verdict in judgment.accuracy:
        sentence, markup = head(verdict.message), COLORS.get(verdict.status, COLORS[Status.INVALID])
        yield from _labeled(verdict.status.value, f"accuracy: {sentence}", width, markup)


def _unjudged(judgment: Judgment, width: int) -> Iterable[Line]:
    """Yield why tests ended without a verdict of their own; what several ended by is said once."""
    for status, why in dict.fromkeys(judgment.unjudged.values()):
        label, markup = (status.value, COLORS[Status.INVALID]) if status else ("note", {})
        yield from _labeled(label, why, width, markup)


def _gate(case: Case, width: int) -> Iterable[Line]:
    """Yield the gate's verdict and figures, what changed since the references, and the runs not counted."""
    judgment = case.judgment
    gate = None if judgment.gate_is_saved else judgment.gate
    yield from _saved_gate(judgment, width)
    if judgment.refused is not None:
        refusal, why = judgment.refused
        if why not in {judgment.problem, *(said for _, said in judgment.unjudged.values())}:
            yield from _labeled(refusal.value, why, width, COLORS[Status.INVALID])
    elif gate is not None and gate.verdict is not None:
        status = gate.verdict.status
        sentence, *changed = gate.verdict.message.splitlines()
        yield from _labeled(status.value, f"regression: {sentence}", width, COLORS[status])
        for line in changed:
            yield from _labeled("", line.strip(), width)
    elif judgment.pair is not None:
        status = judgment.pair.status
        sentence, *more = judgment.pair.message.splitlines()
        yield from _labeled(status.value, f"pair: {sentence}", width, COLORS[status])
        for line in more:
            yield from _labeled("", line.strip(), width)
    elif judgment.undecided:
        label = "pairs" if judgment.in_pairs else "gate"
        yield from _labeled(label, judgment.undecided, width, COLORS[Status.INVALID])
    if gate is not None:
        for run in gate.runs:
            if run.why:
                yield from _labeled("", f"not counted: {run.why.splitlines()[0]}", width)
        for warning in gate.warnings:
            yield from _labeled("warning", warning, width, {"yellow": True})
    for note in case.notes:
        yield from _labeled("note", note, width)
    yield from _labeled("warning", case.incomplete, width, {"yellow": True})


def _saved_gate(judgment: Judgment, width: int) -> Iterable[Line]:
    """Yield the verdict of a saved result's own gate, if the result is judged again."""
    gate = judgment.gate if judgment.gate_is_saved else None
    if judgment.gate_unreadable:
        yield from _labeled("warning", judgment.gate_unreadable, width, {"yellow": True})
    elif gate is not None and gate.status is not None:
        message = gate.verdict.message.splitlines()[0] if gate.verdict else gate.error or ""
        yield from _labeled("gate", f"{gate.status.value} when it ran, not judged again: {message}", width)


def _clues(case: Case, width: int) -> Iterable[Line]:
    """Yield where to look after a missed target or a loss."""
    judgment = case.judgment
    now = judgment.verdicts if judgment.gate_is_saved else judgment.judged
    if not any(verdict.status is Status.FAIL for verdict in now):
        return
    for clue in case.run.clues:
        page = f" ({clue.page})" if clue.page else ""
        yield from _labeled("look at", f"{clue.sentence}{page}", width)


def _cause(case: Case, width: int) -> Iterable[Line]:
    """Yield what the bad result comes from, and what changed since the scenario was good."""
    if case.cause is not None:
        yield from _labeled("cause", f"{case.cause.sentence}; next: {case.cause.next_step}", width)
    found = case.background.since
    if found is not None and case.run.measurement is not None:
        yield from _labeled("changed", found.sentence, width)


def _row(verdict: Verdict) -> tuple[str, ...]:
    metric = metric_named(verdict.metric)
    measured = "not measured" if verdict.measured is None else f"{number(verdict.measured)} {metric.unit}"
    margin = "" if verdict.margin_percent is None else f"{verdict.margin_percent:+.1f}%"
    return f"  {verdict.status.value}", verdict.label, measured, margin


def _bound(verdict: Verdict) -> str:
    metric = metric_named(verdict.metric)
    sign = ">=" if metric.better == "higher" else "<="
    return f"bound {sign} {number(verdict.bound)}, target {number(verdict.target)} {metric.unit}"


def _steady(measurement: Measurement) -> str:
    """Return the steady figure of the output throughput, as pages and recordings show it, or why not."""
    found = steady(measurement)
    if isinstance(found, str):
        return f"none: {found}"
    metric = METRICS[RATE]
    return (
        f"{metric.label} {number(found.found.value)} {metric.unit} {from_to(found.from_s, found.to_s)}, "
        f"without warm-up and drain (standard error {found.found.se_percent:.2g}%)"
    )


def _servers(servers: Sequence[ServerFigures]) -> Iterable[str]:
    """Yield a line for each of several servers; the spread if there are many."""
    if len(servers) <= _MOST_SERVERS:
        for each in servers:
            failed = f", {each.failed:,} failed" if each.failed else ""
            first = "" if each.ttft_mean_ms is None else f", mean TTFT {number(each.ttft_mean_ms)} ms"
            yield f"{each.url}: {number(each.output_tok_s)} tok/s, {each.requests:,} requests{failed}{first}"
        return
    rates = sorted(servers, key=lambda each: each.output_tok_s)
    failing = sum(each.failed > 0 for each in servers)
    first_ms = [each.ttft_mean_ms for each in servers if each.ttft_mean_ms is not None]
    yield (
        f"{len(servers)}, each {number(rates[0].output_tok_s)} tok/s ({rates[0].url}) to "
        f"{number(rates[-1].output_tok_s)} ({rates[-1].url})"
        + (f", mean TTFT {number(min(first_ms))} to {number(max(first_ms))} ms" if first_ms else "")
        + (f"; requests failed at {failing} of them" if failing else "")
    )


def _roles(servers: Sequence[RoleServer]) -> Iterable[str]:
    """Yield a line for each role of disaggregated servers, with what all servers of the role report."""
    for role in dict.fromkeys(each.role for each in servers):
        own = [each for each in servers if each.role == role]
        kind = f"{len(own)} {role} server{'s' if len(own) > 1 else ''}"
        gpus = sum(each.gpus for each in own)
        parts = [f"{kind} on {gpus} GPU{'s' if gpus > 1 else ''}"]
        for figure, word in _OF_ROLES:
            values = [value for each in own if (value := getattr(each, figure)) is not None]
            if len(values) == len(own):
                parts.append(f"{number(sum(values))} {word}")
        full = [share for each in own if (share := each.kv_cache_used_share_max) is not None]
        yield ", ".join([*parts, *([f"KV cache up to {max(full):.0%} full"] if full else [])])


def _nodes(nodes: Sequence[NodeStatistics]) -> str:
    """Return the SM clock of each of several nodes; the spread if there are many."""
    known = [each for each in nodes if each.sm_clock_mhz is not None]
    text = f"{len(nodes)}, SM clock"
    if not known:
        return f"{text} unknown"
    if len(known) <= _MOST_NODES:
        return f"{text} {', '.join(f'{each.sm_clock_mhz:.0f} MHz on {each.node}' for each in known)}"
    slowest, *_, fastest = sorted(known, key=lambda each: each.sm_clock_mhz or 0.0)
    low, high = (f"{each.sm_clock_mhz:.0f} MHz on {each.node}" for each in (slowest, fastest))
    return f"{text} {low} to {high}"


def _health(case: Case, measurement: Measurement) -> Iterable[tuple[str, str]]:
    if measurement.gpu_health:
        yield "GPUs", measurement.gpu_health.text
        if nodes := by_node(measurement.gpu_health.gpus):
            yield "nodes", _nodes(nodes)
        if why := measurement.gpu_health.why_no_energy:
            yield "energy", f"not measured: {why}"
    if measurement.cpu_load:
        yield "CPUs", measurement.cpu_load.text
    elif measurement.scenario.hardware.gpu is None and measurement.scenario.engine.attached_url:
        yield "CPUs", "nothing is known of other work next to the server, which pytest-dsr1 did not start"
    if bound := _bound_reached(case.run.bounds, measurement):
        yield "bound", bound


def engine_bound(measurement: Measurement) -> str | None:
    """Return an engine's own figure about its decode step; None without one."""
    share, arithmetic = measurement.result.facts.share_of_bound, measurement.result.facts.bandwidth_bound
    if share is not None and arithmetic is not None:
        return f"decode reaches {share:.0%} of the memory-bandwidth bound: {arithmetic}"
    return None


def _bound_reached(bounds: Sequence[Bound], measurement: Measurement) -> str | None:
    """Return how close the run came to a bound: that of its decode step, if the engine reports it."""
    if found := engine_bound(measurement):
        return found
    nearest = max(bounds, key=lambda bound: bound.share or 0.0, default=None)
    if nearest is not None and nearest.share is not None:
        label = METRICS[nearest.metric].label
        return f"{label} is {nearest.share:.1%} of what {nearest.limit} would allow: {nearest.arithmetic}"
    why = why_no_bounds(measurement)
    return f"unknown: {why}" if why and measurement.result.gpus else None


def _labeled(label: str, text: str, width: int, markup: Mapping[str, bool] | None = None) -> Iterable[Line]:
    """Yield a labeled paragraph, indented under its label; the text keeps its line breaks."""
    first = f"  {label:<7} "
    rest = " " * len(first)
    for line in wrapped(text, max(width, len(first) + 30), first=first, rest=rest, long_words=False):
        yield line, markup or {}
