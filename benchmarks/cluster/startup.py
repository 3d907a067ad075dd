"""What a Slurm job adds to a run: its agents, against the same run outside of a job.

    python -m benchmarks.cluster.startup [--runs 5]

Needs Slurm and root, as the tests of ``tests/cluster`` do, and a machine with nothing else to do. Runs the
stand-in of trtllm-bench on stand-in GPUs outside of a job, in a job of one node and in one of two nodes, in
turn. Prints the seconds from the start of pytest to its end (median, and all), and what a job adds.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.helpers.slurm_cluster import Cluster, slurm_cluster
from tests.helpers.slurm_runs import PYTEST, Runs
from tests.standins.nvml.control import build


def outside(cluster: Cluster, runs: Runs) -> float:
    """Return the seconds of a run outside of a job, with the GPUs of the first node."""
    own = cluster.node(1).machine.environ({})
    began_s = time.monotonic()
    subprocess.run(
        PYTEST.split(),
        cwd=runs.folder,
        env={**cluster.environment, **own, **runs.environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - began_s


def inside(cluster: Cluster, runs: Runs, nodes: int) -> float:
    """Return the seconds of a run in a job with this number of nodes."""
    job = runs.submit(f"date +%s.%N\n{PYTEST} >/dev/null || exit 1\ndate +%s.%N", f"--nodes={nodes}")
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    first, last = (float(line) for line in cluster.output(job).splitlines() if line[:1].isdigit())
    return last - first


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    took: dict[str, list[float]] = {"outside": [], "1 node": [], "2 nodes": []}
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder) / "driver")
        with slurm_cluster(library) as cluster:
            for number in range(options.runs):
                for name, seconds in took.items():
                    cluster.clear()
                    place = Path(folder) / f"{name} {number}".replace(" ", "-")
                    place.mkdir()
                    runs = Runs(cluster, place)
                    nodes = int(name[0]) if name[0].isdigit() else 1
                    runs.write(nodes=nodes)
                    alone = name == "outside"
                    seconds.append(outside(cluster, runs) if alone else inside(cluster, runs, nodes))
    base = median(took["outside"])
    for name, seconds in took.items():
        every = ", ".join(f"{each:.1f}" for each in seconds)
        print(f"{name:<8} {median(seconds):5.1f} s ({every}), {median(seconds) - base:+.1f} s")


if __name__ == "__main__":
    main()
