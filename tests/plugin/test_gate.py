"""What a user of references and gates sees, with an engine whose starts differ by 1%."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.cli.main import main
from pytest_dsr1.gate import saved as saved_gates
from pytest_dsr1.gate.reference_file import read, write
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import number
from tests.helpers.suites import CONFTEST, Suites
from tests.helpers.unlistable import unlistable

PROFILE = "--dsr1-profile=gated"
RECORDED = 12
"""Enough to accept, with a warning: the tests have no time for more."""


class Gated:
    """The profile ``gated``: 16 tok/s, delta 5%, at most 8 runs."""

    def __init__(self, suites: Suites) -> None:
        self.suites = suites
        self.store = suites.pytester.path / "dsr1-references"
        path = suites.write("gated", extra="gate:\n  delta_percent: 5\n  max_runs: 8\n")
        text = path.read_text(encoding="utf-8").replace("num_requests: 8", "num_requests: 40")
        path.write_text(text, encoding="utf-8")

    @property
    def references(self) -> Path:
        return self.store / "gated.yaml"

    def gate(self, *more: str) -> pytest.RunResult:
        return self.suites.run(PROFILE, "--dsr1-gate", *more)

    def saved(self) -> dict[str, Any]:
        """The newest gate.json."""
        (path,) = self.suites.pytester.path.glob(".dsr1/gated/*/gate.json")
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document


@pytest.fixture
def gated(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Gated:
    monkeypatch.setenv("SCRIPTED_NOISE", "0.01")
    return Gated(suites)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the first test fills, for those after it."""
    return tmp_path_factory.mktemp("recorded") / "store"


@pytest.fixture
def accepted(gated: Gated, recorded: Path, capsys: pytest.CaptureFixture[str]) -> Gated:
    """References as a user makes them: recorded run by run, and accepted."""
    path = gated.suites.pytester.path
    if not recorded.exists():
        for _ in range(RECORDED):
            result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference")
            assert result.ret == 0, result.stdout.str()
        shutil.copytree(gated.store, recorded / "references")
        shutil.copytree(path / "state", recorded / "state")
    else:
        shutil.copytree(recorded / "references", gated.store)
        shutil.copytree(recorded / "state", path / "state", dirs_exist_ok=True)
    (path / "engine-runs.txt").unlink(missing_ok=True)
    shutil.rmtree(path / ".dsr1", ignore_errors=True)
    arguments = [
        "accept",
        "gated",
        "--suites",
        str(gated.suites.folder),
        "--reason",
        "scripted 1.0",
        "--by",
        "me",
    ]
    assert main(["references", *arguments]) == 0, capsys.readouterr()
    return gated


def test_recording(gated: Gated) -> None:
    """The first start of a software is warm-up: the run is repeated at once."""
    result = gated.suites.run(PROFILE, "--dsr1-reference=record")
    assert result.ret == 0
    result.assert_outcomes(passed=4)
    output = " ".join(result.stdout.str().split())
    assert "dsr1: gated: this run is not recorded: warm-up: the first start of this software" in output
    recorded = r"note recorded ([\d,.]+) tok/s in \S*dsr1-references/candidates/gated/\S*json: "
    seen = re.search(f"{recorded}comparable runs on this node: 1 of the 15 recommended", output)
    assert seen, output
    assert len(gated.suites.engine_runs) == 2
    assert len(list((gated.store / "candidates" / "gated").iterdir())) == 1
    (evidence,) = gated.suites.pytester.path.glob(".dsr1/gated/*/evidence.json")
    kept = json.loads(evidence.read_text(encoding="utf-8"))
    assert kept["metric"] == "total_output_throughput"
    assert number(kept["value"]) == seen[1]
    assert len(kept["batches"]) == 10
    assert kept["cut_s"] > 0
    assert gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference").ret == 0
    assert len(gated.suites.engine_runs) == 3


def test_a_recorded_run_that_was_damaged_is_told_when_the_next_one_is_recorded(gated: Gated) -> None:
    assert gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference").ret == 0
    (damaged,) = (gated.store / "candidates" / "gated").iterdir()
    damaged.write_text("{", encoding="utf-8")
    result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference")
    assert result.ret == 0
    output = " ".join(result.stdout.str().split())
    assert ": comparable runs on this node: 1 of the 15 recommended; " in output
    assert f"note {damaged}: is not JSON (" in output
    assert "or move it out of the folder; until then nothing is accepted" in output


