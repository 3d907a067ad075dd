"""What becomes of tasks, as a stand-in of squeue tells it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_dsr1.cli import job_states
from pytest_dsr1.cli.job_states import TaskState, wait, worst
from tests.helpers.nodes import program
from tests.standins.slurm import install

NAMES = {("7", 0): "a", ("7", 1): "b", ("12", 0): "c"}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")))
    monkeypatch.setenv("DSR1_STANDIN_SLURM", str(tmp_path))
    monkeypatch.setattr(job_states, "POLL_S", 0.0)
    return tmp_path


def states(folder: Path, *paragraphs: str) -> None:
    (folder / "states").write_text("\n\n".join(paragraphs), encoding="utf-8")


def test_every_change_is_said_once(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states(
        slurm,
        "7 0 PENDING 0 Priority\n7 1 PENDING 0 None\n12 0 PENDING 0 PartitionTimeLimit",
        "7 0 RUNNING 0 None\n7 1 PENDING 0 None\n12 0 PENDING 0 PartitionTimeLimit",
        "7 0 COMPLETED 0 None\n7 1 RUNNING 0 None\n12 0 CANCELLED 0 PartitionTimeLimit",
        "7 1 COMPLETING 2560 None",
        "7 1 FAILED 2560 NonZeroExitCode",
    )
    assert wait(NAMES) == {
        ("7", 0): TaskState("COMPLETED", status=0),
        ("7", 1): TaskState("FAILED", status=10),
        ("12", 0): TaskState("CANCELLED"),
    }
    assert capsys.readouterr().out.splitlines() == [
        "7_0 a: PENDING (Priority)",
        "7_1 b: PENDING",
        "12_0 c: PENDING (PartitionTimeLimit)",
        "7_0 a: RUNNING",
        "7_0 a: exit status 0",
        "7_1 b: RUNNING",
        "12_0 c: CANCELLED",
        "7_1 b: COMPLETING",
        "7_1 b: exit status 10",
    ]
    assert (slurm / "squeue-calls").read_text().splitlines() == ["7,12"] * 5


def test_a_controller_that_does_not_answer_is_asked_again(
    slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = "error slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    states(slurm, broken, broken, "7 0 RUNNING 0 None", broken, "7 0 COMPLETED 0 None")
    assert wait({("7", 0): "a"}) == {("7", 0): TaskState("COMPLETED", status=0)}
    line = (
        "squeue: slurm_load_jobs error: Unable to contact slurm controller (connect failure); it is asked "
        "again every 0 s"
    )
    assert capsys.readouterr().err.splitlines() == [line, line]


def test_lines_that_are_of_no_task(slurm: Path) -> None:
    """With several clusters in SLURM_CLUSTERS, squeue names each, and leaves a line empty before the next."""
    told = "CLUSTER: a\\n7 0 COMPLETED 0 None\\n\\nCLUSTER: b\\n"
    program(slurm / "bin", "squeue", f"printf '{told}'")
    assert wait({("7", 0): "a"}) == {("7", 0): TaskState("COMPLETED", status=0)}


@pytest.mark.parametrize(
    "told", ["error slurm_load_jobs error: Invalid job id specified", "7 N/A PENDING 0 x"]
)
def test_a_task_that_slurm_has_forgotten_does_not_count(
    slurm: Path, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    states(slurm, "7 0 RUNNING 0 None", told)
    (state,) = wait({("7", 0): "a"}).values()
    assert state.exit_status == 10
    assert capsys.readouterr().out.splitlines() == ["7_0 a: RUNNING", "7_0 a: forgotten by Slurm"]


def test_there_is_no_squeue(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states(slurm, "7 0 COMPLETED 0 None")
    path = (slurm / "bin" / "squeue").rename(slurm / "squeue")
    monkeypatch.setattr(time, "sleep", lambda _: path.rename(slurm / "bin" / "squeue"))
    wait({("7", 0): "a"})
    assert "squeue: cannot be started: No such file or directory; it is asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (TaskState("COMPLETED", status=0), 0, "exit status 0"),
        (TaskState("FAILED", status=1), 1, "exit status 1"),
        (TaskState("FAILED", status=4), 4, "exit status 4"),
        (TaskState("FAILED", status=127), 10, "exit status 127"),
        (TaskState("FAILED"), 10, "FAILED"),
        (TaskState("CANCELLED"), 10, "CANCELLED"),
        (TaskState("TIMEOUT"), 10, "TIMEOUT"),
        (TaskState("NODE_FAIL"), 10, "NODE_FAIL"),
    ],
)
def test_the_exit_status_of_a_task(state: TaskState, status: int, words: str) -> None:
    assert state.has_ended
    assert (state.exit_status, state.words) == (status, words)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [([0], 0), ([0, 12], 12), ([12, 11], 11), ([11, 4], 4), ([4, 10], 10), ([10, 1, 0], 1)],
)
def test_the_worst_exit_status(statuses: list[int], expected: int) -> None:
    assert worst(TaskState("FAILED", status=status) for status in statuses) == expected


def test_a_signal_is_no_exit_status(slurm: Path) -> None:
    states(slurm, "7 0 FAILED 9 None")
    assert wait({("7", 0): "a"}) == {("7", 0): TaskState("FAILED")}
