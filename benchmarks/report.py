"""How long an HTML report takes to build, what memory it needs, and how large it is.

``python -m benchmarks.report`` makes up a suite of 10 scenarios with 100,000 requests and the telemetry of 8
GPUs, saves it as runs do, and builds the report from the files in a process of its own. It prints the whole
time of that process (import, loading, drawing, writing), its peak memory, and the size of the page, beside
the goals: 10 s, 1 GB, 5 MB.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

SCENARIOS, REQUESTS = 10, 100_000
SAMPLES_S = 0.1
"""As the recorder samples: ten times a second."""
GOALS = {"time": "10 s", "memory": "1 GB", "size": "5 MB"}


def make(results: Path) -> None:
    """Save made-up runs below the folder."""
    from tests.results import Made, save

    each = REQUESTS // SCENARIOS
    for index in range(SCENARIOS):
        made = Made(waves=8, concurrency=each // 8, speed=4.0, seed=index, day=index, sample_s=SAMPLES_S)
        save(results, replace(made, throttled=(5, 0.2, 0.3) if index % 3 == 0 else None))


def build(results: Path, page: Path) -> None:
    """Build the report of all results below the folder."""
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.reporting.cases import case_of
    from pytest_dsr1.reporting.context import Background
    from pytest_dsr1.reporting.html import write_html
    from pytest_dsr1.scenario.loading import load as load_scenario
    from pytest_dsr1.session import Outcome
    from pytest_dsr1.verdict.history import history
    from pytest_dsr1.verdict.targets import Noise, judge

    now, noise = datetime.now(timezone.utc), Noise(1.0, "presumed")
    cases = []
    for path in sorted(results.glob("*/*")):
        measurement = load(path)
        outcome = Outcome(load_scenario(path / "scenario.yaml"), measurement.place, measurement=measurement)
        outcome.verdicts += [judge(target, measurement, noise) for target in measurement.scenario.targets]
        cases.append(case_of(outcome, results / "none", now))
    write_html(page, cases, Background(history(results), (), now))


def main() -> None:
    """Make, build in a process of its own, and print."""
    if sys.argv[1:2] == ["build"]:
        build(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as folder:
        results, page = Path(folder, "results"), Path(folder, "report.html")
        make(results)
        lines = sum(path.read_bytes().count(b"\n") for path in results.glob("*/*/*.jsonl"))
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.report", "build", str(results), str(page)], check=True
        )
        took_s = time.perf_counter() - began
        kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        samples = lines - REQUESTS
        print(f"{SCENARIOS} scenarios, {REQUESTS:,} requests, {samples:,} samples; {os.cpu_count()} cores")
        print(f"time    {took_s:.1f} s  (goal {GOALS['time']})")
        print(f"memory  {kib / 1e6 * 1.024:.2f} GB  (goal {GOALS['memory']})")
        print(f"size    {page.stat().st_size / 1e6:.2f} MB  (goal {GOALS['size']})")


if __name__ == "__main__":
    main()
