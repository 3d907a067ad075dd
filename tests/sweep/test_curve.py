# ruff: noqa: E501  (messages stand whole)
"""The curve of a sweep: its points, what lies between two of them, and the verdict there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.sweep import Frontier
from pytest_dsr1.sweep.curve import CurvePoint, Read, frontier, judge, read
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.verdict import Status, Verdict

SMALL = Noise(0.001, 8)


def point(label: str, x: float, y: float, x_noise: Noise = SMALL, y_noise: Noise = SMALL) -> CurvePoint:
    return CurvePoint(label, x, y, x_noise, y_noise)


def labels(points: Sequence[CurvePoint]) -> list[str]:
    return [each.label for each in points]


FOUR = [point("a", 100, 10), point("b", 50, 800), point("c", 25, 1000), point("d", 20, 900)]
"""Throughput per GPU over that per user, both better when higher; d is beaten by c."""


def test_a_beaten_point_is_not_on_the_curve() -> None:
    assert labels(frontier(FOUR, "higher", "higher")) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("x_better", "y_better", "expected"),
    [
        ("higher", "higher", ["c", "b", "a"]),
        ("lower", "higher", ["d", "c"]),
        ("higher", "lower", ["a"]),
        ("lower", "lower", ["d", "b", "a"]),
    ],
)
def test_which_points_are_beaten_depends_on_what_is_better(
    x_better: str, y_better: str, expected: list[str]
) -> None:
    assert labels(frontier(FOUR, x_better, y_better)) == expected
    assert labels(frontier(FOUR[::-1], x_better, y_better)) == expected


def test_equal_points_are_one() -> None:
    same = [point("a", 10, 10), point("b", 10, 10), point("c", 10, 9), point("d", 9, 10), point("e", 9, 11)]
    assert labels(frontier(same, "higher", "higher")) == ["e", "a"]
    assert frontier([], "higher", "higher") == []


def test_between_two_points_both_metrics_follow_a_line_in_logarithms() -> None:
    """From (10, 1000) to (40, 250): halfway in logarithms is 20, and the middle of 1000 and 250 is 500."""
    curve = [point("left", 10, 1000), point("right", 40, 250)]
    found = read(curve, 20)
    assert isinstance(found, Read)
    assert found.value == pytest.approx(500)
    assert found.between == ("left", "right")
    # A quarter of the way, at 10 * sqrt(2), a factor of 4 becomes one of sqrt(2).
    quarter = read(curve, 10 * math.sqrt(2))
    assert isinstance(quarter, Read)
    assert quarter.value == pytest.approx(1000 / math.sqrt(2))


def test_the_neighbors_of_a_place_are_the_nearest_points() -> None:
    curve = [point("a", 10, 1000), point("b", 20, 100), point("c", 40, 10)]
    found = [read(curve, x) for x in (15, 30)]
    assert [each.between for each in found if isinstance(each, Read)] == [("a", "b"), ("b", "c")]


def test_exactly_at_a_point_the_point_itself_counts() -> None:
    curve = [point("a", 10, 1000, Noise(3, 5), Noise(2, 6)), point("b", 20, 100)]
    assert read(curve, 10) == Read(1000, Noise(2, 6), ("a",))
    assert read(curve, 20) == Read(100, SMALL, ("b",))


def test_beyond_its_ends_the_curve_has_nothing() -> None:
    curve = [point("a", 10, 1000), point("b", 20, 100)]
    assert [read(curve, x) for x in (9.99, 20.01)] == ["lower", "higher"]
    assert read(curve[:1], 11) == "higher"


def test_the_noise_of_both_neighbors_counts_by_hand() -> None:
    """From (10, 1000) to (40, 250) the slope in logarithms is -1.

    Halfway each neighbor counts one half: of 3% and 4% in y, and 1% and 2% in x,
    sqrt((0.5 * 3)^2 + (0.5 * 1 * 1)^2 + (0.5 * 4)^2 + (0.5 * 1 * 2)^2) = sqrt(2.25 + 0.25 + 4 + 1)%.
    """
    left = point("left", 10, 1000, Noise(1, 9), Noise(3, 8))
    right = point("right", 40, 250, Noise(2, 7), Noise(4, 10))
    found = read([left, right], 20)
    assert isinstance(found, Read)
    assert found.noise.percent == pytest.approx(math.sqrt(7.5))
    assert found.noise.references == 7
    # A quarter of the way: weights of 3/4 and 1/4.
    quarter = read([left, right], 10 * math.sqrt(2))
    assert isinstance(quarter, Read)
    assert quarter.noise.percent == pytest.approx(math.sqrt(0.75**2 * (9 + 1) + 0.25**2 * (16 + 4)))


def test_the_noise_in_x_counts_by_the_slope() -> None:
    """From (10, 1000) to (20, 250) the slope is -2, so 1% in x is 2% in y."""
    left = point("left", 10, 1000, Noise(1, 9), Noise(0, 9))
    right = point("right", 20, 250, Noise(0, 9), Noise(0, 9))
    found = read([left, right], 10 * math.sqrt(2))
    assert isinstance(found, Read)
    assert found.noise.percent == pytest.approx(0.5 * 2)


@pytest.mark.parametrize("presumed", range(4))
def test_noise_is_presumed_if_that_of_any_neighbor_is(presumed: int) -> None:
    noises = [Noise(1.0, None if place == presumed else 5 + place) for place in range(4)]
    found = read([point("a", 10, 1000, *noises[:2]), point("b", 20, 100, *noises[2:])], 15)
    assert isinstance(found, Read)
    assert found.noise.presumed


# Verdicts


def judged(
    points: Sequence[CurvePoint],
    at: float,
    value: float,
    missing: Mapping[str, str] | None = None,
    **wanted: str,
) -> Verdict:
    figure = Frontier.model_validate({"at": at, "value": value, **wanted})
    return judge(figure, "NAME", points, missing or {}, "ladder")


CURVE = [point("users-1", 40, 250), point("users-4", 10, 1000)]


def test_a_figure_that_is_reached() -> None:
    verdict = judged(CURVE, 20, 400)
    assert verdict.status is Status.PASS
    assert verdict.subject == "frontier[NAME]"
    assert verdict.metric == "per_gpu_output_throughput"
    assert verdict.measured == pytest.approx(500)
    assert verdict.message == (
        "per-GPU output throughput at 20 tok/s/user (between users-4 and users-1) 500 tok/s/GPU is 25.0% "
        "above the target 400 (tolerance 5%: at least 380 tok/s/GPU)"
    )


def test_a_figure_that_is_missed() -> None:
    verdict = judged(CURVE, 10, 2000)
    assert verdict.status is Status.FAIL
    assert verdict.margin_percent == pytest.approx(-50)
    assert verdict.message == (
        "per-GPU output throughput at 10 tok/s/user (point users-4) 1,000 tok/s/GPU is 50.0% below the target "
        "2,000 (tolerance 5%: at least 1,900 tok/s/GPU)"
    )


def test_the_tolerance_counts() -> None:
    assert judged(CURVE, 10, 1052).status is Status.PASS
    assert judged(CURVE, 10, 1053).status is Status.FAIL


def test_points_that_are_beaten_are_not_used() -> None:
    beaten = point("users-2", 20, 200)
    verdict = judged([*CURVE, beaten], 20, 500)
    assert verdict.measured == pytest.approx(500)
    assert "between users-4 and users-1" in verdict.message


def test_a_curve_of_metrics_that_are_better_when_lower() -> None:
    """TTFT over throughput: from (100, 10) to (400, 40) it is 20 at 200, and a slower point is not used."""
    points = [point("a", 100, 10), point("b", 400, 40), point("beaten", 150, 45)]
    of, metric = "total_output_throughput", "average_ttft"
    verdict = judged(points, 200, 20, of=of, metric=metric)
    assert verdict.status is Status.PASS
    assert verdict.measured == pytest.approx(20)
    assert verdict.label == "average time to first token (TTFT) at 200 tok/s"
    slow = judged(points, 200, 10, of=of, metric=metric)
    assert slow.status is Status.FAIL
    assert slow.margin_percent == pytest.approx(-100)
    assert slow.message == (
        "average time to first token (TTFT) at 200 tok/s (between a and b) 20 ms is 100.0% above the target 10 "
        "(tolerance 5%: at most 10.5 ms)"
    )


def test_a_close_verdict_is_doubted_by_the_noise_of_both_neighbors() -> None:
    """The noise is sqrt(7.5)% as above: 2% from the bound may be a pass in another run."""
    left = point("left", 10, 1000, Noise(1, 9), Noise(3, 8))
    right = point("right", 40, 250, Noise(2, 7), Noise(4, 10))
    verdict = judged([left, right], 20, 500 / 0.95 / 1.02)
    assert verdict.message.endswith(
        "; the measured value is 2.0% from the bound, which is less than twice the standard deviation between "
        "engine starts (2.7%, from 7 accepted references): a repeat run may get the opposite verdict"
    )
    assert not judged([left, right], 20, 400).doubt


def refusal(
    points: Sequence[CurvePoint], at: float, missing: Mapping[str, str] | None = None, **wanted: str
) -> str:
    with pytest.raises(InvalidRunError) as caught:
        judged(points, at, 500, missing, **wanted)
    return str(caught.value)


def test_beyond_its_ends_nothing_is_judged() -> None:
    start = "ladder: per-GPU output throughput at"
    runs = "the curve runs from 10 (users-4) to 40 tok/s/user (users-1), and nothing is judged beyond it"
    assert refusal(CURVE, 5) == (
        f"{start} 5 tok/s/user was not measured: {runs}; add a point with a lower per-user output throughput"
    )
    assert refusal(CURVE, 41) == (
        f"{start} 41 tok/s/user was not measured: {runs}; add a point with a higher per-user output throughput"
    )


def test_the_refusal_says_which_points_are_missing() -> None:
    reasons = {"users-2": "is INVALID", **{f"users-{n}": "was not run" for n in range(8, 15)}}
    assert refusal(CURVE[:1], 30, reasons) == (
        "ladder: per-GPU output throughput at 30 tok/s/user was not measured: the curve runs from 40 (users-1) "
        "to 40 tok/s/user (users-1), and nothing is judged beyond it; add a point with a lower per-user output "
        "throughput; points without a result: users-2 (is INVALID), users-8 (was not run), users-9 (was not run), users-10 (was not run), users-11 (was not run) and 3 more"
    )
    assert refusal([], 30, {"users-2": "is INVALID"}) == (
        "ladder: per-GPU output throughput at 30 tok/s/user was not measured: no point has a valid result: remove "
        "the cause, which is told with each point, then run again with --dsr1-resume; points without a result: "
        "users-2 (is INVALID)"
    )


def test_a_verdict_says_which_points_are_missing() -> None:
    reasons = {f"users-{n}": "was not run" for n in range(2, 7)}
    verdict = judged(CURVE, 10, 2000, reasons)
    assert verdict.message.endswith(
        "; points without a result: users-2 (was not run), users-3 (was not run), users-4 (was not run), users-5 (was not run), users-6 (was not run)"
    )
    passed = judged(CURVE, 10, 500, {"users-2": "was not run"})
    assert passed.status is Status.PASS
    assert passed.message.endswith("; points without a result: users-2 (was not run)")


def test_figures_below_one_count() -> None:
    """Of interactivity 0.5 and 0.125 with 0.02 and 0.08: at 0.25 it is 0.04."""
    points = [point("a", 0.5, 0.02), point("b", 0.125, 0.08), point("c", 0.1, 0)]
    verdict = judged(points, 0.25, 0.08)
    assert verdict.measured == pytest.approx(0.04)
    assert verdict.message.endswith("; points without a result: c (per-GPU output throughput is 0)")


def test_one_point_more_than_are_named() -> None:
    reasons = {f"users-{n}": "was not run" for n in range(2, 8)}
    assert judged(CURVE, 10, 2000, reasons).message.endswith(", users-6 (was not run) and 1 more")


def test_a_point_with_a_figure_of_zero_is_no_part_of_the_curve() -> None:
    zeros = [point("users-9", 5, 0), point("users-0", 0, 2000)]
    verdict = judged([*CURVE, *zeros], 10, 500)
    assert verdict.message.endswith(
        "; points without a result: users-9 (per-GPU output throughput is 0), users-0 (per-user output throughput is 0)"
    )
    assert refusal(zeros, 10) == (
        "ladder: per-GPU output throughput at 10 tok/s/user was not measured: no point has both metrics above 0; add one that has; points without a result: users-9 (per-GPU output throughput is 0), users-0 (per-user output throughput is 0)"
    )


# Properties

POSITIVE = st.floats(1e-3, 1e6)
POINTS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=2, max_size=8).map(
    lambda rows: [point(f"p{n}", x, y) for n, (x, y) in enumerate(rows)]
)
BETTER = st.sampled_from(["higher", "lower"])


@given(POINTS, BETTER, BETTER)
def test_the_curve_has_every_point_that_no_other_beats(
    points: list[CurvePoint], x_better: str, y_better: str
) -> None:
    x_sign, y_sign = (1 if better == "higher" else -1 for better in (x_better, y_better))
    curve = frontier(points, x_better, y_better)
    pairs = {(each.x, each.y) for each in curve}
    assert len(pairs) == len(curve)
    for each in points:
        beaten = any(
            x_sign * other.x >= x_sign * each.x
            and y_sign * other.y >= y_sign * each.y
            and (other.x, other.y) != (each.x, each.y)
            for other in points
        )
        assert ((each.x, each.y) in pairs) is not beaten


@given(POINTS, BETTER, BETTER, st.floats(0, 1))
def test_a_value_between_two_points_lies_between_theirs(
    points: list[CurvePoint], x_better: str, y_better: str, share: float
) -> None:
    curve = frontier(points, x_better, y_better)
    x = curve[0].x + share * (curve[-1].x - curve[0].x)
    found = read(curve, min(max(x, curve[0].x), curve[-1].x))
    assert isinstance(found, Read)
    ends = [each.y for each in curve if each.label in found.between]
    assert min(ends) * (1 - 1e-9) <= found.value <= max(ends) * (1 + 1e-9)
    assert found.noise.percent >= 0


@given(POINTS, BETTER, BETTER, st.floats(0, 1), st.floats(0, 1), st.integers(0, 7))
def test_a_beaten_point_changes_nothing(
    points: list[CurvePoint], x_better: str, y_better: str, less_x: float, less_y: float, which: int
) -> None:
    better = points[which % len(points)]
    goods = ((less_x, x_better), (less_y, y_better))
    factors = [1 - 0.5 * less if good == "higher" else 1 + less for less, good in goods]
    beaten = point("beaten", better.x * factors[0], better.y * factors[1])
    curve = frontier(points, x_better, y_better)
    assert frontier([*points, beaten], x_better, y_better) == curve
