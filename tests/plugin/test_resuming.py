"""A sweep that ended early goes on: finished points are not run again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.suites import Suites
from tests.helpers.waiting import wait_until

SWEEP = "sweep:\n  load.concurrency: [1, 2, 4]\n"


def runs_of(suites: Suites) -> list[str]:
    """Return the points that the engine ran since the last call."""
    path = suites.pytester.path / "engine-runs.txt"
    found = suites.engine_runs
    path.unlink(missing_ok=True)
    return found


def test_finished_points_are_not_run_again(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept", "-k", "concurrency-1 or concurrency-2")
    assert len(runs_of(suites)) == 2
    result = suites.run("--dsr1-profile=swept", "--dsr1-resume", "--dsr1-set=targets.0.value=1")
    assert result.ret == 0
    assert len(runs_of(suites)) == 1, "only the third"
    result.stdout.fnmatch_lines(["*dsr1: swept.concurrency-1: finished in *swept.concurrency-1/2*"])
    (record,) = (suites.pytester.path / ".dsr1" / "swept").glob("study-*.json")
    document = json.loads(record.read_text(encoding="utf-8"))
    assert document["points"] == ["concurrency-1", "concurrency-2", "concurrency-4"]
    assert [(run["point"], run["why"]) for run in document["runs"]] == [
        ("concurrency-1", ""),
        ("concurrency-2", ""),
        ("concurrency-4", ""),
    ]
    suites.run("--dsr1-profile=swept", "--dsr1-resume")
    assert runs_of(suites) == []
    suites.run("--dsr1-profile=swept")
    assert len(runs_of(suites)) == 3, "a new sweep"


def test_a_run_that_does_not_count_is_not_finished(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    suites.write("swept", target=8.0, extra=SWEEP)
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    assert suites.run("--dsr1-profile=swept").ret == 10
    assert len(runs_of(suites)) == 3
    monkeypatch.delenv("SCRIPTED_FAIL")
    assert suites.run("--dsr1-profile=swept", "--dsr1-resume").ret == 0
    assert len(runs_of(suites)) == 3


def test_a_point_that_has_changed_runs_again(suites: Suites) -> None:
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept", "-k", "concurrency-1")
    runs_of(suites)
    changed = suites.run(
        "--dsr1-profile=swept", "--dsr1-resume", "-k", "concurrency-1", "--dsr1-set=load.num_requests=12"
    )
    changed.stdout.fnmatch_lines(["*dsr1: swept.concurrency-1: runs again: it has changed since *"])
    assert len(runs_of(suites)) == 1


def test_a_folder_that_is_gone_runs_again(suites: Suites) -> None:
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept", "-k", "concurrency-1")
    runs_of(suites)
    (suites.pytester.path / ".dsr1" / "swept.concurrency-1").rename(suites.pytester.path / "elsewhere")
    again = suites.run("--dsr1-profile=swept", "--dsr1-resume", "-k", "concurrency-1")
    again.stdout.fnmatch_lines(["*dsr1: swept.concurrency-1: runs again: *"])
    assert len(runs_of(suites)) == 1


def test_nothing_to_go_on_with(suites: Suites) -> None:
    suites.write("swept", target=8.0, extra=SWEEP)
    result = suites.run("--dsr1-profile=swept", "--dsr1-resume")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*--dsr1-resume: no sweep of swept was started in *.dsr1; run it without this option*"]
    )
    assert runs_of(suites) == []
    refused = suites.run("--dsr1-resume")
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["*--dsr1-resume needs a scenario, but none is selected*"])
    both = suites.run("--dsr1-resume", "--dsr1-replay=swept")
    both.stderr.fnmatch_lines(["*--dsr1-resume needs new runs, but --dsr1-replay makes none: remove one*"])


def test_a_killed_sweep_goes_on(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    """The point that was running is not finished, and nothing is lost."""
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept", "-k", "concurrency-1")
    goes_on = suites.pytester.path / "go"
    monkeypatch.setenv("SCRIPTED_UNTIL", str(goes_on))
    runs_of(suites)
    command = [sys.executable, "-m", "pytest", "--dsr1-profile=swept", "--dsr1-resume"]
    with suites.pytester.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: suites.engine_runs)
        run.kill()
    assert len(runs_of(suites)) == 1, "the second point had begun"
    goes_on.touch()
    assert suites.run("--dsr1-profile=swept", "--dsr1-resume").ret == 0
    assert len(runs_of(suites)) == 2, "the second and the third"


def test_the_verdict_on_a_curve_is_in_the_overview(suites: Suites) -> None:
    curve = "frontier:\n  - {at: 8, metric: total_output_throughput, value: 32}\n"
    suites.write("swept", target=8.0, extra=SWEEP + curve)
    result = suites.run("--dsr1-profile=swept")
    result.stdout.fnmatch_lines(
        [
            "swept, 3 points  (CPU, engine transformers)",
            "swept  (CPU, engine transformers)",
            "  PASS    total output throughput at 8 *",
        ]
    )
