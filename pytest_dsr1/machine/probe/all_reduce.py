"""One process of an all-reduce: a rank that uses one GPU, or the processors.

`python -m pytest_dsr1.machine.probe.all_reduce RANK COUNT BACKEND FOLDER` meets the other ranks in a folder:
rank 0 writes results there, and a rank that fails its error. NCCL's settings come from the environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from statistics import median

SIZES: Mapping[str, int] = {"all_reduce_64kib_us": 64 << 10, "all_reduce_256mib_gb_s": 256 << 20}
"""The size of each probe in bytes."""
REPETITIONS: Mapping[str, tuple[int, int]] = {"nccl": (500, 30), "gloo": (10, 2)}
"""Repetitions for each size, by backend."""
TIMEOUT_S = 60


def results(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the results in a folder: the probe's name and its value."""
    with suppress(FileNotFoundError):
        for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
            name, value = json.loads(line)
            yield name, value


def problem(folder: Path) -> str | None:
    """Return the error of the first rank that failed, in one line."""
    found = sorted(folder.glob("*.error"), key=lambda path: path.stat().st_mtime_ns)
    return found[0].read_text(encoding="utf-8") if found else None


def value(name: str, seconds: float, ranks: int) -> float:
    """Return the value of a probe: a time in us, or a bus bandwidth in GB/s."""
    if name.endswith("_us"):
        return seconds * 1e6
    return 2 * (ranks - 1) / ranks * SIZES[name] / seconds / 1e9


def measure(rank: int, count: int, backend: str, folder: Path) -> None:
    """Reduce at each size; rank 0 writes what it measured."""
    import torch
    from torch import distributed

    on_gpu = backend == "nccl"
    if on_gpu:
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        backend,
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=TIMEOUT_S),
    )
    for (name, size), repetitions in zip(SIZES.items(), REPETITIONS[backend], strict=True):
        tensor = torch.zeros(size // 4, device=f"cuda:{rank}" if on_gpu else "cpu")
        times = []
        for _ in range(repetitions + 1):
            start_s = time.perf_counter()
            distributed.all_reduce(tensor)
            if on_gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start_s)
        if rank == 0:  # the first time includes the connections
            with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, value(name, median(times[1:]), count)]) + "\n")
    distributed.destroy_process_group()


def main(argv: Sequence[str]) -> int:
    """Run a rank."""
    rank, count, backend, folder = int(argv[0]), int(argv[1]), argv[2], Path(argv[3])
    try:
        measure(rank, count, backend, folder)
    except Exception as error:
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        (folder / f"{rank}.error").write_text(f"rank {rank} of {backend}: {line}", encoding="utf-8")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
