"""The curves of sweeps, as a picture and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.case.case import Case
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.reporting.charts.curve import curve_csv, curve_pictures, curves
from pytest_dsr1.reporting.charts.history import PublishedPoint
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.values import case, point

POINTS = [
    point("concurrency-1", 160.0, 158.0),
    point("concurrency-4", 110.0, 440.0),
    point("concurrency-8", 100.0, 430.0),  # worse in both
    point("concurrency-16", 61.0, 975.0),
]


def shown(cases: list[Case], published: tuple[PublishedPoint, ...] = ()) -> Any:
    (picture,) = curve_pictures(curves(cases), published)
    return picture


def values(picture: Any, layer: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = picture.spec["layer"][layer]["data"]["values"]
    return found


def test_the_picture_has_all_points_and_the_best_are_joined() -> None:
    picture = shown(POINTS)
    assert picture.wide
    assert picture.title == "total output throughput vs. speed per user"
    assert [(each["x"], each["y"]) for each in values(picture, 0)] == [
        (61.0, 975.0),
        (110.0, 440.0),
        (160.0, 158.0),
    ]
    assert len(values(picture, 1)) == 4
    assert [each["text"] for each in values(picture, 2)] == ["1", "4", "8", "16"]
    assert picture.caption == (
        "swept: 4 points, from 61 tok/s/user at 975 tok/s (concurrency-16) to 160 at 158 (concurrency-1); 3 "
        "are on the curve. The line joins the best points; both scales are logarithmic."
    )


def test_points_of_several_keys_keep_their_labels() -> None:
    first = POINTS[0]
    assert first.scenario.point is not None
    other = first.scenario.point.model_copy(update={"values": {"load.concurrency": 1, "engine.tp": 4}})
    mixed = replace(first, scenario=first.scenario.model_copy(update={"point": other}))
    assert values(shown([mixed, *POINTS[1:]]), 2)[0]["text"] == "concurrency-1"


def test_a_run_that_does_not_count_is_in_the_csv_alone() -> None:
    spoiled = point("concurrency-32", 50.0, 990.0, problem="too hot", status=Status.INVALID)
    found = curves([*POINTS, spoiled])
    assert len(values(next(iter(curve_pictures(found, ()))), 1)) == 4
    rows = list(csv.DictReader(io.StringIO(curve_csv(found))))
    assert [(row["point"], row["load.concurrency"], row["gpus"], row["verdict"]) for row in rows][-2:] == [
        ("concurrency-16", "16", "0", "PASS"),
        ("concurrency-32", "32", "0", "INVALID"),
    ]
    assert rows[0]["per_user_output_throughput [tok/s/user]"] == "160.0"
    assert rows[0]["curve"] == "swept"


def test_one_point_is_not_a_curve() -> None:
    assert curves([POINTS[0], case("other")]) == []
    assert curves([POINTS[0], point("concurrency-4", 1.0, 2.0, measurement=None)]) == []
    assert curve_csv([]) == "curve,point,gpus,verdict\n"


def on_gpus(one: Case, version: str, per_gpu: float) -> Case:
    """Return the point as one on a GPU, served by a version of vLLM."""
    run = one.run.measurement
    assert run is not None
    metrics = {**run.metrics, "per_gpu_output_throughput": MetricValue(per_gpu, "records")}
    result = replace(run.result, versions={"vllm": version})
    return replace(one, run=replace(one.run, measurement=replace(run, metrics=metrics, result=result)))


def test_several_versions_are_side_by_side() -> None:
    old = [on_gpus(point(f"concurrency-{n}", 100.0 / n, 1.0), "0.25", 10.0 * n) for n in (1, 2)]
    new = [on_gpus(point(f"concurrency-{n}", 120.0 / n, 1.0, sweep="new"), "0.26", 12.0 * n) for n in (1, 2)]
    picture = shown([*old, *new])
    assert picture.title == "per-GPU output throughput vs. speed per user"
    assert [each["kind"] for each in values(picture, 0)] == ["swept (vllm 0.25)"] * 2 + [
        "new (vllm 0.26)"
    ] * 2
    assert picture.caption.startswith("swept (vllm 0.25): 2 points, ")


@pytest.mark.parametrize(("model", "count"), [("deepseek-ai/DeepSeek-R1", 0), ("other", 0)])
def test_random_weights_have_no_published_points(model: str, count: int) -> None:
    gpus = [on_gpus(each, "0.26", 1.0) for each in POINTS]
    known = PublishedPoint("h200-max", "V1", model, "NVIDIA H200", 10.0, 1000.0)
    assert len(values(shown(gpus, (known,)), 1)) == 4 + count
