"""Scenarios that share a server, in one run of pytest."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dsr1.storage.filelock import is_held
from tests.helpers.openai_jobs import remarks
from tests.helpers.real_run import TRIES, disturbed
from tests.helpers.suites import Suites
from tests.standins import started_server
from tests.standins.nvml.control import FakeMachine, plug_into

pytestmark = pytest.mark.needs("httptools")

SCENARIO = """\
name: one
description: One request at a time
hardware: {{}}
model:
  name: deepseek-ai/DeepSeek-R1
dataset:
  input_tokens: 8
  output_tokens: 4
  vocab_size: 100
load:
  concurrency: 1
  num_requests: 4
engine:
  type: openai
  command: ['{python}', -S, '{program}', '{{port}}']
  streaming: false
targets:
  - metric: request_throughput
    value: 0.001
"""
FOUR = """\
extends: one
name: two
description: Four requests at a time
dataset: {seed: 421}
load:
  concurrency: 4
  num_requests: 8
"""
OTHER = """\
extends: one
name: three
engine:
  arguments: [--other]
"""
BACK = """\
extends: one
name: four
"""
SWEEP = """\
extends: one
name: ladder
load: {num_requests: 4 x load.concurrency}
sweep:
  load.concurrency: [1, 2]
  engine.arguments: [[], [--other]]
  dataset.input_tokens: [8, 9]
