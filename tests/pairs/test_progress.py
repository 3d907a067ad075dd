"""What a comparison says and keeps of its runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from pytest_dsr1.errors import EngineError, InvalidRunError
from pytest_dsr1.machine.warm_start import Starts
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import ResultFolder
from pytest_dsr1.pairs.order import Side, sides
from pytest_dsr1.pairs.plan import PairsPlan, pairs_plan
from pytest_dsr1.pairs.progress import PairRun, PairsProgress
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.study.eligibility import why_not
from pytest_dsr1.study.loop import InconclusiveError, Next, answer
from pytest_dsr1.study.record import StudyRecord, StudyRun
from pytest_dsr1.verdict.verdict import Status, Verdict
from tests.helpers import values
from tests.helpers.gate_runs import LONG, started

NOISE = (0.004, -0.006, 0.001, -0.003, 0.005, -0.002, 0.003, -0.004)
"""Of the differences of pairs; it is the same for each eight of them."""


def plan_of(most: int = 8, metric: str | None = None, delta_percent: float = 2.0, seed: int = 0) -> PairsPlan:
    scenario = values.scenario(**LONG, gate={"delta_percent": delta_percent, "metric": metric})
    return pairs_plan(scenario, seed=seed, again="pytest --dsr1-against=X", most=most)


def with_pairs(plan: PairsPlan, new: Iterable[float], old: float = 8.0) -> PairsProgress:
    """Return a comparison with these figures of the new side."""
    progress = PairsProgress(plan)
    for pair, value in enumerate(new):
        for side in sides(plan.seed, pair):
            figure = old if side is Side.OLD else value
            progress.add(PairRun(side, "", SteadyFigure(figure, 0.1, 1.0, 60.0, 1.0, 24, ())))
    return progress


def varied(value: float, pairs: int, noise: float = 1.0) -> list[float]:
    return [value * math.exp(noise * NOISE[pair % 8]) for pair in range(pairs)]


def verdict_of(progress: PairsProgress) -> Verdict:
    step = progress.step()
    assert not isinstance(step, Next)
    assert progress.verdict is step.value
    return step.value


def test_the_side_that_runs_next_and_why() -> None:
    """With seed 0 the order is BAABABBA."""
    progress, asked, said = PairsProgress(plan_of()), list[Side](), list[str]()
    for value in varied(7.9, 4, 3.0):
        for _ in range(2):
            step = progress.step()
            assert isinstance(step, Next)
            asked.append(step.point)
            said.append(step.why)
            figure = 8.0 if step.point is Side.OLD else value
            progress.add(PairRun(step.point, "", SteadyFigure(figure, 0.1, 1.0, 60.0, 1.0, 24, ())))
    assert "".join("A" if side is Side.OLD else "B" for side in asked) == "BAABABBA"
    assert said == [
        "",
        "small: pair 1: now the old side",
        "small: pair 2 of at least 4: first the old side",
        "small: pair 2: now the new side",
        "small: pair 3 of at least 4: first the old side",
        "small: pair 3: now the new side",
        "small: pair 4 of at least 4: first the new side",
        "small: pair 4: now the old side",
    ]
    step = progress.step()
    assert step == Next(
        sides(0, 4)[0], f"small: {progress.sentence()}: one more pair, first the {sides(0, 4)[0].value} side"
    )


def test_a_half_pair_is_not_looked_at() -> None:
    """Also one that would turn the outcome."""
    progress = with_pairs(plan_of(), varied(7.9, 4, 3.0))
    before = progress.look
    side = sides(0, 4)[0]
    progress.add(PairRun(side, "", SteadyFigure(1.0, 0.1, 1.0, 60.0, 1.0, 24, ())))
    assert before is not None
    assert progress.look is not None
    assert progress.look.loss == before.loss
    assert progress.step() == Next(side.other, f"small: pair 5: now the {side.other.value} side")


@pytest.mark.parametrize(
    ("metric", "new", "status", "meaning"),
    [
        (None, 7.6, Status.FAIL, "the new side is slower"),
        (None, 8.4, Status.PASS, "the new side is faster"),
        (None, 8.0, Status.PASS, "the sides are the same: a difference of 2% is ruled out"),
        ("average_request_latency", 8.4, Status.FAIL, "the new side is slower"),
        ("average_request_latency", 7.6, Status.PASS, "the new side is faster"),
        ("mean_power", 8.4, Status.FAIL, "the new side is worse"),
        ("mean_power", 7.6, Status.PASS, "the new side is better"),
    ],
)
def test_the_verdict(metric: str | None, new: float, status: Status, meaning: str) -> None:
    plan = plan_of(metric=metric)
    verdict = verdict_of(with_pairs(plan, varied(new, 6)))
    assert (verdict.status, verdict.subject) == (status, f"pair[{plan.metric}]")
    assert verdict.message.endswith(f"% between starts): {meaning}")
    mean = math.exp(sum(map(math.log, varied(new, 6))) / 6)
    assert (verdict.measured, verdict.target) == pytest.approx((mean, 8.0))
    assert verdict.bound == pytest.approx(8.0 * (0.98 if metric is None else 1.02))
    better = mean / 8.0 - 1 if metric is None else 1 - mean / 8.0
    assert verdict.margin_percent == pytest.approx(better * 100)


def test_the_message_has_estimate_interval_pairs_delta_and_noise() -> None:
    """The differences have a standard deviation of 0.42%: that of starts is 0.3%."""
    message = verdict_of(with_pairs(plan_of(), varied(7.6, 6))).message
    found = re.fullmatch(
        r"total output throughput 7\.599 tok/s: -5\.02% \(interval (\S+) to (\S+)%\) compared with 8 of the "
        r"old side, after 6 of at most 8 pairs \(gate\.delta_percent 2, noise 0\.3% between starts\): the "
        r"new side is slower",
        message,
    )
    assert found, message
    low, high = map(float, found.groups())
    assert low < -5.02 < high < 0


def test_the_noise_is_that_of_starts_in_percent() -> None:
    """It is the standard deviation of the differences over the square root of 2."""
    progress = with_pairs(plan_of(), varied(7.0, 6, 3.2))
    noise = stdev(progress.differences) / math.sqrt(2)
    assert noise == pytest.approx(0.0096, abs=0.00005)
    assert "noise 0.96% between starts" in progress.sentence()


@pytest.mark.parametrize(("new", "word"), [(7.94, "slower"), (8.06, "faster")])
def test_a_small_difference_that_is_shown_is_said(new: float, word: str) -> None:
    verdict = verdict_of(with_pairs(plan_of(), varied(new, 6, 0.1)))
    assert verdict.status is Status.PASS
    assert verdict.message.endswith(f": the new side is {word}, by less than 2%")


def test_undecided_after_the_largest_number_of_pairs() -> None:
    """Four pairs decide 2% only if the noise is at most 0.34%."""
    plan = plan_of(4)
    assert isinstance(with_pairs(plan, varied(7.9, 3, 3.0)).step(), Next)
    progress = with_pairs(plan, varied(7.9, 4, 3.0))
    with pytest.raises(InconclusiveError) as caught:
        progress.step()
    said, advice = str(caught.value).splitlines()
    assert "after 4 of at most 4 pairs" in said
    assert said.endswith(": undecided: no difference is shown, but 2% is not ruled out either")
    assert advice == (
        "  4 pairs surely decide if the noise is at most 0.344%: check what else ran on the machine, or set "
        "a larger gate.delta_percent"
    )
    assert progress.verdict is None
    assert progress.judged().status is Status.INCONCLUSIVE


def test_the_places_in_a_pair_are_compared_in_the_verdict() -> None:
    plan = plan_of()
    slow_second = [
        8.0 * math.exp(each * 0.1 + (-0.01 if sides(0, pair)[0] is Side.OLD else 0.01))
        for pair, each in enumerate(NOISE)
    ]
    verdict = verdict_of(with_pairs(plan, slow_second))
    assert verdict.status is Status.PASS
    assert verdict.message.splitlines()[1:] == [
        "  the second start of a pair, whichever side it is, is slower than the first by 0.99% (t test, p < "
        "1%): look for a warm cache or a hot GPU. Both orders are equally frequent, so the comparison holds, "
        "but takes more pairs"
    ]
    fast_second = [64.0 / value for value in slow_second]
    assert "is faster than the first by 0.99%" in verdict_of(with_pairs(plan, fast_second)).message


def test_a_start_that_does_not_count_is_kept_with_its_side(tmp_path: Path) -> None:
    progress = PairsProgress(plan_of())
    assert progress.folder == ""
    assert progress.leave_out(Side.NEW, None, "the engine died") == (
        "small: start 1, of the new side, does not count: the engine died"
    )
    run = replace(started(tmp_path), folder=tmp_path / "second")
    assert progress.leave_out(Side.NEW, run, "hot") == "small: start 2, of the new side, does not count: hot"
    assert progress.runs == [
        PairRun(Side.NEW, "", why="the engine died"),
        PairRun(Side.NEW, f"{tmp_path}/second", why="hot"),
    ]
    assert progress.folder == f"{tmp_path}/second"
    assert progress.step() == Next(Side.NEW, ""), "the same again"
    assert progress.again == "pytest --dsr1-against=X"


def test_saved_runs_that_do_not_count_are_added_and_the_others_come_in_order(tmp_path: Path) -> None:
    now, folders = datetime.now(timezone.utc), []
    for _ in range(2):
        with ResultFolder.create(tmp_path, values.scenario(), "s.yaml", now) as folder:
            folder.complete(values.measurement(folder.path))
        folders.append(folder.path)
    runs = (
        StudyRun("old", "", "it was ended"),
        StudyRun("new", str(folders[0])),
        StudyRun("old", "gone", "too hot"),
        StudyRun("old", str(folders[1])),
    )
    progress = PairsProgress(plan_of())
    found = list(progress.saved(StudyRecord("small", now, ("old", "new"), runs)))
    assert [(side, run.folder) for side, run in found] == [(Side.NEW, folders[0]), (Side.OLD, folders[1])]
    assert [(run.side, run.folder, run.why) for run in progress.runs] == [
        (Side.OLD, "", "it was ended"),
        (Side.OLD, "gone", "too hot"),
    ]


def taking(tmp_path: Path, latencies: dict[Side, Iterable[float]]) -> Callable[[Side], Measurement]:
    """Take runs of two versions of PyTorch with these latencies."""
    each = {side: iter(found) for side, found in latencies.items()}
    return lambda side: started(tmp_path, next(each[side]), **{"library.torch": side.value})


def test_a_comparison_by_the_loop(starts: Starts, tmp_path: Path) -> None:
    """The first start of each side is a warm-up, and one run fails: all three are repeated."""
    old, new = [9.0, 1.0, 1.0, 1.004, 1.0], [9.0, 1.1, 1.102, 1.1, 1.099]
    make = taking(tmp_path, {Side.OLD: old, Side.NEW: new})
    asked, shown, saves = list[str](), list[str](), list[int]()

    def take(side: Side) -> Measurement:
        asked.append(side.value)
        if len(asked) == 5:
            raise EngineError("the engine died")
        return make(side)

    progress = PairsProgress(plan_of())
    verdict = answer(
        progress,
        take,
        lambda run: why_not(run, starts),
        shown.append,
        lambda: saves.append(len(progress.runs)),
    )
    order = list(chain.from_iterable(sides(0, pair) for pair in range(4)))
    expected = [order[0], order[0], order[1], order[1], order[2], *order[2:]]
    assert asked == [side.value for side in expected]
    assert saves == list(range(1, 12))
    assert sum("does not count" in text for text in shown) == 3
    assert verdict.status is Status.FAIL
    assert len(progress.differences) == 4
    assert progress.differences == pytest.approx(
        [math.log(b / a) for a, b in zip(old[1:], new[1:], strict=True)]
    )
    assert (tmp_path / "evidence.json").exists()
    assert [run.why == "" for run in progress.runs] == [False, True] * 2 + [False] + [True] * 6


def test_a_run_without_a_figure_ends_the_comparison_and_is_kept(tmp_path: Path) -> None:
    few: Any = replace(started(tmp_path), result=replace(started(tmp_path).result, records=()))
    progress = PairsProgress(plan_of())
    with pytest.raises(InvalidRunError) as caught:
        progress.count(Side.OLD, few)
    assert progress.runs == [PairRun(Side.OLD, str(tmp_path), why=str(caught.value))]
