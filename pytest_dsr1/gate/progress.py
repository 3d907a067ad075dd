"""The progress of one gate: its runs so far, what they show against the references, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate.decision import Look, look
from pytest_dsr1.gate.eligibility import compared
from pytest_dsr1.gate.noise import scatters
from pytest_dsr1.gate.plan import GatePlan
from pytest_dsr1.gate.references import how_to_get_more
from pytest_dsr1.gate.saved import GateRun, SavedAcceptance, SavedGate, SavedReferences
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import metric_named
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.study.eligibility import figure, save_figure
from pytest_dsr1.study.loop import Answer, InconclusiveError, Next
from pytest_dsr1.study.losses import in_percent
from pytest_dsr1.text import number
from pytest_dsr1.verdict.verdict import Status, Verdict, subject_of


@dataclass
class GateProgress:
    """One gate so far: its runs, what they show, and the verdict.

    Attributes:
        plan: how it decides.
        runs: every engine start, in order.
        changed: what under test differs from the references.
        look: the evidence of all runs that count; None before the first.
        verdict: PASS or FAIL; None before either.
        latest: the last run that counts; None before the first, and of searches.
        found: of searches, the figure of each, by the folder of its first probe.
    """

    plan: GatePlan
    runs: list[GateRun] = field(default_factory=list)
    changed: tuple[str, ...] = ()
    look: Look | None = None
    verdict: Verdict | None = None
    latest: Measurement | None = None
    found: dict[str, SteadyFigure] = field(default_factory=dict)

    @property
    def counted(self) -> list[SteadyFigure]:
        """The steady figures of the runs that count, in order."""
        return [run.evidence for run in self.runs if run.evidence is not None]

    @property
    def folder(self) -> str:
        """The folder in which the gate is saved, that of its first run; empty if no run has one."""
        return next((run.folder for run in self.runs if run.folder), "")

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.plan.scenario.name

    @property
    def again(self) -> str:
        """The command that runs the gate again."""
        return f"pytest --dsr1-profile={self.name} --dsr1-gate"

    def leave_out(self, point: None, measurement: Measurement | None, why: str) -> str:  # noqa: ARG002 - a study
        """Note an engine start that does not count; return a sentence about it."""
        self.add(GateRun(str(measurement.folder) if measurement else "", why=why))
        return f"{self.name}: run {len(self.runs)} does not count: {why}"

    def count(self, point: None, measurement: Measurement) -> None:
        """Take in the figure of a run that counts, and evaluate all figures so far.

        Raises:
            NotComparableError: the run differs from the references in facts that must be equal.
            InvalidRunError: the run has no figure, or the figure cannot be saved.
        """
        refs = self.plan.references
        try:
            self.changed = compared(refs, measurement.fingerprint.facts)
            found = self.found.get(str(measurement.folder)) or figure(
                measurement, requests=refs.requests, warmup_requests=refs.warmup_requests
            )
            save_figure(measurement, found)
        except Dsr1Error as error:
            self.leave_out(point, measurement, str(error))
            raise
        self.add(GateRun(str(measurement.folder), found))
        if not self.found:
            self.latest = measurement

    def add(self, run: GateRun) -> None:
        """Add one more engine start, and evaluate all figures so far."""
        self.runs.append(run)
        if run.evidence is not None:
            losses = [self.plan.loss(each.value) for each in self.counted]
            self.look = look(self.plan.design, np.array(losses))

    def step(self) -> Next[None] | Answer[Verdict]:
        """Return the verdict if the runs that count decide, else one more run of the same.

        Raises:
            InconclusiveError: the largest number of runs does not decide.
        """
        if self.look is None:
            return Next(None)
        if decision := int(self.look.decision):
            self.verdict = self.judged(Status.FAIL if decision > 0 else Status.PASS)
            return Answer(self.verdict)
        if len(self.counted) == self.plan.design.max_runs:
            raise InconclusiveError(self.judged(Status.INCONCLUSIVE).message)
        return Next(None, f"{self.name}: {self.sentence()}: one more run")

    def sentence(self) -> str:
        """Return the evidence in one sentence."""
        plan, seen = self.plan, self.look
        assert seen is not None
        metric = metric_named(plan.metric)
        change = in_percent(plan.metric, float(seen.loss))
        ends = sorted(in_percent(plan.metric, float(end)) for end in (seen.low, seen.high))
        return (
            f"{metric.label} {number(self.measured)} {metric.unit}: {change:+.2f}% (interval {ends[0]:+.2f} "
            f"to {ends[1]:+.2f}%) compared with {number(self.reference)} in the references, after "
            f"{len(self.counted)} of at most {plan.design.max_runs} runs (gate.delta_percent "
            f"{plan.scenario.gate.delta_percent:g}, noise {plan.design.level.noise_percent:.2g}% in "
            f"{len(plan.runs)} references)"
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
        """Return the sentence about an improvement beyond the noise."""
        plan, seen = self.plan, self.look
        assert seen is not None
        change = abs(in_percent(plan.metric, float(seen.loss)))
        return (
            f"better by {change:.2g}%, more than the noise: accept new references, or a gate will not notice "
            f"when the improvement is lost; {how_to_get_more(plan.scenario.name)}"
        )

    def judged(self, status: Status) -> Verdict:
        """Return the verdict in the form that targets have; ``bound`` is a loss of delta."""
        plan = self.plan
        sign = -1 if metric_named(plan.metric).better == "higher" else 1
        assert self.look is not None
        delta = f"a loss of {plan.scenario.gate.delta_percent:g}%"
        meaning = {
            Status.PASS: f"{delta} is ruled out",
            Status.FAIL: "a loss is shown",
            Status.INCONCLUSIVE: f"undecided: no loss is shown, but {delta} is not ruled out either",
        }[status]
        lines = [f"{self.sentence()}: {meaning}"]
        if self.look.better:
            lines.append(self._improved())
        lines += (f"changed: {each}" for each in self.changed)
        losses = [plan.loss(each.value) for each in self.counted]
        if scatters(plan.design.level, losses):
            lines.append(
                f"the runs of this gate vary by {np.std(losses, ddof=1) * 100:.2g}%, more than the "
                "references: check what else ran on the machine"
            )
        return Verdict(
            status=status,
            subject=subject_of("regression", plan.metric),
            metric=plan.metric,
            measured=self.measured,
            target=self.reference,
            bound=self.reference * (1 + sign * plan.scenario.gate.delta_percent / 100),
            margin_percent=math.copysign(in_percent(plan.metric, loss := float(self.look.loss)), -loss),
            message="\n  ".join(lines),
        )


def saved(gate: GateProgress, status: Status | None, error: str | None) -> SavedGate:
    """Return what is saved of a gate as it is now.

    Args:
        gate: with its runs so far.
        status: how it ended without a verdict; None if it has a verdict or still runs.
        error: why it has no verdict.
    """
    plan, accepted = gate.plan, gate.plan.references.accepted
    return SavedGate(
        profile=plan.scenario.name,
        metric=plan.metric,
        status=gate.verdict.status if gate.verdict else status,
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
