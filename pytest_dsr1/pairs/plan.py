"""The plan of pairs: what is compared, and what it costs, known before GPU time is spent."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.pairs.decision import MOST_PAIRS, Design, design
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.study.eligibility import gated_metric
from pytest_dsr1.study.losses import worse
from pytest_dsr1.text import hours


@dataclass(frozen=True, slots=True)
class PairsPlan:
    """A comparison before its first run.

    Attributes:
        scenario: of the old side; the new one differs in what is compared only.
        metric: what is compared.
        design: how it is decided.
        seed: of the order of the sides.
        again: the command that compares again.
    """

    scenario: Scenario
    metric: str
    design: Design
    seed: int
    again: str

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.scenario.name

    @property
    def delta_percent(self) -> float:
        """The loss that must not be missed, in percent."""
        return self.scenario.gate.delta_percent

    @property
    def words(self) -> tuple[str, str]:
        """The words for a loss and for a gain."""
        costs = not METRICS[self.metric].needs.isdisjoint({"energy", "price"})
        return ("worse", "better") if costs else ("slower", "faster")

    @property
    def starts(self) -> int:
        """The most starts of the engine that count."""
        return 2 * self.design.most_pairs

    def statement(self, start_s: float | None = None) -> tuple[str, ...]:
        """Return the sentences to show before the first run.

        Args:
            start_s: the expected time of one engine start with its run; None if it is unknown.
        """
        most, (slower, faster) = self.design.most_pairs, self.words
        noise = self.scenario.gate.presumed_noise_percent
        equal, lost = self.design.expected_pairs(noise / 100)
        return (
            f"{self.name}: pairs on {METRICS[self.metric].label}: the old and the new side start in turn, "
            f"until the new one is shown to be {slower} or {faster}, or a difference of "
            f"{self.delta_percent:g}% is ruled out. At most {most} pairs: {self.starts} engine starts"
            f"{self._hours(most, start_s)}",
            f"{self.name}: on average it takes {equal:.1f} pairs{self._hours(equal, start_s)} if the sides "
            f"are equal, {lost:.1f}{self._hours(lost, start_s)} at a loss of {self.delta_percent:g}%, if "
            f"the noise between starts is {noise:g}% (gate.presumed_noise_percent). Above a noise of "
            f"{self.design.resolved_noise * 100:.3g}%, {most} pairs may not decide",
            f"{self.name}: these numbers include only starts that count. The first start of each side's "
            "software on this node, and an INVALID run, do not count and are repeated",
        )

    def _hours(self, pairs: float, start_s: float | None) -> str:
        """Return how long pairs take, in parentheses after a space; a pair is two engine starts."""
        if start_s is None:
            return ""
        return f" ({hours(2 * pairs * start_s, self.scenario.hardware.count)})"


def pairs_plan(scenario: Scenario, *, seed: int, again: str, most: int = MOST_PAIRS) -> PairsPlan:
    """Return the plan of a scenario's comparison.

    Args:
        scenario: of the old side; its ``gate`` names metric and delta.
        seed: of the order of the sides.
        again: the command that compares again.
        most: the largest number of pairs, at least :data:`~pytest_dsr1.pairs.decision.FIRST`.

    Raises:
        UserError: the scenario names no metric.
        ValueError: ``most`` is too small.
    """
    metric = gated_metric(scenario)
    return PairsPlan(scenario, metric, design(worse(metric, scenario.gate.delta_percent), most), seed, again)