def test_recording_where_nobody_can_list_what_is_recorded(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before an engine is started."""
    folder = gated.store / "candidates" / "gated"
    folder.mkdir(parents=True)
    unlistable(monkeypatch, folder)
    result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference")
    assert result.ret == 11
    result.stdout.fnmatch_lines([f"*{folder}: cannot be listed: Permission denied; *"])
    assert gated.suites.engine_runs == []


def test_recorded_runs_of_other_software_are_not_among_those_wanted(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanted() -> str:
        output = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference").stdout.str()
        found = re.search(
            r"comparable runs on this node: (\d+) of the 15 recommended", " ".join(output.split())
        )
        assert found, output
        return found[1]

    assert [wanted(), wanted()] == ["1", "2"]
    monkeypatch.setenv("SCRIPTED_VERSION", "1.1")
    assert wanted() == "1", "accept would leave the others out"


def test_an_innocent_change_passes(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    before = accepted.references.read_bytes()
    monkeypatch.setenv("SCRIPTED_VERSION", "1.1")
    result = accepted.gate()
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=4)
    output = " ".join(result.stdout.str().split())
    assert "dsr1: gated: gate on total output throughput of the first 10 requests, against 12" in output
    assert "references on node cpu (noise" in output
    assert "dsr1: gated: the gate decides in at most" in output
    assert " whether there is a loss of 5%. It needs" in output
    assert "references are from one day, so they do not show day-to-day variation" in output
    assert "run 1 does not count: warm-up: the first start of this software on this node" in output
    assert "PASS regression: total output throughput" in output
    assert ": a loss of 5% is ruled out" in output
    assert "changed: engine.scripted: 1.0 -> 1.1" in output
    saved = accepted.saved()
    assert saved["verdict"]["word"] == saved["word"] == "PASS"
    assert saved["references"]["accepted"]["reason"] == "scripted 1.0"
    assert [bool(run["evidence"]) for run in saved["runs"]] == [False] + [True] * (len(saved["runs"]) - 1)
    assert accepted.references.read_bytes() == before


def test_a_gate_judges_a_scenario_without_targets(accepted: Gated) -> None:
    path = accepted.suites.folder / "gated.yaml"
    text, _, gate = path.read_text(encoding="utf-8").partition("targets:")
    gate = gate[gate.index("gate:") :]
    path.write_text(f"{text}{gate}  metric: total_output_throughput\n", encoding="utf-8")
    result = accepted.gate("-v")
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "own/gated.yaml::measured PASSED*",
            "own/gated.yaml::regression[[]total_output_throughput[]] PASSED*",
            "  MEASURED nothing to judge",
            "  PASS    regression: total output throughput *",
        ]
    )


def test_a_loss_fails_after_two_runs(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_LATENCY_S", "0.6")
    result = accepted.gate("-k", "regression", f"--junitxml={accepted.suites.pytester.path}/junit.xml")
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    output = " ".join(result.stdout.str().split())
    assert "FAIL regression: total output throughput" in output
    assert "after 2 of at most" in output
    assert "a loss is shown" in output
    assert len(accepted.suites.engine_runs) == 2
    junit = (accepted.suites.pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert 'name="dsr1_verdict" value="FAIL"' in junit
    assert re.search(
        r"changed since the accepted references \(\d{4}-\d\d-\d\d\): no recorded fact differs ", output
    )
    before = accepted.references.read_bytes()
    assert accepted.gate("-k", "regression").ret == 1  # and nothing but `accept` ends it
    assert accepted.references.read_bytes() == before


def test_a_gate_alone_sends_no_more_than_it_needs(accepted: Gated) -> None:
    result = accepted.gate("-k", "regression")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["  results .dsr1/gated/*"])
    for folder in accepted.suites.pytester.path.glob(".dsr1/gated/*"):
        lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 10


def test_a_gate_ends_a_run_whose_own_error_is_small(accepted: Gated) -> None:
    """All requests of the scripted engine take equally long, so ten batches tell enough."""
    longer = replace(read(accepted.store, "gated", datetime.now(timezone.utc)), requests=40)
    write(accepted.store, longer)
    assert accepted.gate("-k", "regression").ret == 0
    (document,) = accepted.suites.pytester.path.glob(".dsr1/gated/*/measurement.json")
    assert json.loads(document.read_text(encoding="utf-8"))["measurement"]["result"]["stopped"]
    assert json.loads(document.read_text(encoding="utf-8"))["records"] < 40


SLOW_AT_FIRST = """
class SlowAtFirst(ScriptedEngine):
    runs = 0

    def run(self, job, observer):
        SlowAtFirst.runs += 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCRIPTED_LATENCY_S", "0.6" if SlowAtFirst.runs <= 2 else "0.5")
            return super().run(job, observer)

@pytest.fixture(scope="session")
def dsr1_engine():
    return SlowAtFirst()
"""
REPEATED = """
@pytest.fixture
def step(request):
    return request.param

def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("step")
    metafunc.parametrize("step", range(3), indirect=True, scope="function")
"""
AGAIN = """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed:
        item.session._setupstate.teardown_exact(item.getparent(pytest.Session))
        item._initrequest()
        pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_setup(item=item), when="setup")
        again = pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_call(item=item), when="call")
        report.outcome = "failed" if again.excinfo else "passed"
    return report
