"""A disk that is full under each file that a run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.full_disk import disk
from tests.helpers.suites import Suites

RESULTS = (
    "*: results cannot be written: No space left on device; free space there, or choose another folder *"
)
PLACES = {
    "measurement.json": (10, RESULTS),
    "requests.jsonl": (10, RESULTS),
    "scenario.yaml": (10, RESULTS),
    "verdicts.json": (10, RESULTS),
    "summary.md": (
        10,
        "dsr1: the job summary cannot be written: No space left on device; the log has all of it",
    ),
}
"""The files of a run, each with the exit status and the message if there is no space for it."""
CACHED = "synthetic-0d668f9958b1c369.jsonl"
STANDINS = ("engine-runs.txt", "engine-questions.txt")


def run(suites: Suites) -> tuple[int, str]:
    done = suites.run("--dsr1-profile=alpha")
    return int(done.ret), done.stdout.str() + done.stderr.str()


@pytest.fixture
def place(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suites.pytester.path / "summary.md"))
    return suites.pytester.path


def test_every_file_that_a_run_writes_is_filled_below(suites: Suites, place: Path) -> None:
    with disk(place) as watched:
        assert run(suites)[0] == 0
    assert watched.written == {*PLACES, CACHED, *STANDINS}


@pytest.mark.parametrize("name", [*PLACES, CACHED])
def test_a_full_disk_is_a_sentence(suites: Suites, place: Path, name: str) -> None:
    status, message = PLACES.get(
        name, (10, "*the synthetic dataset (* MiB) cannot be written to *: No space left on device; *")
    )
    with disk(place) as watched:
        watched.full = name
        found, output = run(suites)
    assert watched.refused
    assert found == status
    pytest.LineMatcher(output.splitlines()).fnmatch_lines([message])
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
