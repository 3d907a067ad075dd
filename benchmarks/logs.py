"""The cost of reading a log: a flood of 2 GB, then 5 MB/s and 0.5 MB/s for a while.

``python -m benchmarks.logs [GB] [SECONDS]`` starts a program that writes lines like those of TensorRT-LLM,
NCCL and Open MPI, and reads them as the engine trtllm-bench does: the log is kept, phases and iterations are
followed, and the cause of a failure is looked for. First the program writes into a file by itself.

Goals: 2 GB in at most 60 s on one core, at most 15% of a core at 5 MB/s, and a program that is not slowed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_dsr1.engines.tensorrt_llm.bench.log import BenchLog
from pytest_dsr1.process.child import Child, environment
from pytest_dsr1.process.log.waiting import Waiting

WRITER = """
import sys, time
total, rate = float(sys.argv[1]), float(sys.argv[2])
lines = [
    "[11/28/2026-09:14:02] [TRT-LLM] [I] iter = 7, global_rank = 0, rank = 0, currank_total_requests = 1/8, "
    "host_step_time = 20.1ms, timestamp = 2026-11-28 09:14:02, num_scheduled_requests = 9, "
    "states = {num_ctx_requests = 1, num_ctx_tokens = 1024, num_generation_tokens = 8}",
    "node1:21858:21860 [2] NCCL INFO Channel 00 : 2[2] -> 3[3] via P2P/CUMEM",
    "(EngineCore_DP0 pid=310) WARNING 11-28 09:14:02 [cache.py:86] a block was not found and is read again",
    '[node1:101829] mca_base_component_repository_open: unable to open mca_btl_openib (ignored)',
]
block = ("\\n".join(lines * 20) + "\\n").encode()
out = sys.stdout.buffer.raw if hasattr(sys.stdout.buffer, "raw") else sys.stdout.buffer
out.write(b"Starting benchmark...\\n")
began, sent = time.monotonic(), 0
while sent < total:
    sent += out.write(block)
    if rate and (ahead := sent / rate - (time.monotonic() - began)) > 0:
        time.sleep(ahead)
out.write(b"RuntimeError: CUDA error: an illegal memory access was encountered\\n")
sys.stderr.write(f"wrote for {time.monotonic() - began:.2f} s\\n")
"""


class _Nobody:
    def phase(self, phase: str, detail: str = "") -> None: ...
    def progress(self, requests: int, output_tokens: int) -> None: ...
    def record(self, record: object) -> None: ...


def read(total: float, rate: float) -> None:
    """Print the cost of a log of ``total`` bytes at ``rate`` bytes per second; 0 is as fast as possible."""
    with tempfile.TemporaryDirectory() as folder:
        log = BenchLog(_Nobody(), 16.0)
        waiting = Waiting(log.reader, 3600.0)
        began, cpu = time.monotonic(), _cpu_s()
        argv = [sys.executable, "-c", WRITER, str(total), str(rate)]
        path = Path(folder) / "log"
        with Child(argv, env=environment(), cwd=Path(folder), log=path) as child:
            while True:
                lines = child.read(1.0)
                for line in lines:
                    log.take(line)
                    waiting.heard(line.text)
                if not lines and child.returncode is not None:
                    break
        took, used = time.monotonic() - began, _cpu_s() - cpu
        cause = log.reader.cause
        speed = f"{rate / 1e6:g} MB/s" if rate else "full speed"
        print(
            f"{total / 1e6:,.0f} MB at {speed}: read in {took:.1f} s, "
            f"{used:.1f} s of CPU ({used / took:.1%} of a core); {list(log.reader.last)[-1]}; "
            f"kept {path.stat().st_size / 1e6:,.0f} MB; cause: {cause.name if cause else 'none'}; "
            f"{child.unsearched or 'every line was searched'}"
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    with tempfile.NamedTemporaryFile() as own:
        subprocess.run([sys.executable, "-c", WRITER, str(gigabytes * 1e9), "0"], stdout=own, check=True)
    read(gigabytes * 1e9, 0)
    read(5e6 * seconds, 5e6)
    read(0.5e6 * seconds, 0.5e6)
