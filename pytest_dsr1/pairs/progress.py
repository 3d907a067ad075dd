"""The progress of one comparison: its runs so far, what their pairs show, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import load
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.pairs.decision import FIRST, Look, Outcome, look, period
from pytest_dsr1.pairs.order import Side, sides
from pytest_dsr1.pairs.plan import PairsPlan
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.study.eligibility import figure, save_figure
from pytest_dsr1.study.loop import Answer, InconclusiveError, Next
from pytest_dsr1.study.losses import in_percent, loss
from pytest_dsr1.study.record import StudyRecord
from pytest_dsr1.text import number
from pytest_dsr1.verdict.verdict import Status, Verdict, subject_of

_STATUS = {
    Outcome.SLOWER: Status.FAIL,
    Outcome.FASTER: Status.PASS,
    Outcome.SAME: Status.PASS,
    Outcome.UNDECIDED: Status.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class PairRun:
    """One engine start of a comparison.

    Attributes:
        side: what was started.
        folder: where it is saved; empty if nothing was saved.
        evidence: its steady figure; None if the run does not count.
        why: why it does not count; empty if it does.
    """

    side: Side
    folder: str
    evidence: SteadyFigure | None = None
    why: str = ""


@dataclass
class PairsProgress:
    """One comparison so far: its runs, what their pairs show, and the verdict.

    Attributes:
        plan: what is compared, and how it is decided.
        runs: every engine start, in order.
        look: the evidence of all whole pairs; None before the first look.
        verdict: PASS or FAIL; None before either.
    """

    plan: PairsPlan
    runs: list[PairRun] = field(default_factory=list)
    look: Look | None = None
    verdict: Verdict | None = None

    @property
    def figures(self) -> list[tuple[float, float]]:
        """The old and the new figure of each whole pair, in the metric's unit."""
        found = [(run.side, run.evidence.value) for run in self.runs if run.evidence is not None]
        pairs = (dict(found[start : start + 2]) for start in range(0, len(found) - 1, 2))
        return [(pair[Side.OLD], pair[Side.NEW]) for pair in pairs]

    @property
    def differences(self) -> list[float]:
        """The difference of each whole pair: a loss of the new side, as a difference of logarithms."""
        return [float(loss(self.plan.metric, math.log(old), new)) for old, new in self.figures]

    @property
    def folder(self) -> str:
        """The folder in which the comparison is saved, that of its first run; empty if no run has one."""
        return next((run.folder for run in self.runs if run.folder), "")

    @property
    def again(self) -> str:
        """The command that compares again."""
        return self.plan.again

    def leave_out(self, point: Side, measurement: Measurement | None, why: str) -> str:
        """Note an engine start that does not count; return a sentence about it."""
        self.runs.append(PairRun(point, str(measurement.folder) if measurement else "", why=why))
        return f"{self.plan.name}: start {len(self.runs)}, of the {point.value} side, does not count: {why}"

    def count(self, point: Side, measurement: Measurement) -> None:
        """Take in the figure of a run that counts, and evaluate all whole pairs.

        Raises:
            InvalidRunError: the run has no figure, or the figure cannot be saved.
        """
        try:
            found = figure(measurement)
            save_figure(measurement, found)
        except Dsr1Error as error:
            self.leave_out(point, measurement, str(error))
            raise
        self.add(PairRun(point, str(measurement.folder), found))

    def saved(self, record: StudyRecord) -> Iterator[tuple[Side, Measurement]]:
        """Yield the saved runs that count, each with its side; those that do not count are added.

        Raises:
            UserError: a run cannot be read.
        """
        for run in record.runs:
            side = Side(run.point)
            if run.why:
                self.add(PairRun(side, run.folder, why=run.why))
            else:
                yield side, load(Path(run.folder))

    def add(self, run: PairRun) -> None:
        """Add one more engine start, and evaluate all whole pairs."""
        self.runs.append(run)
        if len(differences := self.differences) >= FIRST:
            self.look = look(self.plan.design, np.array(differences))

    def step(self) -> Next[Side] | Answer[Verdict]:
        """Return the verdict if the pairs decide, else which side runs next.

        Raises:
            InconclusiveError: the largest number of pairs does not decide.
        """
        done = sum(run.evidence is not None for run in self.runs)
        pair, place = divmod(done, 2)
        if self.look is not None:
            if self.look.outcome:
                self.verdict = self.judged()
                return Answer(self.verdict)
            if pair == self.plan.design.most_pairs:
                raise InconclusiveError(self.judged().message)
        side = sides(self.plan.seed, pair)[place]
        return Next(side, self._why(side, pair, place) if done else "")

    def _why(self, side: Side, pair: int, place: int) -> str:
        if place:
            return f"{self.plan.name}: pair {pair + 1}: now the {side.value} side"
        if self.look is None:
            return f"{self.plan.name}: pair {pair + 1} of at least {FIRST}: first the {side.value} side"
        return f"{self.plan.name}: {self.sentence()}: one more pair, first the {side.value} side"

    @property
    def means(self) -> tuple[float, float]:
        """The geometric means of the old and of the new figures of whole pairs, in the metric's unit."""
        old, new = (math.exp(fmean(map(math.log, values))) for values in zip(*self.figures, strict=True))
        return old, new

    def sentence(self) -> str:
        """Return the evidence in one sentence."""
        plan, seen, (old, new) = self.plan, self.look, self.means
        assert seen is not None
        metric = METRICS[plan.metric]
        change = in_percent(plan.metric, float(seen.loss))
        ends = sorted(in_percent(plan.metric, float(end)) for end in (seen.low, seen.high))
        return (
            f"{metric.label} {number(new)} {metric.unit}: {change:+.2f}% (interval {ends[0]:+.2f} to "
            f"{ends[1]:+.2f}%) compared with {number(old)} of the old side, after {len(self.figures)} of at "
            f"most {plan.design.most_pairs} pairs (gate.delta_percent {plan.delta_percent:g}, noise "
            f"{float(seen.noise) * 100:.2g}% between starts)"
        )

    def judged(self) -> Verdict:
        """Return the verdict in the form that targets have; ``bound`` is a loss of delta."""
        plan, seen = self.plan, self.look
        assert seen is not None
        outcome, (old, new), lost = Outcome(int(seen.outcome)), self.means, float(seen.loss)
        worse_is = -1 if METRICS[plan.metric].better == "higher" else 1
        lines = [f"{self.sentence()}: {self._meaning(outcome)}", *self._advice(outcome), *self._places()]
        return Verdict(
            status=_STATUS[outcome],
            subject=subject_of("pair", plan.metric),
            metric=plan.metric,
            measured=new,
            target=old,
            bound=old * (1 + worse_is * plan.delta_percent / 100),
            margin_percent=math.copysign(in_percent(plan.metric, lost), -lost),
            message="\n  ".join(lines),
        )

    def _meaning(self, outcome: Outcome) -> str:
        assert self.look is not None
        slower, faster = self.plan.words
        delta = f"{self.plan.delta_percent:g}%"
        if outcome is Outcome.SAME and self.look.differs:
            word = slower if self.look.loss > 0 else faster
            return f"the new side is {word}, by less than {delta}"
        return {
            Outcome.SLOWER: f"the new side is {slower}",
            Outcome.FASTER: f"the new side is {faster}",
            Outcome.SAME: f"the sides are the same: a difference of {delta} is ruled out",
            Outcome.UNDECIDED: f"undecided: no difference is shown, but {delta} is not ruled out either",
        }[outcome]

    def _advice(self, outcome: Outcome) -> list[str]:
        """Return what would help if the pairs do not decide, which is always due to the noise."""
        if outcome is not Outcome.UNDECIDED:
            return []
        plan = self.plan
        return [
            f"{plan.design.most_pairs} pairs surely decide if the noise is at most "
            f"{plan.design.resolved_noise * 100:.3g}%: check what else ran on the machine, or set a larger "
            "gate.delta_percent"
        ]

    def _places(self) -> list[str]:
        """Return a sentence if the second start of a pair differs from the first."""
        plan, differences = self.plan, np.array(self.differences)
        old_first = [sides(plan.seed, pair)[0] is Side.OLD for pair in range(len(differences))]
        found = period(differences, np.array(old_first, float))
        if not found.shown:
            return []
        lost = float(found.loss)
        by = abs(in_percent(plan.metric, lost))
        return [
            f"the second start of a pair, whichever side it is, is {plan.words[lost < 0]} than the first by "
            f"{by:.2g}% (t test, p < 1%): look for a warm cache or a hot GPU. Both orders are equally "
            "frequent, so the comparison holds, but takes more pairs"
        ]
