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
    assert document["points"] == ["concurrency-1", "concurrency-2"], "what the first session selected"
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


def test_results_that_were_moved_are_found(suites: Suites) -> None:
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept", "-k", "concurrency-1")
    runs_of(suites)
    (suites.pytester.path / ".dsr1").rename(suites.pytester.path / "elsewhere")
    again = suites.run(
        "--dsr1-profile=swept", "--dsr1-resume", "-k", "concurrency-1", "--dsr1-results=elsewhere"
    )
    again.stdout.fnmatch_lines(["*dsr1: swept.concurrency-1: finished in *elsewhere/swept.concurrency-1/2*"])
    assert runs_of(suites) == []
    (record,) = (suites.pytester.path / "elsewhere" / "swept").glob("study-*.json")
    (run,) = json.loads(record.read_text(encoding="utf-8"))["runs"]
    assert run["folder"].startswith("swept.concurrency-1/2")


def test_nothing_to_go_on_with(suites: Suites) -> None:
    """It is said once, before anything runs."""
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.write("plain", target=8.0)
    for arguments, message in (
        (
            ("--dsr1-profile=swept",),
            "*--dsr1-resume: no sweep of swept was started in *.dsr1; run it *",
        ),
        (
            ("--dsr1-profile=plain",),
            "*--dsr1-resume goes on with a sweep, a search or pairs, but none is selected: select one, and *",
        ),
        ((), "*--dsr1-resume needs a scenario, but none is selected*"),
        (
            ("--dsr1-replay=swept",),
            "*--dsr1-resume needs new runs, but --dsr1-replay makes none: remove one*",
        ),
        (
            ("--dsr1-profile=swept", "--dsr1-gate"),
            "*--dsr1-resume and --dsr1-gate cannot be used together: a gate and a recording need *",
        ),
        (
            ("--dsr1-profile=swept", "--dsr1-reference=record"),
            "*--dsr1-resume and --dsr1-reference=record cannot be used together: *",
        ),
    ):
        refused = suites.run("--dsr1-resume", *arguments)
        assert refused.ret == 4, arguments
        refused.stderr.fnmatch_lines([message])
    assert runs_of(suites) == []


def test_a_part_of_a_sweep_does_not_hide_the_rest(suites: Suites) -> None:
    """A point that is looked at alone is newer than the sweep, which has the other points."""
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept")
    suites.run("--dsr1-profile=swept.concurrency-2")
    runs_of(suites)
    assert suites.run("--dsr1-profile=swept", "--dsr1-resume").ret == 0
    assert runs_of(suites) == []


def test_a_run_that_was_saved_and_not_noted_is_found(suites: Suites) -> None:
    """The session was killed between the two."""
    suites.write("swept", target=8.0, extra=SWEEP)
    suites.run("--dsr1-profile=swept")
    (record,) = (suites.pytester.path / ".dsr1" / "swept").glob("study-*.json")
    document = json.loads(record.read_text(encoding="utf-8"))
    document["runs"] = document["runs"][:1]
    record.write_text(json.dumps(document), encoding="utf-8")
    runs_of(suites)
    assert suites.run("--dsr1-profile=swept", "--dsr1-resume").ret == 0
    assert runs_of(suites) == []


def test_a_value_that_is_added_runs_alone(suites: Suites) -> None:
    suites.write("plain", target=8.0)
    suites.run("--dsr1-profile=plain", "--dsr1-sweep=load.concurrency=1,4")
    runs_of(suites)
    more = suites.run("--dsr1-profile=plain", "--dsr1-sweep=load.concurrency=4,2,1", "--dsr1-resume")
    assert more.ret == 0
    assert runs_of(suites) == ["plain.concurrency-2"]


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
