from __future__ import annotations

import os

import psutil
import pytest

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.nvml import GpuProcess
from pytest_dsr1.machine.gpu.processes import ProcessWatch


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: True)


def test_a_process_that_may_not_be_looked_at_is_foreign(
    visible: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", denied)
    assert ProcessWatch().foreign(0, [GpuProcess(7, None)]) == ["pid 7"]


def test_the_same_process_on_two_gpus_is_reported_for_each(visible: None) -> None:
    watch = ProcessWatch()
    parent = [GpuProcess(os.getppid(), 1.0)]
    assert [len(watch.foreign(gpu, parent)) for gpu in (0, 1, 0)] == [1, 1, 0]


def test_without_ids_fewer_processes_are_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: False)
    watch = ProcessWatch()
    watch.warmed_up()
    two = [GpuProcess(1, None), GpuProcess(2, None)]
    assert [watch.foreign(0, some) for some in (two, two[:1], two)] == [[], [], []]