"""


@pytest.mark.parametrize(
    ("conftest", "options", "failed"),
    [
        pytest.param("", ("--reruns=2",), 1, marks=pytest.mark.needs("pytest_rerunfailures"), id="reruns"),
        pytest.param(REPEATED, (), 3, id="repeat"),
        pytest.param(AGAIN, (), 1, id="retry"),
    ],
)
def test_no_plugin_runs_a_gate_until_it_is_green(
    accepted: Gated, conftest: str, options: tuple[str, ...], failed: int
) -> None:
    accepted.suites.pytester.makeconftest(CONFTEST + SLOW_AT_FIRST + conftest)
    result = accepted.gate("-k", "regression", *options)
    assert result.ret == 1
    result.assert_outcomes(failed=failed)
    assert len(accepted.suites.engine_runs) == 2


ENDED = """
class Ended(ScriptedEngine):
    def run(self, job, observer):
        super().run(job, observer)
        {call}

@pytest.fixture(scope="session")
def dsr1_engine():
    return Ended()
"""


@pytest.mark.parametrize(
    ("call", "selected"),
    [("pytest.fail('Timeout (>1.0s)')", ""), ("raise ValueError('no license')", "regression")],
)
def test_a_gate_that_is_ended_from_outside_is_not_repeated(accepted: Gated, call: str, selected: str) -> None:
    accepted.suites.pytester.makeconftest(CONFTEST + ENDED.format(call=call))
    result = accepted.gate("-k", selected)
    assert result.ret == 10
    assert len(accepted.suites.engine_runs) == 1
    overview = " ".join(result.stdout.str().partition("PERFORMANCE OVERVIEW")[2].split())
    assert " was ended: " in overview
    assert "it does not count: remove the cause, then run it again" in overview


def test_an_improvement_passes(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_LATENCY_S", "0.4")
    result = accepted.gate("-k", "regression")
    assert result.ret == 0
    verdict = accepted.saved()["verdict"]
    assert verdict["margin_percent"] > 20
    output = " ".join(result.stdout.str().split())
    assert "better by " in output
    assert ", more than the noise: accept new references, or a gate will not notice when the " in output


def test_an_undecided_gate_is_inconclusive(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that scatter more than the references do."""
    monkeypatch.setenv("SCRIPTED_NOISE", "0.2")
    monkeypatch.setenv("SCRIPTED_LATENCY_S", "0.3933")
    result = accepted.gate("-k", "regression", "--dsr1-set=gate.delta_percent=4")
    assert result.ret == 12, result.stdout.str()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*undecided: no loss is shown, but a loss of *% is not ruled out either"])
    result.stdout.fnmatch_lines(["  INCONCLUSIVE total output throughput *"])
    assert accepted.saved()["verdict"] is None
    assert accepted.saved()["word"] == "INCONCLUSIVE"


