"""The published procedure from start to verdict, on stand-ins: 8 H200s, and trtllm-bench of version 1.2.1.

The plugin, pynvml's binding and every file are real; the driver library, nvidia-smi and trtllm-bench are not.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.checkpoint import small_checkpoint
from tests.helpers.paths import ROOT
from tests.helpers.real_run import RealRun
from tests.standins.nvml.control import FakeMachine, build
from tests.standins.trtllm_bench.install import install

PROFILE = "--dsr1-profile=h200-max-throughput"


@dataclass
class Node:
    """A machine with everything the profile needs."""

    pytester: pytest.Pytester
    gpus: FakeMachine
    checkpoint: Path

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(PROFILE, *arguments)

    @property
    def saved(self) -> Path:
        (folder,) = (self.pytester.path / ".dsr1" / "h200-max-throughput").iterdir()
        return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in libnvidia-ml.so.1 and nvidia-smi."""
    return build(tmp_path_factory.mktemp("nvml") / "driver")


@pytest.fixture
def node(pytester: pytest.Pytester, driver: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Healthy, with TensorRT-LLM 1.2.1 that answers as fast as published: 178 s a request at 1024 at once."""
    place = pytester.mkdir("node")
    gpus = FakeMachine(driver, place)
    program = install(place / "trtllm", "1.2.1")
    environment = gpus.environ({**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"})
    environment |= {
        "PYTHONPATH": f"{program.parents[1] / 'site'}:{ROOT}",
        "XDG_CACHE_HOME": str(place / "cache"),
        "DSR1_MODELS": str(place / "models"),
        "DSR1_STANDIN_VERSION": "1.2.1",
        "DSR1_STANDIN_TTFT_MS": "6000",
        "DSR1_STANDIN_TPOT_MS": "84",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("DSR1_STANDIN_FAIL", raising=False)
    return Node(pytester, gpus, small_checkpoint(place / "models" / "DeepSeek-R1"))


def test_set_up_measured_judged_and_put_back(node: Node) -> None:
    before = node.gpus.settings()
    result = node.run("--dsr1-gpu-setup=apply")
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*PERFORMANCE OVERVIEW*",
            "h200-max-throughput  (8 x NVIDIA H200, engine trtllm-bench)",
            "  PASS    total output throughput *",
            "  PASS    per-GPU output throughput *",
            # The stand-in reports a run of minutes and takes none of this time.
            "  steady  total output throughput 11,??? tok/s from *",
            "  GPUs    1980 MHz SM clock, * not throttled as far as",
            "          seen (samples cover 0% of the measured time)",
        ]
    )
    commands = node.gpus.commands()
    assert commands[:2] == ["-i 0 -pm 0", "-i 1 -pm 0"]
    assert "boost-slider -i 7 --vboost 4" in commands
    assert node.gpus.settings() == before
    engine = node.saved / "engine"
    kept = {path.name for path in engine.iterdir()}
    assert {"command.sh", "extra_llm_api_options.yaml", "report.json", "trtllm-bench.log"} <= kept
    document = json.loads((node.saved / "measurement.json").read_text(encoding="utf-8"))["measurement"]
    facts = document["fingerprint"]["facts"]
    assert facts["gpu.name"] == "NVIDIA H200"
    assert facts["gpu.count"] == 8
    assert document["metrics"]["total_output_throughput"]["origin"] == "report"
    assert document["metrics"]["average_input_length"]["value"] == 1024


def test_a_slower_machine_misses_the_target(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSR1_STANDIN_TPOT_MS", "95")
    result = node.run()
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["total output throughput * is *% below the target 11,489 (tolerance 5%*"])


def test_a_throttled_machine_is_an_error_not_a_failure(node: Node) -> None:
    node.gpus.set_gpu(5, throttle_reasons="0x40")
    result = node.run()
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "the run does not count:",
            "  GPU 5 throttled: hardware thermal slowdown: from * into the measurement, *",
        ]
    )


def test_everything_that_is_missing_is_said_at_once(node: Node) -> None:
    node.gpus.set("count", 4)
    node.gpus.set_gpu(2, name="NVIDIA H200 NVL")
    (node.checkpoint / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 5\n", encoding="ascii"
    )
    result = node.run()
    assert result.ret == 10
    text = result.stdout.str()
    for expected in ("NVIDIA H200 NVL", "8", "git-lfs pointer", "lfs pull"):
        assert expected in text
    assert "Traceback" not in text
    assert not (node.pytester.path / ".dsr1").exists()


def test_a_failing_engine_is_one_sentence_with_its_log(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSR1_STANDIN_FAIL", "oom")
    result = node.run("-q")
    assert result.ret == 10
    text = result.stdout.str()
    assert "out of memory" in text
    assert "Traceback" not in text
    document = json.loads((node.saved / "measurement.json").read_text(encoding="utf-8"))
    assert document["state"] == "failed"


@pytest.mark.cpu_engine
def test_the_stand_in_with_request_times_of_real_inference(
    node: Node, real_run: RealRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded engine measures on this CPU; trtllm-bench's report of the same times says the same."""
    real = real_run.saved
    monkeypatch.setenv("DSR1_STANDIN_TIMES", str(real / "requests.jsonl"))
    # With 1024 at once this small model would be faster than eight H200s could be with DeepSeek-R1.
    load = ("--dsr1-set=load.concurrency=64", "--dsr1-set=load.num_requests=128")
    result = node.run(*load, "--dsr1-set=engine.streaming=true")
    assert result.ret in (0, 1), result.stdout.str()
    tpot_ms = [
        json.loads((folder / "measurement.json").read_text(encoding="utf-8"))["measurement"]["metrics"][
            "average_tpot"
        ]["value"]
        for folder in (real, node.saved)
    ]
    assert tpot_ms[1] == pytest.approx(tpot_ms[0], rel=0.02)
