"""The time to build an HTML report, its peak memory, and the size of the page.

``python -m benchmarks.report`` makes up a suite of 10 scenarios with 100,000 requests and the telemetry of 8
GPUs, earlier runs and accepted references. It saves them as runs do, and builds the report from the files in
a separate process. It prints the total time of that process (import, loading, drawing, writing), its peak
memory, and the size of the page, next to the goals: 10 s, 1 GB, 5 MB.
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

from tests.helpers.saved_runs import Made, judged, references, save, steady

SCENARIOS, REQUESTS, EARLIER, REFERENCES = 10, 100_000, 100, 16
WAVES = 8
MADE = Made(waves=WAVES, concurrency=REQUESTS // SCENARIOS // WAVES, speed=4.0, sample_s=0.1)
"""The samples are as frequent as the recorder's: ten per second."""
NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
"""Soon after the made-up runs, so that their references are not old."""
GOALS = {"time": "10 s", "memory": "1 GB", "size": "5 MB"}


def make(folder: Path) -> None:
    """Save made-up runs in ``results`` below the folder, earlier ones short, and references in ``store``."""
    for index in range(EARLIER):
        save(folder / "results", replace(MADE, waves=1, seed=index, day=-1 - index / 4, sample_s=60.0))
    for index in range(SCENARIOS):
        throttled = (5, 0.2, 0.3) if index % 3 == 0 else None
        run = save(folder / "results", replace(MADE, seed=index, day=index, throttled=throttled))
    figures = [steady(run) * (1 + 0.001 * (index % 5)) for index in range(REFERENCES)]
    references(folder / "store", run.scenario, run.fingerprint, figures)


def build(folder: Path, page: Path) -> None:
    """Build the report of the newest runs below the folder, with everything that a session compares."""
    from pytest_dsr1.case.case import case_of
    from pytest_dsr1.gate.history import history
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.reporting.charts.history import ReportContext, shipped_points
    from pytest_dsr1.reporting.html.render import write_html

    past = history(folder / "results")
    runs = sorted((folder / "results").glob("*/*"))[-SCENARIOS:]
    store = folder / "store"
    cases = [case_of(judged(load(path), MADE, store), store, NOW, past) for path in runs]
    published = shipped_points()
    write_html(page, cases, ReportContext(past, published, NOW))


def main() -> None:
    """Make the files, build the report in a separate process, and print."""
    if sys.argv[1:2] == ["build"]:
        build(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, page = Path(name), Path(name, "report.html")
        make(folder)
        newest = sorted((folder / "results").glob("*/*"))[-SCENARIOS:]
        samples = sum((path / "telemetry.jsonl").read_bytes().count(b"\n") for path in newest)
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.report", "build", str(folder), str(page)], check=True
        )
        took_s = time.perf_counter() - began
        kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        pictures = page.read_text(encoding="utf-8").count("<figure ")
        print(f"{SCENARIOS} scenarios, {REQUESTS:,} requests, {samples:,} samples, {pictures} pictures;")
        print(f"next to {EARLIER} earlier runs and {REFERENCES} references; {os.cpu_count()} cores")
        print(f"time    {took_s:.1f} s  (goal {GOALS['time']})")
        print(f"memory  {kib / 1e6 * 1.024:.2f} GB  (goal {GOALS['memory']})")
        print(f"size    {page.stat().st_size / 1e6:.2f} MB  (goal {GOALS['size']})")


if __name__ == "__main__":
    main()