def test_an_invalid_run_is_repeated(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "1")
    result = accepted.gate("-k", "regression")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["dsr1: gated: run 1 does not count: 1 of 10 requests failed*"])


def test_runs_that_are_invalid_again_and_again_end_the_gate(
    accepted: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    result = accepted.gate("-k", "regression")
    assert result.ret == 10
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "3 engine starts in a row do not count:",
            "  1. the scripted engine*",
            "       out of memory",
            "remove the cause, then run `pytest --dsr1-profile=gated --dsr1-gate`",
        ]
    )
    assert len(accepted.suites.engine_runs) == 3


def test_no_reference(gated: Gated) -> None:
    result = gated.gate()
    assert result.ret == 11
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        [
            "dsr1: gated: there will be no gate: *gated.yaml: there is no such file*",
            "*record more with `pytest --dsr1-profile=gated --dsr1-reference=record`*",
            "*PERFORMANCE OVERVIEW*",
            "  NO REFERENCE *gated.yaml:*",
        ]
    )
    assert not gated.store.exists(), "nothing to hold, nothing left behind"


def test_a_damaged_file_is_no_reference(accepted: Gated) -> None:
    accepted.references.write_text(accepted.references.read_text(encoding="utf-8")[:-80], encoding="utf-8")
    result = accepted.gate("-k", "regression")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*does not end with its checksum: it is truncated*"])
    assert accepted.suites.engine_runs == []


def test_what_must_be_equal_and_is_not(accepted: Gated) -> None:
    """Told before anything runs, all of it."""
    result = accepted.gate("-k", "regression", "--dsr1-set=load.concurrency=4", "--dsr1-set=dataset.seed=1")
    assert result.ret == 11
    result.stdout.fnmatch_lines(
        [
            "*this run and the references differ in facts that must be equal:",
            "*dataset.content: *",
            "*option.load.concurrency: 2 in the references, 4 here",
            "*restore these facts, or make new references: record more with *; gate.under_test sets *",
        ]
    )
    assert accepted.suites.engine_runs == []


def test_what_may_differ_is_the_scenarios_choice(accepted: Gated) -> None:
    result = accepted.gate(
        "-k", "regression", "--dsr1-set=dataset.seed=1", "--dsr1-set=gate.under_test={dataset.content: true}"
    )
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(["*changed: dataset.content: *"])


