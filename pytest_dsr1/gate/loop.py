"""The loop of a gate: one engine start after the other, until the verdict is certain.

What a run is worth is decided here (warm-up starts and INVALID runs are repeated, a foreign machine ends the
gate); what the evidence says is decided in :mod:`pytest_dsr1.gate.decision`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import fmean
from textwrap import indent

import numpy as np

from pytest_dsr1.errors import Dsr1Error, InvalidRunError, UserError
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.acceptance import warmup_of
from pytest_dsr1.gate.decision import Look, in_percent, look
from pytest_dsr1.gate.noise import scatters
from pytest_dsr1.gate.plan import LIMIT, GatePlan
from pytest_dsr1.gate.references import References, how_to_get_more
from pytest_dsr1.gate.saved import GateRun, SavedAcceptance, SavedGate, SavedReferences
from pytest_dsr1.machine.warm_start import Starts, start_key
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import saving
from pytest_dsr1.metrics.catalogue import GATEABLE, METRICS
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import OUTPUT_RATES, Evidence, NoEvidenceError, evidence
from pytest_dsr1.steady.run_length import LATENCIES
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import number
from pytest_dsr1.verdict.validity import invalid_reasons
from pytest_dsr1.verdict.verdict import Verdict, Word
from pytest_dsr1.workload.workload import Workload

Take = Callable[[], Measurement]
"""Makes one run; raises what the run raises."""


class NotComparableError(Dsr1Error):
    """The run differs from the references in what must be equal (verdict NOT COMPARABLE)."""


class InconclusiveError(Dsr1Error):
    """The largest number of runs did not decide (verdict INCONCLUSIVE)."""


def refuse_unfit(loaded: LoadedScenario, scenario: Scenario, workload: Callable[[], Workload]) -> None:
    """Refuse a scenario no run of which could be gated, or become a reference.

    Args:
        loaded: says where a value stands.
        scenario: the same, resolved.
        workload: its requests, for which one may have to wait.

    Raises:
        UserError: the server is somebody else's, the runs are too short, or they do not tell the metric.
    """
    name, load, engine = scenario.gated_metric, scenario.load, scenario.engine
    if engine.attached_url is not None:
        raise UserError(
            f"{loaded.where('engine.url')}: the unit of evidence is one engine start, and the server at "
            f"{engine.attached_url} is started by somebody else; let pytest-dsr1 start it: engine.command or "
            "engine.server instead of engine.url"
        )
    least = (1 + LATENCIES + 1) * load.concurrency
    if load.arrival is None and load.concurrency > 1 and load.num_requests < least:
        raise UserError(
            f"{loaded.where('load.num_requests')}: {load.num_requests:,} requests at load.concurrency "
            f"{load.concurrency:,} are too few for references and gates: one wave warms up, three count, "
            f"one runs out; set load.num_requests to at least {least:,}"
        )
    if name not in GATEABLE:
        raise UserError(
            f"{loaded.where('targets.0.metric')}: {name}, the metric of the first target, cannot be "
            f"gated; set gate.metric to one of: {', '.join(GATEABLE)}"
        )
    without = engine.without_records(lambda: workload().total_output) if name not in OUTPUT_RATES else None
    if without is not None:
        key = "gate.metric" if scenario.gate.metric else "targets.0.metric"
        raise UserError(
            f"{loaded.where(key)}: {name} cannot be gated without request records, and {without}, or "
            f"gate.metric to one of: {', '.join(OUTPUT_RATES)}"
        )


@dataclass
class Gate:
    """What became of one gate so far.

    Attributes:
        plan: how it decides.
        runs: every engine start, in order.
        changed: what under test differs from the references.
        look: the evidence of all runs that count; None before the first.
        verdict: PASS or FAIL, or None.
        latest: the last run that counts; None before the first.
    """

    plan: GatePlan
    runs: list[GateRun] = field(default_factory=list)
    changed: tuple[str, ...] = ()
    look: Look | None = None
    verdict: Verdict | None = None
    latest: Measurement | None = None

    @property
    def counted(self) -> list[Evidence]:
        """The evidence, in order."""
        return [run.evidence for run in self.runs if run.evidence is not None]

    @property
    def folder(self) -> str:
        """Where the gate is kept: the folder of its first run; empty where none has one."""
        return next((run.folder for run in self.runs if run.folder), "")

    def add(self, run: GateRun) -> None:
        """One more engine start, and what the evidence says with it."""
        self.runs.append(run)
        if run.evidence is not None:
            self.look = look(
                self.plan.design, np.array([self.plan.loss(each.value) for each in self.counted])
            )

    def sentence(self) -> str:
        """The evidence in one sentence."""
        plan, seen = self.plan, self.look
        assert seen is not None
        metric = METRICS[plan.metric]
        change = in_percent(plan.metric, float(seen.loss))
        ends = sorted(in_percent(plan.metric, float(end)) for end in (seen.low, seen.high))
        return (
            f"{metric.label} {number(self.measured)} {metric.unit}: {change:+.2f}% [{ends[0]:+.2f}, "
            f"{ends[1]:+.2f}] against the references' {number(self.reference)} after {len(self.counted)} of "
            f"at most {plan.design.max_runs} runs (delta {plan.scenario.gate.delta_percent:g}%, noise "
            f"{plan.design.level.noise_percent:.2g}% in {len(plan.runs)} references)"
        )

    @property
    def measured(self) -> float:
        """The geometric mean of the runs' figures, in the metric's unit."""
        return math.exp(fmean(math.log(each.value) for each in self.counted))

    @property
    def reference(self) -> float:
        """The geometric mean of the references' figures, in the metric's unit."""
        return math.exp(self.plan.design.level.mean)

    def _improved(self) -> str:
        """What is said of an improvement beyond the noise."""
        plan, seen = self.plan, self.look
        assert seen is not None
        change = abs(in_percent(plan.metric, float(seen.loss)))
        return (
            f"better by {change:.2g}%, more than the noise: accept it, or losing it again will pass; "
            f"{how_to_get_more(plan.scenario.name)}"
        )

    def judged(self, word: Word) -> Verdict:
        """The verdict in the words that targets use; ``bound`` is a loss of delta."""
        plan = self.plan
        sign = -1 if METRICS[plan.metric].better == "higher" else 1
        assert self.look is not None
        meaning = {
            Word.PASS: "a loss of delta is excluded",
            Word.FAIL: "a loss is shown",
            Word.INCONCLUSIVE: "neither is a loss shown nor one of delta excluded",
        }[word]
        lines = [f"{self.sentence()}: {meaning}"]
        if self.look.better:
            lines.append(self._improved())
        lines += (f"changed: {each}" for each in self.changed)
        losses = [plan.loss(each.value) for each in self.counted]
        if scatters(plan.design.level, losses):
            lines.append(
                f"the runs of this gate differ by {np.std(losses, ddof=1) * 100:.2g}%, more than the "
                "references: look at what else ran on the machine"
            )
        return Verdict(
            word=word,
            subject=f"regression[{plan.metric}]",
            metric=plan.metric,
            measured=self.measured,
            target=self.reference,
            bound=self.reference * (1 + sign * plan.scenario.gate.delta_percent / 100),
            margin_percent=math.copysign(in_percent(plan.metric, loss := float(self.look.loss)), -loss),
            message="\n  ".join(lines),
        )


def saved(gate: Gate, word: Word | None, error: str | None) -> SavedGate:
    """What is kept of a gate as it is now.

    Args:
        gate: with its runs so far.
        word: how it ended without a verdict; None where it has one, or still runs.
        error: why it has none.
    """
    plan, accepted = gate.plan, gate.plan.references.accepted
    return SavedGate(
        profile=plan.scenario.name,
        metric=plan.metric,
        word=gate.verdict.word if gate.verdict else word,
        verdict=gate.verdict,
        error=error,
        delta_percent=plan.scenario.gate.delta_percent,
        noise_percent=plan.design.level.noise_percent,
        max_runs=plan.design.max_runs,
        references=SavedReferences(
            len(plan.runs), gate.reference, SavedAcceptance(accepted.at, accepted.by, accepted.reason)
        ),
        changed=gate.changed,
        runs=tuple(gate.runs),
        warnings=plan.warnings,
    )


def own_start(measurement: Measurement) -> str:
    """Why the engine was not started for this run alone, or nothing."""
    facts = measurement.result.facts
    if facts.server_started is not False:
        return ""
    return f"its server had been started for {facts.server_kept_from or 'others'}"


def warm_up(measurement: Measurement, starts: Starts) -> str:
    """Why this start is unlike the starts after it, or nothing; the start is noted."""
    key = start_key(measurement.fingerprint.facts)
    first = not starts.seen(key)
    starts.note(key)
    if measurement.caches_filled:
        return f"warm-up: this start filled {', '.join(measurement.caches_filled)}"
    return "warm-up: the first start of this software on this node" if first else ""


def figure(
    measurement: Measurement, *, requests: int | None = None, warmup_requests: int | None = None
) -> Evidence:
    """The steady figure of a run.

    Raises:
        InvalidRunError: it has none.
    """
    scenario = measurement.scenario
    warm = warmup_requests or warmup_of(scenario)
    try:
        return evidence(trace(measurement), scenario.gated_metric, warmup_requests=warm, requests=requests)
    except NoEvidenceError as error:
        raise InvalidRunError(f"{scenario.name}: {error}") from None


def save_evidence(measurement: Measurement, found: Evidence) -> None:
    """``evidence.json`` beside the measurement: the steady figure, its cut and its batches.

    Raises:
        InvalidRunError: it cannot be written.
    """
    document = {"metric": measurement.scenario.gated_metric, **asdict(found)}
    with saving(measurement.folder):
        write_atomically(measurement.folder / "evidence.json", json.dumps(document, indent=1))


def useful(
    take: Take, starts: Starts, note: Callable[[Measurement | None, str], None], again: str
) -> Measurement:
    """Runs until one is a valid start of its own that is no warm-up.

    Args:
        take: makes a run.
        starts: the starts that are known on this node.
        note: is told of each run that does not count, and why.
        again: the command to type once it is put right.

    Raises:
        InvalidRunError: too many in succession do not count; says why each did not.
    """
    unused: list[str] = []
    while len(unused) < LIMIT:
        measurement: Measurement | None = None
        try:
            measurement = take()
        except InvalidRunError as error:
            why = str(error)
        else:
            reasons = invalid_reasons(measurement)
            why = "; ".join(reasons) or own_start(measurement) or warm_up(measurement, starts)
        if measurement is not None and not why:
            return measurement
        unused.append(why)
        note(measurement, why)
    listed = "\n".join(f"  {count}. {indent(why, ' ' * 5).lstrip()}" for count, why in enumerate(unused, 1))
    raise InvalidRunError(
        f"{LIMIT} engine starts in succession are no evidence:\n{listed}\nput that right, then `{again}`"
    )


def decide(
    gate: Gate, take: Take, starts: Starts, tell: Callable[[str], None], save: Callable[[], None]
) -> Verdict:
    """Run until the verdict is certain.

    Args:
        gate: before its first run; is filled.
        take: makes a run.
        starts: the starts that are known on this node.
        tell: shows a sentence to the person at once.
        save: keeps the gate as it is now.

    Raises:
        InvalidRunError: too many runs in succession prove nothing.
        NotComparableError: a run differs from the references in what must be equal.
        InconclusiveError: the largest number of runs did not decide.
    """
    plan, refs, name = gate.plan, gate.plan.references, gate.plan.scenario.name
    again = f"pytest --dsr1-profile={name} --dsr1-gate"

    def note(measurement: Measurement | None, why: str) -> None:
        gate.add(GateRun(str(measurement.folder) if measurement else "", why=why))
        save()
        tell(f"{name}: run {len(gate.runs)} is no evidence: {why}")

    while True:
        measurement = useful(take, starts, note, again)
        try:
            gate.changed = compared(refs, measurement.fingerprint.facts)
            found = figure(measurement, requests=refs.requests, warmup_requests=refs.warmup_requests)
            save_evidence(measurement, found)
        except Dsr1Error as error:
            gate.add(GateRun(str(measurement.folder), why=str(error)))
            raise
        gate.add(GateRun(str(measurement.folder), found))
        gate.latest = measurement
        save()
        assert gate.look is not None
        word = int(gate.look.word)
        if word:
            gate.verdict = gate.judged(Word.FAIL if word > 0 else Word.PASS)
            return gate.verdict
        if len(gate.counted) == plan.design.max_runs:
            raise InconclusiveError(gate.judged(Word.INCONCLUSIVE).message)
        tell(f"{name}: {gate.sentence()}: one more run")


def compared(references: References, facts: comparability.Facts) -> tuple[str, ...]:
    """What changed under test, by the facts of a run, or those that are known before it.

    Raises:
        NotComparableError: what is fixed differs; all of it.
    """
    problems = comparability.differences(references.facts, facts, references.moved)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise NotComparableError(
            f"{references.profile}: this run and the references differ in what must be equal:\n{lines}\n"
            f"put it back, or make new references of it: {how_to_get_more(references.profile)}; "
            "gate.under_test says what may differ"
        )
    return tuple(comparability.changed(references.facts, facts, references.moved))
