"""The noise of engine starts on this machine: ``python -m benchmarks.gating.starts PROFILE --starts 16``.

Records this number of starts of a profile, each in its own pytest run, into ``dsr1-references`` below the
current folder, and prints the variance components with their 95% intervals. Earlier recorded starts count,
too, if all their facts are equal. Other options go to pytest.

docs/background/measurements.md has its output on one H200.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.gating.components import components
from pytest_dsr1.gate.recordings import RecordedRun, alike, read
from pytest_dsr1.scenario.named import load_named
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import SteadyFigure, steady_figure, warmup_of
from pytest_dsr1.study.eligibility import gated_metric


def record(profile: str, more: list[str]) -> None:
    """Record one start in one pytest run; end the program if that fails."""
    command = [sys.executable, "-m", "pytest", "-q", f"--dsr1-profile={profile}", "--dsr1-reference=record"]
    done = subprocess.run([*command, "-k", "reference", *more], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if "no reference:" in line:
            print(line, flush=True)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-1000:])


def figures(scenario: Scenario, found: tuple[RecordedRun, ...]) -> list[SteadyFigure]:
    """Return the steady figure of each recorded start, at full length."""
    warm = warmup_of(scenario)
    return [steady_figure(one.trace, gated_metric(scenario), warmup_requests=warm) for one in found]


def newest(store: Path, scenario: Scenario) -> tuple[tuple[RecordedRun, ...], tuple[str, ...]]:
    """Return the recorded starts like the newest one, and what is wrong with others."""
    found, problems = read(store, scenario.name)
    return alike(found, found[-1].facts) if found else (), problems


def summary(scenario: Scenario, found: tuple[RecordedRun, ...]) -> str:
    """Return the variance components of the starts as text."""
    runs = figures(scenario, found)
    logs = np.log([run.value for run in runs])
    parts = components(runs)
    slope = float(np.polyfit(np.arange(len(logs)), logs, 1)[0]) * 100
    return "\n".join(
        [
            f"{scenario.name}: {gated_metric(scenario)} of {len(runs)} starts, geometric mean "
            f"{math.exp(float(logs.mean())):.5g}, from {min(r.value for r in runs):.5g} to "
            f"{max(r.value for r in runs):.5g}",
            f"  between figures   {parts.between}: the noise of a gate",
            f"  from the starts   {parts.start}",
            f"  from the error    {parts.within} within a figure, over "
            f"{median(r.window_s for r in runs):.1f} s that count",
            f"  from one start to the next the figure moves by {slope:+.4f}% on average",
            f"  a start takes {median(one.trace.startup_s for one in found):.0f} s without the measured time",
        ]
    )


def main() -> None:
    """Record and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile")
    parser.add_argument("--starts", type=int, required=True, choices=range(2, 1000), metavar="N")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, as --dsr1-set")
    options, more = parser.parse_known_args()
    scenario = load_named(options.profile, [], options.set)
    store = Path("dsr1-references")
    given = [f"--dsr1-set={value}" for value in options.set]
    found, problems = newest(store, scenario)
    while len(found) < options.starts and not problems:
        record(options.profile, [*given, *more])
        found, problems = newest(store, scenario)
        print(f"start {len(found)}: {figures(scenario, found[-1:])[0].value:.6g}", flush=True)
    print("\n".join(problems) or summary(scenario, found))


if __name__ == "__main__":
    main()