def test_the_engines_own_software_may_be_fixed(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known after a start only, and compared then."""
    fixed = "--dsr1-set=gate.under_test={engine.*: false}"
    assert accepted.gate("-k", "regression", fixed).ret == 0
    shutil.rmtree(accepted.suites.pytester.path / ".dsr1")
    monkeypatch.setenv("SCRIPTED_VERSION", "1.1")
    result = accepted.gate("-k", "regression", fixed)
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*NOT COMPARABLE gated: this run and the references differ*"])
    result.stdout.fnmatch_lines(["*engine.scripted: 1.0 in the references, 1.1 here"])
    saved = accepted.saved()
    assert saved["verdict"] is None
    assert saved["error"].startswith("gated: this run and the references differ in facts that must be equal")
    assert [run["why"].partition(":")[0] for run in saved["runs"]] == ["warm-up", "gated"]


def test_a_gate_that_cannot_be_saved(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        if path.name == "gate.json":
            raise OSError(28, "No space left on device")
        write_atomically(path, text)

    monkeypatch.setattr(saved_gates, "write_atomically", full)
    result = accepted.gate("-k", "regression")
    assert result.ret == 10
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*results cannot be written: No space left on device; free space there*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_gate_that_cannot_tell_how_many_gates_there_are(
    accepted: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlistable(monkeypatch, accepted.store)
    result = accepted.gate("-k", "regression")
    assert result.ret == 11
    result.stdout.fnmatch_lines([f"*there will be no gate: {accepted.store}: cannot be listed: Permission *"])
    assert accepted.suites.engine_runs == []


def test_a_delta_that_noise_cannot_resolve_is_refused(accepted: Gated) -> None:
    result = accepted.gate("-k", "regression", "--dsr1-set=gate.delta_percent=0.5")
    assert result.ret == 12
    result.stdout.fnmatch_lines(
        [
            "*a loss of 0.5% cannot be separated from the noise between starts*within gate.max_runs = 8 runs",
            "*what would resolve it: gate.delta_percent of at least *",
            "*or noise of at most *%: check other work on the machine*",
            "*more references do not help: even 100 are not enough",
        ]
    )
    assert accepted.suites.engine_runs == []


class Running:
    """A gate in a process of its own, whose engine runs until it may end."""

    def __init__(self, gated: Gated, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._runs, path = gated.suites, gated.suites.pytester.path
        self._may_end = path / f"{profile}-may-end"
        monkeypatch.setenv("SCRIPTED_UNTIL", str(self._may_end))
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"--dsr1-profile={profile}",
            "--dsr1-gate",
            "-k=regression",
        ]
        self._process = subprocess.Popen(
            command, cwd=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        monkeypatch.delenv("SCRIPTED_UNTIL")
        self.pid = self._process.pid
        self.wait_for_runs(profile)

    def wait_for_runs(self, profile: str) -> None:
        deadline_s = time.monotonic() + 60
        while profile not in self._runs.engine_runs:
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Its exit status and what it printed."""
        self._may_end.touch()
        output, _ = self._process.communicate(timeout=60)
        return self._process.returncode, output


def test_two_gates_at_once_on_one_store(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused before its engine starts, for its targets too; the first ends as if alone."""
    before = accepted.references.read_bytes()
    first = Running(accepted, "gated", monkeypatch)
    in_use = f"*the references of gated are in use by pid {first.pid} of user *; wait for it to end"
    try:
        for selection, passed, errors in (("regression", 0, 1), ("", 1, 3)):
            second = accepted.suites.run_apart(PROFILE, "--dsr1-gate", "-k", selection)
            assert second.ret == 10
            second.assert_outcomes(passed=passed, errors=errors)
            second.stdout.fnmatch_lines([in_use])
        assert accepted.suites.engine_runs == ["gated"]
    finally:
        status, output = first.end()
    assert status == 0, output
    assert "PASS" in output
    assert accepted.saved()["word"] == "PASS"
    assert accepted.references.read_bytes() == before


def test_references_that_cannot_be_locked(accepted: Gated) -> None:
    """Told before anything runs."""
    lock = accepted.store / ".gated.lock"
    lock.unlink()
    lock.mkdir()
    result = accepted.gate()
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines([f"*{lock}: the references of gated cannot be locked: Is a directory; *"])
    assert accepted.suites.engine_runs == []


def test_gates_of_two_profiles_at_once_on_one_store(accepted: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waits for the other, and each shares the suite's errors with it."""
    scenario = accepted.suites.folder / "gated.yaml"
    text = scenario.read_text(encoding="utf-8").replace("name: gated", "name: another")
    scenario.with_name("another.yaml").write_text(text, encoding="utf-8")
    known = read(accepted.store, "gated", datetime.now(timezone.utc))
    files = (accepted.references, write(accepted.store, replace(known, profile="another")))
    before = [path.read_bytes() for path in files]
    gates = [Running(accepted, profile, monkeypatch) for profile in ("gated", "another")]
    assert sorted(accepted.suites.engine_runs) == ["another", "gated"]
    for gate in gates:
        status, output = gate.end()
        assert status == 0, output
    assert len(list(accepted.suites.pytester.path.glob(".dsr1/*/*/gate.json"))) == 2
    assert [path.read_bytes() for path in files] == before


def test_the_plan_says_what_a_gate_costs(accepted: Gated) -> None:
    result = accepted.suites.run(PROFILE, "--dsr1-gate", "--dsr1-plan")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "# gate: gate on total output throughput of the first 10 requests, against 12 references *",
            "# gate: the gate decides in at most * runs (* s) whether there is a loss of 5%. It needs *",
            "# gate: these numbers include only runs that count. *At most * starts in all (*if the first *",
            "pytest --dsr1-profile=gated --dsr1-gate*",
        ]
    )