"""
SEARCH = """\
extends: one
name: peak
targets: []
slo: {request_latency_ms: 0.001}
search: {load.concurrency: [1, 4], goal: 0.5}
"""


def _undisturbed(suites: Suites, run: Callable[..., pytest.RunResult], *arguments: str) -> pytest.RunResult:
    """Run pytest, and again with empty results if other work on this machine made a run INVALID."""
    for _ in range(TRIES):
        shutil.rmtree(suites.pytester.path / ".dsr1", ignore_errors=True)
        result = run(*arguments)
        if not disturbed(int(result.ret), result.stdout.str()):
            break
    return result


@pytest.fixture
def serving(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """Profiles that start the stand-in: ``one`` and ``two`` the same, ``three`` another, ``four`` as one."""
    for way in ("run", "run_apart"):
        monkeypatch.setattr(suites, way, partial(_undisturbed, suites, getattr(suites, way)))
    suites.pytester.makeconftest("import os\nos.environ['STANDIN_INTERRUPTS'] = str(os.getpid())\n")
    for name, text in (
        ("one", SCENARIO.format(python=sys.executable, program=started_server.__file__)),
        ("two", FOUR),
        ("three", OTHER),
        ("four", BACK),
    ):
        (suites.folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return suites


def folder(suites: Suites, profile: str) -> Path:
    (found,) = (suites.pytester.path / ".dsr1" / profile).iterdir()
    return found


def told(suites: Suites, profile: str) -> dict[str, Any]:
    document = json.loads((folder(suites, profile) / "measurement.json").read_text(encoding="utf-8"))
    result: dict[str, Any] = document["measurement"]["result"]
    return {"warnings": list(remarks(result["warnings"])), **result["facts"]}


def cpus_of(suites: Suites, profile: str) -> dict[str, Any]:
    document = json.loads((folder(suites, profile) / "measurement.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = document["measurement"]["cpu_load"]
    return found


def pid(suites: Suites, profile: str) -> int | None:
    path = folder(suites, profile) / "engine" / "pid"
    return int(path.read_text()) if path.exists() else None


def test_one_server_serves_scenarios_that_differ_in_load(serving: Suites) -> None:
    result = serving.run("--dsr1-profile=one,two,three,four")
    result.assert_outcomes(passed=8)
    one, two, three, four = (told(serving, name) for name in ("one", "two", "three", "four"))
    assert [each["server_started"] for each in (one, two, three, four)] == [True, False, True, True]
    assert (two["url"], two["server_kept_from"]) == (one["url"], "one")
    assert two["server_log"] == one["server_log"] == str(folder(serving, "one") / "engine" / "server.log")
    assert two["warnings"] == one["warnings"] == []
    assert all(cpus_of(serving, name)["own_cpus"] >= 0 for name in ("one", "two")), "started or kept: ours"
    result.stdout.fnmatch_lines([f"two: loading*reusing the server of one, {one['url']}"])
    servers = [pid(serving, name) for name in ("one", "two", "three", "four")]
    assert servers[1] is None, "it started none"
    assert len({each for each in servers if each}) == 3
    assert not any(psutil.pid_exists(each) for each in servers if each)


def test_points_that_differ_in_load_and_requests_share_a_server(serving: Suites) -> None:
    """Whatever the order of the keys is, and without a prompt that the server has read before."""
    (serving.folder / "ladder.yaml").write_text(SWEEP, encoding="utf-8")
    result = serving.run("--dsr1-profile=ladder")
    assert result.ret == 0
    result.assert_outcomes(passed=16)
    points = [
        f"ladder.concurrency-{users}.arguments-{arguments}.input_tokens-{tokens}"
        for arguments in ("none", "other")
        for users in (1, 2)
        for tokens in (8, 9)
    ]
    found = [told(serving, point) for point in points]
    assert [each["server_started"] for each in found] == [True, False, False, False] * 2
    kept = [each["server_kept_from"] for each in found if not each["server_started"]]
    assert kept == [points[0]] * 3 + [points[4]] * 3
    assert [each["warnings"] for each in found] == [[]] * 8
    servers = [pid(serving, point) for point in points]
    assert len({each for each in servers if each}) == 2
    assert not any(psutil.pid_exists(each) for each in servers if each)


def test_the_probes_of_a_search_share_a_server(serving: Suites) -> None:
    """And none has a prompt that the server has read before."""
    (serving.folder / "peak.yaml").write_text(SEARCH, encoding="utf-8")
    result = serving.run("--dsr1-profile=peak")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    found = [told(serving, probe) for probe in ("peak.search-2", "peak.search-1")]
    assert [each["server_started"] for each in found] == [True, False]
    assert found[1]["server_kept_from"] == "peak.search-2"
    assert "no load of the range keeps the SLO" in " ".join(result.stdout.str().split())
    server = pid(serving, "peak.search-2")
    assert server is not None
    assert not psutil.pid_exists(server)


def test_a_repeated_dataset_is_warned_of(serving: Suites) -> None:
    result = serving.run("--dsr1-profile=one,four")
    result.assert_outcomes(passed=4)
    (warning,) = told(serving, "four")["warnings"]
    assert warning.startswith(
        "this server was left running from scenario one and had already read the start of 4 of these 4 "
        "prompts"
    )
    assert warning.endswith("or switch the cache off with the server's own option in engine.arguments")
    result.stdout.fnmatch_lines(["*this server was left running from scenario one*"])


def test_ctrl_c_in_the_second_scenario_leaves_nothing(serving: Suites) -> None:
    interrupting = FOUR.replace("concurrency: 4", "concurrency: 1") + "engine: {body: {interrupt: true}}\n"
    (serving.folder / "two.yaml").write_text(interrupting, encoding="utf-8")
    result = serving.run_apart("--dsr1-profile=one,two")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["two: loading*reusing the server of one,*", "  INVALID interrupted"])
    server = pid(serving, "one")
    assert server is not None
    assert not psutil.pid_exists(server)


def test_a_server_that_died_in_between_is_replaced(serving: Suites) -> None:
    serving.pytester.makeconftest(
        """
        import psutil, pathlib

        def pytest_runtest_setup(item):
            if item.nodeid == "own/two.yaml::environment":
                (pid,) = pathlib.Path(".dsr1/one").glob("*/engine/pid")
                psutil.Process(int(pid.read_text())).kill()
        """
    )
    result = serving.run("--dsr1-profile=one,two")
    result.assert_outcomes(passed=4)
    two = told(serving, "two")
    assert two["server_started"] is True
    assert two["warnings"][0].startswith(
        "a new server was started because the old one cannot be used: one: the "
    )
    second = pid(serving, "two")
    assert second is not None
    assert not psutil.pid_exists(second)


def test_no_server_stays_after_a_measurement_that_proves_nothing(serving: Suites) -> None:
    """And none stays for a scenario that does not want it."""
    (serving.folder / "two.yaml").write_text(FOUR + "engine: {body: {fail: true}}\n")
    result = serving.run("--dsr1-profile=one,two,four")
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(["*two: all * requests so far failed, the first: HTTP 500: no*"])
    assert told(serving, "four")["server_started"] is True


GPU_CONFTEST = """
import os, pathlib
from pytest_dsr1.machine import host, lease
from pytest_dsr1.storage import filelock
from tests.standins.nvml import state

UUID = "GPU-00000000-0000-4000-8000-00000000d5e1"
NVML = pathlib.Path(os.environ["DSR1_NVML_STATE"])
read_machine = lease.read_machine
host.pids_are_the_hosts = lambda: True

def alive():
    pids = [path.read_text() for path in pathlib.Path(".dsr1").glob("*/*/engine/pid")]
    return [pid for pid in pids if pathlib.Path("/proc", pid).exists()]

def with_our_server(environ):
    pids = alive()
    shown = pids + [str(os.getppid())] * (len(pids) and {foreign})
    with state.changing(NVML) as facts:
        facts["gpus.processes"] = " ".join(f"{{pid}}:{{40 * 2**30}}" for pid in shown)
        facts["gpus.memory_used"] = str((1 + 80 * len(shown)) * 2**29)
    return read_machine(environ)

