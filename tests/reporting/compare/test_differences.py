"""What keeps saved results from being compared, in words."""

from __future__ import annotations

import pytest

from pytest_dsr1.reporting.compare.differences import warnings, why_unfit
from tests.helpers.compared import at


def test_results_that_are_not_comparable() -> None:
    found = warnings(
        [
            at(
                "2026-11-23T20:05:12",
                model__content="ab" * 32,
                dataset__content="cd" * 32,
                option__load__concurrency=64,
            ),
            at(
                "2026-11-23T20:06:12",
                gpu__count=8,
                model__content="ef" * 32,
                dataset__content="cd" * 32,
                option__load__concurrency=128,
            ),
            at(
                "2026-11-23T20:07:12",
                gpu__count=0,
                cpu__model="AMD EPYC\x07",
                model__content="ab" * 32,
                option__load__concurrency=64,
                option__load__arrival__rate_req_s=2.0,
            ),
        ],
        ["20:05", "20:06", "20:07"],
    )
    assert tuple(found) == (
        "the hardware is not the same: 1 x NVIDIA H200 in 20:05; 8 x NVIDIA H200 in 20:06; "
        "AMD EPYC\\x07 in 20:07",
        "the models are not the same: abababababab... in 20:05, 20:07; efefefefefef... in 20:06",
        "the requests are not the same: 8 in, 4 out (cdcdcdcdcdcd...) in 20:05, 20:06; "
        "8 in, 4 out (not recorded) in 20:07",
        "concurrency is not the same: 64 in 20:05, 20:07; 128 in 20:06",
        "the arrivals of the requests are not the same",
    )


@pytest.mark.parametrize(
    ("invalid", "concurrency", "why"),
    [
        (["", ""], 64, ""),
        (["", ""], 128, "not comparable with a"),
        (["", "lost"], 64, "b is INVALID"),
        (["", "lost"], 128, "b is INVALID"),
        (["lost", ""], 128, "a is INVALID"),
        (["lost", "lost"], 64, "a is INVALID"),
    ],
)
def test_why_one_is_neither_better_nor_worse(invalid: list[str], concurrency: int, why: str) -> None:
    runs = [at("2026-11-23T20:05:12", option__load__concurrency=number) for number in (64, concurrency)]
    assert why_unfit(runs, ["a", "b"], invalid) == ("", why)
