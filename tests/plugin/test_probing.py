"""Runs whose GPUs are probed, from the option to the saved result; a program stands in for the probes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.suites import CONFTEST, SCENARIO, Suites
from tests.standins.nvml.control import plug_into

PROFILE = "--dsr1-profile=pair"
PAIR = (
    SCENARIO.partition("targets:")[0]
    .format(name="pair")
    .replace("hardware: {}", "hardware: {gpu: NVIDIA H200, count: 2}")
    .replace("  random_weights: {}\n", "")
    .replace("  type: transformers\n", "  type: openai\n  command: [python3]\n")
)
PROBES = """
import sys
from functools import partial
from pytest_dsr1.machine import lease
from pytest_dsr1.machine.probe.run import probe
from tests.helpers.probes import child
lease.probe = partial(probe, command=child({program!r}))
"""
SLOW = "found(values=(4258.0, 4000.0))\nfound('host_to_gpu_gb_s', (55.5, 55.5))"


class Pair:
    """A profile ``pair`` on two H200s, and what its probes do."""

    def __init__(self, suites: Suites) -> None:
        self.suites = suites
        (suites.folder / "pair.yaml").write_text(PAIR, encoding="utf-8")

    def run(self, program: str, *arguments: str) -> pytest.RunResult:
        self.suites.pytester.makeconftest(CONFTEST + PROBES.format(program=program))
        return self.suites.run_apart(PROFILE, *arguments)

    @property
    def saved(self) -> dict[str, Any]:
        (path,) = (self.suites.pytester.path / ".dsr1" / "pair").glob("*/measurement.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["measurement"]
        return found

    @property
    def probed(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.saved["fingerprint"]["facts"]
        return {key: value for key, value in facts.items() if key.startswith("probe.")}


@pytest.fixture
def pair(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Pair:
    plug_into(suites, monkeypatch, 2)
    return Pair(suites)


def test_a_run_is_probed_before_and_after(pair: Pair) -> None:
    result = pair.run(SLOW, "--dsr1-probe")
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "dsr1: pair: probing GPUs 0-1 before the run, about 20 s",
            "dsr1: pair: probing GPUs 0-1 after the run, about 20 s",
        ]
    )
    assert pair.probed == {
        "probe.memory_bandwidth_gb_s": ["4258", "4000"],
        "probe.host_to_gpu_gb_s": 55.5,
        "probe.after.memory_bandwidth_gb_s": ["4258", "4000"],
        "probe.after.host_to_gpu_gb_s": 55.5,
    }
    slow = "copies memory 6.1% slower than the other (4,000 against 4,258 GB/s), measured"
    findings = [(one["severity"], one["subject"], one["message"]) for one in pair.saved["findings"]]
    for when in ("before", "after"):
        assert ("warning", "GPU 1", f"{slow} {when} the run") in findings
    assert (
        "ok",
        "both GPUs",
        "copy from the host as before the run, to 0.0%, measured after the run",
    ) in findings
    assert "6.1% slower than the other" in " ".join(result.stdout.str().split())


def test_the_key_of_a_scenario_asks_for_probes(pair: Pair) -> None:
    assert pair.run(SLOW).ret == 0
    assert pair.probed == {}
    (folder,) = (pair.suites.pytester.path / ".dsr1" / "pair").iterdir()
    folder.rename(pair.suites.pytester.path / "first")
    assert pair.run(SLOW, "--dsr1-set=probe=true").ret == 0
    assert pair.probed["probe.host_to_gpu_gb_s"] == 55.5


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "os.kill(os.getpid(), 9)", "say('x')"])
def test_probes_that_fail_cost_no_run(pair: Pair, program: str) -> None:
    result = pair.run(program, "--dsr1-probe")
    assert result.ret == 0
    assert pair.probed == {}
    found = [one for one in pair.saved["findings"] if one["subject"].startswith("probes ")]
    assert [one["subject"] for one in found] == ["probes before the run", "probes after the run"]
    assert all(one["message"].startswith("not probed: the probes ") for one in found)
    assert "not probed" in result.stdout.str()


def test_a_scenario_on_the_cpu_is_not_probed(pair: Pair) -> None:
    result = pair.run(SLOW, "--dsr1-profile=alpha", "--dsr1-probe")
    assert result.ret == 0
    assert result.stdout.str().count("  note    not probed: the scenario uses no GPU\n") == 1
    assert "alpha: prob" not in result.stdout.str()
    assert pair.probed != {}
