"""The loop of a study: what is run, what is left out, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pytest_dsr1.errors import EngineError, InvalidRunError
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.study.loop import Answer, Next, answer, next_that_counts
from tests.helpers import values
from tests.helpers.gate_runs import started


def why_not(run: Measurement) -> str:
    """Says why a run does not count."""
    return "; ".join(f"this start filled {cache}" for cache in run.caches_filled)


def test_starts_that_do_not_count(tmp_path: Path) -> None:
    """The third is taken."""
    good = started(tmp_path)
    filled = replace(good, caches_filled=("/tmp/torchinductor_root",))
    runs = iter([filled, filled, good])
    notes: list[str] = []
    assert next_that_counts(lambda: next(runs), why_not, lambda _, why: notes.append(why), "") is good
    assert notes == [
        "this start filled /tmp/torchinductor_root",
        "this start filled /tmp/torchinductor_root",
    ]


def test_too_many_starts_that_do_not_count(tmp_path: Path) -> None:
    filled = replace(started(tmp_path), caches_filled=("/cache",))
    runs = iter([filled, filled])

    def take() -> Measurement:
        for run in runs:
            return run
        raise EngineError("small: the engine died\nlog: engine/server.log")

    with pytest.raises(InvalidRunError) as caught:
        next_that_counts(take, why_not, lambda *_: None, "pytest --dsr1-profile=small --dsr1-gate")
    assert str(caught.value) == (
        "3 engine starts in a row do not count:\n"
        "  1. this start filled /cache\n"
        "  2. this start filled /cache\n"
        "  3. small: the engine died\n"
        "     log: engine/server.log\n"
        "remove the cause, then run `pytest --dsr1-profile=small --dsr1-gate`"
    )


@dataclass
class Twice:
    """Each point twice, in turn; the answer is how many runs there were."""

    points: tuple[str, ...]
    again: str = "pytest --again"
    done: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def step(self) -> Next[str] | Answer[int]:
        if len(self.done) == 2 * len(self.points):
            return Answer(len(self.done))
        point = self.points[len(self.done) % len(self.points)]
        return Next(point, f"now {point}" if self.done else "")

    def leave_out(self, point: str, measurement: Measurement | None, why: str) -> str:
        assert measurement is None
        self.left_out.append((point, why))
        return f"{point} does not count: {why}"

    def count(self, point: str, measurement: Measurement) -> None:
        assert measurement.test_id_prefix == point
        self.done.append(point)


def test_the_study_names_each_run_until_it_has_the_answer() -> None:
    study, shown, saves, asked = Twice(("a", "b")), list[str](), list[tuple[int, int]](), list[str]()

    def take(point: str) -> Measurement:
        asked.append(point)
        if len(asked) == 2:
            raise InvalidRunError("too hot")
        return values.measurement(test_id_prefix=point)

    def save() -> None:
        saves.append((len(study.done), len(study.left_out)))

    assert answer(study, take, lambda _: "", shown.append, save) == 4
    assert asked == ["a", "b", "b", "a", "b"]
    assert shown == ["now b", "b does not count: too hot", "now a", "now b"]
    assert saves == [(1, 0), (1, 1), (2, 1), (3, 1), (4, 1)]


def test_a_study_that_knows_its_answer_runs_nothing() -> None:
    def never(_: str) -> Measurement:
        raise AssertionError

    assert answer(Twice(()), never, lambda _: "", print, print) == 0
