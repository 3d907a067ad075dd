"""Other work on the CPUs: counters of a stand-in /proc, and real work next to this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import cpu_load
from pytest_dsr1.machine.cpu_load import LOST_LIMIT, CpuLoad, CpuWatch, OtherWork, assess

US, ENGINE = os.getpid(), 7000
HZ = os.sysconf("SC_CLK_TCK")


class Proc:
    """A stand-in for /proc whose clock and counters a test moves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = 100.0
        self.busy = {0: 50.0, 1: 50.0, 2: 50.0}
        self.stolen = dict.fromkeys(self.busy, 3.0)
        self.begin(US, parent=1, name="python")
        self.begin(ENGINE, parent=US, name="engine")

    def begin(
        self, pid: int, *, parent: int = 1, name: str = "yes", start: int = 0, work_s: float = 0.0
    ) -> None:
        """Start a process, or change what it has done."""
        (self.root / str(pid) / "task").mkdir(parents=True, exist_ok=True)
        ticks = round(work_s * HZ)
        fields = ["R", str(parent), *["0"] * 9, str(ticks), "0", *["0"] * 6, str(start)]
        (self.root / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n", encoding="utf-8")

    def end(self, pid: int) -> None:
        """Let a process end."""
        (self.root / str(pid) / "stat").unlink()

    def waited(self, pid: int, waited_s: float, *, thread: int | None = None, slices: int = 1) -> None:
        """Say how long a thread has waited."""
        folder = self.root / str(pid) / "task" / str(thread or pid)
        folder.mkdir(exist_ok=True)
        text = f"{10**9} {round(waited_s * 1e9)} {slices}\n"
        (folder / "schedstat").write_text(text, encoding="ascii")

    def pass_time(self, seconds: float, *, busy_s: float = 0.0, stolen_s: float = 0.0) -> None:
        """Let time pass, with that much work on each CPU of this process."""
        self.now_s += seconds
        for cpu in (0, 1):
            self.busy[cpu] += busy_s / 2
            self.stolen[cpu] += stolen_s / 2
        self.busy[2] += seconds  # not a CPU of this process
        lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
        for cpu, work_s in self.busy.items():
            user, nice = round(work_s * HZ) - 4 * 5, 5
            lines.append(f"cpu{cpu} {user} {nice} 5 777 888 5 5 {round(self.stolen[cpu] * HZ)} 9 9")
        (self.root / "stat").write_text("\n".join([*lines, "ctxt 5", ""]), encoding="ascii")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    made = Proc(tmp_path)
    made.pass_time(0)
    monkeypatch.setattr(cpu_load, "PROC", tmp_path)
    monkeypatch.setattr(cpu_load, "time", SimpleNamespace(monotonic=lambda: made.now_s))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return made


def test_the_wait_and_the_other_work_are_measured(proc: Proc) -> None:
    proc.begin(7001, parent=US, name="worker")
    proc.begin(7002, parent=7001, name="kernel")
    proc.begin(30, name="make) -j (x")
    proc.begin(31, name="yes", work_s=500)
    for pid in (US, 7001, 7002):
        proc.waited(pid, 5.0)
    watch = CpuWatch()
    proc.pass_time(2, busy_s=3.0)
    proc.waited(US, 7.0)  # pytest's own threads measure nothing
    proc.waited(7001, 5.1)
    proc.waited(7002, 5.5)
    proc.waited(7002, 0.2, thread=7003)  # it has just begun
    proc.begin(7001, parent=US, name="worker", work_s=0.5)
    proc.begin(7002, parent=7001, name="kernel", work_s=0.7)
    proc.begin(30, name="make) -j (x", work_s=0.25)
    proc.begin(31, name="yes", work_s=501)
    proc.begin(32, name="yes", start=9, work_s=0.5)
    watch.look()
    load = watch.load(100, 102)
    assert load is not None
    assert (load.cpus, load.stolen_share) == (2, 0.0)
    assert load.waited_share == pytest.approx(0.25)
    assert load.others_cpus == pytest.approx((3.0 - 1.2) / 2)
    assert [(each.name, each.pids) for each in load.others] == [("yes", (31, 32)), ("make) -j (x", (30,))]
    assert [each.cpus for each in load.others] == pytest.approx([0.75, 0.125])


def test_only_the_measured_time_counts(proc: Proc) -> None:
    proc.waited(ENGINE, 0.0)
    watch = CpuWatch()
    for waited_s in (1.0, 1.0, 1.5, 2.5):
        proc.pass_time(1, busy_s=1.0)
        proc.waited(ENGINE, waited_s)
        watch.look()
    load = watch.load(101, 103.5)
    assert load is not None
    assert load.waited_share == pytest.approx((0.5 + 0.5 * 1.0) / 2.5)
    assert watch.load(200, 300) is None


def test_a_process_id_that_is_used_again_is_another_process(proc: Proc) -> None:
    proc.begin(31, name="old", start=1, work_s=80)
    proc.waited(ENGINE, 0.0)
    watch = CpuWatch()
    proc.pass_time(1, busy_s=0.5)
    proc.begin(31, name="new", start=2, work_s=0.5)
    watch.look()
    load = watch.load(100, 101)
    assert load is not None
    assert [each.name for each in load.others] == ["new"]
    assert load.others[0].cpus == pytest.approx(0.5)


def test_a_process_that_changes_its_name_is_the_same(proc: Proc) -> None:
    proc.begin(31, name="kworker/1:0", start=1, work_s=80)
    proc.waited(ENGINE, 0.0)
    watch = CpuWatch()
    proc.pass_time(1, busy_s=0.5)
    proc.begin(31, name="kworker/1:0-mm", start=1, work_s=80.5)
    watch.look()
    load = watch.load(100, 101)
    assert load is not None
    assert [each.name for each in load.others] == ["kworker/1:0-mm"]
    assert load.others[0].cpus == pytest.approx(0.5)


def test_what_a_hypervisor_gave_away(proc: Proc) -> None:
    proc.waited(ENGINE, 0.0)
    watch = CpuWatch()
    proc.pass_time(10, busy_s=9.0, stolen_s=1.0)
    watch.look()
    load = watch.load(100, 110)
    assert load is not None
    assert load.stolen_share == pytest.approx(0.1)
    assert load.lost_share == pytest.approx(0.1)


def without_slices(proc: Proc) -> None:
    proc.waited(ENGINE, 0.0, slices=0)


def without_files(proc: Proc) -> None:
    assert proc


@pytest.mark.parametrize("kernel", [without_slices, without_files])
def test_a_kernel_that_does_not_count(proc: Proc, kernel: Callable[[Proc], None]) -> None:
    kernel(proc)
    watch = CpuWatch()
    proc.pass_time(1, busy_s=0.5)
    watch.look()
    load = watch.load(100, 101)
    assert load is not None
    assert load.waited_share is None
    assert load.text == "other work kept 0.50 of 2 busy; the run waited for one an unknown share of the time"
    unknown = (
        "this kernel does not count how long a thread waits for a processor (/proc/PID/schedstat), so it is "
        "unknown whether other work slowed the run"
    )
    assert list(assess(load)) == [Finding("warning", "CPUs", unknown)]


def test_without_a_process_of_the_engine_nothing_is_judged(proc: Proc) -> None:
    proc.end(ENGINE)
    proc.waited(US, 0.0)
    with CpuWatch() as watch:
        proc.pass_time(1, busy_s=2.0)
        proc.waited(US, 0.9)
    assert watch.load(100, 101) is None
    assert list(assess(None)) == []


def test_processors_that_cannot_be_read(proc: Proc) -> None:
    proc.waited(ENGINE, 0.0)
    (proc.root / "stat").unlink()
    watch = CpuWatch()
    proc.now_s += 1
    proc.waited(ENGINE, 0.5)
    watch.look()
    load = watch.load(100, 101)
    assert load == CpuLoad(2, 0.0, 0.5, 0.0)


YES = OtherWork("yes\x1b", (31, 32, 33, 34, 35), 1.6)
MAKE = OtherWork("make", (30,), 0.21)


AGAIN = "; end that work, or wait until it has ended, then run again"
UNSEEN = "no process that can be seen here; look outside this container, and for a limit on its CPUs"
ALLOWED = " (allowed 5%). Other work kept"
READY = "of the measured time the run was ready, but had no processor"


@pytest.mark.parametrize(
    ("load", "severity", "message"),
    [
        (
            CpuLoad(2, 1.81, LOST_LIMIT * 1.02, 0.0, (YES, MAKE)),
            "mismatch",
            f"for 5.1% {READY}{ALLOWED} 1.81 of 2 CPUs busy: yes\\x1b (pid 31, 32, 33 and 2 "
            f"more: 1.60 CPUs), make (pid 30: 0.21 CPUs){AGAIN}",
        ),
        (
            CpuLoad(2, 0.21, LOST_LIMIT * 0.98, 0.0, (MAKE,)),
            "warning",
            f"for 4.9% {READY}{ALLOWED} 0.21 of 2 CPUs busy: make (pid 30: 0.21 CPUs){AGAIN}",
        ),
        (
            CpuLoad(4, 0.0, 0.5, 0.0),
            "mismatch",
            f"for 50.0% {READY}{ALLOWED} 0.00 of 4 CPUs busy: {UNSEEN}",
        ),
        (
            CpuLoad(4, 0.0, 0.03, 0.03),
            "mismatch",
            f"for 3.0% {READY}; the hypervisor gave 3.0% of the CPU time to other machines{ALLOWED} "
            f"0.00 of 4 CPUs busy: {UNSEEN}",
        ),
        (
            CpuLoad(4, 0.0, 0.0, 0.2),
            "mismatch",
            f"the hypervisor gave 20.0% of the CPU time to other machines{ALLOWED} 0.00 of 4 "
            f"CPUs busy: {UNSEEN}",
        ),
    ],
)
def test_what_is_said(load: CpuLoad, severity: str, message: str) -> None:
    (finding,) = assess(load)
    assert (finding.severity, finding.subject) == (severity, "CPUs shared")
    assert finding.message == message


OWN = (
    "; the run's own processes kept 1.99 busy, and wait for each other if they have more threads than "
    "there are CPUs: lower engine.threads, or the threads and processes of your server; else look for a "
    "limit on the CPUs of this container"
)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (
            CpuLoad(2, 0.0, 0.5, 0.0, own_cpus=1.99),
            f"0.00 of 2 CPUs busy: no process that can be seen here, too little for that wait{OWN}",
        ),
        (
            CpuLoad(2, 0.21, 0.5, 0.0, (MAKE,), own_cpus=1.99),
            f"0.21 of 2 CPUs busy: make (pid 30: 0.21 CPUs), too little for that wait{OWN}",
        ),
        (
            CpuLoad(2, 0.25, 0.5, 0.0, (MAKE,), own_cpus=1.75),
            f"0.25 of 2 CPUs busy: make (pid 30: 0.21 CPUs){AGAIN}",
        ),
    ],
)
def test_a_run_that_waits_for_itself_is_told_so(load: CpuLoad, message: str) -> None:
    (finding,) = assess(load)
    assert finding.severity == "mismatch"
    assert finding.message == f"for 50.0% {READY}{ALLOWED} {message}"