def test_the_plan_compares_what_the_scenario_tells(accepted: Gated) -> None:
    changes = ["--dsr1-set=dataset.output_tokens=5", "--dsr1-set=load.concurrency=1"]
    result = accepted.suites.run(PROFILE, "--dsr1-gate", "--dsr1-plan", *changes)
    output = result.stdout.str()
    assert "gated: this run and the references differ in facts" not in output, "no name twice"
    assert "this run and the references differ in facts that must be equal:" in output
    assert "dataset.content: " in output
    assert "option.load.concurrency: 2 in the references, 1 here" in output
    assert "the gate decides whether" not in output


def test_the_plan_of_a_gate_that_no_run_can_be_of(accepted: Gated) -> None:
    result = accepted.suites.run(PROFILE, "--dsr1-gate", "--dsr1-plan", "--dsr1-set=load.num_requests=8")
    result.stdout.fnmatch_lines(["# gate: *: 8 requests at load.concurrency 2 are too few for references *"])
    assert "the gate decides whether" not in result.stdout.str()


def test_the_plan_without_references(gated: Gated) -> None:
    result = gated.suites.run(PROFILE, "--dsr1-gate", "--dsr1-plan")
    result.stdout.fnmatch_lines(["# gate: *there is no such file*"])


def test_a_metric_that_cannot_be_gated(gated: Gated) -> None:
    path = gated.suites.folder / "gated.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("total_output_throughput", "ttft_p99"), encoding="utf-8"
    )
    result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*gated.yaml:*: ttft_p99, the metric of the first target, cannot be gated; *"]
    )


def test_a_server_that_somebody_else_started(gated: Gated) -> None:
    path = gated.suites.folder / "gated.yaml"
    text = path.read_text(encoding="utf-8").replace(
        "  type: transformers", "  {type: openai, url: http://h:1}"
    )
    text = text.replace("engine:\n  {", "engine: {").replace("  random_weights: {}\n", "")
    path.write_text(text, encoding="utf-8")
    result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*gates compare engine starts, and pytest-dsr1 does not start the server at http://h:1; *"]
    )
    assert gated.suites.engine_runs == []


def test_runs_that_are_too_short_for_references(gated: Gated) -> None:
    """Told before anything runs."""
    result = gated.suites.run(
        PROFILE, "--dsr1-reference=record", "-k", "reference", "--dsr1-set=load.num_requests=8"
    )
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        [
            "*8 requests at load.concurrency 2 are too few for references and gates: one wave warms up, "
            "three count, one drains; set load.num_requests to at least 10"
        ]
    )
    assert gated.suites.engine_runs == []


def test_recording_on_the_wrong_machine(gated: Gated) -> None:
    """Told once: no engine was started, and another try would find the same machine."""
    wrong = ("--dsr1-set=hardware={gpu: NVIDIA X1, count: 1}", "--dsr1-set=engine.device=cuda")
    result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference", *wrong)
    assert result.ret == 10
    result.assert_outcomes(errors=1)
    output = result.stdout.str()
    assert output.count("this machine cannot run the scenario:") == 2  # the error, and the overview
    assert "engine starts in a row" not in output


@pytest.mark.parametrize("damaged", ["", "candidates", "candidates/gated"])
def test_recording_where_nothing_can_be_kept(gated: Gated, damaged: str) -> None:
    """Told before anything runs, for the targets too: the run is made for the recording."""
    path = gated.store / damaged
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    result = gated.suites.run(PROFILE, "--dsr1-reference=record")
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            f"*{path}: no run can be recorded in {gated.store}/candidates/gated: Not a directory; expected a "
            "writable folder with free space"
        ]
    )
    assert gated.suites.engine_runs == []


def test_what_is_tried_before_a_recording_leaves_nothing(gated: Gated) -> None:
    wrong = ("--dsr1-set=hardware={gpu: NVIDIA X1, count: 1}", "--dsr1-set=engine.device=cuda")
    assert gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference", *wrong).ret == 10
    assert not gated.store.exists()
    assert gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference").ret == 0
    assert [path.suffix for path in gated.store.rglob("*") if path.is_file()] == [".json"]


