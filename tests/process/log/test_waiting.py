from __future__ import annotations

import pytest

from pytest_dsr1.process.log import waiting as module
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.waiting import Waiting

QUEUED = "srun: job 4711 queued and waiting for resources"
ALLOCATED = "srun: job 4711 has been allocated resources"
BUSY = "srun: Job 4711 step creation temporarily disabled, retrying (Requested nodes are busy)"
CREATED = "srun: Step created for StepId=4711.3"
SPAWN = "mpi4py.MPI.Exception: MPI_ERR_SPAWN: could not spawn processes"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_time_in_the_queue_is_not_start_up(clock: Clock) -> None:
    wait = Waiting(LogReader(), 60.0)
    clock.now_s += 10
    assert wait.heard(QUEUED) == "job 4711 waits in Slurm's queue"
    clock.now_s += 7200
    assert not wait.over
    assert wait.left_s == 50.0
    assert wait.heard(ALLOCATED) is None
    clock.now_s += 49
    assert wait.left_s == 1.0
    clock.now_s += 2
    assert wait.over


def test_time_behind_another_step_is_not_start_up(clock: Clock) -> None:
    wait = Waiting(LogReader(), 60.0)
    assert wait.heard(f" 0: {BUSY}") == (
        "srun waits for another step of job 4711: end that step (`squeue --steps` lists them), or add "
        "--overlap to srun, in slurm.srun of the site file, or in engine.command"
    )
    clock.now_s += 7200
    assert not wait.over
    assert wait.heard(CREATED) is None
    clock.now_s += 61
    assert wait.over


def test_a_wait_that_begins_again_has_its_own_limit(clock: Clock) -> None:
    wait = Waiting(LogReader(), 60.0)
    clock.now_s += 100
    assert wait.over
    wait.restart(10.0)
    assert (wait.left_s, wait.limit_s, wait.poll_s) == (10.0, 10.0, 1.0)


def test_a_hopeless_log_ends_after_a_silence(clock: Clock) -> None:
    log = LogReader([SPAWN])
    wait = Waiting(log, 3600.0)
    clock.now_s += 29
    assert not wait.hopeless
    wait.heard("one more line")
    clock.now_s += 29
    assert not wait.hopeless
    clock.now_s += 1
    assert wait.hopeless
    assert wait.given_up == "nothing can come after that, so it was stopped after 30 s of silence"


def test_silence_alone_is_not_hopeless(clock: Clock) -> None:
    wait = Waiting(LogReader(["ValueError: x"]), 3600.0)
    clock.now_s += 3000
    assert not wait.hopeless