lease.read_machine = with_our_server

def pytest_runtest_teardown(item):
    locked = filelock.is_held(pathlib.Path(os.environ["DSR1_STATE_DIR"]), UUID)
    with open("seen.txt", "a") as file:
        print(item.nodeid, len(alive()), locked, file=file)
"""


@pytest.fixture
def gpu(serving: Suites, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """An H200, on which the profiles ``one`` to ``four`` run; the servers' processes show on it."""
    machine = plug_into(serving, monkeypatch, 1)
    one = serving.folder / "one.yaml"
    hardware = "hardware: {gpu: NVIDIA H200, count: 1}\ngpu_setup: {vboost: 1}\n"
    one.write_text(one.read_text().replace("hardware: {}\n", hardware), encoding="utf-8")
    return machine


def test_the_gpu_stays_locked_and_set_up_under_a_kept_server(gpu: FakeMachine, serving: Suites) -> None:
    serving.pytester.makeconftest(GPU_CONFTEST.format(foreign=0))
    before = gpu.settings()
    result = serving.run_apart("--dsr1-profile=one,two,three", "--dsr1-gpu-setup=apply")
    result.assert_outcomes(passed=6)
    assert (serving.pytester.path / "seen.txt").read_text().splitlines() == [
        "own/one.yaml::environment 0 False",
        "own/one.yaml::target[request_throughput] 1 True",
        "own/two.yaml::environment 1 True",
        "own/two.yaml::target[request_throughput] 1 True",
        "own/three.yaml::environment 0 False",
        "own/three.yaml::target[request_throughput] 1 True",
    ]
    boost = "boost-slider -i 0 --vboost"
    assert gpu.commands() == [f"{boost} 1", f"{boost} 0"] * 2, "once for the first two, once for the third"
    assert gpu.settings() == before
    assert not is_held(gpu.state_dir, gpu.uuid(0))


PROBES = """
from functools import partial
from pytest_dsr1.machine.probe.run import probe
from pytest_dsr1.measurement import probing
from tests.helpers.probes import child
probing.probe = partial(probe, command=child("found(values=[4258.0], gpus=[[0]])"))
"""


def test_the_gpu_is_not_probed_under_a_kept_server(gpu: FakeMachine, serving: Suites) -> None:
    serving.pytester.makeconftest(GPU_CONFTEST.format(foreign=0) + PROBES)
    result = serving.run_apart("--dsr1-profile=one,two", "--dsr1-probe")
    result.assert_outcomes(passed=4)
    kept = "the run: a server is running on the GPUs, kept for later scenarios"
    said = [line for line in result.stdout.lines if line.startswith("dsr1: ")]
    assert said == [
        "dsr1: one: probing GPU 0 before the run, about 12 s",
        f"dsr1: one: not probed after {kept}",
        f"dsr1: two: not probed before {kept}",
        f"dsr1: two: not probed after {kept}",
    ]


def test_a_foreign_process_beside_a_kept_server_is_refused(gpu: FakeMachine, serving: Suites) -> None:
    serving.pytester.makeconftest(GPU_CONFTEST.format(foreign=1))
    result = serving.run_apart("--dsr1-profile=one,two")
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        ["*GPU 0 sharing: other compute processes are on this GPU: pid * with 40.0 GiB; end*"]
    )
    server = pid(serving, "one")
    assert server is not None
    assert not psutil.pid_exists(server)


def test_a_server_that_dies_while_it_is_asked_is_the_reason(serving: Suites) -> None:
    """Its targets are judged; nobody is told of an address, because there is no engine.url."""
    tasks = "accuracy:\n  tasks: [{path: sums.jsonl, at_least: 0.5, max_output_tokens: 4}]\n"
    path = serving.folder / "one.yaml"
    path.write_text(path.read_text("utf-8").replace("targets:", f"{tasks}targets:"), encoding="utf-8")
    sums = "".join(f'{{"prompt": "{prompt}", "answer": "1"}}\n' for prompt in ("1", "leave", "3", "4"))
    (serving.pytester.path / "sums.jsonl").write_text(sums, encoding="utf-8")
    result = serving.run("--dsr1-profile=one")
    assert result.ret == 10
    result.assert_outcomes(passed=2, errors=1)
    output = " ".join(result.stdout.str().split())
    assert (
        "sums: 3 of 4 questions have no answer (at most 1% may have none), the first: sums/1: not answered: "
        "the server ended with exit status 7: it ran out of GPU memory"
    ) in output
    assert "engine.url" not in output