MODES = {"regression": "--dsr1-gate", "reference": "--dsr1-reference=record"}


@pytest.mark.parametrize("test", MODES)
def test_what_no_run_can_show_is_told_before_one(gated: Gated, test: str) -> None:
    """For the targets too: the command has to be put right and typed again."""
    result = gated.suites.run(PROFILE, MODES[test], "--dsr1-set=load.num_requests=8")
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(["*8 requests at load.concurrency 2 are too few for references and gates*"])
    assert gated.suites.engine_runs == []


def test_a_target_alone_needs_nothing_of_the_gate(gated: Gated) -> None:
    """Its test is not selected: nothing is told of it, and nothing refused."""
    result = gated.gate("--dsr1-set=load.num_requests=8", "-k", "target")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    assert "there will be no gate" not in result.stdout.str()


@pytest.mark.parametrize("option", ["--benchmark-only", "--benchmark-disable"])
def test_a_gate_counts_as_a_benchmark(accepted: Gated, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_LATENCY_S", "0.6")
    result = accepted.gate(option, "-k", "regression")
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    assert accepted.saved()["word"] == "FAIL"


def test_a_recording_counts_as_a_benchmark(gated: Gated) -> None:
    result = gated.suites.run(
        PROFILE, "--dsr1-reference=record", "--benchmark-only", "--benchmark-json=b.json"
    )
    assert result.ret == 0
    result.assert_outcomes(passed=3, skipped=1)  # the machine
    assert len(list((gated.store / "candidates" / "gated").iterdir())) == 1
    document = json.loads((gated.suites.pytester.path / "b.json").read_text(encoding="utf-8"))
    assert [bench["fullname"] for bench in document["benchmarks"]] == ["own/gated.yaml::measurement"]


SKIPPING = """
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name.startswith(("regression", "reference")):
            item.add_marker(pytest.mark.skip(reason="not on Sundays"))
"""


@pytest.mark.parametrize("test", MODES)
@pytest.mark.parametrize(
    ("option", "reason", "others"),
    [
        ("--benchmark-skip", "Skipping benchmark (--benchmark-skip active)", {"passed": 1, "errors": 3}),
        ("-v", "not on Sundays", {"passed": 3, "errors": 1}),
    ],
)
def test_what_was_skipped_is_not_green(
    gated: Gated, test: str, option: str, reason: str, others: dict[str, int]
) -> None:
    """A test of a gate or a recording that was asked for and selected, and that something else skips."""
    if "Sundays" in reason:
        conftest = gated.suites.pytester.path / "conftest.py"
        conftest.write_text(conftest.read_text(encoding="utf-8") + SKIPPING, encoding="utf-8")
    result = gated.suites.run(PROFILE, MODES[test], option, "--dsr1-report=report.md")
    assert result.ret == 12
    result.assert_outcomes(**others)
    result.stdout.fnmatch_lines(
        [
            f"not judged: gated::{test}[[]total_output_throughput]: skipped: {reason}; remove the cause, "
            "deselect the test with -k, or allow it with the ini option dsr1_unjudged"
        ]
    )
    report = (gated.suites.pytester.path / "report.md").read_text(encoding="utf-8")
    assert "INCONCLUSIVE" in report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([PROFILE, "--dsr1-gate", "--dsr1-reference=record"], "*cannot be used together*"),
        (["--dsr1-gate"], "*none is selected: add --dsr1-profile=NAME*"),
        (
            ["--dsr1-replay=x", "--dsr1-gate"],
            "*--dsr1-gate needs new runs, but --dsr1-replay makes none*",
        ),
        (["--dsr1-probe"], "*--dsr1-probe needs a scenario, but none is selected: *pytest-dsr1 probe"),
        (["--dsr1-replay=x", "--dsr1-probe"], "*--dsr1-probe needs new runs, but --dsr1-replay makes none*"),
    ],
)
def test_what_cannot_be_asked_for(gated: Gated, arguments: list[str], message: str) -> None:
    result = gated.suites.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_without_the_options_there_are_no_such_tests(gated: Gated) -> None:
    result = gated.suites.run(PROFILE, "--collect-only", "-q")
    assert "regression" not in result.stdout.str()
    assert "reference[" not in result.stdout.str()