def test_threads_of_the_engine_that_wait_for_each_other(proc: Proc) -> None:
    """Four threads on two CPUs, and nothing else."""
    for thread in range(4):
        proc.waited(ENGINE, 0.0, thread=7100 + thread)
    watch = CpuWatch()
    proc.pass_time(10, busy_s=20.0)
    proc.begin(ENGINE, parent=US, name="engine", work_s=20.0)
    for thread in range(4):
        proc.waited(ENGINE, 5.0, thread=7100 + thread)
    watch.look()
    load = watch.load(100, 110)
    assert load is not None
    assert (load.waited_share, load.others_cpus, load.own_cpus) == pytest.approx((0.5, 0.0, 2.0))
    assert load.waited_for_itself


def test_a_quiet_machine_needs_no_word() -> None:
    quiet = CpuLoad(2, 0.02, 0.004, 0.0, (MAKE,))
    assert list(assess(quiet)) == []
    assert quiet.text == "other work kept 0.02 of 2 busy; the run waited for one 0.4% of the time"


LOOP = """
import os, sys
if "apart" in sys.argv and os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
while True:
    pass
"""


def test_real_work_next_to_an_engine_is_seen() -> None:
    """A loop that is not of this process shares its one CPU with one that is, until both have been slowed."""
    cpus, apart = os.sched_getaffinity(0), None
    os.sched_setaffinity(0, {min(cpus)})
    engine = subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.DEVNULL)
    try:
        with subprocess.Popen([sys.executable, "-c", LOOP, "apart"], stdout=subprocess.PIPE) as started:
            assert started.stdout is not None
            apart = int(started.stdout.readline())
        with CpuWatch(0.05) as watch:
            begun_s, load = time.monotonic(), None
            while not (load and load.lost_share > LOST_LIMIT and apart in pids(load)):
                assert time.monotonic() < begun_s + 60, load
                time.sleep(0.05)
                load = watch.load(begun_s, time.monotonic())
    finally:
        os.sched_setaffinity(0, cpus)
        engine.kill()
        engine.wait()
        if apart is not None:
            os.kill(apart, signal.SIGKILL)


def pids(load: CpuLoad) -> set[int]:
    return {pid for each in load.others for pid in each.pids}
