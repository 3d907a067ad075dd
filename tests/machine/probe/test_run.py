"""The child of the probes: what it reports is kept, and how it ends costs only what it has not reported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.probe.run import probe
from pytest_dsr1.machine.probe.values import KINDS, Probe, Probes, expected
from tests.helpers.probes import child as stand_in
from tests.helpers.waiting import ever_longer

GPUS = (
    GpuReading(3, "GPU-three", "NVIDIA H200"),
    GpuReading(5, "GPU-five", "NVIDIA H200"),
)
COPY = Probe("memory_bandwidth_gb_s", (4258.0, 4259.0), ((3,), (5,)), 1.5)


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Probes]:
    """Runs a program as the child, for the GPUs 3 and 5."""

    def once(program: str, limit_s: float = 60.0, gpus: tuple[GpuReading, ...] = GPUS) -> Probes:
        return probe(gpus, os.environ, tmp_path / "probe.log", command=stand_in(program), limit_s=limit_s)

    return once


def test_what_the_child_reports(child: Callable[..., Probes]) -> None:
    done = child("found()\nsend(event='missing', names=['fp8_tflops'], why='no FP8')\n")
    assert (done.model, done.gpus, done.probes) == ("NVIDIA H200", (3, 5), (COPY,))
    assert {*done.missing} == {*expected(2)} - {COPY.name}
    assert done.missing["fp8_tflops"] == "no FP8"
    assert done.seconds > 0


def test_probes_have_the_order_of_the_table(child: Callable[..., Probes]) -> None:
    done = child("found('fp8_tflops')\nfound()\nfound('peer_gb_s', [1.0, 2.0], [[0, 1], [1, 0]])\n")
    assert [one.name for one in done.probes] == ["memory_bandwidth_gb_s", "peer_gb_s", "fp8_tflops"]
    assert done.probes[1].gpus == ((3, 5), (5, 3))


def test_the_child_sees_the_gpus_of_the_run_and_the_settings_of_nccl(
    child: Callable[..., Probes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCCL_NVLS_ENABLE", "0")
    monkeypatch.setenv("NCCL_MULTICAST", "made-up")
    why = "','.join(os.environ[n] for n in ('CUDA_VISIBLE_DEVICES', 'NCCL_NVLS_ENABLE', 'NCCL_MULTICAST'))"
    done = child(f"send(event='missing', names=['fp8_tflops'], why={why})")
    assert done.missing["fp8_tflops"] == "GPU-three,GPU-five,0,made-up"


def test_one_gpu_lacks_no_peer(child: Callable[..., Probes]) -> None:
    done = child("found(values=[1.0], gpus=[[0]])", gpus=GPUS[:1])
    assert {*done.missing} == {*expected(1)} - {COPY.name}


def test_gpus_of_two_kinds_have_no_peak(child: Callable[..., Probes]) -> None:
    assert child("", gpus=(GPUS[0], GpuReading(1, "GPU-one", "NVIDIA B200"))).model is None


def ending(done: Probes) -> str:
    """What is said about the probes that are missing."""
    assert done.probes == (COPY,)
    (why,) = {*done.missing.values()}
    return why


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise RuntimeError('crash')", "the probes ended with exit status 1 and no result; see {log}"),
        ("", "the probes ended with exit status 0 and no result; see {log}"),
        ("os.kill(os.getpid(), 11)", "the probes were ended by SIGSEGV; see {log}"),
        (
            "os.kill(os.getpid(), 9)",
            "the probes were ended by SIGKILL (the system may be out of memory); see {log}",
        ),
    ],
)
def test_a_child_that_ends_early_loses_nothing(
    child: Callable[..., Probes], tmp_path: Path, program: str, why: str
) -> None:
    assert ending(child(f"found()\n{program}")) == why.format(log=tmp_path / "probe.log")


def test_a_child_that_hangs_is_stopped(child: Callable[..., Probes], tmp_path: Path) -> None:
    heard: list[Probes] = []
    for limit_s in ever_longer(0.5, lambda: bool(heard[-1].probes)):
        heard.append(child("found()\nimport time\ntime.sleep(600)", limit_s))
        why = f"the probes did not end within {limit_s:g} s and were stopped; see {tmp_path}/probe.log"
        assert {*heard[-1].missing.values()} == {why}
    assert heard[-1].probes == (COPY,)


HANGS = """
import time
if sys.argv[1:]:
    for name in sys.argv[1:]:
        begin(name)
        {again}