def test_runs_are_recorded_and_gated_in_a_store_outside_the_workspace(gated: Gated, tmp_path: Path) -> None:
    """CI servers clean the workspace before each job."""
    store, option = tmp_path / "my references", f"--dsr1-store={tmp_path / 'my references'}"
    result = gated.suites.run(PROFILE, "--dsr1-reference=record", "-k", "reference", option)
    assert result.ret == 0, result.stdout.str()
    assert len(list(store.glob("candidates/gated/*.json"))) == 1
    assert not gated.store.exists()
    text = " ".join(result.stdout.str().split())
    assert f"`pytest-dsr1 references accept gated --reason TEXT --store '{store}'` makes them" in text
    result = gated.gate(option)
    assert result.ret == 11
    assert f"{store / 'gated.yaml'}: there is no such file" in result.stdout.str().replace(
        "\n            ", ""
    )
    text = " ".join(result.stdout.str().split())
    assert f"`pytest-dsr1 references accept gated --reason TEXT --store '{store}'`" in text
    assert f"`pytest --dsr1-profile=gated --dsr1-reference=record --dsr1-store='{store}'`" in text
    planned = gated.suites.run(PROFILE, "--dsr1-gate", "--dsr1-plan", option)
    assert planned.stdout.str().splitlines()[-1] == f"pytest {PROFILE} --dsr1-gate '{option}'"


def test_the_plan_of_a_gate_names_the_sweep_and_the_store_of_an_option(gated: Gated) -> None:
    """The printed command of a point is about the same point."""
    options = ("--dsr1-sweep=load.concurrency=1,2", "--dsr1-store=mine")
    planned = gated.suites.run(PROFILE, "--dsr1-gate", "--dsr1-plan", *options).stdout.str()
    scripts = [script.splitlines() for script in planned.split("\n\n")]
    commands = [
        f"pytest --dsr1-profile=gated.concurrency-{users} --dsr1-sweep=load.concurrency=1,2 --dsr1-gate "
        "--dsr1-store=mine"
        for users in (1, 2)
    ]
    assert [
        " ".join("\n".join(script).rpartition("\npytest ")[2].split(" \\\n   ")) for script in scripts
    ] == [command.removeprefix("pytest ") for command in commands]
    assert (
        "`pytest --dsr1-profile=gated.concurrency-2 --dsr1-reference=record --dsr1-store=mine "
        "--dsr1-sweep=load.concurrency=1,2`"
    ) in planned
    assert (
        "`pytest-dsr1 references accept gated.concurrency-2 --reason TEXT --store mine "
        "--sweep=load.concurrency=1,2`"
    ) in planned
    again = gated.suites.run(*commands[1].split()[1:], "--dsr1-plan").stdout.str()
    assert [line for line in again.splitlines() if "sweep: " not in line] == [
        line for line in scripts[1] if "sweep: " not in line
    ]


def test_messages_about_a_point_name_the_sweep_that_made_it(
    gated: Gated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands work: a run is recorded, and found by `accept`."""
    monkeypatch.chdir(gated.suites.pytester.path)
    point = ("--dsr1-profile=gated.concurrency-2", "--dsr1-sweep=load.concurrency=1,2")
    refused = gated.suites.run(*point, "--dsr1-gate", "-k", "regression")
    assert refused.ret == 11
    text = " ".join(refused.stdout.str().split())
    assert (
        "record more with `pytest --dsr1-profile=gated.concurrency-2 --dsr1-reference=record "
        "--dsr1-sweep=load.concurrency=1,2`"
    ) in text
    accept = "references accept gated.concurrency-2 --reason TEXT --sweep=load.concurrency=1,2"
    assert f"then `pytest-dsr1 {accept}`" in text
    assert gated.suites.run(*point, "--dsr1-reference=record", "-k", "reference").ret == 0
    capsys.readouterr()
    assert main([*accept.split(), "--suites", "own"]) == 1
    said = capsys.readouterr().err
    assert "gated.concurrency-2: too few recorded runs to accept: cpu: 1" in said
    assert f"`pytest-dsr1 {accept}`" in said
