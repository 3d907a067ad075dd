"""``--dsr1-plan``: a script for each scenario, with its machine, time and cost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_dsr1.measurement.run import expected_s, run_timeout_s
from pytest_dsr1.reporting.terminal.plan import PlanOptions, plan
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.profiles import discover


def script(profile: str, gpu_setup: str = "check") -> str:
    catalogue = discover([])
    loaded = [load(path, catalogue=catalogue) for path in catalogue.select(profile)]
    return "\n".join(plan(loaded, PlanOptions(gpu_setup, profiles=frozenset(catalogue.names)))) + "\n"


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSR1_MODELS", raising=False)
    monkeypatch.delenv("DSR1_DATASET", raising=False)


def test_the_published_procedure_of_h200_max_throughput() -> None:
    lines = script("h200-max-throughput").splitlines()
    assert lines[0].startswith("# newest known dialect")
    text = "\n".join(lines)
    for expected in (
        "# machine: 8 x NVIDIA H200, at least 139 GiB each",
        "# expected: 15 min measuring at target rates, 2.03 GPU-hours, plus loading the weights",
        "# set first: export DSR1_MODELS=...",
        "nvidia-smi -i $i -pm 0",
        "nvidia-smi boost-slider -i $i --vboost 4",
        "pytest-dsr1 dataset h200-max-throughput dataset.jsonl",
        "export TRTLLM_DG_JIT_USE_NVCC=1",
        '"${DSR1_MODELS}/DeepSeek-R1"',
        "--max_num_tokens 1151",
        "--concurrency 1024",
        "--num_requests 5120",
        "--disable_chunked_context",
        "enable_attention_dp: true",
    ):
        assert expected in text, expected


def test_without_setup_the_script_touches_no_gpu_setting() -> None:
    assert "nvidia-smi" not in script("h200-max-throughput", "off")


@pytest.mark.parametrize(
    "profile",
    [
        "h200-max-throughput",
        "h200-min-latency",
        "b200-max-throughput",
        "b200-max-throughput-0528-fp8kv",
        "cpu-*",
    ],
)
def test_every_script_is_valid_shell(profile: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.sh"
    path.write_text(script(profile), encoding="utf-8")
    subprocess.run(["sh", "-n", path], check=True)


def test_the_script_runs_by_itself(tmp_path: Path) -> None:
    """With stand-ins for the programs it calls: the options file and the command arrive as planned."""
    for name in ("trtllm-bench", "nvidia-smi", "pytest-dsr1"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> "$CALLS"\n', encoding="utf-8")
        program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "DSR1_MODELS": "/my models",
    }
    text = script("h200-max-throughput")
    subprocess.run(["sh"], input=text, text=True, cwd=work, env=environment, check=True)
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[0] == "nvidia-smi -i 0 -pm 0"
    assert sum(call.startswith("nvidia-smi") for call in calls) == 24
    assert calls[-2] == "pytest-dsr1 dataset h200-max-throughput dataset.jsonl"
    assert calls[-1].startswith(
        "trtllm-bench --model deepseek-ai/DeepSeek-R1 --model_path /my models/DeepSeek-R1"
    )
    (options,) = work.glob("*.yaml")
    assert "enable_attention_dp: true" in options.read_text(encoding="utf-8")


def test_durations_come_from_the_targets() -> None:
    catalogue = discover([])
    loaded = {p: load(catalogue.select(p)[0], catalogue=catalogue).scenario for p in catalogue.names}
    assert expected_s(loaded["h200-max-throughput"]) == pytest.approx(5120 * 2048 / 11489.2671)
    assert expected_s(loaded["b200-max-throughput-0528-fp8kv"]) == pytest.approx(5444, rel=0.01)
    assert expected_s(loaded["h200-min-latency"]) == pytest.approx(129.5, rel=0.01)
    assert run_timeout_s(loaded["h200-max-throughput"]) == pytest.approx(3 * 5120 * 2048 / 11489.2671 + 600)