else:
    begin("memory_bandwidth_gb_s", "memory_read_gb_s")
    found()
    begin("host_to_gpu_gb_s", "gpu_to_host_gb_s", limit_s=0.2)
    found("host_to_gpu_gb_s")
    time.sleep(600)
"""


def test_a_probe_that_hangs_costs_no_other(child: Callable[..., Probes], tmp_path: Path) -> None:
    """It is stopped at its own limit; a new child measures what has no result yet."""
    done = child(HANGS.format(again="found(name)"))
    assert done.missing == {
        "gpu_to_host_gb_s": f"no result within 0.2 s, so it was stopped; see {tmp_path}/probe.log"
    }
    assert [one.name for one in done.probes] == [name for name in expected(2) if name != "gpu_to_host_gb_s"]
    assert done.not_probed == (
        f"not probed: GPU to host: no result within 0.2 s, so it was stopped; see {tmp_path}/probe.log",
    )


def test_the_end_of_the_run_stops_the_child(tmp_path: Path) -> None:
    log = tmp_path / "probe.log"
    program = "print(os.getpid(), flush=True)\nimport time; time.sleep(600)"
    done = probe(
        GPUS,
        os.environ,
        log,
        command=stand_in(program),
        stopped=lambda: log.exists() and log.stat().st_size > 0,
    )
    assert done.missing == dict.fromkeys(KINDS, "the run ended first")
    assert not psutil.pid_exists(int(log.read_text(encoding="utf-8")))


def test_every_probe_may_hang(child: Callable[..., Probes]) -> None:
    done = child(HANGS.format(again="send(event='begin', names=[name], limit_s=0.2); time.sleep(600)"))
    assert [one.name for one in done.probes] == ["memory_bandwidth_gb_s", "host_to_gpu_gb_s"]
    assert {*done.missing} == {*expected(2)} - {one.name for one in done.probes}
    assert len({*done.missing.values()}) == 1


def test_a_child_that_hangs_again_is_not_started_for_ever(child: Callable[..., Probes]) -> None:
    done = child("found(); begin('fp8_tflops', limit_s=0.2)\nimport time\ntime.sleep(600)")
    assert done.probes == (COPY,)
    assert {why.partition(";")[0] for why in done.missing.values()} == {
        "no result within 0.2 s, so it was stopped"
    }


@pytest.mark.parametrize(
    "program",
    [
        "send(event='begin', names=['fp8_tflops'], limit_s='soon')",
        "send(event='begin', names=7, limit_s=1.0)",
        "say('NCCL INFO')",
        "say('[]')",
        "send(event='probe')",
        "found(values=[1.0])",
        "found(values=[1.0, -1.0])",
        "found(values=[1.0, float('nan')])",
        "found(values=[], gpus=[])",
        "found(values=['fast', 'slow'])",
        "found(gpus=[[0], [2]])",
        "found(gpus=[0, 1])",
        "found(name='mine')",
        "send(event='missing', names=7, why='x')",
        "say('[' * 100000)",
    ],
)
def test_garbage_is_not_a_result(child: Callable[..., Probes], program: str) -> None:
    assert ending(child(f"found()\n{program}")).startswith(
        "the probes reported something that is not a result: "
    )


def test_garbage_does_not_matter_if_nothing_is_missing(child: Callable[..., Probes]) -> None:
    names = [name for name in expected(2) if KINDS[name].of == "gpu"]
    rest = [name for name in expected(2) if name not in names]
    done = child(
        f"say('garbage')\nfor name in {names}: found(name)\n"
        f"for name in {rest}: found(name, [1.0], [[0, 1]])\n"
    )
    assert done.missing == {}
    assert len(done.probes) == len(KINDS)


def test_what_the_child_prints_is_kept_and_not_read(child: Callable[..., Probes], tmp_path: Path) -> None:
    child("print('NCCL version 2.27')\nfound()")
    assert (tmp_path / "probe.log").read_text() == "NCCL version 2.27\n"


def test_a_child_that_cannot_be_started(tmp_path: Path) -> None:
    done = probe(GPUS, os.environ, tmp_path / "probe.log", command=["no-such-program"])
    assert done.probes == ()
    assert done.not_probed == (
        f"not probed: the probes ended with exit status 127 and no result; see {tmp_path}/probe.log",
    )


def test_a_log_that_cannot_be_written_costs_only_the_probes(tmp_path: Path) -> None:
    done = probe(GPUS, os.environ, tmp_path / "gone" / "probe.log", command=[sys.executable, "-c", ""])
    (why,) = {*done.missing.values()}
    assert f"{tmp_path}/gone" in why
