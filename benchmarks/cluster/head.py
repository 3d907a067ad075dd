"""What many nodes cost pytest itself, the head: 18 nodes with 4 GPUs each, all on this machine.

    python -m benchmarks.cluster.head [--nodes 18] [--gpus 4] [--seconds 60] [--agents replay|real]

Agents run as plain children, without Slurm. With ``replay`` they are cheap and send samples at the full
rate, so that the head's own cost is seen on a small machine; with ``real`` they are the product's, with a
stand-in NVML and nvidia-smi, and set the GPUs up. Prints each value, its limit, and their ratio: the head's
share of one core while telemetry comes in at 10 Hz, the times until all nodes are watched, and until all
telemetry is written and all agents have ended. Then the samples that were lost between an agent and the
result, and the share of the wanted ones that agents took: real ones share the cores of this machine. The exit
status is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import AGENT, Start
from pytest_dsr1.machine.telemetry.recorder import INTERVAL_S
from pytest_dsr1.machine.values import Telemetry
from pytest_dsr1.process.modules import module_command
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.standins.nvml.control import FakeMachine, build

CPU_SHARE = 0.5
"""The most that the head may take while it records, as a share of one core."""
START_S = 60.0
END_S = 30.0


@dataclass(frozen=True)
class Seen:
    """What one run took.

    Attributes:
        start_s: until all nodes are prepared and watched.
        share: the head's processor time while it recorded, as a share of one core.
        end_s: until the telemetry is written, and the agents have ended.
        telemetry: of all nodes.
    """

    start_s: float
    share: float
    end_s: float
    telemetry: Telemetry


def scenario_of(nodes: int, gpus: int) -> Scenario:
    """Return a scenario for all GPUs."""
    body = {
        "name": "many",
        "description": "Many nodes",
        "hardware": {"gpu": "NVIDIA H200", "count": gpus * nodes, "nodes": nodes},
        "gpu_setup": {"persistence": True, "vboost": 4},
        "model": {"name": "deepseek-ai/DeepSeek-R1", "quantization": "FP8_BLOCK_SCALES"},
        "dataset": {"input_tokens": 8, "output_tokens": 16, "vocab_size": 100},
        "load": {"concurrency": 2, "num_requests": 4},
        "engine": {"type": "trtllm-bench", "tp": gpus * nodes},
        "targets": [{"metric": "total_output_throughput", "value": 1}],
    }
    return Scenario.model_validate(body)


def real_agents(library: Path, folder: Path, gpus: int) -> Start:
    """Return how an agent is started on a node with GPUs of its own."""

    def command(node: str) -> list[str]:
        own = folder / node
        own.mkdir()
        machine = FakeMachine(library, own, gpus)
        for gpu in range(gpus):
            machine.set_gpu(gpu, uuid=f"GPU-{gpu:08x}-0000-4000-8000-{int(node[1:]):012x}")
        environ = machine.environ(os.environ)
        changed = [f"{name}={value}" for name, value in environ.items() if os.environ.get(name) != value]
        return ["env", *changed, *module_command(AGENT)]

    return command


def measured(scenario: Scenario, seconds: float, start: Start, path: Path) -> Seen:
    """Watch all nodes for so long."""
    names = [f"n{number}" for number in range(1, scenario.hardware.nodes + 1)]
    environ = {**os.environ, "SLURM_JOB_ID": "1"}
    with ExitStack() as stack:
        began_s = time.perf_counter()
        head = stack.enter_context(Nodes(names, start, environ, print))
        machine = stack.enter_context(head.prepared(scenario, "apply"))
        recorder = stack.enter_context(machine.watched(path))
        start_s = time.perf_counter() - began_s
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        share = (time.process_time() - began_cpu_s) / (time.perf_counter() - began_s)
        began_s = time.perf_counter()
    return Seen(start_s, share, time.perf_counter() - began_s, recorder.telemetry)


def lost(seen: Seen) -> int:
    """Return how many samples of replaying agents are missing: each GPU has the numbers from 0 on."""
    numbers = Counter(sample.gpu for sample in seen.telemetry.samples)
    newest = {sample.gpu: sample.energy_j or 0 for sample in seen.telemetry.samples}
    assert len(numbers) == len(seen.telemetry.gpus), "a GPU without samples"
    return int(sum(newest[gpu] + 1 - count for gpu, count in numbers.items()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=18)
    parser.add_argument("--gpus", type=int, default=4, help="of each node")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--agents", choices=("replay", "real"), default="replay")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.agents == "real":
            start = real_agents(build(folder / "driver"), folder, given.gpus)
        else:
            replay = module_command("benchmarks.cluster.replay_agent", str(given.gpus))
            start = lambda _: replay  # noqa: E731
        path = folder / "telemetry.jsonl"
        seen = measured(scenario_of(given.nodes, given.gpus), given.seconds, start, path)
        rows = sum(1 for _ in path.open(encoding="utf-8"))
    samples = len(seen.telemetry.samples)
    values = [
        ("the head's share of a core", seen.share, CPU_SHARE),
        ("time to start, s", seen.start_s, START_S),
        ("time to end, s", seen.end_s, END_S),
    ]
    print(f"{given.nodes} nodes, {given.gpus} GPUs each, {given.agents} agents, {given.seconds:g} s")
    print(f"{'':<30}{'value':>10}{'limit':>10}{'ratio':>8}")
    for what, value, limit in values:
        print(f"{what:<30}{value:>10.3f}{limit:>10.3f}{value / limit:>8.2f}")
    missing = lost(seen) if given.agents == "replay" else 0
    wanted = len(seen.telemetry.gpus) * given.seconds / INTERVAL_S
    print(f"samples lost: {missing} of {samples}, limit 0; rows in the file: {rows}")
    print(f"samples taken: {samples / wanted:.0%} of the wanted ones")
    print(f"clock error: {seen.telemetry.clock_error_s * 1e3:.1f} ms")
    within = all(value <= limit for _, value, limit in values)
    parser.exit(0 if within and missing == 0 and rows == samples else 1)


if __name__ == "__main__":
    main()
