"""Random kills of parts of runs on a real Slurm cluster of two nodes, and what is left after each.

    python -m benchmarks.cluster.kills [--kills 100] [--first 1] [--clusters 1]

Needs Slurm and root, as the tests of ``tests/cluster`` do. Each run sets up the GPUs of both nodes, which are
stand-ins, and is hit once: at a random time by a random kill, which the seed decides. The engine is one
program over both nodes, or servers of two roles. Prints each kill as it ends, then a table: how often, how
often nothing was there any more, on how many nodes ``restore`` or the next run had to put the GPUs back
because their agent was killed, and after how many kills something was left or pytest ended wrongly. The exit
status is 1 if there was any. ``--clusters`` run side by side.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.helpers.slurm_cluster import slurm_cluster
from tests.helpers.slurm_kills import Outcome, carried_out, drawn
from tests.standins.nvml.control import build


def outcomes(library: Path, seeds: SimpleQueue[int]) -> list[tuple[int, Outcome]]:
    """Return what the kills of these seeds did on a cluster of their own."""
    found: list[tuple[int, Outcome]] = []
    with slurm_cluster(library) as cluster:
        while True:
            try:
                seed = seeds.get_nowait()
            except Empty:
                return found
            began_s = time.monotonic()
            try:
                cluster.clear()
                with tempfile.TemporaryDirectory(prefix="dsr1-kill-") as folder:
                    outcome = carried_out(drawn(seed), cluster, Path(folder))
            except AssertionError as error:  # such as processes that never end
                outcome = Outcome(hit=True, end="?", restored=0, wrong=(str(error),))
            found.append((seed, outcome))
            took_s = time.monotonic() - began_s
            print(f"{seed}: {drawn(seed)}\n    {outcome.end} in {took_s:.1f} s", flush=True)
            for problem in outcome.wrong:
                print(f"    WRONG: {problem}", flush=True)


def print_table(found: Iterable[tuple[int, Outcome]]) -> None:
    """Print a row for each kind of kill."""
    rows = defaultdict(list)
    for seed, outcome in found:
        rows[drawn(seed).name].append(outcome)
    rows["all"] = [outcome for row in list(rows.values()) for outcome in row]
    print(f"{'kill':<44}{'times':>7}{'too late':>10}{'nodes restored later':>22}{'wrong':>7}")
    for name, row in sorted(rows.items(), key=lambda item: (item[0] == "all", item[0])):
        late, restored = sum(not one.hit for one in row), sum(one.restored for one in row)
        print(f"{name:<44}{len(row):>7}{late:>10}{restored:>22}{sum(bool(one.wrong) for one in row):>7}")


def main() -> None:
    """Kill, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--clusters", type=int, default=1)
    options = parser.parse_args()
    seeds: SimpleQueue[int] = SimpleQueue()
    for seed in range(options.first, options.first + options.kills):
        seeds.put(seed)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.clusters) as pool:
        library = build(Path(folder) / "driver")
        running = [pool.submit(outcomes, library, seeds) for _ in range(options.clusters)]
        found = [one for each in running for one in each.result()]
    print_table(found)
    parser.exit(int(any(outcome.wrong for _, outcome in found)))


if __name__ == "__main__":
    main()
