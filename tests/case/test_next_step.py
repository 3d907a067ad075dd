"""What to do about slower software: the commands for each engine, with the run's own folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.case.case import Background, RunData, _cause
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.case.next_step import commands
from pytest_dsr1.case.since import Change, Since
from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.machine.telemetry.health import GpuStatistics, GpuSummary
from pytest_dsr1.machine.values import FactValue, Fingerprint, GpuSample, Telemetry
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.published import shipped
from tests.helpers.values import gate, measurement, scenario, verdict

FOLDER = Path(".dsr1/small/20261130T164000Z")
AGAIN = f"pytest {FOLDER}/scenario.yaml"
BISECT = f"`git bisect run pytest-dsr1 bisect -- {AGAIN}`; then profile the first bad one: "
LOAD = f"nsys profile -o slow -t cuda,nvtx {AGAIN} --dsr1-results=profiled"


def of(**engine: Any) -> Measurement:
    """Return a run of an engine."""
    return measurement(FOLDER, scenario=scenario(model={"name": "r1", "path": "/m"}, engine=engine))


@pytest.mark.parametrize(
    "engine", [{"type": "transformers"}, {"type": "trtllm"}, {"type": "openai", "server": "vllm"}]
)
def test_an_engine_that_we_start_is_profiled_with_us(engine: dict[str, Any]) -> None:
    """Its results are elsewhere, so that no later run is compared with a slow one."""
    assert commands(of(**engine), lost=False) == f"{BISECT}`{LOAD}`"


def test_a_run_that_a_script_repeats_is_profiled_without_us() -> None:
    run = replace(measurement(FOLDER), scenario=shipped("h200/max-throughput"))
    assert commands(run, lost=False) == (
        f"{BISECT}`nsys profile -o slow -t cuda,nvtx bash {FOLDER}/engine/command.sh`"
    )


def test_a_server_that_runs_elsewhere_is_started_by_its_owner() -> None:
    run = of(type="openai", server="other", url="http://localhost:8000")
    assert commands(run, lost=True) == (
        f"start its server with a version halfway, run `{AGAIN} --dsr1-gate -k regression`, and halve again; "
        "then put `nsys profile -o slow -t cuda,nvtx` before the command of the first bad server, and run "
        f"`{AGAIN} --dsr1-results=profiled`"
    )


def test_a_gate_bisects_what_a_gate_found() -> None:
    assert f"bisect -- {AGAIN} --dsr1-gate -k regression`" in commands(of(type="transformers"), lost=True)


def test_a_folder_with_a_space_is_one_word() -> None:
    run = replace(of(type="transformers"), folder=Path("my results"))
    assert "pytest 'my results/scenario.yaml' --dsr1-results" in commands(run, lost=False)


def test_the_next_step_after_slower_software() -> None:
    """Machine and options are excluded, and a gate was lost."""
    probes: dict[str, FactValue] = {
        "probe.memory_bandwidth_gb_s": 4250.0,
        "probe.bf16_tflops": 670.0,
        "gpu.uuids": ["GPU-a"],
    }
    samples = tuple(
        GpuSample(100 + n / 10, 0, None, None, None, None, None, None, None, 0) for n in range(20)
    )
    run = measurement(
        FOLDER,
        scenario=scenario(hardware={"gpu": "NVIDIA H200", "count": 1}),
        fingerprint=Fingerprint(probes),
        telemetry=Telemetry(gpus=(0,), samples=samples),
        gpu_health=GpuSummary("", gpus=(GpuStatistics(0, throttled_share=0.0),)),
    )
    graphs = saved([Option("cuda_graphs", True, "log", True)])
    run = replace(run, result=replace(run.result, facts=replace(run.result.facts, options_in_effect=graphs)))
    judgment = Judgment("small", Status.FAIL, "", (verdict(10.0),), {})
    newer = Since("run", "the last green run", (Change("driver", "driver 575 -> 580"),), probes)

    def next_step(judgment: Judgment, found: Since) -> str:
        cause = _cause(judgment, RunData(measurement=run), Background(since=found), ())
        assert cause is not None
        return cause.next_step

    start = "compare versions one by one (`pytest-dsr1 docs why-low#software`): "
    assert next_step(judgment, newer) == f"{start}{commands(run, lost=False)}"
    gated = replace(judgment, gate=gate(Status.FAIL))
    assert next_step(gated, newer) == f"{start}{commands(run, lost=True)}"
    passed = replace(judgment, gate=gate(Status.PASS))
    assert next_step(passed, newer) == f"{start}{commands(run, lost=False)}"
    assert "bisect" not in next_step(judgment, replace(newer, changes=()))
