"""The summary in Markdown: for GitHub's job summary, a note on a GitLab merge request, or any CI.

Whoever gets a red build asks: is it real, where is it, what do I do? So the worst comes first, one table has
every figure, and each scenario that did not pass has a section with these answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_dsr1.case.answers import faults, is_it_real, what_to_do, where_is_it
from pytest_dsr1.case.case import Case
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.reporting.ci.markdown_escape import block, code, escaped
from pytest_dsr1.text import number, shown_path
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Status, Verdict

STATUS = {
    0: "every target that was judged is met, and no loss is shown",
    1: "a target is missed, or a loss is shown",
    2: "the run was interrupted",
    3: "an internal error",
    4: "pytest was called wrongly",
    5: "no test was run",
    10: "a run proves nothing",
    11: "there is nothing to compare with",
    12: "a gate stays undecided",
}
"""What an exit status says."""


def summary(cases: Sequence[Case], unrun: Sequence[str], status: int) -> list[str]:
    """The summary in pieces, the most important ones first; any number of them is valid Markdown.

    Args:
        cases: the worst first.
        unrun: the selected scenarios of which nothing is known.
        status: pytest's exit status.
    """
    published = any(_published(case, verdict) for case in cases for verdict in case.judgement.judged)
    return [
        _head(cases, unrun, status),
        *_table(cases, published=published),
        *(_section(case) for case in cases if faults(case)),
        *(_remarks(case) for case in cases if case.warnings and not faults(case)),
    ]


def joined(pieces: Sequence[str], limit: int | None = None) -> str:
    """The pieces as one text; with a limit in bytes the last ones are left out, and a sentence says so."""
    told = "\n\n**The rest is left out: there is no room for it here.** The log and the results have all.\n"
    text, size = "", len(told.encode())
    for piece in pieces:
        size += len(piece.encode())
        if limit is not None and size > limit:
            return text + told
        text += piece
    return text


def _head(cases: Sequence[Case], unrun: Sequence[str], status: int) -> str:
    counts = Counter(case.judgement.word.value if case.judgement.word else "not judged" for case in cases)
    order = [*(word.value for word in (*EXIT_STATUS, Status.PASS)), "not judged"]
    told = [f"{counts[word]} {word}" for word in order if counts[word]]
    if unrun:
        told.append(f"{len(unrun)} not run")
    lines = [f"# DeepSeek-R1 performance: {', '.join(told) or 'no scenario ran'}", ""]
    lines.append(f"Exit status {status}: {STATUS.get(status, 'see the log')}.{_not_ours(cases, status)}")
    if unrun:
        names = ", ".join(escaped(name) for name in unrun)
        lines += ["", f"**Not run**, so nothing is known of them: {names}"]
    return "\n".join([*lines, ""])


def _not_ours(cases: Sequence[Case], status: int) -> str:
    """What is to be said of an exit status that does not go with the cases."""
    if status == 0 and any(case.judgement.word not in {None, Status.PASS} for case in cases):
        return " That is of what was judged now; a gate of a saved result is not judged again."
    meant = {word for word, value in EXIT_STATUS.items() if value == status}
    if not meant or meant & {case.judgement.word for case in cases}:
        return ""
    return " None of these verdicts says why: something else failed, see the log."


def _table(cases: Sequence[Case], *, published: bool) -> Iterator[str]:
    heads = ["verdict", "scenario", "what", "measured", "target", *(["published"] * published)]
    heads.append("uncertainty (2 sd)")
    if cases:
        rule = "|".join(["---"] * 3 + ["---:"] * (len(heads) - 3))
        yield f"\n| {' | '.join(heads)} |\n|{rule}|\n"
    for case in cases:
        name = escaped(case.scenario.name)
        judged = case.judgement.judged
        # A case is at least one row, and what nobody would see in its figures stands in one of its own.
        if not judged or case.judgement.word not in {verdict.word for verdict in judged}:
            word = f"**{case.judgement.word.value}**" if case.judgement.word else ""
            yield f"| {word} | {name} | {escaped(case.headline)} {'| ' * (len(heads) - 3)}|\n"
        for verdict in judged:
            yield _row(case, name, verdict, published=published)


def _row(case: Case, name: str, verdict: Verdict, *, published: bool) -> str:
    metric = METRICS[verdict.metric]
    measured = "not measured"
    if verdict.measured is not None:
        change = "" if verdict.margin_percent is None else f" ({verdict.margin_percent:+.1f}%)"
        measured = f"{number(verdict.measured)} {metric.unit}{change}"
    gate, noise = case.judgement.gate_of(verdict), case.noise_of(verdict)
    sign, against = ">=" if metric.better == "higher" else "<=", "references" if gate else "target"
    cells = [
        f"{'gate: ' if gate else ''}{metric.label}",
        measured,
        f"{sign} {number(verdict.bound)} ({against} {number(verdict.target)})",
        *([_published(case, verdict)] if published else []),
        f"{2 * noise.percent:.2g}%{' presumed' if noise.presumed else ''}" if noise else "",
    ]
    word = verdict.word.value if verdict.word is Status.PASS else f"**{verdict.word.value}**"
    return f"| {word} | {name} | {' | '.join(escaped(cell) for cell in cells)} |\n"


def _published(case: Case, verdict: Verdict) -> str:
    """The newest published value; empty where none is known."""
    known = (each.values[verdict.metric] for each in case.scenario.published if verdict.metric in each.values)
    value = next(known, None)
    return "" if value is None else number(value)


def _section(case: Case) -> str:
    """A scenario that did not pass: the answers, then the messages in full."""
    assert case.judgement.word is not None
    found = faults(case)
    lines = [
        f"\n## {case.judgement.word.value}: {escaped(case.scenario.name)}\n",
        f"**{escaped(case.headline, 600)}** ({escaped(case.machine)})\n",
        *(f"- **{label}** {answer}" for label, answer in _answers(case)),
    ]
    for fault in found:
        lines += ["", f"{fault.word.value}{f', {escaped(fault.label)}' if fault.label else ''}:", ""]
        lines.append(block(fault.message))
    return "\n".join([*lines, *_warnings(case), ""])


def _answers(case: Case) -> Iterator[tuple[str, str]]:
    assert case.judgement.word is not None
    yield "Is it real?", escaped(is_it_real(case, case.judgement.word), 600)
    inside = (escaped(each, 600) for each in case.findings.locations)
    yield "Where is it?", where_is_it(inside, (code(fault.where) for fault in faults(case)))
    yield "What to do?", escaped(what_to_do(case, case.judgement.word), 600)
    if case.judgement.word is Status.FAIL:
        for clue in case.findings.clues:
            page = f" ({code(clue.page)})" if clue.page else ""
            yield "Look at:", f"{escaped(clue.sentence, 600)}{page}"
    health = case.findings.measurement.gpu_health if case.findings.measurement else None
    if health:
        yield "GPUs:", escaped(health.text)
    if case.findings.folder:
        again = code(f"pytest --dsr1-replay={shown_path(case.findings.folder)}")
        replay = f"; {again} judges them again, without a GPU" if case.findings.measurement else ""
        yield "Results:", f"{code(shown_path(case.findings.folder))}{replay}"


def _warnings(case: Case) -> list[str]:
    return (
        ["", "Warnings:", "", *(f"- {escaped(each, 600)}" for each in case.warnings)] if case.warnings else []
    )


def _remarks(case: Case) -> str:
    """What a person must see beside a verdict that needs nobody."""
    word = case.judgement.word.value if case.judgement.word else "not judged"
    return "\n".join([f"\n## {word}, with warnings: {escaped(case.scenario.name)}", *_warnings(case), ""])
