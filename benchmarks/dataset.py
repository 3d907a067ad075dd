"""The time to make a synthetic dataset, against a plain write of its bytes and drawing token by token.

    python -m benchmarks.dataset [--requests 114688] [--tokens 1042] [--repetitions 6] [--folder /tmp]

All three are measured in turn and in changing order, so that other work on the machine affects them equally.
The goals are judged by the medians. None waits for the disk: each ends when the operating system has the
bytes. A plain write takes several times as long if the system must first find the memory, above all on a
virtual machine. This flatters the ratio of the medians, so read the ratio of the fastest repetitions, too.
The program takes as much memory as the size of the file (0.96 GB).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, permutations
from pathlib import Path

from pytest_dsr1.scenario.schema.scenario import Dataset, Load
from pytest_dsr1.workload.synthetic import write_synthetic

OUTPUT_TOKENS = 2048
EOS_ID = 1
MOST_PLAIN_WRITES = 2.0
LEAST_SPEEDUP = 10.0
TOKEN_BY_TOKEN_REQUESTS = 1000
BLOCK_BYTES = 1 << 20


def token_by_token(path: Path, requests: int, tokens: int, vocab_size: int) -> None:
    """Do the work of prepare_dataset.py's token-norm-dist: sample, replace EOS, dump as JSON."""
    random.seed(420)
    prompts = []
    for _ in range(requests):
        ids = random.sample(range(vocab_size), tokens)
        while EOS_ID in ids:
            ids = [EOS_ID + 1 if token == EOS_ID else token for token in ids]
        prompts.append(ids)
    with path.open("w", encoding="utf-8") as file:
        for i, ids in enumerate(prompts):
            line = {"task_id": i, "input_ids": ids, "output_tokens": OUTPUT_TOKENS}
            print(json.dumps(line, separators=(",", ":"), ensure_ascii=False), file=file)


def plain_write(path: Path, blocks: list[bytes]) -> None:
    """Write bytes that are already in memory."""
    with path.open("wb", buffering=0) as file:
        for block in blocks:
            file.write(block)


def seconds(make: Callable[[Path], None], path: Path) -> float:
    """Return the time of one call, in s, without the removal of the file."""
    begin = time.perf_counter()
    make(path)
    taken = time.perf_counter() - begin
    path.unlink()
    return taken


def read_blocks(path: Path) -> list[bytes]:
    """Return the file's bytes, in pieces."""
    with path.open("rb") as file:
        return list(iter(lambda: file.read(BLOCK_BYTES), b""))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=114688)
    parser.add_argument("--tokens", type=int, default=1042)
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()

    dataset = Dataset(input_tokens=options.tokens, output_tokens=OUTPUT_TOKENS)
    load = Load(concurrency=1, num_requests=options.requests)
    few = min(options.requests, TOKEN_BY_TOKEN_REQUESTS)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "data.jsonl"
        write_synthetic(dataset, load, path)
        blocks = read_blocks(path)
        path.unlink()
        ways: dict[str, Callable[[Path], None]] = {
            "plain": lambda to: plain_write(to, blocks),
            "synthetic": lambda to: write_synthetic(dataset, load, to),
            "script": lambda to: token_by_token(to, few, options.tokens, dataset.vocab_size),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _, order in zip(range(options.repetitions), cycle(permutations(ways)), strict=False):
            for name in order:
                taken[name].append(seconds(ways[name], path))
    taken["script"] = [time_s * options.requests / few for time_s in taken["script"]]

    print(
        f"{options.requests:,} requests of {options.tokens:,} tokens, {sum(map(len, blocks)) / 1e6:,.0f} MB; "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {options.repetitions} repetitions"
    )
    print(f"{'':44}{'median':>10}{'fastest':>12}{'requests/s at the median':>28}")
    labels = {
        "plain": "plain write of the same bytes",
        "synthetic": "synthetic dataset",
        "script": f"token by token (scaled from {few:,} requests)",
    }
    for name, label in labels.items():
        middle = statistics.median(taken[name])
        print(f"{label:44}{middle:8.3f} s{min(taken[name]):10.3f} s{options.requests / middle:26,.0f}")
    slower = [of(taken["synthetic"]) / of(taken["plain"]) for of in (statistics.median, min)]
    faster = [of(taken["script"]) / of(taken["synthetic"]) for of in (statistics.median, min)]
    for text, (middle, best), met in (
        (
            f"times the plain write (goal: at most {MOST_PLAIN_WRITES:g})",
            slower,
            slower[0] <= MOST_PLAIN_WRITES,
        ),
        (
            f"times token by token's rate (goal: at least {LEAST_SPEEDUP:g})",
            faster,
            faster[0] >= LEAST_SPEEDUP,
        ),
    ):
        print(f"{text:44}{middle:10.2f}{best:12.2f}{'met' if met else 'MISSED':>26}")


if __name__ == "__main__":
    main()
