"""The summary in Markdown: for GitHub's job summary, a note on a GitLab merge request, or any CI.

After a failed build a person asks: is it real, where is it, what do I do? So the worst case comes first, one
table has every figure, and each scenario that did not pass has a section with these answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_dsr1.case.answers import (
    about_answers,
    faults,
    is_it_real,
    is_it_slower,
    what_changed,
    what_is_the_cause,
    what_to_do,
    where_is_it,
)
from pytest_dsr1.case.case import Case, title_of
from pytest_dsr1.case.published import published_value, published_values
from pytest_dsr1.metrics.catalogue import metric_named
from pytest_dsr1.reporting.ci.markdown_escape import block, code, escaped, prose
from pytest_dsr1.text import number, shell_command, shown_path
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.verdict import EXIT_STATUS, GOOD, WORST_FIRST, Status, Verdict

STATUS = {
    0: "every judged target is met, and no loss is shown",
    1: "a target is missed, a loss is shown, or answers are wrong",
    2: "the run was interrupted",
    3: "an internal error",
    4: "pytest was invoked incorrectly",
    5: "no test was run",
    10: "a run is invalid",
    11: "there is nothing to compare with",
    12: "a gate or a comparison in pairs is undecided",
}
"""The meaning of each exit status."""


def summary(cases: Sequence[Case], not_run: Sequence[str], status: int) -> list[str]:
    """Return the summary in pieces, most important first; the first n pieces are valid Markdown for any n.

    Args:
        cases: worst first.
        not_run: the selected scenarios without any result.
        status: pytest's exit status.
    """
    published = any(_published(case, verdict) for case in cases for verdict in case.judgment.judged)
    return [
        _head(cases, not_run, status),
        *_table(cases, published=published, cause=any(case.cause for case in cases)),
        *(_section(case) for case in cases if faults(case)),
        *_publications(cases),
        *(_remarks(case) for case in cases if case.warnings and not faults(case)),
    ]


def joined(pieces: Sequence[str], limit: int | None = None) -> str:
    """Return the pieces as one text; beyond a limit in bytes they are omitted, and a sentence says so."""
    cut = "\n\n**The rest is omitted: it does not fit here.** The log and the results have all of it.\n"
    text, size = "", len(cut.encode())
    for piece in pieces:
        size += len(piece.encode())
        if limit is not None and size > limit:
            return text + cut
        text += piece
    return text


def _head(cases: Sequence[Case], not_run: Sequence[str], status: int) -> str:
    counts = Counter(case.judgment.status.value if case.judgment.status else "not judged" for case in cases)
    order = [*(each.value for each in WORST_FIRST), "not judged"]
    parts = [f"{counts[each]} {each}" for each in order if counts[each]]
    if not_run:
        parts.append(f"{len(not_run)} not run")
    lines = [f"# {escaped(title_of(cases))}: {', '.join(parts) or 'no scenario ran'}", ""]
    lines.append(f"Exit status {status}: {STATUS.get(status, 'see the log')}.{_not_ours(cases, status)}")
    if not_run:
        names = ", ".join(escaped(name) for name in not_run)
        lines += ["", f"**Not run**, so without a result: {names}"]
    return "\n".join([*lines, ""])


def _not_ours(cases: Sequence[Case], status: int) -> str:
    """Return a sentence about an exit status that the cases do not explain; empty if they do."""
    if status == 0 and any(case.judgment.status not in {None, *GOOD} for case in cases):
        return " This covers what was judged now; the gate of a saved result is not judged again."
    meant = {each for each, value in EXIT_STATUS.items() if value == status}
    if not meant or meant & {case.judgment.status for case in cases}:
        return ""
    return " No verdict explains it: something else failed, see the log."


def _table(cases: Sequence[Case], *, published: bool, cause: bool) -> Iterator[str]:
    heads = ["verdict", "scenario", "what", "measured", "target", *(["published"] * published)]
    heads.append("uncertainty (2 sd)")
    rule = ["---"] * 3 + ["---:"] * (len(heads) - 3)
    if cause:
        heads.append("cause")
        rule.append("---")
    if cases:
        yield f"\n| {' | '.join(heads)} |\n|{'|'.join(rule)}|\n"
    for case in cases:
        name = escaped(case.scenario.name)
        judged = case.judgment.judged
        answers = case.judgment.accuracy
        # Each case has a row; a verdict that none of its figures shows has a row of its own.
        shown = {verdict.status for verdict in judged} | {verdict.status for verdict in answers}
        if case.judgment.status not in shown:
            status = _status(case.judgment.status)
            found = f"| {_cause(case)} " if cause else ""
            blank = "| " * (len(heads) - 3 - cause)
            yield f"| {status} | {name} | {prose(case.headline, 300)} {blank}{found}|\n"
        for verdict in judged:
            yield _row(case, name, verdict, published=published, cause=cause)
        yield from (_row_of_answers(name, verdict, len(heads)) for verdict in answers)


def _cause(case: Case) -> str:
    """Return the cause in a word; empty if nothing is wrong."""
    return case.cause.word if case.cause else ""


def _status(status: Status | None) -> str:
    """Return a status; one with which something is wrong is bold."""
    if status is None:
        return ""
    return status.value if status in GOOD else f"**{status.value}**"


def _row(case: Case, name: str, verdict: Verdict, *, published: bool, cause: bool) -> str:
    metric = metric_named(verdict.metric)
    measured = "not measured"
    if verdict.measured is not None:
        change = "" if verdict.margin_percent is None else f" ({verdict.margin_percent:+.1f}%)"
        measured = f"{number(verdict.measured)} {metric.unit}{change}"
    gate, noise, forced = case.judgment.gate_of(verdict), case.noise_of(verdict), case.scenario.forced
    pair, sign = verdict is case.judgment.pair, ">=" if metric.better == "higher" else "<="
    against = "references" if gate else "old side" if pair else "target"
    cells = [
        f"{'gate: ' if gate else 'pairs: ' if pair else ''}{metric.label}{f' ({forced})' if forced else ''}",
        measured,
        f"{sign} {number(verdict.bound)} ({against} {number(verdict.target)})",
        *([_published(case, verdict)] if published else []),
        f"{2 * noise.percent:.2g}%{' presumed' if noise.presumed else ''}" if noise else "",
        *([_cause(case) if verdict.status not in GOOD else ""] if cause else []),
    ]
    return f"| {_status(verdict.status)} | {name} | {' | '.join(escaped(cell) for cell in cells)} |\n"


def _row_of_answers(name: str, verdict: AccuracyVerdict, columns: int) -> str:
    """Return the row of a verdict on answers in a table of this many columns."""
    least, bound = verdict.shown(verdict.at_least), verdict.shown(verdict.bound)
    cells = [
        verdict.subject,
        f"{verdict.shown(verdict.measured)}{f' (at most {bound})' if bound else ''}",
        f">= {least}" if least else "",
        *[""] * (columns - 5),
    ]
    return f"| {_status(verdict.status)} | {name} | {' | '.join(escaped(cell) for cell in cells)} |\n"


def _published(case: Case, verdict: Verdict) -> str:
    """Return the newest published value, and what differs here; empty if there is none."""
    known = published_value(case.scenario, case.run.measurement, verdict.metric)
    if known is None:
        return ""
    return number(known.value) + (f" ({known.differs})" if known.differs else "")


def _publications(cases: Sequence[Case]) -> Iterator[str]:
    """Yield a table of what was published for the scenarios that ran; nothing if nothing was."""
    rows = []
    for case in cases:
        ran = case.run.measurement
        for each in published_values(case.scenario, ran) if ran else ():
            rows.append(f"| {escaped(case.scenario.name)} | {' | '.join(map(escaped, each.cells))} |\n")
    if rows:
        heads = "scenario", "what", "published", "this run, as a share", "by", "note"
        yield f"\n## Published, for information\n\n| {' | '.join(heads)} |\n|---|---|---:|---:|---|---|\n"
        yield from rows


def _section(case: Case) -> str:
    """Return the section of a scenario that did not pass: the answers, then the full messages."""
    assert case.judgment.status is not None
    found = faults(case)
    lines = [
        f"\n## {case.judgment.status.value}: {escaped(case.scenario.name)}\n",
        f"**{prose(case.headline)}** ({escaped(case.machine)})\n",
        *(f"- **{label}** {answer}" for label, answer in _answers(case)),
    ]
    for fault in found:
        lines += ["", f"{fault.status.value}{f', {escaped(fault.label)}' if fault.label else ''}:", ""]
        lines.append(block(fault.message))
    return "\n".join([*lines, *_warnings(case), ""])


def _answers(case: Case) -> Iterator[tuple[str, str]]:
    status = case.judgment.performance
    bad = status is not None and status not in GOOD
    if status is not None and bad:
        yield "Is it real?", prose(is_it_real(case, status))
    if slower := is_it_slower(faults(case)):
        yield "Is the new side slower?", prose(slower)
    for verdict in case.judgment.bad_answers:
        yield "Are the answers right?", prose(about_answers(verdict))
    inside = (prose(each) for each in case.run.locations)
    yield "Where is it?", where_is_it(inside, (code(fault.where) for fault in faults(case)))
    if cause := what_is_the_cause(case):
        yield "What is the cause?", prose(cause)
    if changed := what_changed(case):
        yield "What changed?", prose(changed)
    if status is not None and bad:
        yield "What to do?", prose(what_to_do(case, status))
    if status is Status.FAIL:
        for clue in case.run.clues:
            page = f" ({code(clue.page)})" if clue.page else ""
            yield "Look at:", f"{prose(clue.sentence)}{page}"
    health = case.run.measurement.gpu_health if case.run.measurement else None
    if health:
        yield "GPUs:", escaped(health.text)
    if case.run.folder:
        again = code(shell_command(["pytest", f"--dsr1-replay={shown_path(case.run.folder)}"]))
        replay = f"; {again} judges them again without a GPU" if case.run.measurement else ""
        yield "Results:", f"{code(shown_path(case.run.folder))}{replay}"


def _warnings(case: Case) -> list[str]:
    return ["", "Warnings:", "", *(f"- {prose(each)}" for each in case.warnings)] if case.warnings else []


def _remarks(case: Case) -> str:
    """Return the warnings of a case that passed or was not judged."""
    status = case.judgment.status.value if case.judgment.status else "not judged"
    return "\n".join([f"\n## {status}, with warnings: {escaped(case.scenario.name)}", *_warnings(case), ""])
