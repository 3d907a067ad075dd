"""The options of sbatch for a run on whole nodes."""

from __future__ import annotations

import pytest

from pytest_dsr1.process.allocation import sbatch_options

ALWAYS = ["--no-requeue", "--signal=B:TERM@120"]


def test_whole_nodes() -> None:
    assert sbatch_options(2, 8, [], 5400.5) == [
        *ALWAYS,
        "--gpus-per-node=8",
        "--exclusive",
        "--time=91",
        "--nodes=2",
    ]


def test_without_gpus_and_without_a_known_time() -> None:
    assert sbatch_options(1, 0, [], None) == [*ALWAYS, "--exclusive", "--nodes=1"]


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ("--gpus-per-node=4", "--gpus-per-node=8"),
        ("--gres=gpu:b200:8", "--gpus-per-node=8"),
        ("--gpus=16", "--gpus-per-node=8"),
        ("-G16", "--gpus-per-node=8"),
        ("--exclusive=user", "--exclusive"),
        ("--time=02:00:00", "--time=1"),
        ("-t120", "--time=1"),
    ],
)
def test_what_the_site_says_is_not_said_twice(given: str, left_out: str) -> None:
    ours = sbatch_options(2, 8, ["--partition=batch"], 60)
    assert left_out in ours
    theirs = sbatch_options(2, 8, ["--partition=batch", given], 60)
    before = [option for option in ours[:-2] if option != left_out]
    assert theirs == [*before, "--partition=batch", given, "--nodes=2"]
